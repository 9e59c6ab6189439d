"""How often two sources say two things together, silence included: what the moment models and the search for dependencies start from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steelyard.vote_statistics import VoteStatistics


def pair_frequencies(statistics: VoteStatistics) -> NDArray[np.float64]:
    """(m, S + 1, m, S + 1) share of rows on which source i says a and source j says b; abstaining is the last symbol.

    Examples
    --------
    >>> from steelyard import Votes
    >>> together = pair_frequencies(VoteStatistics.from_votes(Votes([[0, 1], [0, -1]], classes=["a", "b"])))
    >>> together[0, 0, 1].tolist()
    [0.0, 0.5, 0.5]
    """
    m, s = statistics.n_sources, statistics.n_symbols
    # Whole numbers until the end: a rounding error in place of "never silent" would become an equation of enormous weight.
    counts = statistics.moments.pairs.reshape(m, s, m, s)
    spoken = np.einsum("jaja->ja", counts)
    silent = statistics.n_rows - spoken.sum(axis=1)
    own = np.arange(m)
    together = np.zeros((m, s + 1, m, s + 1), dtype=np.int64)
    together[:, :s, :, :s] = counts
    together[:, :s, :, s] = spoken[:, :, None] - counts.sum(axis=3)
    together[:, s, :, :s] = spoken[None] - counts.sum(axis=1)
    together[:, s, :, s] = silent[None, :] - together[:, :s, :, s].sum(axis=1)
    together[own, :, own, :] = 0
    together[own[:, None], np.arange(s), own[:, None], np.arange(s)] = spoken
    together[own, s, own, s] = silent
    return together / statistics.n_rows


def association(together: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m, m) Cramér's V of every two sources: 0 when they vote independently, 1 when each vote of one tells the other's."""
    shares = np.einsum("jaja->ja", together)
    expected = shares[:, :, None, None] * shares[None, None]
    excess = np.divide((together - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0).sum(axis=(1, 3))
    ways = np.maximum((shares > 0).sum(axis=1) - 1, 1)
    strength = np.sqrt(excess / np.minimum.outer(ways, ways)).clip(0, 1)
    np.fill_diagonal(strength, 0)
    return strength
