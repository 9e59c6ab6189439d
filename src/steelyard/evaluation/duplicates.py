"""Near-duplicate sources: pairs that vote alike far beyond what a shared truth explains, so that a label model counts one witness twice.

If sources err independently given the truth, the covariance of "source i votes c" and "source j votes c" is a product v_i v_j (the rank-one
moment identity behind Parisi et al., 2014, and Ratner et al., 2019). What exceeds the product is dependence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import VotesError
from steelyard.evaluation.diagnostics import pair_counts
from steelyard.votes import Votes, VoteStatistics

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]

_FOLDS = 20
_ROUNDS = 40
_LEAST_ROOM = 0.15
_TOO_ALIKE = 0.9


def near_duplicates(votes: Votes, *, alpha: float = 0.01, min_excess: float = 0.7) -> pl.DataFrame:
    """List pairs of sources that are close to copies of each other, most alike first.

    For every class the covariance of two sources' firing is compared with the product that the other sources predict for it under
    conditional independence. The excess is (correlation − expected) / (1 − expected), 1 for a perfect copy and 0 under independence; it is
    tested with its delete-a-fold jackknife error (20 folds, Student t), with Bonferroni's correction over all pairs and classes. A pair is
    listed when its excess is significant *and* at least `min_excess`, so that mild dependence, which any real set of sources has, is not
    called a copy. An abstention counts as "does not vote c": two sources that only ever vote one class are compared by where they vote.
    A copy of a nearly perfect source is not listed: a second nearly perfect source would vote the same.

    Parameters
    ----------
    votes : Votes
        At least four sources: with three, every covariance can be explained by independent sources.
    alpha : float
        Chance that independent sources put any pair on the list.
    min_excess : float in (0, 1]
        Smallest excess that is called a near-copy.

    Returns
    -------
    polars.DataFrame
        ``first``, ``second``, ``class`` (where the excess is largest), ``agreement`` (share of common rows with compatible votes),
        ``correlation``, ``expected`` (under independence), ``excess``, ``p_value`` (corrected).

    Raises
    ------
    VotesError
        If there are fewer than four sources.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 2000)
    >>> codes = np.where(rng.random((2000, 5)) < 0.75, truth[:, None], 1 - truth[:, None])
    >>> codes[:, 4] = np.where(rng.random(2000) < 0.97, codes[:, 0], codes[:, 4])
    >>> near_duplicates(Votes(codes, classes=["a", "b"])).select("first", "second").rows()
    [('source_0', 'source_4')]
    """
    import polars as pl
    from scipy.special import stdtr

    if votes.n_sources < 4:
        raise VotesError(
            f"telling copies from agreement needs at least four sources, not {votes.n_sources}; look at conflict_matrix instead"
        )
    n, m, n_classes = votes.n_rows, votes.n_sources, votes.n_classes
    folds = min(_FOLDS, max(n // 2, 2))
    counts = np.stack([_counts(votes.take(slice(fold, None, folds))) for fold in range(folds)])
    sizes = np.array([len(range(fold, n, folds)) for fold in range(folds)])
    total = counts.sum(0)
    correlation, expected = _excess(total, n)
    left_out = np.stack([_share_beyond(*_excess(total - counts[f], n - int(sizes[f]))) for f in range(folds)])
    excess = _share_beyond(correlation, expected)
    error = np.sqrt((folds - 1) / folds * ((left_out - left_out.mean(0)) ** 2).sum(0))
    i, j = np.triu_indices(m, 1)
    tests = max(len(i) * n_classes, 1)
    # Exact copies have a zero error: they are certain as soon as they fire often enough to be told from chance at all.
    statistic = excess / np.maximum(error, 1e-9 + 1 / max(n, 1))
    p_value = np.minimum(tests * stdtr(folds - 1, -statistic), 1.0)[:, i, j]
    worst = np.where(p_value < alpha, excess[:, i, j], -np.inf).argmax(0)
    pair = np.arange(len(i))
    together, agreed = pair_counts(votes)
    table = pl.DataFrame(
        {
            "first": [votes.sources[a] for a in i],
            "second": [votes.sources[b] for b in j],
            "class": [votes.classes[c] for c in worst],
            "agreement": (agreed / np.maximum(together, 1))[i, j],
            "correlation": correlation[worst, i, j],
            "expected": expected[worst, i, j],
            "excess": excess[worst, i, j],
            "p_value": p_value[worst, pair],
        }
    )
    return table.filter((pl.col("p_value") < alpha) & (pl.col("excess") >= min_excess)).sort("excess", descending=True)


def _counts(votes: Votes) -> Floats:
    """(k, m, m) rows on which both sources vote the class; the diagonal counts one source."""
    m, s = votes.n_sources, len(votes.support)
    pairs = VoteStatistics.from_votes(votes, keep="moments").moments.pairs.reshape(m, s, m, s)
    return np.stack([pairs[:, c, :, c] for c in range(votes.n_classes)]).astype(np.float64)


def _excess(counts: Floats, n: int) -> tuple[Floats, Floats]:
    """Correlation of firing, (k, m, m), and what v_i v_j predicts for it from all other sources."""
    rate = np.diagonal(counts, axis1=1, axis2=2) / n
    spread = np.sqrt(np.maximum(rate * (1 - rate), 1e-12))
    correlation = (counts / n - rate[:, :, None] * rate[:, None, :]) / (spread[:, :, None] * spread[:, None, :])
    np.einsum("cii->ci", correlation)[:] = 0.0
    return correlation, np.stack([_rank_one(matrix) for matrix in correlation])


def _share_beyond(correlation: Floats, expected: Floats) -> Floats:
    """Part of the room above what independence allows that is filled; a negative expectation allows none."""
    allowed = np.maximum(expected, 0.0)
    # Two nearly perfect sources agree nearly always: where less room than this is left, filling it proves nothing.
    return (correlation - allowed) / np.maximum(1 - allowed, _LEAST_ROOM)


def _rank_one(correlation: Floats) -> Floats:
    """Predict each off-diagonal cell from a rank-one fit to the others, leaving cells out that stick out of the fit."""
    m = len(correlation)
    off = 1.0 - np.eye(m)
    # Several copies of one source fit each other perfectly and would pull the fit to themselves; cells so alike only inform it
    # where a source has hardly any others.
    informing = off * (np.abs(correlation) <= _TOO_ALIKE)
    scarce = informing.sum(1) < 3
    informing = np.where(scarce[:, None] | scarce[None, :], off, informing)
    # Start from row medians, which a few copies cannot move: |v_i| is about median_j |c_ij| / sqrt(median of all).
    size = np.array([np.median(np.abs(np.delete(correlation[r], r))) for r in range(m)])
    v = size / np.sqrt(max(float(np.median(np.abs(correlation[off > 0]))), 1e-6))
    v = np.clip(v, 1e-3, 1.0) * np.where(correlation.sum(1) < 0, -1.0, 1.0)
    prediction = np.outer(v, v)
    for _ in range(_ROUNDS):
        residual = np.abs(correlation - prediction)
        weights = informing / (1 + (residual / 0.1) ** 2)
        v = np.clip((weights * correlation) @ v / np.maximum(weights @ v**2, 1e-9), -1.0, 1.0)
        # Regress row i on v without sources i and j, so that no pair explains itself.
        numerator = ((weights * correlation) @ v)[:, None] - weights * correlation * v[None, :]
        denominator = (weights @ v**2)[:, None] - weights * v[None, :] ** 2
        alone = np.clip(numerator / np.maximum(denominator, 1e-9), -1.0, 1.0)
        prediction = alone * alone.T
    return prediction
