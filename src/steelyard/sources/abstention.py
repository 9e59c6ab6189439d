"""When a scoring source should keep silent: below a margin between its best and second-best class, chosen for a coverage or a precision.

Selective classification by margin: Chow 1970, "On optimum recognition error and reject tradeoff"; El-Yaniv and Wiener 2010.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import SourceError


def margins(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """Best minus second-best score of each row of `(n, k)`; zero on a tie, infinite when there is one class.

    Examples
    --------
    >>> margins(np.array([[0.75, 0.25], [0.5, 0.5]])).tolist()
    [0.5, 0.0]
    """
    if scores.shape[1] < 2:
        return np.full(len(scores), np.inf, dtype=scores.dtype)
    second, best = np.partition(scores, -2, axis=1)[:, -2:].T
    return np.asarray(best - second)


def margin_for_coverage(margins: NDArray[np.floating], coverage: float) -> float:
    """Largest margin that at least a share `coverage` in (0, 1] of the rows reaches; needs no labels.

    Examples
    --------
    >>> margin_for_coverage(np.array([0.1, 0.4, 0.2, 0.3]), 0.5)
    0.3
    """
    if not 0.0 < coverage <= 1.0:
        raise SourceError(f"coverage must lie in (0, 1], not {coverage}")
    if len(margins) == 0:
        return 0.0
    # The rounding keeps 0.07 * 100 = 7.000000000000001 from asking for an eighth row.
    kept = max(1, math.ceil(round(coverage * len(margins), 9)))
    return float(np.sort(margins)[::-1][kept - 1])


def margin_for_precision(margins: NDArray[np.floating], correct: NDArray[np.bool_], precision: float) -> float:
    """Smallest margin above which the labelled rows are right with at least `precision`.

    The share is smoothed by Laplace's rule, (right + 1) / (rows + 2), so that two lucky rows do not count as certainty.

    Parameters
    ----------
    margins : (g,) float
        Margins of the rows with a known label.
    correct : (g,) bool
        Whether the best class is that label.
    precision : float
        Requested share of right votes, in (0, 1).

    Raises
    ------
    SourceError
        No margin reaches it.

    Examples
    --------
    >>> margin_for_precision(np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, True, True, False]), 0.8)
    0.7
    """
    if not 0.0 < precision < 1.0:
        raise SourceError(f"precision must lie in (0, 1), not {precision}")
    if len(margins) == 0:
        raise SourceError("a precision cannot be calibrated without labelled rows; give some gold labels or ask for a coverage instead")
    order = np.argsort(-margins, kind="stable")
    descending = margins[order]
    reached = (np.cumsum(correct[order]) + 1) / (np.arange(len(order)) + 3)
    ends = np.append(descending[1:] != descending[:-1], True)  # equal margins are kept or dropped together
    good = np.flatnonzero(ends & (reached >= precision))
    if len(good) == 0:
        best = float(reached[ends].max())
        raise SourceError(
            f"no margin gives a precision of {precision:g} on the {len(order)} labelled rows (best: {best:.2f}, Laplace-smoothed); "
            "ask for less, or give more labels or better descriptions"
        )
    return float(descending[good[-1]])
