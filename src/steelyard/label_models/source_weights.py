"""How much each source should weigh once a harmonizer is fitted: sources that err together are correlated where they differ from it.

The optional second round of Zhao, Wei, Preston, Poon 2023, "Pareto Optimal Learning for Estimating Large Language Model Errors".
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import LabelModelError
from steelyard.targets import Targets
from steelyard.votes import Votes

Floats = NDArray[np.float64]
Rule = Literal["max_eig", "min_var"]

POWER = 10
# Sources that always vote alike make the correlations singular.
_RIDGE = 1e-3


def residual_correlations(votes: Votes, probabilities: ArrayLike) -> Floats:
    """(m, m) correlation of the residuals g_ij = onehot(vote_ij) − h_i, zero where source j abstains; 1 on the diagonal.

    Parameters
    ----------
    votes : Votes
        n rows of m sources on k classes.
    probabilities : (n, k) float
        h, the harmonizer's probabilities.

    Examples
    --------
    >>> votes = Votes([[0, 0, 1], [1, 1, 0]], classes=["no", "yes"])
    >>> residual_correlations(votes, np.full((2, 2), 0.5)).round(2).tolist()
    [[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]
    """
    h, codes = np.asarray(probabilities, dtype=np.float64), votes.codes
    votes_cast = (codes >= 0).astype(np.float64)  # (n, m)
    said = np.where(codes >= 0, np.take_along_axis(h, np.maximum(codes, 0).astype(np.int64), axis=1), 0.0)  # h of the class voted for
    # g_j · g_l = [votes equal] − h[vote_j] − h[vote_l] + |h|², summed over the rows on which both vote.
    gram = votes_cast.T @ ((h**2).sum(axis=1, keepdims=True) * votes_cast) - said.T @ votes_cast - votes_cast.T @ said
    for c in range(h.shape[1]):
        named = (codes == c).astype(np.float64)
        gram += named.T @ named
    size = np.sqrt(np.maximum(np.diag(gram), 0.0))
    correlations = np.divide(gram, np.outer(size, size), out=np.zeros_like(gram), where=np.outer(size, size) > 0)
    np.fill_diagonal(correlations, 1.0)
    return np.clip(correlations, -1.0, 1.0)


def source_weights(votes: Votes, probabilities: ArrayLike, rule: Rule = "min_var") -> Floats:
    """(m,) weights that sum to 1, each at least half of 1/m.

    With R the `residual_correlations`: ``max_eig`` is R¹⁰·1, towards the leading eigenvector, and favours what many sources agree on;
    ``min_var`` is R⁻¹·1, the mean of least variance, and gives a group of copies the weight of one source. Negative ones count as zero.

    Raises
    ------
    LabelModelError
        The rule is unknown.

    Examples
    --------
    >>> votes = Votes([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]], classes=["no", "yes"])
    >>> source_weights(votes, np.full((4, 2), 0.5), "min_var").round(2).tolist()
    [0.29, 0.29, 0.42]
    """
    correlations = residual_correlations(votes, probabilities)
    m = len(correlations)
    if rule == "max_eig":
        raw: Floats = np.linalg.matrix_power(correlations / m, POWER) @ np.ones(m)
    elif rule == "min_var":
        raw = np.linalg.solve(correlations + _RIDGE * np.eye(m), np.ones(m)).astype(np.float64)
    else:
        raise LabelModelError(f"the rule of source weights must be 'max_eig' or 'min_var', got '{rule}'")
    positive = np.maximum(raw, 0.0)
    share = positive / positive.sum() if positive.sum() > 0 else np.full(m, 1 / m)
    return 0.5 / m + 0.5 * share


def vote_shares(votes: Votes, weights: ArrayLike | None = None) -> Targets:
    """Weighed votes of each row as targets: probabilities q are shares of the classes, the row's weight is the sum of its votes' weights.

    Rows without any vote are left out; `rows` says which are in. To fine-tune a whole encoder as harmonizer, give these to any student
    together with `steelyard.training.objectives.ParetoLoss`.

    Examples
    --------
    >>> shares = vote_shares(Votes([[0, 0, 1], [-1, -1, -1], [1, -1, -1]], classes=["no", "yes"]))
    >>> shares.rows.tolist(), shares.probabilities[0].tolist() == [np.float32(2 / 3), np.float32(1 / 3)]
    ([0, 2], True)
    """
    w = np.full(votes.n_sources, 1 / votes.n_sources) if weights is None else np.asarray(weights, dtype=np.float64)
    rows = np.flatnonzero(votes.coverage)
    codes = votes.codes[rows]
    named = np.stack([(codes == c) @ w for c in range(votes.n_classes)], axis=1)
    total = named.sum(axis=1)
    return Targets(named / np.maximum(total, 1e-300)[:, None], classes=votes.classes, weights=total, rows=rows)
