"""Statistics of votes that do not fit in memory, or that lie on a cluster: one pass over slices, merged as they come.

What a label model is fitted from is a commutative monoid, so a stream, a folder of files and a cluster give what one pass in memory
would have given, bit for bit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from steelyard.engines import Engine, get_engine
from steelyard.errors import DataError, LabelModelError
from steelyard.vote_formats import read_slices
from steelyard.vote_statistics import Keep, VoteStatistics
from steelyard.votes import Votes

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

#: Rows summarised at a time: 20 MB of 20 sources.
SLICE = 1 << 20
#: Distinct patterns kept before giving up: about a gigabyte while two summaries merge.
MOST_PATTERNS = 1 << 24


def summarize(
    votes: Votes | Paths,
    y: ArrayLike | None = None,
    *,
    keep: Keep = "patterns",
    engine: str | Engine = "local",
    workers: int | None = None,
    address: str | None = None,
    progress: bool | None = None,
) -> VoteStatistics:
    """Summarise votes slice by slice on an engine; ``model.fit(summarize(...))`` then fits without the rows.

    Parameters
    ----------
    votes : Votes, path or sequence of paths
        In memory, or Parquet files written by ``Votes.to_parquet``: a file, a folder of them, or a list. With a cluster the paths must
        mean the same files everywhere.
    y : (n,) int array, optional
        Gold labels of votes in memory, -1 = unknown.
    keep : {"patterns", "moments"}
        What the label model needs: ``type(model).keep``. Moments have a fixed size however long the votes are.
    engine, workers, address
        Where slices are summarised, see ``get_engine``.
    progress : bool, optional
        Show a bar; by default on a terminal when it takes long.

    Returns
    -------
    VoteStatistics
        Equal, bit for bit, to ``VoteStatistics.from_votes`` on all rows at once.

    Raises
    ------
    DataError
        A path holds no votes.
    LabelModelError
        There are more than 16 million distinct patterns, or `y` comes with paths.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> votes = Votes([[0, 1], [0, 1], [1, -1]], classes=["a", "b"])
    >>> votes[:2].to_parquet(folder / "0.parquet"); votes[2:].to_parquet(folder / "1.parquet")
    >>> summarize(folder) == VoteStatistics.from_votes(votes)
    True
    """
    runner = get_engine(engine, workers, address)
    if isinstance(votes, Votes):
        from steelyard.vote_statistics import checked_gold

        gold = checked_gold(y, votes.n_rows, votes.n_classes)
        cuts = [slice(start, start + SLICE) for start in range(0, max(votes.n_rows, 1), SLICE)]
        return _merged(runner, partial(_of_rows, keep=keep), [(votes.take(cut), gold[cut]) for cut in cuts], progress)
    if y is not None:
        raise LabelModelError("gold labels `y` go with votes in memory; give Votes instead of paths")
    return _merged(runner, partial(_of_file, keep=keep), _files(votes), progress)


def _merged(engine: Engine, summary: Any, batches: Sequence[Any], progress: bool | None) -> VoteStatistics:
    return engine.reduce(_add, engine.map_batches(summary, batches, progress))


def _of_rows(part: tuple[Votes, ArrayLike], keep: Keep) -> VoteStatistics:
    return VoteStatistics.from_votes(*part, keep=keep)


def _of_file(path: Path, keep: Keep) -> VoteStatistics:
    return _sum(VoteStatistics.from_votes(votes, keep=keep) for votes in read_slices(path, SLICE))


def _sum(parts: Iterable[VoteStatistics]) -> VoteStatistics:
    total: VoteStatistics | None = None
    for part in parts:
        total = part if total is None else _add(total, part)
    assert total is not None
    return total


def _add(one: VoteStatistics, other: VoteStatistics) -> VoteStatistics:
    total = one + other
    if total.counts is not None and len(total.counts) > MOST_PATTERNS:
        raise LabelModelError(
            f"the votes have more than {MOST_PATTERNS:,} distinct patterns, too many to keep; fit a model of pairwise moments such as "
            "MeTaL with keep='moments', or fit on a sample of the rows"
        )
    return total


def _files(paths: Paths) -> list[Path]:
    listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = [file for path in map(Path, listed) for file in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])]
    if not found:
        raise DataError(f"'{paths}' holds no Parquet files; write votes there with Votes.to_parquet")
    return found
