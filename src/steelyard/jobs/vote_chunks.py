"""Votes on a table file, chunk by chunk, each written atomically: a killed run goes on where it was, to the same bytes.

The work folder is keyed by everything that decides the votes: the bytes of the data, the text of the sources file, the options. What
the sources file imports is not part of the key.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from steelyard.datasets import TableFile
from steelyard.engines import Engine, get_engine
from steelyard.errors import SteelyardError
from steelyard.jobs.sources_file import SourcesFile
from steelyard.sources import apply_batches
from steelyard.sources.base import Source
from steelyard.storage import config_hash
from steelyard.votes import Votes

Progress = Callable[[int, int], None]


def vote_in_chunks(
    table: TableFile,
    sources: SourcesFile,
    work: Path,
    *,
    classes: tuple[str, ...],
    hidden: tuple[str, ...] = (),
    chunk_rows: int = 5000,
    workers: int | None = None,
    strict: bool = False,
    engine: str | Engine = "local",
    address: str | None = None,
    progress: Progress | None = None,
) -> tuple[Votes, int]:
    """Let the sources vote on every row of a table file.

    Parameters
    ----------
    table : TableFile
    sources : SourcesFile
    work : Path
        Folder for finished chunks; those of another run in it are removed.
    classes : tuple of str
    hidden : tuple of str
        Columns that the sources must not see, such as gold labels.
    chunk_rows : int
        Rows after which the votes so far are safe.
    workers, strict
        As in ``apply``.
    engine, address
        Where chunks are voted on, see ``get_engine``; a cluster takes whole chunks, this machine spreads the rows of each.
    progress : callable, optional
        Called with (rows done, rows in all).

    Returns
    -------
    votes : Votes
        On all rows, with the faults of all chunks added up in ``metadata["faults"]``.
    resumed : int
        Rows whose votes were found in `work`.
    """
    decisive = {"classes": list(classes), "hidden": list(hidden), "chunk_rows": chunk_rows, "strict": strict, "format": 1}
    key = config_hash({"data": table.fingerprint(), "sources": sources.text, **decisive})
    folder = _only(work, key)
    _teach(sources.sources, table, hidden)
    starts = range(0, table.n_rows, chunk_rows)
    files = {start: folder / f"votes-{start:012d}.parquet" for start in starts}
    missing = [start for start in starts if not files[start].is_file()]
    resumed = table.n_rows - sum(min(chunk_rows, table.n_rows - start) for start in missing)
    runner = get_engine(engine, workers, address)
    vote = partial(_vote, sources.sources, classes, sources.hierarchy, strict, 1 if runner.is_remote else workers)
    chunks = (table.slice(start, chunk_rows).drop(hidden) for start in missing)
    voted = runner.map_batches(vote, chunks, progress=False) if runner.is_remote else map(vote, chunks)
    done = resumed
    for start, votes in zip(missing, _counted_from(missing, voted, table), strict=True):
        votes.to_parquet(files[start])
        done += votes.n_rows
        if progress is not None:
            progress(done, table.n_rows)
    if progress is not None and not missing:
        progress(done, table.n_rows)
    parts = [Votes.from_parquet(file) for file in files.values()]
    return _joined(parts), resumed


def _vote(
    sources: tuple[Source, ...],
    classes: tuple[str, ...],
    hierarchy: Mapping[str, Sequence[str]] | None,
    strict: bool,
    workers: int | None,
    rows: pl.DataFrame,
) -> Votes:
    (votes,) = apply_batches(sources, [rows], classes=classes, hierarchy=hierarchy, strict=strict, workers=workers)
    return votes


def _counted_from(starts: Sequence[int], voted: Iterator[Votes], table: TableFile) -> Iterator[Votes]:
    """The votes as they come; an error says from which row its own count begins."""
    for start in starts:
        try:
            yield next(voted)
        except SteelyardError as error:
            counted = f" (rows counted from row {start} of '{table.path}')" if start else ""
            raise type(error)(f"{error}{counted}") from error


def _teach(sources: tuple[Source, ...], table: TableFile, hidden: tuple[str, ...]) -> None:
    """Let the sources that learn see the whole file once, so that a chunk never decides what they know."""
    learning = [source for source in sources if type(source).fit is not Source.fit]
    if learning:
        data = table.read().drop(hidden)
        for source in learning:
            source.fit(data)


def _only(work: Path, key: str) -> Path:
    """The folder of this run; folders of runs with other data, sources or options are removed."""
    folder = work / key
    folder.mkdir(parents=True, exist_ok=True)
    for other in work.iterdir():
        if other.is_dir() and other != folder and re.fullmatch(r"[0-9a-f]{16}", other.name):
            shutil.rmtree(other)
    for torn in folder.glob(".*.part"):
        torn.unlink()
    return folder


def _joined(parts: list[Votes]) -> Votes:
    """All votes, with the faults of the chunks added up; their rows are counted from the start of the file."""
    faults: dict[str, dict[str, Any]] = {}
    start = 0
    for part in parts:
        for name, fault in part.metadata.get("faults", {}).items():
            first = faults.setdefault(name, {**fault, "count": 0, "first_row": start + fault["first_row"]})
            first["count"] += fault["count"]
        start += part.n_rows
    votes = Votes.concat(parts)
    votes.metadata = {"faults": faults} if faults else {}
    return votes
