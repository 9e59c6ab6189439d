"""Clusters that become classes: a Bernoulli mixture of soft assignments, the mapping by few labels, and whether these suffice.

The upper half of Das et al. 2020, "GOGGLES: Automatic Image Labeling with Affinity Coding"; `Goggles` feeds it with affinities, and any
other soft clustering may be fed to it too. The mapping is Kuhn's Hungarian method (1955).
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax
from scipy.stats import beta
from sklearn.cluster import KMeans

Floats = NDArray[np.float64]
_SOFTEN = 1e-5


class BernoulliMixture:
    """K components over numbers in [0, 1], log r_ik = log pi_k + sum_d x_id log mu_kd + (1 - x_id) log(1 - mu_kd), by EM from k-means.

    Parameters
    ----------
    components : int
    max_iter, patience, tol : int, int, float
        It stops after `patience` changes of the mean log-likelihood that are at most `tol`.
    seed : int

    Examples
    --------
    >>> x = np.array([[0.9, 0.1], [0.95, 0.0], [0.1, 1.0], [0.0, 0.9]])
    >>> r = BernoulliMixture(2).fit(x).predict_proba(x)
    >>> bool(r[0].argmax() == r[1].argmax() != r[2].argmax() == r[3].argmax())
    True
    """

    def __init__(self, components: int, max_iter: int = 200, patience: int = 20, tol: float = 1e-6, seed: int = 0) -> None:
        self.components = components
        self.max_iter = max_iter
        self.patience = patience
        self.tol = tol
        self.seed = seed

    def fit(self, x: Floats) -> Self:
        """Learn from rows (n, d) in [0, 1]."""
        k = self.components
        r = np.eye(k)[KMeans(k, n_init=10, random_state=self.seed).fit_predict(x)]
        before, still = -np.inf, 0
        for _ in range(self.max_iter):
            size = np.maximum(r.sum(axis=0), 1e-12)
            self.shares_, self.means_ = size / size.sum(), (r.T @ x) / size[:, None]
            scores = self._scores(x)
            top = scores.max(axis=1, keepdims=True)
            likelihood = float((top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))).mean())
            r = softmax(scores, axis=1)
            still = still + 1 if abs(likelihood - before) <= self.tol else 0
            before = likelihood
            if still >= self.patience:
                break
        return self

    def predict_proba(self, x: Floats) -> Floats:
        """Responsibilities (n, K) of rows (n, d), seen or new: one E-step."""
        return np.asarray(softmax(self._scores(x), axis=1))

    def _scores(self, x: Floats) -> Floats:
        return np.asarray(
            np.log(self.shares_ + _SOFTEN) + x @ np.log(self.means_ + _SOFTEN).T + (1 - x) @ np.log(1 - self.means_ + _SOFTEN).T
        )


def contingency(responsibilities: Floats, y: NDArray[np.integer]) -> Floats:
    """How much of each cluster the labelled rows of each class are: (K clusters, K classes) from (l, K) and (l,).

    Examples
    --------
    >>> contingency(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([1, 0])).tolist()
    [[0.5, 1.0], [0.5, 0.0]]
    """
    return np.asarray(responsibilities.T @ np.eye(responsibilities.shape[1])[y])


def map_clusters(table: Floats) -> NDArray[np.int64]:
    """Class of each cluster (K,): the one-to-one mapping with the largest sum in the contingency table.

    Examples
    --------
    >>> map_clusters(np.array([[1.0, 5.0], [4.0, 6.0]])).tolist()
    [1, 0]
    """
    return np.asarray(linear_sum_assignment(-table)[1], dtype=np.int64)


def feasibility(table: Floats, mapping: NDArray[np.int64], accuracy: float = 0.7) -> float:
    """Chance that the clusters are right in more than `accuracy` of the rows, given how the labelled rows fell; uniform prior.

    Examples
    --------
    >>> table = np.array([[48.0, 2.0], [4.0, 46.0]])
    >>> feasibility(table, map_clusters(table)) > 0.99, feasibility(table / 25, map_clusters(table)) > 0.99
    (True, False)
    """
    right = float(table[np.arange(len(table)), mapping].sum())
    return float(beta.sf(accuracy, 1 + right, 1 + max(float(table.sum()) - right, 0.0)))


def mapping_certainty(table: Floats, mapping: NDArray[np.int64], draws: int = 2000, seed: int = 0) -> float:
    """Chance that the mapping is the right one: how often tables drawn from its posterior (Dirichlet, uniform prior) have the same.

    Examples
    --------
    >>> even = np.ones((2, 2))
    >>> 0.3 < mapping_certainty(even, map_clusters(even)) < 0.7
    True
    """
    rng = np.random.default_rng(seed)
    drawn = rng.dirichlet(table.ravel() + 1.0, size=draws).reshape(draws, *table.shape)
    return float(np.mean([np.array_equal(map_clusters(one), mapping) for one in drawn]))
