"""How well one response of many is chosen: pass@k, selection accuracy and the gap between generating and verifying, by difficulty and cost.

Chen et al. 2021, "Evaluating Large Language Models Trained on Code" (unbiased pass@k); Saad-Falcon et al. 2025, "Shrinking the
Generation-Verification Gap with Weak Verifiers".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from steelyard.errors import DataError

Floats = NDArray[np.float64]


def pass_at_k(correct: ArrayLike, offsets: ArrayLike, k: int) -> float:
    """Chance that k responses of a query, drawn without putting back, hold a right one: mean of 1 - C(n - c, k) / C(n, k) over queries.

    Parameters
    ----------
    correct : (n,) bool
    offsets : (Q + 1,) int
        Responses of query q are the rows ``offsets[q] … offsets[q + 1] - 1``.
    k : int ≥ 1
        Of a query with fewer responses all are drawn.

    Examples
    --------
    >>> pass_at_k([1, 0, 0, 0], [0, 2, 4], 1), pass_at_k([1, 0, 0, 0], [0, 2, 4], 2)
    (0.25, 0.5)
    """
    right, ends = _checked(correct, offsets)
    if k < 1:
        raise DataError(f"k is {k}; pass@k draws at least one response")
    n = np.diff(ends)
    wrong = n - np.add.reduceat(right, ends[:-1])
    drawn = np.minimum(k, n)
    enough = wrong >= drawn
    left = np.where(enough, wrong - drawn, 0)
    log_miss = gammaln(wrong + 1) - gammaln(left + 1) - gammaln(n + 1) + gammaln(n - drawn + 1)
    return float(1 - np.where(enough, np.exp(log_miss), 0.0).mean())


def selection_accuracy(correct: ArrayLike, offsets: ArrayLike, scores: ArrayLike) -> float:
    """Share of queries whose highest-scored response is right; among equals, the expected share when one is drawn evenly.

    Examples
    --------
    >>> selection_accuracy([1, 0, 0, 1], [0, 2, 4], [0.9, 0.1, 0.5, 0.5])
    0.75
    """
    right, ends = _checked(correct, offsets)
    s = np.asarray(scores, dtype=np.float64)
    if s.shape != right.shape:
        raise DataError(f"{s.shape} scores for {right.shape} responses; give one each")
    s = np.where(np.isnan(s), -np.inf, s)
    best = s >= np.repeat(np.maximum.reduceat(s, ends[:-1]), np.diff(ends))
    return float((np.add.reduceat(right * best, ends[:-1]) / np.add.reduceat(best, ends[:-1], dtype=np.float64)).mean())


def generation_verification_gap(correct: ArrayLike, offsets: ArrayLike, scores: ArrayLike) -> float:
    """Pass@R less selection accuracy: what a perfect verifier would still gain.

    Examples
    --------
    >>> generation_verification_gap([1, 0, 0, 1], [0, 2, 4], [0.1, 0.9, 0.1, 0.9])
    0.5
    """
    right, ends = _checked(correct, offsets)
    return pass_at_k(right, ends, int(np.diff(ends).max())) - selection_accuracy(right, ends, scores)


def accuracy_by_difficulty(
    correct: ArrayLike, offsets: ArrayLike, scores: ArrayLike, difficulty: ArrayLike, bins: int = 3
) -> list[dict[str, float]]:
    """Selection accuracy and pass@R in `bins` equally large groups of queries from easy to hard; equal difficulties stay together.

    Examples
    --------
    >>> groups = accuracy_by_difficulty([1, 1, 0, 1], [0, 2, 4], [1, 0, 1, 0], [1, 2], bins=2)
    >>> [(group["accuracy"], group["pass"]) for group in groups]
    [(1.0, 1.0), (0.0, 1.0)]
    """
    right, ends = _checked(correct, offsets)
    hard, s = np.asarray(difficulty, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    cuts = np.quantile(hard, np.arange(1, bins) / bins)
    group = np.searchsorted(np.unique(cuts), hard)
    found = []
    for g in np.unique(group):
        queries = np.flatnonzero(group == g)
        rows = (group == g).repeat(np.diff(ends))
        offs = np.r_[0, np.diff(ends)[queries].cumsum()]
        accuracy, reach = selection_accuracy(right[rows], offs, s[rows]), pass_at_k(right[rows], offs, int(np.diff(offs).max()))
        low, high = float(hard[queries].min()), float(hard[queries].max())
        found.append({"from": low, "to": high, "queries": len(queries), "accuracy": accuracy, "pass": reach})
    return found


def cost_curve(
    correct: ArrayLike,
    offsets: ArrayLike,
    scores: Mapping[str, ArrayLike],
    costs: Mapping[str, float] | Sequence[float],
    sizes: Sequence[int],
) -> list[dict[str, float | str]]:
    """Accuracy against cost when only the first r responses of a query are drawn and scored.

    Parameters
    ----------
    correct, offsets
        As in `pass_at_k`.
    scores : mapping of name to (n,) float
        Ways to choose.
    costs : mapping or sequence of float
        What scoring one response costs with each, in any unit.
    sizes : sequence of int
        Values of r.

    Returns
    -------
    list of dict
        ``name``, ``responses``, ``cost`` per query, ``accuracy`` and ``pass``.

    Examples
    --------
    >>> [point["accuracy"] for point in cost_curve([0, 1], [0, 2], {"judge": [0.1, 0.9]}, [3.0], sizes=(1, 2))]
    [0.0, 1.0]
    """
    right, ends = _checked(correct, offsets)
    priced = costs if isinstance(costs, Mapping) else dict(zip(scores, costs, strict=True))
    place = np.arange(len(right)) - np.repeat(ends[:-1], np.diff(ends))
    points: list[dict[str, float | str]] = []
    for r in sizes:
        rows, offs = place < r, np.r_[0, np.minimum(np.diff(ends), r).cumsum()]
        reach = pass_at_k(right[rows], offs, r)
        for name, values in scores.items():
            accuracy = selection_accuracy(right[rows], offs, np.asarray(values)[rows])
            cost = float(priced[name]) * float(np.diff(offs).mean())
            points.append({"name": name, "responses": r, "cost": cost, "accuracy": accuracy, "pass": reach})
    return points


def _checked(correct: ArrayLike, offsets: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    right, ends = np.asarray(correct, dtype=np.float64), np.asarray(offsets, dtype=np.int64)
    if right.ndim != 1 or not np.isin(right, (0, 1)).all():
        raise DataError("correct must be one 0 or 1 per response; leave out queries whose truth is unknown")
    if ends.ndim != 1 or len(ends) < 2 or ends[0] != 0 or ends[-1] != len(right) or (np.diff(ends) < 1).any():
        raise DataError(f"{len(right)} responses do not fit offsets that end at {ends[-1:].tolist()}; every query needs one at least")
    return right, ends
