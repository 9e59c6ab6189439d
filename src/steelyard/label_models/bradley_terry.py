"""BradleyTerry: one strength per item, from who beat whom.

Bradley and Terry, "Rank analysis of incomplete block designs", Biometrika 39 (1952); the MM algorithm of Hunter, "MM algorithms for
generalized Bradley–Terry models", Annals of Statistics 32 (2004), its steps extrapolated as in Varadhan and Roland, "Simple and globally
convergent methods for accelerating the convergence of any EM algorithm", Scandinavian Journal of Statistics 35 (2008).
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from steelyard.errors import LabelModelError
from steelyard.label_models.comparisons import Comparisons, PairwiseModel

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


class BradleyTerry(PairwiseModel):
    r"""Strengths p_i > 0 with P(i beats j) = p_i / (p_i + p_j), by maximum likelihood with a small prior.

    With w_ij wins of i over j, n_ij = w_ij + w_ji and w_i = Σ_j w_ij, one MM step is p_i ← w_i / Σ_j n_ij / (p_i + p_j).
    It never lowers the likelihood Σ_ij w_ij [log p_i - log (p_i + p_j)].

    Parameters
    ----------
    prior : float
        Every item also wins and loses so many comparisons against one imaginary average item. This keeps undefeated items finite,
        vanishes as comparisons grow, and places groups of items that were never compared with each other relative to that average
        item (with a warning). 0 is plain maximum likelihood, which exists only if every item is, through others, both better and
        worse than every other.
    gold_weight : float
        As how many ordinary comparisons a known one counts.
    max_iter : int
    tol : float
        Stop when an MM step moves no log-strength by more.

    Attributes
    ----------
    items_, scores_, ranking_, converged_, n_iter_ : see `PairwiseModel`
    objective_ : (n_iter_ + 1,) float64
        Penalised log-likelihood per comparison after each step; never falls.

    Examples
    --------
    >>> table = {"left": ["tea", "milk", "mud"], "right": ["mud", "tea", "milk"], "winner": ["tea", "tea", "milk"]}
    >>> model = BradleyTerry().fit(table)
    >>> model.ranking_
    ('tea', 'milk', 'mud')
    >>> model.predict_proba(["tea"], ["mud"]).round(2).tolist()
    [0.93]
    """

    def __init__(self, prior: float = 0.5, gold_weight: float = 10.0, max_iter: int = 1000, tol: float = 1e-6) -> None:
        self.prior = prior
        self.gold_weight = gold_weight
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, comparisons: Comparisons, n_gold: int) -> Floats:
        check_pairwise_parameters(self.prior, self.gold_weight, self.max_iter)
        weights = np.ones(len(comparisons))
        weights[len(comparisons) - n_gold :] = self.gold_weight
        check_connected(comparisons, self.prior)
        size = len(comparisons.items)
        scores, objective, self.converged_ = most_likely_scores(
            *with_average_item(comparisons.winners, comparisons.losers, weights, size, self.prior), self.max_iter, self.tol
        )
        self.objective_ = objective / weights.sum()
        self.n_iter_ = len(objective) - 1
        if not self.converged_:
            warnings.warn(f"BradleyTerry did not converge in {self.max_iter} steps; raise max_iter or prior", stacklevel=3)
        return scores[:size]


def most_likely_scores(winners: Index, losers: Index, weights: Floats, max_iter: int, tol: float) -> tuple[Floats, Floats, bool]:
    """Log-strengths of all items named, the log-likelihood after each accelerated MM step, and whether the steps came to rest."""
    size = int(max(winners.max(), losers.max())) + 1
    pair, of_pair = np.unique(np.minimum(winners, losers) * size + np.maximum(winners, losers), return_inverse=True)
    n, i, j = np.bincount(of_pair, weights), pair // size, pair % size
    wins = np.bincount(winners, weights, size)
    log_wins = np.log(wins)

    def step(s: Floats) -> Floats:
        p = np.exp(s)
        rate = n / (p[i] + p[j])
        return log_wins - np.log(np.bincount(i, rate, size) + np.bincount(j, rate, size))

    def log_likelihood(s: Floats) -> float:
        return float(wins @ s - n @ np.logaddexp(s[i], s[j]))

    s = np.zeros(size)
    objective = [log_likelihood(s)]
    converged = False
    while len(objective) <= max_iter and not converged:
        once = step(s)
        twice = step(once)
        r, v = once - s, twice - 2 * once + s
        converged = float(np.abs(r).max()) < tol
        # Two MM steps tell where the iteration is heading: s - 2αr + α²v with α = -|r| / |v| goes there, and one more step settles it.
        alpha = -float(np.clip(np.linalg.norm(r) / max(float(np.linalg.norm(v)), 1e-12), 1.0, 1e6))
        ahead = s - 2 * alpha * r + alpha**2 * v
        ahead = step(np.clip(ahead - ahead.mean(), -300.0, 300.0))
        gained = log_likelihood(ahead)
        s = ahead if gained >= objective[-1] and not converged else twice
        s = s - s.mean()
        objective.append(log_likelihood(s))
    return s, np.asarray(objective), converged


def with_average_item(winners: Index, losers: Index, weights: Floats, size: int, prior: float) -> tuple[Index, Index, Floats]:
    """Comparisons to which `prior` wins and `prior` losses of every item against item number `size` are added."""
    if prior == 0:
        return winners, losers, weights
    items, average = np.arange(size), np.full(size, size)
    extra = np.full(2 * size, prior)
    return np.concatenate([winners, items, average]), np.concatenate([losers, average, items]), np.concatenate([weights, extra])


def check_pairwise_parameters(prior: float, gold_weight: float, max_iter: int) -> None:
    """Raise `LabelModelError` where a parameter is out of range."""
    if prior < 0:
        raise LabelModelError(f"prior must not be negative, got {prior}")
    if gold_weight <= 0:
        raise LabelModelError(f"gold_weight must be positive, got {gold_weight}")
    if max_iter < 1:
        raise LabelModelError(f"max_iter must be at least 1, got {max_iter}")


def check_connected(comparisons: Comparisons, prior: float) -> None:
    """Without a prior, raise unless every item is, through others, better and worse than every other; with one, warn of separate groups."""
    size = len(comparisons.items)
    beaten = sparse.csr_array((np.ones(len(comparisons)), (comparisons.winners, comparisons.losers)), shape=(size, size))
    groups, member = connected_components(beaten, directed=True, connection="weak" if prior > 0 else "strong")
    if groups == 1:
        return
    smallest = int(np.bincount(member).argmin())
    item = comparisons.items[int(np.flatnonzero(member == smallest)[0])]
    if prior > 0:
        warnings.warn(
            f"the comparisons fall into {groups} groups of items never compared with each other (one holds '{item}'); "
            "only the prior relates their scores",
            stacklevel=4,
        )
        return
    raise LabelModelError(
        f"without a prior the scores have no finite maximum: the comparisons do not lead from '{item}' to every other item and back "
        f"({groups} groups); set prior > 0 or compare more pairs"
    )
