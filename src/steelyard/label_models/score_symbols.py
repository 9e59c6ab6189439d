"""Scores as symbols: a vote and the bin its confidence falls in make one finer symbol, so that `VoteStatistics` count scores too.

Distinct rows, gold labels and merging then work as they do for votes without scores; what a score loses is its place within a bin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.vote_statistics import VoteStatistics, checked_gold
from steelyard.votes import Votes

SCORE_BINS = 64
# Beta densities may have a pole at 0 or 1, so scores keep this distance.
LOWEST_SCORE = 1e-3
_MARK = " · score "
_ROWS_AT_ONCE = 1 << 20


def with_score_symbols(votes: Votes) -> Votes:
    """The same votes, each for a parent "symbol · score b" with b = 0 … 63 that says how sure it is; confidences are used up.

    Code c with its confidence in bin b becomes ``S + 64 c + b``, which counts for the same classes. Bins are equal steps of
    arcsin √confidence, the scale on which a share is known equally well everywhere: finer towards 0 and 1.

    Examples
    --------
    >>> votes = Votes([[0, 1], [1, -1]], classes=["a", "b"], confidences=[[0.5, 1.0], [0.0, 0.0]])
    >>> with_score_symbols(votes).codes.tolist()
    [[34, 129], [66, -1]]
    """
    hierarchy = {parent: list(children) for parent, children in votes.hierarchy.items()}
    for symbol, support in zip(votes.symbols, votes.support, strict=True):
        below = [votes.classes[c] for c in np.flatnonzero(support)]
        hierarchy |= {f"{symbol}{_MARK}{b}": below for b in range(SCORE_BINS)}
    matrix = votes.csr.astype(np.int32)
    # A sparse cell holds its code plus one, before and after.
    matrix.data = 1 + len(votes.support) + SCORE_BINS * (matrix.data - 1) + score_bins(votes.stored_confidences)
    return Votes(matrix if votes.is_sparse else matrix.toarray() - 1, classes=votes.classes, sources=votes.sources, hierarchy=hierarchy)


def scored_statistics(votes: Votes, y: ArrayLike | None = None) -> VoteStatistics:
    """Distinct rows of votes and binned scores with their counts, taken a block of rows at a time."""
    gold = checked_gold(y, votes.n_rows, votes.n_classes)
    blocks = [slice(start, start + _ROWS_AT_ONCE) for start in range(0, max(votes.n_rows, 1), _ROWS_AT_ONCE)]
    return VoteStatistics.merge(VoteStatistics.from_votes(with_score_symbols(votes[block]), gold[block]) for block in blocks)


def plain_parents(statistics: VoteStatistics) -> tuple[str, ...]:
    """The parents that were there before scores became symbols."""
    return tuple(parent for parent in statistics.parents if _MARK not in parent)


def has_scores(statistics: VoteStatistics) -> bool:
    """Whether the statistics were taken `with_score_symbols`."""
    return len(plain_parents(statistics)) < len(statistics.parents)


def score_bins(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """The bin, 0 … 63, of each score in [0, 1]; a score of 1 is in the last one."""
    angles = np.arcsin(np.sqrt(scores)) * (2 / np.pi)
    return np.minimum(angles * SCORE_BINS, SCORE_BINS - 1).astype(np.int32)


def bin_scores() -> NDArray[np.float64]:
    """(64,) the score in the middle of each bin."""
    middle = (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS
    return clipped(np.sin(middle * np.pi / 2) ** 2)


def clipped(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scores kept away from 0 and 1."""
    return scores.astype(np.float64).clip(LOWEST_SCORE, 1 - LOWEST_SCORE)
