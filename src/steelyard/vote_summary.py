"""The per-source table of a vote matrix: coverage, overlap, conflict, polarity, accuracy (the vocabulary of Ratner et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from steelyard.row_blocks import in_row_blocks
from steelyard.vote_statistics import checked_gold

if TYPE_CHECKING:
    from steelyard.votes import Votes


def summarize(votes: Votes, y: ArrayLike | None = None) -> pl.DataFrame:
    """One row per source, counted block by block.

    Parameters
    ----------
    votes : Votes
    y : (n,) int array, optional
        Gold labels, -1 = unknown; adds ``correct``, ``incorrect`` (counts) and ``accuracy`` (share of judged votes, null when none).

    Returns
    -------
    polars.DataFrame
        Columns ``source``, ``polarity`` (names it votes for), ``coverage``, ``overlap``, ``conflict`` (shares of all rows).

    Examples
    --------
    >>> from steelyard import Votes
    >>> votes = Votes([[0, 1], [0, 0], [0, -1]], classes=["a", "b"], sources=["x", "y"])
    >>> summarize(votes, [0, 0, 1]).select("source", "conflict", "accuracy").rows()
    [('x', 0.3333333333333333, 0.6666666666666666), ('y', 0.3333333333333333, 0.5)]
    """
    gold = checked_gold(y, votes.n_rows, votes.n_classes)
    parts = in_row_blocks(lambda start, stop: _count(votes[start:stop], gold[start:stop]), votes.n_rows) or [_count(votes, gold)]
    voted, overlapped, contradicted, correct, judged = np.sum([counts for counts, _ in parts], axis=0)
    named = np.any([seen for _, seen in parts], axis=0)
    n = max(votes.n_rows, 1)
    table: dict[str, Any] = {
        "source": list(votes.sources),
        "polarity": [[votes.symbols[c] for c in np.flatnonzero(seen)] for seen in named],
        "coverage": voted / n,
        "overlap": overlapped / n,
        "conflict": contradicted / n,
    }
    if y is not None:
        table |= {"correct": correct, "incorrect": judged - correct}
    frame = pl.DataFrame(table, schema_overrides={"source": pl.String, "polarity": pl.List(pl.String)})
    if y is None:
        return frame
    judged_votes = pl.col("correct") + pl.col("incorrect")
    return frame.with_columns(accuracy=pl.when(judged_votes > 0).then(pl.col("correct") / judged_votes))


def _count(votes: Votes, gold: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(5, m) rows on which each source votes, overlaps, is contradicted, is right, can be judged; (m, S) which symbols it names."""
    codes = votes.codes
    voted = codes >= 0
    overlapped = voted & (voted.sum(axis=1) >= 2)[:, None]
    compatible = np.vstack([votes.support, np.zeros((1, votes.n_classes), bool)])[codes, gold[:, None]]
    judged = voted & (gold >= 0)[:, None]
    table = [voted, overlapped, _contradicted(codes, votes.support), judged & compatible, judged]
    n_symbols = len(votes.support)
    named = [np.bincount(codes[:, j].astype(np.intp) + 1, minlength=n_symbols + 1)[1:] > 0 for j in range(votes.n_sources)]
    return np.array([flags.sum(axis=0) for flags in table], dtype=np.int64), np.array(named, dtype=bool).reshape(-1, n_symbols)


def _contradicted(codes: NDArray[Any], support: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n, m) whether another source names a symbol that shares no class with this one's."""
    voted = codes >= 0
    if len(support) == support.shape[1]:
        highest = codes.max(axis=1, initial=-1)
        lowest = np.where(voted, codes, np.iinfo(codes.dtype).max).min(axis=1, initial=np.iinfo(codes.dtype).max)
        return voted & (highest > lowest)[:, None]
    disjoint = np.zeros((len(support) + 1, len(support) + 1), dtype=bool)
    disjoint[:-1, :-1] = (support.astype(np.int64) @ support.T.astype(np.int64)) == 0
    result = np.zeros(codes.shape, dtype=bool)
    for j in range(codes.shape[1]):
        result[:, j] = disjoint[codes[:, [j]], codes].any(axis=1)
    return result
