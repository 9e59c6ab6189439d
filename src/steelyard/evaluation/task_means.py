"""Numbers over many classification tasks: mean of tasks beside mean of cases, exact intervals, and accuracy as before balancing.

Dominguez-Olmedo et al. 2024, "Lawma: The Power of Specialization for Legal Tasks"; Clopper and Pearson 1934, "The use of confidence or
fiducial limits".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta

from steelyard.errors import DataError


def clopper_pearson(right: int, n: int, confidence: float = 0.9) -> tuple[float, float]:
    """Exact interval of a share, from `right` of `n` cases.

    Examples
    --------
    >>> low, high = clopper_pearson(0, 10)
    >>> low, round(high, 3)  # 1 - 0.05 ** (1 / 10)
    (0.0, 0.259)
    """
    if not 0 <= right <= n or n < 1:
        raise DataError(f"{right} right of {n} cases is no share; give 0 <= right <= n")
    tail = (1 - confidence) / 2
    low = 0.0 if right == 0 else float(beta.ppf(tail, right, n - right + 1))
    high = 1.0 if right == n else float(beta.ppf(1 - tail, right + 1, n - right))
    return low, high


def unbalanced_accuracy(right: ArrayLike, is_majority: ArrayLike, keep_fraction: float) -> float:
    """Accuracy as it would be if the majority class had not been sampled down to `keep_fraction` of its cases.

    Parameters
    ----------
    right, is_majority : (n,) bool
        Whether each case was answered right, and whether its gold is the majority class.
    keep_fraction
        Share of the majority's cases that were kept, in (0, 1].

    Examples
    --------
    >>> unbalanced_accuracy([1, 1, 0, 0], [1, 1, 0, 0], 0.25)
    0.8
    """
    if not 0 < keep_fraction <= 1:
        raise DataError(f"keep_fraction is {keep_fraction}; the kept share of the majority lies above 0 and at most at 1")
    weights = np.where(np.asarray(is_majority, dtype=bool), 1 / keep_fraction, 1.0)
    return float(np.average(np.asarray(right, dtype=float), weights=weights))


def task_means(right: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Mean of tasks (each task counts the same) and mean of cases (each case does).

    Parameters
    ----------
    right
        Task -> whether each of its cases was answered right.

    Examples
    --------
    >>> task_means({"small": [1, 1], "large": [0, 0, 0, 1]})
    {'tasks': 0.625, 'cases': 0.5}
    """
    if not right or any(np.size(cases) == 0 for cases in right.values()):
        raise DataError("a mean over tasks needs at least one task, and at least one case in each")
    cases = [np.asarray(task, dtype=float) for task in right.values()]
    return {"tasks": float(np.mean([task.mean() for task in cases])), "cases": float(np.concatenate(cases).mean())}
