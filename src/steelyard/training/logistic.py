"""Multinomial logistic regression on probabilistic labels: convex, so its solution does not depend on a seed, a step size or an order.

The expected log loss under the targets plus an L2 penalty, minimised by L-BFGS (Liu and Nocedal 1989) with the whole data set in each
gradient. It is the model that scikit-learn's `LogisticRegression` fits to each row replicated once per class, without the replication.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

_BLOCK = 1 << 16


def soft_logistic_regression(
    features: NDArray[np.floating],
    targets: NDArray[np.floating],
    weights: NDArray[np.floating] | None = None,
    *,
    C: float = 1.0,
    tol: float = 1e-6,
    max_iter: int = 2000,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minimise `C sum_i w_i CE(q_i, softmax(W x_i + b)) + ||W||^2 / 2` (for two classes `||W||^2`: the penalty of one logit w_1 - w_0).

    A class that no target mentions gets the intercept -inf, hence probability zero.

    Parameters
    ----------
    features
        (n, d) rows x_i.
    targets
        (n, k) probabilities q_i, at least two columns with some mass.
    weights
        (n,) non-negative; 1 when left out.
    C
        Inverse strength of the penalty, as in scikit-learn.
    tol
        Largest entry of the gradient, per unit of weight, at which the search stops.
    max_iter
        L-BFGS steps after which it stops with a warning.

    Returns
    -------
    coefficients (k, d) and intercepts (k,), float64.

    Examples
    --------
    >>> x = np.array([[-1.0], [1.0]])
    >>> W, b = soft_logistic_regression(x, np.array([[0.75, 0.25], [0.25, 0.75]]), C=1e6)
    >>> np.round(np.exp(W[1, 0] - W[0, 0]) , 2)  # odds at x = 1 are 3
    np.float64(3.0)
    """
    present = np.flatnonzero(np.asarray(targets).max(axis=0) > 0)
    mass = np.ones(len(features)) if weights is None else np.asarray(weights, dtype=np.float64)
    q = np.asarray(targets, dtype=np.float64)[:, present] * mass[:, None]  # (n, c), rows sum to w_i
    total, d, c = mass.sum(), features.shape[1], len(present)
    # softmax with two classes is one logit split in halves; twice the penalty on the halves is the penalty on the logit
    ridge = (2.0 if c == 2 else 1.0) / (C * total)

    def loss_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = flat.reshape(c, d + 1)
        W, b = parameters[:, :d], parameters[:, d]
        loss, gradient = 0.5 * ridge * float((W * W).sum()), np.zeros_like(parameters)
        gradient[:, :d] = ridge * W
        for start in range(0, len(features), _BLOCK):  # float64 copies stay small
            x = np.asarray(features[start : start + _BLOCK], dtype=np.float64)
            part, w = q[start : start + _BLOCK], mass[start : start + _BLOCK]
            logits = x @ W.T + b
            log_p = logits - logsumexp(logits, axis=1, keepdims=True)
            loss -= float((part * log_p).sum()) / total
            residual = (w[:, None] * np.exp(log_p) - part) / total  # w_i (p_i - q_i) / sum w
            gradient[:, :d] += residual.T @ x
            gradient[:, d] += residual.sum(axis=0)
        return loss, gradient.ravel()

    start = np.zeros((c, d + 1))
    start[:, d] = np.log(q.sum(axis=0) / total)
    options: Any = {"maxiter": max_iter, "maxfun": 2 * max_iter, "gtol": tol, "ftol": 0.0, "maxcor": 20}
    objective: Any = loss_and_gradient  # with jac=True it returns the pair
    found = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    if np.abs(found.jac).max() > 10 * tol:
        warnings.warn(
            f"logistic regression stopped after {found.nit} steps with a gradient of {np.abs(found.jac).max():.1e} (asked: {tol:.0e}); "
            "raise max_iter, lower C or scale the features",
            stacklevel=2,
        )
    k = np.asarray(targets).shape[1]
    coefficients, intercepts = np.zeros((k, d)), np.full(k, -np.inf)
    coefficients[present], intercepts[present] = found.x.reshape(c, d + 1)[:, :d], found.x.reshape(c, d + 1)[:, d]
    return coefficients, intercepts
