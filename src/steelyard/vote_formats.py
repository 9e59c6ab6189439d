"""Votes in other people's shapes: Arrow and Parquet with all names inside, WRENCH splits, long crowd tables."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from steelyard.errors import DataError, VotesError
from steelyard.storage import atomic_path, read_json, read_parquet
from steelyard.vote_checks import smallest_signed
from steelyard.votes import ABSTAIN, Votes

METADATA = b"steelyard.votes"
_GROUP = "__group__"
_CONFIDENCE = " confidence"


def to_arrow(votes: Votes) -> pa.Table:
    """One column of codes per source (dense), or two list columns (sparse); names, hierarchy and metadata in the schema."""
    columns: dict[str, Any] = {}
    if votes.is_sparse:
        offsets = votes.csr.indptr.astype(np.int32, copy=False)
        columns["source"] = pa.ListArray.from_arrays(offsets, votes.csr.indices)
        columns["vote"] = pa.ListArray.from_arrays(offsets, votes.csr.data - 1)
        if votes.confidences is not None:
            columns["confidence"] = pa.ListArray.from_arrays(offsets, votes.confidences.data)
    else:
        for j, name in enumerate(votes.sources):
            columns[name] = _arrow_column(votes.codes[:, j])
            if votes.confidences is not None:
                columns[name + _CONFIDENCE] = _arrow_column(votes.confidences[:, j])
    if votes.groups is not None:
        columns[_GROUP] = pa.array(np.repeat(np.arange(len(votes.groups) - 1), np.diff(votes.groups)))
    facts = {
        "classes": votes.classes,
        "sources": votes.sources,
        "hierarchy": votes.hierarchy,
        "sparse": votes.is_sparse,
        "confidences": votes.confidences is not None,
        "n_rows": votes.n_rows,
        "n_groups": None if votes.groups is None else len(votes.groups) - 1,
        "metadata": votes.metadata,
    }
    return pa.table(columns).replace_schema_metadata({METADATA: json.dumps(facts, sort_keys=True).encode()})


def from_arrow(table: pa.Table) -> Votes:
    """The inverse of `to_arrow`."""
    kept = (table.schema.metadata or {}).get(METADATA)
    if kept is None:
        raise VotesError("this table does not hold votes: its schema lacks steelyard's metadata; write votes with `Votes.to_parquet`")
    facts = json.loads(kept)
    codes: Any
    confidences: Any = None
    if facts["sparse"]:
        lists = {name: table[name].combine_chunks() for name in table.column_names if name != _GROUP}
        offsets = lists["source"].offsets.to_numpy()
        indices = lists["source"].values.to_numpy()
        shape = (facts["n_rows"], len(facts["sources"]))
        codes = sparse.csr_array((lists["vote"].values.to_numpy() + 1, indices, offsets), shape=shape)
        if facts["confidences"]:
            confidences = sparse.csr_array((lists["confidence"].values.to_numpy(), indices, offsets), shape=shape)
    else:
        codes = _side_by_side([table[name] for name in facts["sources"]], facts["n_rows"], np.dtype(np.int8))
        if facts["confidences"]:
            confidences = _side_by_side([table[name + _CONFIDENCE] for name in facts["sources"]], facts["n_rows"], np.dtype(np.float32))
    groups = None
    if facts["n_groups"] is not None:
        sizes = np.bincount(table[_GROUP].to_numpy().astype(np.int64), minlength=facts["n_groups"])
        groups = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Votes(
        codes,
        classes=facts["classes"],
        sources=facts["sources"],
        confidences=confidences,
        groups=groups,
        hierarchy=facts["hierarchy"],
        metadata=facts["metadata"],
    )


def to_parquet(votes: Votes, path: str | os.PathLike[str]) -> None:
    """Write atomically, zstd-compressed."""
    with atomic_path(path) as temporary:
        pq.write_table(to_arrow(votes), temporary, compression="zstd")


def from_parquet(path: str | os.PathLike[str]) -> Votes:
    """Read votes; a file that is missing, truncated or holds something else is named in the error."""
    return from_arrow(read_parquet(path))


def read_slices(path: str | os.PathLike[str], rows: int) -> Iterator[Votes]:
    """Read votes some rows at a time, so that a file of any length passes through little memory.

    Raises
    ------
    DataError, VotesError
        The file is missing, truncated or holds something else; or its rows are tokens of documents, which a cut would tear apart.
    """
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        if _GROUP in schema.names:
            raise VotesError(f"file '{path}' holds documents of tokens, which cannot be read in slices; read it with Votes.from_parquet")
        for batch in file.iter_batches(batch_size=rows):
            facts = json.loads((schema.metadata or {}).get(METADATA, b"{}")) | {"n_rows": batch.num_rows}
            known = {METADATA: json.dumps(facts).encode()} if len(facts) > 1 else None
            yield from_arrow(pa.Table.from_batches([batch]).replace_schema_metadata(known))
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"file '{path}' cannot be read as Parquet ({str(error).splitlines()[0]}); it may be truncated") from None


def from_wrench(path: str | os.PathLike[str], *, classes: Sequence[str] | None = None) -> tuple[Votes, NDArray[np.int64]]:
    """Read a split of the WRENCH benchmark: a JSON object of rows with ``weak_labels`` and ``label``."""
    rows = read_json(path)
    if not isinstance(rows, dict) or not rows:
        raise DataError(f"file '{path}' holds no WRENCH rows; expected a JSON object of id → {{label, weak_labels, data}}")
    if classes is None:
        names = read_json(Path(path).parent / "label.json")
        classes = [names[key] for key in sorted(names, key=int)]
    lengths = {len(row.get("weak_labels", ())) for row in rows.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise DataError(f"file '{path}' is ragged: rows have {sorted(lengths)} weak labels; every row needs one per source")
    codes = np.asarray([row["weak_labels"] for row in rows.values()])
    gold = np.asarray([row.get("label", -1) for row in rows.values()], dtype=np.int64)
    if gold.max(initial=-1) >= len(classes) or gold.min(initial=0) < -1:
        raise DataError(f"file '{path}' has labels from {gold.min()} to {gold.max()}, but {len(classes)} classes; -1 is unknown")
    return Votes(np.asfortranarray(codes), classes=classes), gold


def from_long(table: Any, *, task: str, worker: str, label: str, classes: Sequence[str] | None = None) -> tuple[Votes, pl.Series]:
    """Pivot a long crowd table: rows are tasks in order of appearance, columns are workers; sparse when under a tenth is filled."""
    frame = table if isinstance(table, pl.DataFrame) else pl.DataFrame(table)
    for name in (task, worker, label):
        if name not in frame.columns:
            raise DataError(f"crowd table has no column '{name}'; columns are {', '.join(frame.columns)}")
    if frame.is_empty():
        raise DataError("crowd table is empty; it needs at least one answer")
    tasks = frame[task].unique(maintain_order=True)
    workers = frame[worker].unique(maintain_order=True)
    labels = frame[label].cast(pl.String)
    if labels.null_count():
        raise DataError(f"column '{label}' has {labels.null_count()} empty answers; drop them, a missing answer is an abstention")
    names = list(classes) if classes is not None else sorted(labels.unique().to_list())
    unknown = sorted(set(labels.unique().to_list()) - set(names))
    if unknown:
        raise VotesError(f"crowd table answers '{unknown[0]}'; classes are {', '.join(names)}")
    row = _positions(frame[task], tasks)
    column = _positions(frame[worker], workers)
    codes = _positions(labels, pl.Series(names))
    shape = (len(tasks), len(workers))
    held: Any = sparse.csr_array((codes + 1, (row, column)), shape=shape)
    held.sum_duplicates()
    if held.nnz < len(frame):
        twice = frame.filter(frame.select(task, worker).is_duplicated()).row(0, named=True)
        raise DataError(f"worker '{twice[worker]}' answered task '{twice[task]}' more than once; keep one answer of each")
    if len(frame) >= 0.1 * shape[0] * shape[1]:
        held = np.full(shape, ABSTAIN, dtype=smallest_signed(len(names)), order="F")
        held[row, column] = codes
    return Votes(held, classes=names, sources=[str(w) for w in workers]), tasks


def _positions(values: pl.Series, known: pl.Series) -> NDArray[np.int64]:
    lookup = pl.DataFrame({"value": known.cast(values.dtype), "position": np.arange(len(known))})
    joined = pl.DataFrame({"value": values}).join(lookup, on="value", how="left", maintain_order="left")
    return joined["position"].to_numpy().astype(np.int64)


def _arrow_column(values: NDArray[Any]) -> pa.Array:
    contiguous = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(contiguous.dtype), len(contiguous), [None, pa.py_buffer(contiguous)])


def _side_by_side(columns: list[pa.ChunkedArray], n_rows: int, empty: np.dtype[Any]) -> NDArray[Any]:
    if not columns:
        return np.empty((n_rows, 0), dtype=empty)
    arrays = [column.to_numpy() for column in columns]
    matrix = np.empty((n_rows, len(arrays)), dtype=np.result_type(*arrays), order="F")
    for j, array in enumerate(arrays):
        matrix[:, j] = array
    return matrix
