"""What moments of verifiers tell without labels: how often responses are right, and the linear weights of continuous scores.

Three-way moments as in the tensor view of latent classes (Anandkumar et al. 2014, "Tensor Decompositions for Learning Latent Variable
Models"), in closed form for two classes; linear weights as in Weaver (Saad-Falcon et al. 2025).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_TRIPLE_SOURCES = 16


def class_balance_from_votes(votes: ArrayLike) -> float:
    """P(right) from the votes (n, m) ∈ {0, 1} of verifiers that are independent given the truth.

    With b_j = TPR_j - FPR_j, Cov(v_i, v_j) = p (1 - p) b_i b_j and the third central moment is p (1 - p) (1 - 2 p) b_i b_j b_l; hence
    t = E_ijl / sqrt(C_ij C_il C_jl) = (1 - 2 p) / sqrt(p (1 - p)) for every triple, and p = (1 - t / sqrt(4 + t²)) / 2. t is the
    least-squares slope over all triples of the verifiers that share most. Most of them must be better than chance. 0.5 where nothing is
    shared.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> right = rng.random(50_000) < 0.3
    >>> votes = rng.random((50_000, 4)) < np.where(right[:, None], 0.8, [0.1, 0.2, 0.3, 0.4])
    >>> round(class_balance_from_votes(votes), 1)
    0.3
    """
    x = np.asarray(votes, dtype=np.float64)
    x = x - x.mean(axis=0)
    covariance = x.T @ x / len(x)
    np.fill_diagonal(covariance, 0)
    spread = np.maximum(x.std(axis=0), 1e-9)
    shared = np.maximum(covariance / np.outer(spread, spread), 0)
    strong = np.argsort(-shared.sum(axis=1), kind="stable")[:_TRIPLE_SOURCES]
    top = bottom = 0.0
    for i, j in combinations(sorted(strong), 2):
        others = [other for other in strong if other > j]
        product = covariance[i, j] * covariance[i, others] * covariance[j, others]
        size = np.sqrt(np.maximum(product, 0)) * ((covariance[i, j] > 0) & (covariance[i, others] > 0))
        third = (x[:, i] * x[:, j]) @ x[:, others] / len(x)
        top, bottom = top + float(third @ size), bottom + float(size @ size)
    t = top / bottom if bottom > 0 else 0.0
    return float(0.5 * (1 - t / np.sqrt(4 + t**2)))


def linear_weights(scores: ArrayLike, balance: float) -> Floats:
    """Weights w = Σ⁻¹ c of the best linear prediction of y ∈ {0, 1} from scores (n, m), c = Cov(s, y) learned from covariances.

    For scores independent given y, Σ_ij = c_i c_j / (p (1 - p)) off the diagonal; c is the least-squares solution over all pairs.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> right = rng.random(20_000) < 0.4
    >>> scores = right[:, None] + rng.normal(size=(20_000, 3)) * [0.5, 1.0, 2.0]
    >>> bool(np.all(np.diff(linear_weights(scores, 0.4)) < 0))
    True
    """
    s = np.asarray(scores, dtype=np.float64)
    covariance = np.cov(s.T)
    off = covariance - np.diag(covariance.diagonal())
    values, vectors = np.linalg.eigh(off)
    c = vectors[:, -1] * np.sqrt(max(float(values[-1]), 1e-12))
    c = c * np.sign(c.sum() or 1.0)
    for _ in range(200):
        power = c**2
        moved = (off @ c) / np.maximum(power.sum() - power, 1e-12)
        c = (c + moved) / 2
    # What a score shares with the others says no more than its own variance.
    c = np.clip(c, -np.sqrt(covariance.diagonal()), np.sqrt(covariance.diagonal()))
    c = c * np.sqrt(balance * (1 - balance))
    ridge = 1e-6 * covariance.trace() / len(covariance)
    return np.asarray(np.linalg.solve(covariance + ridge * np.eye(len(covariance)), c))
