"""Votes on a table file, chunk by chunk, each written atomically: a killed run goes on where it was, to the same bytes.

The work folder is keyed by everything that decides the votes: the bytes of the data, the text of the sources file, the options. What
the sources file imports is not part of the key.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steelyard.datasets import TableFile
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
    parts: list[Votes] = []
    resumed = 0
    for start in range(0, table.n_rows, chunk_rows):
        part = folder / f"votes-{start:012d}.parquet"
        if part.is_file():
            votes = Votes.from_parquet(part)
            resumed += votes.n_rows
        else:
            rows = table.slice(start, chunk_rows).drop(hidden)
            try:
                (votes,) = apply_batches(
                    sources.sources, [rows], classes=classes, hierarchy=sources.hierarchy, strict=strict, workers=workers
                )
            except SteelyardError as error:
                counted = f" (rows counted from row {start} of '{table.path}')" if start else ""
                raise type(error)(f"{error}{counted}") from error
            votes.to_parquet(part)
        parts.append(votes)
        if progress is not None:
            progress(min(start + chunk_rows, table.n_rows), table.n_rows)
    return _joined(parts), resumed


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
