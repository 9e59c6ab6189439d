"""A table file and a sources file in, a labelled Parquet file out: votes in resumable chunks, one label model, labels row for row."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from steelyard import evaluation
from steelyard.datasets import TableFile, decode_labels, encode_labels
from steelyard.errors import ConfigError, DataError
from steelyard.jobs.sources_file import load_sources
from steelyard.jobs.vote_chunks import vote_in_chunks
from steelyard.jobs.weighing import add_scores, fit_label_model, prediction_artifacts, vote_artifacts
from steelyard.label_models import LabelModel, MajorityVote
from steelyard.result import Result
from steelyard.storage import atomic_path, check_output
from steelyard.targets import Targets
from steelyard.vote_formats import METADATA as VOTES_METADATA
from steelyard.votes import Votes

METADATA = b"steelyard.labels"


@dataclass(frozen=True)
class LabelFile:
    """Options of labelling a file.

    Parameters
    ----------
    data, sources, output : str
        The table (Parquet, CSV, JSON lines), the Python file of sources, the Parquet file to write.
    classes : tuple of str, optional
        Class names in order; else those of the sources file.
    label_model : str
        ``select`` or the name of a label model.
    gold : str, optional
        A column of known labels (null where unknown): it is hidden from the sources and used to measure, never to fit.
    prefix : str
        Put before the names of the new columns.
    votes : str, optional
        Where to keep the votes as a Parquet file of their own.
    chunk_rows : int
        Rows after which the votes so far are safe from a kill.
    workers : int, optional
        Processes; all cores when left out.
    strict : bool
        Stop at the first row on which a source raises, instead of letting it abstain there.
    """

    data: str
    sources: str
    output: str
    classes: tuple[str, ...] | None = None
    label_model: str = "select"
    gold: str | None = None
    prefix: str = ""
    votes: str | None = None
    chunk_rows: int = 5000
    workers: int | None = None
    strict: bool = False
    engine: str = "local"
    address: str | None = None


def run(config: LabelFile, progress: Callable[[int, int], None] | None = None) -> Result:
    """Label the file; see `LabelFile` for the options.

    The output holds the original columns and, per row, ``label``, ``confidence``, ``n_votes`` and one ``p_<class>`` per class. Rows without
    any vote carry the class prior and ``n_votes`` 0. Running again after a kill goes on where the votes stopped and writes the same bytes.

    Returns
    -------
    Result
        With the artifacts that the report draws; arms ``majority`` and ``weak`` where there is a gold column. ``artifacts["labels"]``
        counts rows, covered rows, rows taken from an earlier run and labels per class.

    Raises
    ------
    DataError, SourceError, ConfigError
        A file, a column or an option is wrong; one sentence each.
    """
    if config.chunk_rows < 1:
        raise ConfigError(f"chunk_rows must be at least 1, got {config.chunk_rows}")
    table, sources = TableFile(config.data), load_sources(config.sources)
    classes = sources.class_names(config.classes)
    if Path(config.output).suffix.lower() not in (".parquet", ".pq"):
        raise ConfigError(f"the labels are written as Parquet; name the output '{Path(config.output).with_suffix('.parquet')}'")
    _check_parquet(config.output, METADATA, (config.data, config.sources))
    if config.votes is not None:
        _check_parquet(config.votes, VOTES_METADATA, (config.data, config.sources, config.output))
    gold = None if config.gold is None else known_labels(table, config.gold, classes)
    for column in label_columns(config.prefix, classes):
        if column in table.schema:
            raise DataError(f"data file '{config.data}' has a column '{column}' already; choose other names with --prefix weak_")
    result = Result("label", dataclasses.asdict(config))
    began = time.perf_counter()
    votes, resumed = vote_in_chunks(
        table,
        sources,
        Path(f"{config.output}.work"),
        classes=classes,
        hidden=() if config.gold is None else (config.gold,),
        chunk_rows=config.chunk_rows,
        workers=config.workers,
        strict=config.strict,
        engine=config.engine,
        address=config.address,
        progress=progress,
    )
    result.timings["sources"] = time.perf_counter() - began
    if votes.groups is not None:
        raise ConfigError(
            f"the sources in '{config.sources}' vote once per token, but rows are labelled here; apply them with sy.apply instead"
        )
    if not votes.coverage.any():
        raise DataError(f"no source in '{config.sources}' votes on any row of '{config.data}'{_first_fault(votes)}")
    began = time.perf_counter()
    model = fit_label_model(config.label_model, votes)
    result.timings["label model"] = time.perf_counter() - began
    if config.votes is not None:
        votes.to_parquet(config.votes)
    labels, probabilities = model.predict(votes), model.predict_proba(votes)
    _write(config, table, votes, model, labels, probabilities)
    if gold is not None:
        majority = MajorityVote().fit(votes)
        add_scores(result, "majority", 0, gold, majority.predict_proba(votes), majority.predict(votes))
        add_scores(result, "weak", 0, gold, probabilities, labels)
        result.artifacts |= prediction_artifacts(gold, probabilities, classes)
    counts = np.bincount(labels[votes.coverage], minlength=len(classes)).tolist()
    result.artifacts |= {
        **vote_artifacts(votes, model, gold),
        "worst_rows": _worst_rows(table, votes, probabilities, gold),
        "labels": {
            "rows": votes.n_rows,
            "covered": int(votes.coverage.sum()),
            "resumed": resumed,
            "counts": dict(zip(classes, counts, strict=True)),
            "label_model": type(model).__name__,
        },
    }
    return result


def read_labels(path: str) -> tuple[pl.DataFrame, Targets, str]:
    """A file that `run` wrote, as its table, the targets of the rows with a vote, and the prefix of its label columns.

    Raises
    ------
    DataError
        The file is unreadable or was not written by ``steelyard label``.
    """
    table = TableFile(path)
    kept = (pq.read_schema(table.files[0]).metadata or {}).get(METADATA) if table.kind == "Parquet" else None
    if kept is None:
        raise DataError(f"file '{path}' holds no labels of `steelyard label`; label it first, or name its column of labels with --label")
    about = json.loads(kept)
    rows, prefix, classes = table.read(), about["prefix"], about["classes"]
    probabilities = rows.select(f"{prefix}p_{name}" for name in classes).to_numpy()
    return rows, Targets(probabilities, classes=classes).take(np.flatnonzero(rows[f"{prefix}n_votes"].to_numpy() > 0)), prefix


def known_labels(table: TableFile, column: str, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """(n,) gold labels of a table as class indices, null -> -1.

    Raises
    ------
    DataError
        The column is missing, holds something that is no class, or nothing at all.
    """
    table.require(column)
    labels = table.read()[column].cast(pl.String)
    unknown = set(labels.drop_nulls().unique()) - set(classes)
    if unknown:
        raise DataError(
            f"gold column '{column}' of '{table.path}' holds {min(unknown)!r}, which is not a class; classes are {', '.join(classes)}"
        )
    if labels.null_count() == len(labels):
        raise DataError(f"gold column '{column}' of '{table.path}' holds no label; name a column of class names, or leave --gold out")
    return encode_labels(labels, classes)


def label_columns(prefix: str, classes: tuple[str, ...]) -> list[str]:
    """Names of the columns that labelling adds: label, confidence, number of votes, and a probability per class."""
    return [f"{prefix}{name}" for name in ("label", "confidence", "n_votes", *(f"p_{name}" for name in classes))]


def _write(
    config: LabelFile, table: TableFile, votes: Votes, model: LabelModel, labels: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> None:
    """Write the original columns and the labels slice by slice, so that a table larger than memory passes through."""
    names = label_columns(config.prefix, votes.classes)
    about = {"classes": list(votes.classes), "prefix": config.prefix, "label_model": type(model).__name__, "sources": list(votes.sources)}
    counts = (votes.csr.indptr[1:] - votes.csr.indptr[:-1]).astype(np.int32)
    with atomic_path(config.output) as temporary:
        writer = None
        for start in range(0, table.n_rows, config.chunk_rows):
            rows = slice(start, start + config.chunk_rows)
            p = probabilities[rows]
            new = [decode_labels(labels[rows], votes.classes), pl.Series(p.max(axis=1)), pl.Series(counts[rows])]
            new += [pl.Series(np.ascontiguousarray(p[:, k])) for k in range(len(votes.classes))]
            part = table.slice(start, config.chunk_rows).with_columns(column.alias(name) for column, name in zip(new, names, strict=True))
            arrow = part.to_arrow()
            if writer is None:
                schema = arrow.schema.with_metadata({METADATA: json.dumps(about, sort_keys=True).encode()})
                writer = pq.ParquetWriter(temporary, schema, compression="zstd")
            writer.write_table(arrow.cast(writer.schema))
        assert writer is not None
        writer.close()


def _check_parquet(path: str, written_by_us: bytes, used: tuple[str, ...]) -> None:
    """An earlier file of the same kind is replaced; a table of the user's own is not."""
    check_output(path, used)
    if not Path(path).exists():
        return
    try:
        ours = written_by_us in (pq.read_schema(path).metadata or {})
    except (pa.ArrowInvalid, OSError):
        ours = False
    if not ours:
        raise DataError(f"cannot write '{path}': a file that steelyard did not write is there already; move it, or choose another name")


def _first_fault(votes: Votes) -> str:
    """What to look at when everybody is silent."""
    for name, fault in votes.metadata.get("faults", {}).items():
        return f"; source '{name}' failed there: {fault['message']}"
    return "; check their words and the columns that they read"


def _worst_rows(table: TableFile, votes: Votes, probabilities: NDArray[np.float32], gold: NDArray[np.int64] | None) -> list[dict[str, Any]]:
    """The rows most worth reading; their text is fetched afterwards, so that the table need not be in memory."""
    worst = evaluation.worst_rows(votes, probabilities, y=gold)
    for entry in worst:
        row = table.slice(entry["row"], 1).row(0, named=True)
        entry["text"] = str(row["text"]) if "text" in row else ", ".join(f"{name} = {value}" for name, value in row.items())
    return worst
