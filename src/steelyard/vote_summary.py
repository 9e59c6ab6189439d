"""The per-source table of a vote matrix: coverage, overlap, conflict, polarity, accuracy (the vocabulary of Ratner et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from steelyard.vote_statistics import VoteStatistics, checked_gold

if TYPE_CHECKING:
    from steelyard.votes import Votes


def summarize(votes: Votes, y: ArrayLike | None = None) -> pl.DataFrame:
    """One row per source, computed on the distinct vote patterns.

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
    statistics = VoteStatistics.from_votes(votes, gold)
    patterns, counts = statistics.patterns, statistics.counts
    assert counts is not None
    voted = patterns >= 0
    overlapped = voted & (voted.sum(axis=1) >= 2)[:, None]
    contradicted = _contradicted(patterns, votes.support)
    n = max(votes.n_rows, 1)
    present = [np.unique(patterns[voted[:, j], j]) for j in range(votes.n_sources)]
    table: dict[str, Any] = {
        "source": list(votes.sources),
        "polarity": [[votes.symbols[c] for c in seen] for seen in present],
        "coverage": (counts @ voted) / n,
        "overlap": (counts @ overlapped) / n,
        "conflict": (counts @ contradicted) / n,
    }
    if y is not None:
        compatible = np.vstack([votes.support, np.zeros((1, votes.n_classes), bool)])[patterns, statistics.gold[:, None]]
        judged = voted & (statistics.gold >= 0)[:, None]
        correct = counts @ (judged & compatible)
        table["correct"] = correct
        table["incorrect"] = counts @ judged - correct
    frame = pl.DataFrame(table, schema_overrides={"source": pl.String, "polarity": pl.List(pl.String)})
    if y is None:
        return frame
    judged_votes = pl.col("correct") + pl.col("incorrect")
    return frame.with_columns(accuracy=pl.when(judged_votes > 0).then(pl.col("correct") / judged_votes))


def _contradicted(patterns: NDArray[Any], support: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(u, m) whether another source names a symbol that shares no class with this one's."""
    voted = patterns >= 0
    if len(support) == support.shape[1]:
        highest = patterns.max(axis=1, initial=-1)
        lowest = np.where(voted, patterns, np.iinfo(patterns.dtype).max).min(axis=1, initial=np.iinfo(patterns.dtype).max)
        return voted & (highest > lowest)[:, None]
    disjoint = np.zeros((len(support) + 1, len(support) + 1), dtype=bool)
    disjoint[:-1, :-1] = (support.astype(np.int64) @ support.T.astype(np.int64)) == 0
    result = np.zeros(patterns.shape, dtype=bool)
    for j in range(patterns.shape[1]):
        result[:, j] = disjoint[patterns[:, [j]], patterns].any(axis=1)
    return result
