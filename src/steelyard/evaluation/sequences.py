"""Scores of tagged sequences: spans that match exactly, and word error rate.

Tjong Kim Sang & De Meulder, 2003, "CoNLL-2003 Shared Task": a span counts only if its start, end and label are all right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from steelyard.errors import DataError

Span = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class SpanScores:
    """Micro-averaged precision, recall and F1 with the counts they come from; 0 where the denominator is."""

    matched: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        """Share of predicted spans that are gold spans."""
        return self.matched / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of gold spans that were predicted."""
        return self.matched / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.predicted + self.gold
        return 2 * self.matched / total if total else 0.0


def span_scores(gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]]) -> dict[str, SpanScores]:
    """Compare spans document by document; key "all" is the micro average, then one key per label.

    Parameters
    ----------
    gold, predicted : list with one iterable of (start, end, label) per document
        A span that is listed twice counts once.

    Examples
    --------
    >>> scores = span_scores([[(0, 2, "PER"), (5, 6, "LOC")]], [[(0, 2, "PER"), (5, 7, "LOC")]])
    >>> scores["all"].f1, scores["PER"].f1, scores["LOC"].f1
    (0.5, 1.0, 0.0)
    """
    if len(gold) != len(predicted):
        raise DataError(f"gold has {len(gold)} documents and prediction {len(predicted)}; they must match")
    counts: dict[str, Counter[str]] = {"matched": Counter(), "predicted": Counter(), "gold": Counter()}
    for truth, guess in zip(map(set, gold), map(set, predicted), strict=True):
        for kind, spans in (("matched", truth & guess), ("predicted", guess), ("gold", truth)):
            counts[kind].update(label for _, _, label in spans)
    labels = sorted(counts["gold"].keys() | counts["predicted"].keys())
    by_label = {label: SpanScores(*(counts[kind][label] for kind in ("matched", "predicted", "gold"))) for label in labels}
    return {"all": SpanScores(*(counts[kind].total() for kind in ("matched", "predicted", "gold"))), **by_label}


def spans_from_bio(tags: Sequence[str]) -> list[Span]:
    """Read spans (start, end, label), end exclusive, from tags "B-X", "I-X", "O".

    An I- that continues nothing starts a span, the convention of the CoNLL scorer.

    Examples
    --------
    >>> spans_from_bio(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"])
    [(0, 2, 'PER'), (3, 4, 'LOC'), (4, 5, 'LOC')]
    """
    spans: list[Span] = []
    start, label = 0, ""
    for i, tag in enumerate([*tags, "O"]):
        kind, _, name = tag.partition("-")
        if kind not in {"B", "I", "O"} or (kind != "O") != bool(name):
            raise DataError(f"tag '{tag}' at position {i} is not BIO; write B-label, I-label or O")
        if label and (kind != "I" or name != label):
            spans.append((start, i, label))
            label = ""
        if kind != "O" and not label:
            start, label = i, name
    return spans


def bio_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, SpanScores]:
    """Compare BIO tags as `span_scores` compares spans.

    Examples
    --------
    >>> bio_scores([["B-PER", "I-PER", "O"]], [["B-PER", "O", "O"]])["all"].f1
    0.0
    """
    for i, (truth, guess) in enumerate(zip(gold, predicted, strict=False)):
        if len(truth) != len(guess):
            raise DataError(f"document {i} has {len(truth)} gold tags and {len(guess)} predicted ones; they must match")
    return span_scores([spans_from_bio(tags) for tags in gold], [spans_from_bio(tags) for tags in predicted])


def word_error_rate(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> float:
    """Edits (insert, delete, substitute; Levenshtein, 1966) that turn the hypotheses into the references, per reference word.

    Parameters
    ----------
    references, hypotheses : list of word lists
        Lists of characters give the character error rate.

    Examples
    --------
    >>> word_error_rate(["the cat sat".split()], ["the cat sat down".split()])
    0.3333333333333333
    """
    if len(references) != len(hypotheses):
        raise DataError(f"there are {len(references)} references and {len(hypotheses)} hypotheses; they must match")
    words = sum(map(len, references))
    if not words:
        raise DataError("the references hold no words, so there is no word error rate")
    return sum(_edits(r, h) for r, h in zip(references, hypotheses, strict=True)) / words


def _edits(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    codes = {word: i for i, word in enumerate(dict.fromkeys([*reference, *hypothesis]))}
    across = np.array([codes[word] for word in hypothesis], dtype=np.int64)
    steps = np.arange(len(across) + 1)
    row = steps.copy()
    for i, word in enumerate(reference, start=1):
        # Deletions and substitutions at once; insertions are a running minimum once the diagonal slope is taken off.
        best = np.minimum(row[1:] + 1, row[:-1] + (across != codes[word]))
        row = np.minimum.accumulate(np.concatenate([[i], best]) - steps) + steps
    return int(row[-1])
