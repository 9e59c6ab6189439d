"""A labelled file in, a trained student out: weights, predictions and numbers in one run folder that survives a kill."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from steelyard.datasets import Dataset, TableFile, decode_labels, encode_labels, input_columns
from steelyard.errors import ConfigError, DataError
from steelyard.jobs.label_file import known_labels, label_columns, read_labels
from steelyard.jobs.students import make_student
from steelyard.jobs.weighing import add_scores, prediction_artifacts
from steelyard.result import Result
from steelyard.storage import atomic_path, check_output, config_hash
from steelyard.targets import Targets


@dataclass(frozen=True)
class TrainFile:
    """Options of training on a labelled file.

    Parameters
    ----------
    labels : str
        A file written by ``steelyard label``; or any table, with `label` naming its column of hard labels.
    output : str
        The run folder.
    student : str
        ``logistic``, ``minilm``, or the name or folder of a Hugging Face encoder.
    tune : str
        How an encoder learns: full, lora or probe.
    on : str, optional
        The text column, or feature columns separated by commas; left out: ``text`` or the longest text, else every numeric column.
    label : str, optional
        Column of hard labels, for a file that was not written by ``steelyard label``.
    gold : str, optional
        Column of true labels to measure against; never learned from.
    test : str, optional
        Table to predict and measure on; the training file itself when left out.
    confidence : float
        Rows whose most probable label is less probable than this are not taught.
    seed : int
        Seed of a student whose training involves chance.
    epochs : float
        Passes of a fine-tuned encoder over the rows.
    checkpoint_steps : int
        Steps of a fine-tuned encoder after which the training so far is safe.
    """

    labels: str
    output: str
    student: str = "logistic"
    tune: str = "full"
    on: str | None = None
    label: str | None = None
    gold: str | None = None
    test: str | None = None
    confidence: float = 0.0
    seed: int = 0
    epochs: float = 3
    checkpoint_steps: int = 500


def run(config: TrainFile) -> Result:
    """Train; writes ``student/``, ``predictions.parquet`` and, last, ``result.json`` into the run folder.

    The same call again reads a finished run, and goes on with one that was killed.

    Raises
    ------
    DataError, ConfigError, TrainingError
        A file, a column or an option is wrong; the folder holds another run.
    """
    output = Path(config.output)
    check_output(output, (config.labels, config.test), folder=True)
    if not 0 <= config.confidence <= 1:
        raise ConfigError(f"confidence must lie between 0 and 1, got {config.confidence}")
    files = [config.labels, *([config.test] if config.test else [])]
    key = config_hash({"config": dataclasses.asdict(config), "files": [TableFile(file).fingerprint() for file in files]})
    done = _finished(output, key)
    if done is not None:
        return done
    rows, targets, hidden = _lessons(config)
    data = _dataset(config, rows, targets, hidden)
    tested = TableFile(config.test) if config.test else TableFile(config.labels)
    tested.require(*data.columns)
    gold = None if config.gold is None else known_labels(tested, config.gold, data.classes)
    taught = targets.filter(confidence=config.confidence)
    if not len(taught):
        fewer = f" with a label as probable as {config.confidence}" if config.confidence else " with a vote"
        raise DataError(f"'{config.labels}' holds no row{fewer}; there is nothing to learn from")
    result = Result("train", {**dataclasses.asdict(config), "key": key})
    began = time.perf_counter()
    run_folder: dict[str, Any] = {"output_dir": output / "student", "checkpoint_steps": config.checkpoint_steps}
    student = make_student(config.student, data, tune=config.tune, seed=config.seed, epochs=config.epochs, **run_folder)
    student.fit(rows, taught)
    student.save(output / "student")
    result.timings["student"] = time.perf_counter() - began
    table = tested.read()
    probabilities = student.predict_proba(table)
    _write_predictions(output / "predictions.parquet", table, probabilities, data.classes)
    if gold is not None:
        add_scores(result, "method", config.seed, gold, probabilities)
        result.artifacts |= prediction_artifacts(gold, probabilities, data.classes)
    result.artifacts["training"] = {"rows": len(rows), "taught": len(taught), "measured_on": config.test or config.labels}
    result.to_json(output / "result.json")
    return result


def _finished(output: Path, key: str) -> Result | None:
    if not (output / "result.json").exists():
        return None
    result = Result.from_json(output / "result.json")
    if result.config.get("key") != key:
        raise ConfigError(f"folder '{output}' holds a run with other data or options; choose another folder with -o, or remove it")
    return result


def _lessons(config: TrainFile) -> tuple[pl.DataFrame, Targets, tuple[str, ...]]:
    """The table, the targets of its rows, and the columns that are labels rather than inputs, the hard label first."""
    if config.label is None:
        rows, targets, prefix = read_labels(config.labels)
        return rows, targets, tuple(label_columns(prefix, targets.classes))
    table = TableFile(config.labels)
    table.require(config.label)
    rows = table.read()
    names = rows[config.label].cast(pl.String)
    classes = tuple(sorted(names.drop_nulls().unique()))
    return rows, Targets.from_labels(encode_labels(names, classes), classes), (config.label,)


def _dataset(config: TrainFile, rows: pl.DataFrame, targets: Targets, hidden: tuple[str, ...]) -> Dataset:
    where = f"data file '{config.labels}'"
    labels = (*hidden, *([config.gold] if config.gold else []))
    named = tuple(name.strip() for name in config.on.split(",")) if config.on else ()
    for name in named:
        if name not in rows.columns:
            raise DataError(f"{where} has no column '{name}'; its columns are {', '.join(rows.columns)}")
    on = named[0] if len(named) == 1 else named or input_columns(rows, without=labels, where=where)
    return Dataset(config.labels, {"train": rows.with_columns(pl.col(hidden[0]).cast(pl.String))}, targets.classes, on, label=hidden[0])


def _write_predictions(path: Path, table: pl.DataFrame, probabilities: np.ndarray, classes: tuple[str, ...]) -> None:
    new = [
        decode_labels(probabilities.argmax(axis=1), classes).alias("predicted"),
        pl.Series("predicted_confidence", probabilities.max(axis=1)),
    ]
    new += [pl.Series(f"predicted_p_{name}", np.ascontiguousarray(probabilities[:, k])) for k, name in enumerate(classes)]
    with atomic_path(path) as temporary:
        table.with_columns(new).write_parquet(temporary)
