"""Pareto optimal self-supervision: a harmonizer fitted to a language model and to cheap sources at once says which answers are wrong.

Zhao, Wei, Preston, Poon 2023, "Pareto Optimal Learning for Estimating Large Language Model Errors". An answer's risk is one minus the
harmonizer's probability of it; the harmonizer reads no label. On clinc150 (a zero-shot classifier answers, wrong on .44; three seeds) the
quadratic aggregation is the best calibrated of four (ECE .061, R² .964), far ahead of vote share (.299), a label model (.174) and a
harmonizer of the answers alone (.307), and replacing the riskiest fifth lowers the error to .34. It is no better calibrated than this
classifier's own confidence (.063; .028 with a temperature fitted on gold), which ranks worse (AUROC .80 to .87); the label model ranks
as well (.87). On sms the label model wins: ECE .063 to .163. Asking again needs a server and is not part of the stored run.
"""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from steelyard.datasets import SUFFIXES, decode_labels
from steelyard.encoders import offline_encoder
from steelyard.errors import ConfigError
from steelyard.evaluation import accuracy
from steelyard.jobs.answer_risks import add_risk_scores, baseline_risks, mean_curves, source_scores
from steelyard.jobs.harmonized_answers import AnswerTask, asked_again, harmonized, load_named_task, load_table_task
from steelyard.label_models.harmonizer import ParetoHarmonizer, answer_risk
from steelyard.result import Result
from steelyard.scalarizers import SCALARIZERS
from steelyard.sources import prompt, reask
from steelyard.storage import atomic_path, read_json
from steelyard.votes import Votes

QUESTION = (
    "Which of these labels fits the text best: {labels}? State the most likely label first; say 'unsure' if you are very unsure.\n\n{text}"
)
_DRAWN = ("own confidence", "method", "vote share", "distilled", "ceiling")


@dataclass(frozen=True)
class Pareto:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        ``clinc150`` or a data set with published votes, where a zero-shot classifier stands for the language model; or a table of your own
        (Parquet, CSV, JSON lines).
    text : str
        Text column of a table; the longest when left out.
    label : str
        Gold column of a table, only to measure; it may be missing, or null in places.
    llm : str
        Column of the model's answers in words: the class named first counts; "unsure" or none is no answer.
    confidence : str
        Column of the model's own confidence, for comparison.
    votes : tuple of str
        Columns with the votes of other sources, as class names, null where they abstain.
    sources : str
        Python file of sources, instead of or beside such columns.
    classes : tuple of str
        Class names; left out: those that sources and gold name.
    server : str
        Address of a chat-completions server: asks for answers where there is no column of them, and asks the riskiest again.
    server_model : str
        Name of the server's model.
    question : str
        Prompt with ``{labels}`` and ``{text}``, the text column; a default one when left out.
    explanations : str
        JSON file {source: why it votes as it does}, shown as evidence when an answer is asked for again.
    threshold : float
        Answers with a higher risk are asked again.
    aggregation : str
        Of the losses against the sources: linear, quadratic, euclidean or chebyshev.
    compare : tuple of str
        Further aggregations to measure.
    weights : str
        Of the sources: equal, or max_eig or min_var to weigh them after a first round.
    label_model : str
        The label model to compare with.
    share : float
        Of the answers, the riskiest, that are replaced by the harmonizer's.
    hidden : int
        Width of the hidden layer.
    epochs : int
        At most; training stops where the loss on held-out rows, without gold, is lowest.
    batch_size : int
        Rows per step.
    learning_rate : float
        Of AdamW.
    save : str
        Parquet file for a table with the answers, their risk and the harmonizer's labels.
    seeds : tuple of int
        Each draws its own first weights and held-out rows, and for clinc150 the names that the classifier knows.
    """

    data: str = "clinc150"
    text: str | None = None
    label: str = "label"
    llm: str | None = None
    confidence: str | None = None
    votes: tuple[str, ...] = ()
    sources: str | None = None
    classes: tuple[str, ...] = ()
    server: str | None = None
    server_model: str = ""
    question: str | None = None
    explanations: str | None = None
    threshold: float = 0.5
    aggregation: str = "quadratic"
    compare: tuple[str, ...] = ("linear", "euclidean", "chebyshev")
    weights: str = "equal"
    label_model: str = "DawidSkene"
    share: float = 0.2
    hidden: int = 128
    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 1e-3
    save: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: Pareto, encoder: Any = None) -> Result:
    """Score the answers.

    Parameters
    ----------
    config : Pareto
    encoder : object, optional
        Anything with ``encode(texts) -> (n, d)``; the packaged MiniLM when left out.

    Returns
    -------
    Result
        Arms ``weak`` (the answers), ``method``, the further aggregations, ``distilled`` (a harmonizer of the answers alone), ``own
        confidence`` (and ``tempered``), ``vote share``, ``label model``, ``ceiling`` (the network on gold labels), ``examined`` and ``shown
        evidence`` (asked again); metrics as in `steelyard.jobs.answer_risks.add_risk_scores`. Without gold, ``mean_risk`` and
        ``above_threshold`` alone. Artifact ``doubts``: the scores of every source.

    Raises
    ------
    ConfigError, DataError, SourceError, LabelModelError
        An option names nothing, a file or a column is wrong, nothing votes.

    Examples
    --------
    >>> run(Pareto(aggregation="cubic"))
    Traceback (most recent call last):
    steelyard.errors.ConfigError: aggregation 'cubic' is unknown; use linear, quadratic, euclidean, chebyshev
    """
    unknown = [name for name in (config.aggregation, *config.compare) if name not in SCALARIZERS]
    if unknown:
        raise ConfigError(f"aggregation '{unknown[0]}' is unknown; use {', '.join(SCALARIZERS)}")
    own = Path(config.data).suffix.lower() in SUFFIXES
    if not config.seeds or not 0 < config.share < 1 or (own and config.llm is None and config.server is None):
        raise ConfigError("give at least one seed, a share between 0 and 1, and for a table the model's answers: --llm COLUMN or --server")
    result = Result("pareto", dataclasses.asdict(config))
    curves: dict[str, list[dict[str, Any]]] = {}
    for seed in config.seeds:
        began = time.perf_counter()
        task = _table(config) if own else load_named_task(config.data, seed)
        _one_seed(config, task, seed, result, curves, encoder or offline_encoder())
        result.timings[f"seed {seed}"] = time.perf_counter() - began
    if curves:
        result.artifacts["curves"] = mean_curves({arm: curves[arm] for arm in _DRAWN if arm in curves})
    splits = ("all rows but a fold", "that fold") if own else ("train, without labels", "test")
    result.artifacts["data"] = {**task.about, **dict(zip(("train", "test"), splits, strict=True))}
    return result


def _one_seed(config: Pareto, task: AnswerTask, seed: int, result: Result, curves: dict[str, list[dict[str, Any]]], encoder: Any) -> None:
    source = _asker(config, task)
    if source is not None and config.llm is None:
        task = asked_again(task, source.vote(task.table).codes.astype(np.int64))
    features, answers, y = encoder.encode(task.table[task.on].to_list()), task.answers[task.test], task.y[task.test]

    def harmonize(votes: Votes, aggregation: str = config.aggregation) -> Any:
        model = ParetoHarmonizer(
            aggregation=aggregation,
            weights=config.weights if votes.n_sources > 1 else "equal",
            hidden=config.hidden,
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            seed=seed,
        )
        return harmonized(model, features, votes, task)

    h = harmonize(task.joined)
    risk = answer_risk(h, answers)
    result.add("method", seed, "mean_risk", float(np.nanmean(risk)))
    result.add("method", seed, "above_threshold", float(np.nanmean(risk > config.threshold)))
    known = y >= 0
    if known.any():
        result.add("weak", seed, "accuracy", accuracy(y[known], answers[known]))
        arms = {"method": h} | {name: harmonize(task.joined, name) for name in config.compare if name != config.aggregation}
        arms["distilled"] = harmonize(task.answers_alone)
        if (task.y[task.train] >= 0).all():
            arms["ceiling"] = harmonize(Votes(task.y[:, None], classes=task.classes, sources=["gold"]))
        scored = {name: (answer_risk(p, answers), p.argmax(axis=1)) for name, p in arms.items()}
        for name, arm in {**scored, **baseline_risks(task, config.label_model)}.items():
            curves.setdefault(name, []).append(add_risk_scores(result, name, seed, arm, task, config.share))
        if seed == config.seeds[0]:
            result.artifacts["doubts"] = source_scores(h, task)
    again = {}
    if source is not None:
        told = {} if config.explanations is None else read_json(config.explanations)
        for name, evidence in {"examined": None, "shown evidence": task.votes.take(task.test)}.items():
            found = reask(source, task.table[task.test], answers, risk, threshold=config.threshold, evidence=evidence, explanations=told)
            again[name] = found.codes
            result.add(name, seed, "changed", float(found.changed.sum() / len(answers)))
            if known.any():
                result.add(name, seed, "accuracy", accuracy(y[known], found.codes[known]))
    if config.save is not None and seed == config.seeds[0]:
        _save(config.save, task, h, risk, again)


def _asker(config: Pareto, task: AnswerTask) -> Any:
    if config.server is None:
        return None
    from steelyard.sources.prompt_backends import OpenAICompatible

    if not config.server_model or not re.match(r"https?://", config.server):
        raise ConfigError("--server needs an address such as http://localhost:8000/v1 and --server-model the name of a model it serves")
    template = config.question or QUESTION.replace("{text}", f"{{{task.on}}}")
    return prompt(template, labels=list(task.classes), backend=OpenAICompatible(config.server, config.server_model), on=task.on)


def _table(config: Pareto) -> AnswerTask:
    return load_table_task(
        config.data,
        text=config.text,
        label=config.label,
        llm=config.llm,
        confidence=config.confidence,
        sources=config.sources,
        votes=config.votes,
        classes=config.classes,
    )


def _save(path: str, task: AnswerTask, h: Any, risk: Any, again: dict[str, Any]) -> None:
    """The scored rows: the answer, its risk (where there is none, how unsure the harmonizer is), and the harmonizer's label."""
    unsure = -(h * np.log(np.maximum(h, 1e-12))).sum(axis=1) / np.log(h.shape[1])
    columns = {
        "answer": decode_labels(task.answers[task.test], task.classes),
        "risk": pl.Series(np.where(np.isnan(risk), unsure, risk)),
        "harmonized": decode_labels(h.argmax(axis=1), task.classes),
        **{f"answer_{name.replace(' ', '_')}": decode_labels(codes, task.classes) for name, codes in again.items()},
    }
    with atomic_path(path) as temporary:
        task.table[task.test].with_columns(**columns).write_parquet(temporary)
