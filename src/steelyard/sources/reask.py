"""Ask again where an answer is probably wrong: the model examines its own answer, or is shown what the sources that fired say of the row.

Dynamic prompting of Zhao, Wei, Preston, Poon 2023, "Pareto Optimal Learning for Estimating Large Language Model Errors". One pass over the
answers whose risk is above a threshold, through the same prompt source, with its backend, cache and bill.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import SourceError
from steelyard.sources.faults import Faults
from steelyard.sources.prompts import PromptSource
from steelyard.sources.tables import as_table
from steelyard.votes import ABSTAIN, Votes

EXAMINE = (
    "{prompt}\n\nYour answer was: {answer}.\n{evidence}It is possible that the answer is something else. "
    "Are you sure that it is {answer}? If not, give your new answer, otherwise restate it. Say the label first."
)
"""The follow-up: ``{prompt}`` is the question as it was asked, ``{answer}`` what was answered, ``{evidence}`` what sources say."""

_UNSURE = "unsure"


@dataclass(frozen=True, eq=False)
class Reasked:
    """What came of asking again.

    Attributes
    ----------
    codes : (n,) int64
        The answers now; where the follow-up could not be read or was declined, the answer from before.
    rows : (r,) int64
        Rows that were asked again, the riskiest first.
    changed : (r,) bool
        Whether the answer of each is another one now.
    prompts : list of r str
        The follow-ups as they were sent.
    faults : Faults, optional
        Follow-ups that stayed without an answer.
    """

    codes: NDArray[np.int64]
    rows: NDArray[np.int64]
    changed: NDArray[np.bool_]
    prompts: list[str]
    faults: Faults | None = None


def reask(
    source: PromptSource,
    data: Any,
    answers: ArrayLike,
    risk: ArrayLike,
    *,
    threshold: float = 0.5,
    most: int | None = None,
    evidence: Votes | None = None,
    explanations: Mapping[str, str] | None = None,
    template: str = EXAMINE,
) -> Reasked:
    """Put the riskiest answers to the model again.

    Parameters
    ----------
    source : PromptSource
        The source that answered; its `usage_` goes on counting.
    data : table
        The n rows it was asked about.
    answers : (n,) int array
        Indices into ``source.labels``, -1 = it was unsure.
    risk : (n,) float array
        Estimated probability that the answer is wrong; NaN is never asked again.
    threshold : float
        Rows with a higher risk are asked again.
    most : int, optional
        At most so many, the riskiest.
    evidence : Votes, optional
        What the other sources say (self-supervision); without it the model only looks at its own answer (self-examination).
    explanations : mapping, optional
        Source -> why it votes as it does, in words the model understands; a source without one is shown by its name.
    template : str
        The follow-up, with ``{prompt}``, ``{answer}`` and ``{evidence}``.

    Raises
    ------
    SourceError
        Rows do not match, an answer is no label, or the template lacks a field.

    Examples
    --------
    >>> from steelyard.sources.prompt_backends import Answer
    >>> from steelyard.sources.prompts import prompt
    >>> class Doubter:
    ...     identity, prices = "doubter", (0.0, 0.0)
    ...     def answer(self, requests):
    ...         for i, request in enumerate(requests):
    ...             yield i, Answer("HAM" if "before a meeting" in request.prompt else "SPAM")
    >>> source = prompt("Spam or ham? {text}", labels=["SPAM", "HAM"], backend=Doubter(), cache=False)
    >>> table = pl.DataFrame({"text": ["win cash", "see you"]})
    >>> votes = Votes([[-1], [1]], classes=["SPAM", "HAM"], sources=["talk"])
    >>> again = reask(source, table, [0, 0], [0.1, 0.9], evidence=votes, explanations={"talk": "people say so before a meeting"})
    >>> again.codes.tolist(), again.rows.tolist(), again.changed.tolist()
    ([0, 1], [1], [True])
    """
    table = as_table(data)
    before, chances = np.asarray(answers), np.asarray(risk, dtype=np.float64)
    if before.shape != (table.height,) or chances.shape != (table.height,) or (evidence is not None and evidence.n_rows != table.height):
        said = "" if evidence is None else f", {evidence.n_rows} rows of evidence"
        raise SourceError(f"{table.height} rows of data, {len(before)} answers, {len(chances)} risks{said}; give one of each per row")
    if before.dtype.kind not in "iu" or before.max() >= len(source.labels):
        raise SourceError(f"answers must be indices of the labels {', '.join(source.labels)}, -1 = none")
    missing = next((field for field in ("{prompt}", "{answer}", "{evidence}") if field not in template), None)
    if missing:
        raise SourceError(f"the follow-up template lacks {missing}; write it where it belongs")
    order = np.argsort(-chances, kind="stable")  # NaN comes last
    rows = order[chances[order] > threshold][:most]
    shown = [""] * len(rows) if evidence is None else evidence_texts(evidence.take(rows), explanations or {})
    asked = source.render(table[rows]) if len(rows) else []
    words = [next(word for word, code in zip(source.words, source.word_codes, strict=True) if code == c) for c in range(len(source.labels))]
    follow_ups = [
        None if first is None else _filled(template, first, words[code] if code >= 0 else _UNSURE, said)
        for first, code, said in zip(asked, before[rows], shown, strict=True)
    ]
    codes = before.astype(np.int64)
    if not len(rows):
        return Reasked(codes, rows, np.zeros(0, dtype=bool), [])
    found = _again(source).vote(pl.DataFrame({"follow_up": pl.Series(follow_ups, dtype=pl.String)}))
    codes[rows] = np.where(found.codes == ABSTAIN, codes[rows], found.codes)
    return Reasked(codes, rows, codes[rows] != before[rows], [text or "" for text in follow_ups], found.faults)


def evidence_texts(votes: Votes, explanations: Mapping[str, str]) -> list[str]:
    """For each row what the sources that vote on it say and why, as lines for a prompt; "" where none votes.

    Raises
    ------
    SourceError
        An explanation belongs to no source.

    Examples
    --------
    >>> votes = Votes([[0, -1], [-1, -1]], classes=["SPAM", "HAM"], sources=["link", "long"])
    >>> evidence_texts(votes, {"link": "the text holds a link"})
    ['Evidence:\\n- SPAM, because the text holds a link\\n', '']
    """
    stranger = next((name for name in explanations if name not in votes.sources), None)
    if stranger is not None:
        raise SourceError(f"there is an explanation for '{stranger}', which is no source; sources are {', '.join(votes.sources)}")
    reasons = [f"because {explanations[name]}" if name in explanations else f"says {name}" for name in votes.sources]
    lines: list[list[str]] = [[] for _ in range(votes.n_rows)]
    for row, source in zip(*np.nonzero(votes.codes >= 0), strict=True):
        lines[row].append(f"- {votes.symbols[votes.codes[row, source]]}, {reasons[source]}")
    return ["\n".join(["Evidence:", *said, ""]) if said else "" for said in lines]


def draw_examples(
    risk: ArrayLike, labels: ArrayLike, *, per_class: int = 2, temperature: float = 0.01, seed: int = 0
) -> dict[int, dict[str, Sequence[int]]]:
    """Rows to show as worked examples: per class some that are hard for the model and some that are confirmed.

    Drawn without replacement with probability ∝ exp(risk / T) (hard) and ∝ exp((1 − risk) / T) (confirmed).

    Parameters
    ----------
    risk : (n,) float array
        Of the model's answers; NaN is never drawn.
    labels : (n,) int array
        The harmonizer's predictions, which the examples are labelled with.
    per_class : int
        Of each kind.
    temperature : float
        Small: nearly always the extremes.
    seed : int

    Examples
    --------
    >>> draw_examples([0.9, 0.1, 0.2, 0.8], [0, 0, 1, 1], per_class=1)
    {0: {'hard': [0], 'confirmed': [1]}, 1: {'hard': [3], 'confirmed': [2]}}
    """
    chances, codes = np.asarray(risk, dtype=np.float64), np.asarray(labels)
    rng = np.random.default_rng(seed)
    drawn: dict[int, dict[str, Sequence[int]]] = {}
    for c in np.unique(codes[codes >= 0]).tolist():
        rows = np.flatnonzero((codes == c) & ~np.isnan(chances))
        # The largest of log-weight plus Gumbel noise are draws without replacement.
        hard = rows[np.argsort(-(chances[rows] / temperature + rng.gumbel(size=len(rows))))][:per_class]
        rest = np.setdiff1d(rows, hard)
        confirmed = rest[np.argsort(-((1 - chances[rest]) / temperature + rng.gumbel(size=len(rest))))][:per_class]
        drawn[c] = {"hard": hard.tolist(), "confirmed": confirmed.tolist()}
    return drawn


def _again(source: PromptSource) -> PromptSource:
    """The same source, bill included, with the follow-up as its prompt."""
    again = copy.copy(source)
    again.template, again.needs = "{follow_up}", ("follow_up",)
    return again


def _filled(template: str, prompt: str, answer: str, evidence: str) -> str:
    """Fill by pieces, not with `format`: prompts may hold braces."""
    filled = template.replace("{answer}", answer).replace("{evidence}", "\0").replace("{prompt}", prompt)
    return filled.replace("\0", evidence)
