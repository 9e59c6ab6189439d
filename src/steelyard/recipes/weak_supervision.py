"""Programmatic weak supervision, end to end: sources vote, a label model weighs the votes, a student learns from the probabilistic labels.

Ratner et al. 2016, "Data Programming"; Ratner et al. 2017, "Snorkel"; benchmarked as in Zhang et al. 2021, "WRENCH". Every result carries
four arms on the same test rows: the majority vote, the label model's own labels (weak), the student (method), and the same student trained
on gold labels (ceiling).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard import datasets, evaluation, label_models
from steelyard.errors import ConfigError
from steelyard.jobs.sources_file import load_sources
from steelyard.jobs.students import is_deterministic, make_student
from steelyard.jobs.weighing import add_scores, fit_label_model, prediction_artifacts, vote_artifacts
from steelyard.label_models import LabelModel
from steelyard.result import Result
from steelyard.sources import apply
from steelyard.sources.base import Source
from steelyard.targets import Targets

PUBLISHED = "published"


@dataclass(frozen=True)
class WeakSupervision:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        Name of a data set, or the path of a table with a gold column ``label``.
    sources : str
        ``published`` for the votes that come with the data set, or the path of a sources file.
    label_model : str
        ``select`` to choose by the votes, or MajorityVote, DawidSkene, MeTaL, TripletModel, SequenceHMM.
    student : str
        ``logistic``, the name or folder of a Hugging Face encoder, ``minilm``, or ``none``.
    tune : str
        How an encoder learns: full, lora or probe.
    epochs : float
        Passes of a fine-tuned encoder over the training rows.
    confidence : float
        Rows whose most probable label is less probable than this are not taught.
    train : str
        Split that is labelled and learned from; ``auto`` takes ``train``.
    test : str
        Split that is measured on.
    seeds : tuple of int
        A student whose training involves chance is trained once for each; others once.
    """

    data: str
    sources: str = PUBLISHED
    label_model: str = "select"
    student: str = "logistic"
    tune: str = "full"
    epochs: float = 3
    confidence: float = 0.0
    train: str = "auto"
    test: str = "test"
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: WeakSupervision, sources: Sequence[Source] | None = None) -> Result:
    """Run the line on one data set.

    Parameters
    ----------
    config : WeakSupervision
    sources : sequence of Source, optional
        Sources to apply instead of those that ``config.sources`` names.

    Returns
    -------
    Result
        Arms ``majority``, ``weak``, ``method`` and ``ceiling`` (the last two unless the student is ``none``; the ceiling where the training
        rows have gold labels), and the artifacts that the report draws.

    Raises
    ------
    ConfigError, DataError, SourceError
        An option names nothing, the data lack votes or labels, a source file is wrong.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from steelyard.sources import keywords
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "mail.csv"
    >>> _ = file.write_text("text,label,split\\nfree money,SPAM,train\\nsee you soon,HAM,train\\nfree,SPAM,test\\nsee me,HAM,test\\n")
    >>> rules = [keywords("free", label="SPAM"), keywords("see", label="HAM")]
    >>> result = run(WeakSupervision(str(file), label_model="MajorityVote"), sources=rules)
    >>> result.arms, result.mean("method", "accuracy")
    (['majority', 'weak', 'method', 'ceiling'], 1.0)
    """
    result = Result("weak-supervision", dataclasses.asdict(config))
    data = datasets.load(config.data).divided()
    with _timed(result, "sources"):
        data = data if sources is None and config.sources == PUBLISHED else _voted(data, config, sources)
    train, test = _splits(data, config)
    votes, gold = data.votes[train], data.labels(test)
    with _timed(result, "label model"):
        model = fit_label_model(config.label_model, votes)
        targets = model.targets(votes).filter(confidence=config.confidence)
    majority = label_models.MajorityVote().fit(votes)
    students = _students(config, data, train, test, targets, result) if config.student != "none" else {}
    arms = {"majority": [majority.predict_proba(data.votes[test])], "weak": [model.predict_proba(data.votes[test])], **students}
    # Ties of votes are broken as the label models document, not by the order of the classes.
    labels = {"majority": majority.predict(data.votes[test]), "weak": model.predict(data.votes[test])}
    # Where no source votes the label is only the class prior: what the votes themselves are worth shows on the covered rows.
    covered = data.votes[test].coverage
    for arm, probabilities in arms.items():
        for i, seed in enumerate(_seeds(config)):
            p = probabilities[min(i, len(probabilities) - 1)]
            add_scores(result, arm, seed, gold, p, labels.get(arm))
            if arm in labels and (covered & (gold >= 0)).any():
                result.add(arm, seed, "accuracy_covered", evaluation.accuracy(gold[covered], labels[arm][covered]))
    result.artifacts = _artifacts(result, data, (train, test), model, arms)
    return result


def _voted(data: datasets.Dataset, config: WeakSupervision, sources: Sequence[Source] | None) -> datasets.Dataset:
    """Let the sources vote on every row without showing them the gold labels."""
    found = None if sources is not None else load_sources(config.sources)
    voters = list(sources or (found.sources if found else ()))
    hierarchy = None if found is None else found.hierarchy
    votes = {
        split: apply(voters, table.drop(data.label), classes=list(data.classes), hierarchy=hierarchy)
        for split, table in data.splits.items()
    }
    return dataclasses.replace(data, votes=votes)


def _splits(data: datasets.Dataset, config: WeakSupervision) -> tuple[str, str]:
    if not data.votes:
        raise ConfigError(f"data set '{data.name}' has no published votes; name a sources file with sources='my_sources.py'")
    test = config.test if config.test in data.votes else data.split_or("test", "valid", "dev")
    if config.train != "auto":
        data[config.train]
        return config.train, test
    # Where training rows have only the majority of the votes, the label model is fitted on a split that has them all.
    same = [
        name
        for name in ("train", "valid", "dev", *data.votes)
        if name in data.votes and data.votes[name].sources == data.votes[test].sources
    ]
    return next((name for name in same if name != test), test), test


def _students(
    config: WeakSupervision, data: datasets.Dataset, train: str, test: str, targets: Targets, result: Result
) -> dict[str, list[NDArray[np.float32]]]:
    if data.is_sequence:
        raise ConfigError(f"data set '{data.name}' has labels for tokens and this recipe's students label rows; use student='none'")
    gold = Targets.from_labels(data.labels(train), data.classes)
    arms: dict[str, list[NDArray[np.float32]]] = {}
    for arm, taught in {"method": targets, "ceiling": gold}.items():
        with _timed(result, arm):
            for seed in _seeds(config) if len(taught) else ():
                student = make_student(config.student, data, tune=config.tune, seed=seed, epochs=config.epochs)
                arms.setdefault(arm, []).append(student.fit(data[train], taught).predict_proba(data[test]))
    return arms


def _artifacts(
    result: Result, data: datasets.Dataset, splits: tuple[str, str], model: LabelModel, arms: dict[str, list[NDArray[np.float32]]]
) -> dict[str, Any]:
    train, test = splits
    gold, votes = data.labels(test), data.votes[train]
    best = "method" if "method" in arms else "weak"
    last = arms[best][0]
    shown = data[train] if isinstance(data.on, tuple) or data.is_sequence else data[train][data.on].to_list()
    artifacts: dict[str, Any] = {
        **vote_artifacts(votes, model, data.labels(train)),
        **prediction_artifacts(gold, last, data.classes),
        "coverage": {"train": float(votes.coverage.mean()), "test": float(data.votes[test].coverage.mean())},
        "data": {"train": train, "test": test, **{key: getattr(data, key) for key in ("name", "licence", "citation", "checksum")}},
    }
    if not data.is_sequence:
        artifacts["worst_rows"] = evaluation.worst_rows(votes, model.predict_proba(votes), shown, y=data.labels(train))
    if {"method", "ceiling"} <= arms.keys():
        weak, student, ceiling = (list(result.values(arm, "accuracy").values()) for arm in ("weak", "method", "ceiling"))
        # One run has no spread over seeds: then the test rows are what chance is measured on.
        rows = evaluation.gap_over_rows(gold, model.predict(data.votes[test]), last, arms["ceiling"][0])
        artifacts["gap"] = (evaluation.gap_over_seeds(weak, student, ceiling) if len(student) > 1 else rows).to_dict()
    return artifacts


def _seeds(config: WeakSupervision) -> tuple[int, ...]:
    if not config.seeds:
        raise ConfigError("seeds is empty; give at least one, for example --seeds 3")
    return config.seeds[:1] if config.student == "none" or is_deterministic(config.student, config.tune) else config.seeds


@contextmanager
def _timed(result: Result, step: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    result.timings[step] = time.perf_counter() - began
