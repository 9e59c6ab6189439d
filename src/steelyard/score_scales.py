"""From a verifier's scores to votes: bring its scale to [0, 1], then say yes above a threshold. What verifiers and ensembles share.

Saad-Falcon et al. 2025, "Shrinking the Generation-Verification Gap with Weak Verifiers" (Weaver); thresholds by the class-balance quantile,
one of its rules, need no labels to be tuned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import DataError

Floats = NDArray[np.float64]
Scaling = Literal["range", "quantile", "winsorize"]

_QUANTILES = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class ScoreScale:
    """How to bring new scores of V verifiers to [0, 1] as those it was learned from.

    Attributes
    ----------
    knots : (g, V) float64
        Scores that stand for equal steps from 0 to 1; between them the scale is linear. Two knots are a range.
    kept : (V,) bool
        Verifiers whose scores lie in [0, 1] already and are left alone.

    Examples
    --------
    >>> scale = ScoreScale.of([[10.0, 0.2], [30.0, 0.7], [float("nan"), 1.0]])
    >>> scale.apply([[20.0, 0.5], [50.0, 0.1]]).tolist()
    [[0.5, 0.5], [1.0, 0.1]]
    """

    knots: Floats
    kept: NDArray[np.bool_]

    @staticmethod
    def of(values: ArrayLike, how: Scaling = "range") -> ScoreScale:
        """Learn the scale of every column of `values` (n, V); NaN is left out.

        Parameters
        ----------
        values : (n, V) float
        how : {"range", "quantile", "winsorize"}
            Minimum and maximum; 100 quantiles, so that scores become uniform; or the 5 and 95 % quantiles, beyond which they are cut.

        Raises
        ------
        DataError
            `how` is unknown, or a verifier has no score at all.
        """
        x = np.asarray(values, dtype=np.float64)
        if how not in get_args(Scaling):
            raise DataError(f"scaling must be one of {', '.join(get_args(Scaling))}, got '{how}'")
        if (silent := np.isnan(x).all(axis=0)).any():
            raise DataError(f"verifier {int(np.flatnonzero(silent)[0])} has no score at all; leave it out")
        at: Floats = {"range": np.array([0.0, 1.0]), "quantile": _QUANTILES, "winsorize": np.array([0.05, 0.95])}[how]
        knots = np.nanquantile(x, at, axis=0)
        # A score that never varies has no range of its own: it is seen on the range of all.
        still = knots[-1] <= knots[0]
        if still.any() and not still.all():
            span = np.array([knots[0].min(), knots[-1].max()])
            knots[:, still] = np.linspace(span[0], span[1], len(knots))[:, None]
        inside = (np.nanmin(x, axis=0) >= 0) & (np.nanmax(x, axis=0) <= 1)
        return ScoreScale(knots, inside if how == "range" else np.zeros(x.shape[1], dtype=bool))

    def apply(self, values: ArrayLike) -> Floats:
        """(n, V) scores in [0, 1]; what lies outside of the range learned is cut, NaN stays NaN."""
        x = np.asarray(values, dtype=np.float64)
        steps = np.linspace(0, 1, len(self.knots))
        scaled = np.empty_like(x)
        for j in range(x.shape[1]):
            grid, first = np.unique(self.knots[:, j], return_index=True)
            if self.kept[j] or len(grid) == 1:
                scaled[:, j] = np.clip(x[:, j], 0, 1)
            else:
                # Of equal quantiles the last counts, so that ties stand at the top of their step.
                scaled[:, j] = np.interp(x[:, j], grid, steps[np.r_[first[1:], len(steps)] - 1] if first[-1] else steps[first])
        return scaled


def scaled_within(values: ArrayLike, offsets: NDArray[np.int64]) -> Floats:
    """(n, V) scores scaled by the range within each query; 0.5 where a query's scores are equal, NaN stays NaN.

    Examples
    --------
    >>> scaled_within([[1.0], [3.0], [7.0], [7.0]], np.array([0, 2, 4])).ravel().tolist()
    [0.0, 1.0, 0.5, 0.5]
    """
    x = np.asarray(values, dtype=np.float64)
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    low = np.fmin.reduceat(x, offsets[:-1], axis=0)[rows]
    spread = np.fmax.reduceat(x, offsets[:-1], axis=0)[rows] - low
    return np.where(spread > 0, (x - low) / np.where(spread > 0, spread, 1.0), np.where(np.isnan(x), np.nan, 0.5))


def balance_thresholds(values: ArrayLike, balance: float) -> Floats:
    """(V,) thresholds with which each continuous verifier says yes on a share `balance` of the responses; 0.5 for binary ones.

    Parameters
    ----------
    values : (n, V) float in [0, 1]
    balance : float in (0, 1)
        P(a response is right): the threshold is the (1 - balance)-quantile.

    Examples
    --------
    >>> balance_thresholds([[0.1, 0], [0.4, 1], [0.6, 1], [0.9, 0]], 0.5).tolist()
    [0.5, 0.5]
    """
    if not 0 < balance < 1:
        raise DataError(f"the class balance is {balance}; it must lie between 0 and 1")
    x = np.asarray(values, dtype=np.float64)
    binary = (np.isnan(x) | (x == 0) | (x == 1)).all(axis=0)
    return np.where(binary, 0.5, np.nanquantile(x, 1 - balance, axis=0))


def votes_above(values: ArrayLike, thresholds: ArrayLike) -> NDArray[np.int8]:
    """(n, V) 1 where a score reaches its threshold, else 0; a missing score is no yes.

    A threshold at the lowest score of a verifier would let it say yes to everything; then a yes must lie above it.

    Examples
    --------
    >>> votes_above([[0.0, 0.2], [0.5, float("nan")]], [0.0, 0.1]).tolist()
    [[0, 1], [1, 0]]
    """
    x, tau = np.asarray(values, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        lowest = np.nanmin(x, axis=0) >= tau
        return np.where(lowest, x > tau, x >= tau).astype(np.int8)


def votes_within(values: ArrayLike, offsets: NDArray[np.int64], balance: float) -> NDArray[np.int8]:
    """(n, V) votes by thresholds of each query: a continuous verifier says yes to the share `balance` of a query's responses it likes best.

    At least one response per query gets a yes, with all that tie with the last of them; a query whose scores are all equal gets none.
    Binary verifiers keep the threshold 0.5.

    Examples
    --------
    >>> votes_within([[0.1], [0.3], [0.2], [0.9], [0.7], [0.8]], np.array([0, 3, 6]), 0.34).ravel().tolist()
    [0, 1, 0, 1, 0, 0]
    """
    x = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=-np.inf)
    binary = ((x == 0) | (x == 1) | (x == -np.inf)).all(axis=0, keepdims=True)[0]
    sizes = np.diff(offsets)
    query = np.repeat(np.arange(len(sizes)), sizes)
    last = offsets[1:] - np.clip(np.round(balance * sizes), 1, sizes).astype(np.int64)
    votes = np.empty(x.shape, dtype=np.int8)
    for j in range(x.shape[1]):
        ordered = x[np.lexsort((x[:, j], query)), j]
        above = (x[:, j] >= ordered[last][query]) & (x[:, j] > ordered[offsets[:-1]][query])
        votes[:, j] = x[:, j] >= 0.5 if binary[j] else above
    return votes
