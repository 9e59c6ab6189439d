"""MMSR: how often two sources agree is the product of their skills; a trimmed rank-one factor of that table resists corrupted sources.

Ma and Olshevsky (2020), "Adversarial Crowdsourcing Through Robust Rank-One Matrix Completion" (M-MSR: matrix mean-subsequence-reduced).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import LabelModelError
from steelyard.label_models.base import LabelModel, starting_prior
from steelyard.label_models.one_coin import (
    not_below_chance,
    one_coin_confusions,
    one_coin_tables,
    one_coin_weights,
    warn_of_one_sided_sources,
)
from steelyard.label_models.posterior import log_posterior
from steelyard.vote_statistics import Keep, VoteStatistics
from steelyard.votes import Votes

Array = NDArray[np.float64]


class MMSR(LabelModel):
    r"""Sources that are right with chance p_j, errors spread evenly, have skills s_j = (k p_j - 1) / (k - 1) and agree so often that

        C_ij = (k · P(i and j say the same) - 1) / (k - 1) = s_i s_j.

    From |C| ≈ u vᵀ, each v_j in turn becomes the mean of |C_ij| / u_i over the sources i that share rows with j, without the largest of
    those above the present v_j and the smallest below it: half of them, less one, on either side. Then u likewise from v, until the
    products stand still. Signs follow the leading eigenvector of sign(C), most sources being taken to be better than chance, and
    every one that only ever names one class. Rows get the
    vote with weights log((k - 1) p_j / (1 - p_j)).

    Parameters
    ----------
    class_prior : (k,) float array, optional
        For all-abstain rows and ties, as in `MajorityVote`; the weighted vote has none.
    max_iter : int
    tol : float
        Stop when no product of skills moves by more.

    Attributes
    ----------
    skills_ : (m,) float64
        s_j, kept 1 / √n away from its limits -1 / (k - 1) and 1.
    weights_ : (m,) float64
        What a vote adds to the log-odds of the class it names.

    Notes
    -----
    Pairwise counts are all that is needed, so that neither rows nor patterns enter the cost. Gold labels are one more source. A vote for
    a parent says the same as a class below it in part: as much as even shares among the classes below do. The publication starts from
    random skills; here all start equal, so that the order of the sources does not matter.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 20000)
    >>> accuracies = np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.1])
    >>> codes = np.where(rng.random((20000, 6)) < accuracies, truth[:, None], 1 - truth[:, None])
    >>> MMSR().fit(Votes(codes, classes=["HAM", "SPAM"])).accuracies_.round(1).tolist()
    [0.9, 0.8, 0.8, 0.7, 0.6, 0.1]
    """

    keep: ClassVar[Keep] = "moments"

    def __init__(self, class_prior: ArrayLike | None = None, max_iter: int = 10_000, tol: float = 1e-10) -> None:
        self.class_prior = class_prior
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, statistics: VoteStatistics) -> None:
        if self.max_iter < 1:
            raise LabelModelError(f"max_iter must be at least 1, got {self.max_iter}")
        warn_of_one_sided_sources(statistics, "MMSR")
        self.class_prior_, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        k = statistics.n_classes
        margin = min(statistics.n_rows**-0.5, 1 / k)
        agreement = pairwise_agreement(statistics)
        sizes, self.n_iter_, self.converged_ = robust_rank_one(np.abs(agreement), margin, max_iter=self.max_iter, tol=self.tol)
        leading = np.linalg.eigh(np.sign(np.nan_to_num(agreement)))[1][:, -1]
        below = (leading * np.sign(leading.sum() or 1.0) < 0)[: statistics.n_sources] & ~not_below_chance(statistics)
        skills = np.where(below, -1, 1) * sizes[: statistics.n_sources]
        self.skills_ = np.clip(skills, margin - 1 / max(k - 1, 1), 1 - margin)
        accuracies = (self.skills_ * (k - 1) + 1) / k
        propensities = statistics.votes_for.sum(axis=1) / statistics.n_rows
        _, self.weights_ = one_coin_weights(propensities, accuracies, k)
        self.confusions_ = one_coin_confusions(propensities, accuracies, statistics.support)

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        tables = one_coin_tables(np.zeros(votes.n_sources), self.weights_, self.support_)
        posterior = log_posterior(votes, tables, np.zeros(votes.n_classes))
        posterior[~votes.coverage] = self.class_prior_
        return posterior


def pairwise_agreement(statistics: VoteStatistics) -> Array:
    """(m, m) C, NaN on the diagonal and where two sources share no row; gold labels, where there are any, are a further source."""
    m, (s, k) = statistics.n_sources, statistics.support.shape
    moments = statistics.moments
    pairs, gold = moments.pairs.reshape(m, s, m, s), moments.gold_columns.reshape(k, m, s)
    # A vote as a vector that sums to 0, so that unrelated votes have the product 0 and equal ones the product 1.
    vectors = (statistics.support / statistics.support.sum(axis=1, keepdims=True) - 1 / k) * np.sqrt(k / max(k - 1, 1))
    product = np.einsum("ad,bd->ab", vectors, vectors)
    total = np.einsum("iajb,ab->ij", pairs, product)
    shared = pairs.sum(axis=(1, 3)) * ~np.eye(m, dtype=bool)
    if statistics.gold_counts.any():
        with_gold = np.einsum("cjb,cb->j", gold, product[:k])
        total = np.block([[total, with_gold[:, None]], [with_gold, 0.0]])
        shared = np.block([[shared, gold.sum(axis=(0, 2))[:, None]], [gold.sum(axis=(0, 2)), 0]])
    return np.divide(total, shared, out=np.full(total.shape, np.nan), where=shared > 0)


def robust_rank_one(table: Array, smallest: float, *, max_iter: int, tol: float) -> tuple[Array, int, bool]:
    """Positive (m,) s with table[i, j] ≈ s_i s_j wherever it is not NaN, however wrong a minority of the entries in a row.

    Also the rounds made, and whether they converged.
    """
    start = np.sqrt(np.nanmean(table)) if np.isfinite(table).any() else 0.5
    u, v = np.full((2, len(table)), max(start, smallest))
    for round_ in range(1, max_iter + 1):
        before = np.outer(u, v)
        v = np.maximum(_trimmed_means(table / u, v), smallest)
        u = np.maximum(_trimmed_means(table / v, u), smallest)
        if np.abs(np.outer(u, v) - before).max() < tol:
            return np.sqrt(u * v), round_, True
    return np.sqrt(u * v), max_iter, False


def _trimmed_means(estimates: Array, present: Array) -> Array:
    """(m,) mean of each row's estimates without its outermost ones on either side of the present value; that one if none is left."""
    n = np.isfinite(estimates).sum(axis=1)
    most = np.maximum(n // 2 - 1, 0)
    below = np.minimum((estimates < present[:, None]).sum(axis=1), most)
    above = np.minimum((estimates > present[:, None]).sum(axis=1), most)
    rank = np.arange(len(estimates))
    kept = (rank >= below[:, None]) & (rank < (n - above)[:, None])
    total = np.where(kept, np.sort(estimates, axis=1), 0.0).sum(axis=1)
    return np.where(kept.any(axis=1), total / np.maximum(kept.sum(axis=1), 1), present)
