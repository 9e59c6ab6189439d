"""Assign items to classes so that the classes get the share they should: optimal transport between rows of scores and a class prior.

Sinkhorn's iteration (Sinkhorn and Knopp 1967; Cuturi 2013, "Sinkhorn Distances"), as pseudo-labelling uses it (Asano et al. 2020,
"Self-labelling via simultaneous clustering and representation learning").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from steelyard.errors import TargetsError

SMALLEST = 1e-30
"""Probabilities below this count as this, so that an overconfident model can still be moved."""


def match_prior(probabilities: ArrayLike, prior: ArrayLike, *, rounds: int | None = None, tol: float = 1e-6) -> NDArray[np.float64]:
    """Return the distribution nearest to `probabilities` whose classes have the shares `prior`.

    The fixed point of two normalisations in turn — classes to `prior`, rows to 1 — is the matrix `p*_ik ∝ p_ik · b_k` with row sums 1 and
    column means π_k: of all such matrices the one of least Kullback–Leibler divergence from `p`. Each class gets one factor for all items,
    so within a class the order of the items stays what the model said.

    Parameters
    ----------
    probabilities : (n, k) float array
        Class probabilities, rows sum to 1.
    prior : (k,) float array
        Shares of the classes, non-negative; scaled to sum to 1. A class of share 0 gets nothing.
    rounds : int, optional
        Rounds of the iteration; until the shares are off by less than `tol` (at most 10,000) when left out.
    tol : float
        Largest difference between a class's mean probability and its share.

    Returns
    -------
    (n, k) float64
        Rows sum to 1.

    Raises
    ------
    TargetsError
        The shapes do not fit, a number is negative or not finite, or the prior is all zero.

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    >>> match_prior(p, [0.5, 0.5]).mean(axis=0).round(3)
    array([0.5, 0.5])
    """
    p, shares = np.asarray(probabilities, dtype=np.float64), np.asarray(prior, dtype=np.float64)
    if p.ndim != 2 or shares.shape != p.shape[1:]:
        raise TargetsError(f"probabilities {p.shape} and prior {shares.shape} do not fit; they must be (n, k) and (k,)")
    if not (np.isfinite(p).all() and np.isfinite(shares).all() and p.min(initial=0) >= 0 and shares.min(initial=0) >= 0 < shares.sum()):
        raise TargetsError("probabilities and prior must be finite and not negative, and the prior must have some mass")
    with np.errstate(divide="ignore"):
        log_prior = np.log(shares / shares.sum())
    log_p = np.log(np.maximum(p, SMALLEST))
    log_p -= logsumexp(log_p, axis=1, keepdims=True)
    for _ in range(10_000 if rounds is None else rounds):
        log_mean = logsumexp(log_p, axis=0) - np.log(len(p))
        if rounds is None and np.abs(np.exp(log_mean) - np.exp(log_prior)).max() < tol:
            break
        # A class of share 0 has no mass left after its first round: 0 / 0 is 0 there.
        step = np.where(np.isneginf(log_prior), -np.inf, log_prior - np.where(np.isneginf(log_mean), 0.0, log_mean))
        log_p = log_p + step
        log_p -= logsumexp(log_p, axis=1, keepdims=True)
    return np.exp(log_p)


def assign(probabilities: ArrayLike, prior: ArrayLike, *, rounds: int | None = None) -> NDArray[np.int64]:
    """Return the most probable class (n,) after `match_prior`: about n · prior items per class, the surest first.

    Two classes with prior (π, 1 − π) are cut at one threshold; more classes at one factor each. Plain argmax instead can put every item
    into one class, and a student that trains on its own argmax then stays there.

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    >>> p.argmax(axis=1), assign(p, [0.5, 0.5])
    (array([0, 0, 0, 0]), array([0, 0, 1, 1]))
    """
    return match_prior(probabilities, prior, rounds=rounds).argmax(axis=1)
