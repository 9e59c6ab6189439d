"""What was gained: the share of the gap between a weak supervisor and a strong ceiling that the student recovered.

Burns et al., 2023, "Weak-to-Strong Generalization": PGR = (student − weak) / (ceiling − weak), all three on one test set.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import DataError
from steelyard.evaluation.classification import aligned
from steelyard.evaluation.statistics import Interval, resample, wilson_interval
from steelyard.result import higher_is_better, mean_interval

Floats = NDArray[np.float64]


class UndefinedGap(UserWarning):
    """The ceiling is not better than the weak supervisor, so there is no gap to recover."""


def performance_gap_recovered(weak: Any, student: Any, ceiling: Any, *, metric: str = "accuracy") -> Any:
    """Share of the gap that the student recovered: 0 = no better than its supervisor, 1 = as good as gold supervision.

    Never clipped: below 0 the student is worse than its supervisor, above 1 better than the ceiling. Where the ceiling is not better than
    the supervisor the share is undefined: NaN, with an `UndefinedGap` warning. Over data sets, report the median.

    Parameters
    ----------
    weak, student, ceiling : float or (…) array
        The metric of each, on the same test set.
    metric : str
        Its name tells the direction: for "log_loss", "ece", "brier" and other losses a smaller ceiling is the better one.

    Returns
    -------
    float or (…) float64

    Examples
    --------
    >>> round(performance_gap_recovered(0.6, 0.7, 0.85), 3)
    0.4
    >>> performance_gap_recovered(1.0, 0.75, 0.5, metric="log_loss")
    0.5
    """
    w, s, c = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (weak, student, ceiling)))
    share = _shares(w, s, c, metric)
    known = ~(np.isnan(w) | np.isnan(s) | np.isnan(c))
    if np.isnan(share[known]).any():
        where = (
            f" in {int(np.isnan(share[known]).sum())} of {share.size} places" if share.ndim else f" ({float(c):.4g} against {float(w):.4g})"
        )
        warnings.warn(f"the ceiling is not better than the weak supervisor{where}; the gap recovered is undefined there", UndefinedGap, 2)
    return share if share.ndim else float(share)


@dataclass(frozen=True, slots=True)
class GapRecovered:
    """The three performances and the share of the gap, each with its interval. `note` says why a number is missing, else is empty."""

    metric: str
    weak: Interval
    student: Interval
    ceiling: Interval
    pgr: Interval
    over: str
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the "gap" artifact that the report draws."""
        arms = {name: getattr(self, name).to_dict() for name in ("weak", "student", "ceiling", "pgr")}
        return {"metric": self.metric, **arms, "over": self.over, "n": self.pgr.n, "note": self.note}

    def __str__(self) -> str:
        arms = f"weak {self.weak}, student {self.student}, ceiling {self.ceiling}"
        return f"{self.metric}: {arms}; gap recovered {self.pgr}" + (f" ({self.note})" if self.note else "")


def gap_over_rows(
    y: ArrayLike,
    weak: ArrayLike,
    student: ArrayLike,
    ceiling: ArrayLike,
    *,
    metric: str = "accuracy",
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> GapRecovered:
    """Measure the gap on one test set, with intervals from a bootstrap over its rows that all three predictors share.

    Parameters
    ----------
    y : (n,) int or (n, k) float
        True classes, -1 = unknown, or soft truth.
    weak, student, ceiling : (n,) int or (n, k) float
        Predictions of the three on the same rows.
    metric : str
        A name that `bootstrap_interval` knows.

    Examples
    --------
    >>> y = [0, 1] * 100
    >>> weak, student = [1 - c for c in y[:80]] + y[80:], [1 - c for c in y[:40]] + y[40:]
    >>> round(gap_over_rows(y, weak, student, y).pgr.mean, 3)
    0.5
    """
    estimate, resampled, n = resample(metric, y, [weak, student, ceiling], n_resamples, seed)
    ends = np.quantile(resampled, [0.5 - confidence / 2, 0.5 + confidence / 2], axis=0)
    weak_, student_, ceiling_ = (Interval(float(estimate[a]), float(ends[0, a]), float(ends[1, a]), confidence, n) for a in range(3))
    share, note = _share_interval(metric, estimate, resampled, n, confidence)
    return GapRecovered(metric, weak_, student_, ceiling_, share, "rows", note)


def gap_over_seeds(
    weak: ArrayLike,
    student: ArrayLike,
    ceiling: ArrayLike,
    *,
    metric: str = "accuracy",
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> GapRecovered:
    """Measure the gap from one number per seed: the ratio of mean gaps, whose interval is a bootstrap over seeds.

    The three arms carry Student-t intervals. A bootstrap over fewer than five seeds is narrower than it should be and the note says so.

    Parameters
    ----------
    weak, student, ceiling : (s,) float
        The metric of seed i at position i of all three.

    Examples
    --------
    >>> gap = gap_over_seeds([0.60, 0.62, 0.61], [0.70, 0.70, 0.72], [0.80, 0.81, 0.82])
    >>> round(gap.pgr.mean, 3)
    0.483
    """
    values = np.stack([np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (weak, student, ceiling)], axis=1)
    if values.ndim != 2 or np.isnan(values).any():
        raise DataError("weak, student and ceiling need one number per seed each, none of them NaN")
    n = len(values)
    rng = np.random.default_rng(seed)
    resampled = values[rng.integers(0, n, size=(n_resamples, n))].mean(1)
    share, note = _share_interval(metric, values.mean(0), resampled, n, confidence)
    if n == 1:
        share = Interval(share.mean, math.nan, math.nan, confidence, 1)
        note = note or "one seed: no interval"
    elif n < 5:
        note = note or f"bootstrap over only {n} seeds: the interval is too narrow"
    weak_, student_, ceiling_ = (Interval(*mean_interval(values[:, a], confidence), confidence, n) for a in range(3))
    return GapRecovered(metric, weak_, student_, ceiling_, share, "seeds", note)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the student agrees with its supervisor, where the supervisor is right and where it is wrong."""

    overall: float
    when_right: Interval
    when_wrong: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return the "agreement" artifact that the report draws."""
        return {"overall": self.overall, "when_right": self.when_right.to_dict(), "when_wrong": self.when_wrong.to_dict()}


def agreement_by_supervisor_correctness(y: ArrayLike, weak: ArrayLike, student: ArrayLike, *, confidence: float = 0.95) -> Agreement:
    """Split student–supervisor agreement by whether the supervisor is right (Burns et al., 2023), with Wilson intervals.

    Good generalisation is high agreement where the supervisor is right and low where it is wrong; a student that imitates errors agrees
    equally in both. NaN where there is no such row.

    Parameters
    ----------
    y : (n,) int
        True classes, -1 = unknown (left out).
    weak, student : (n,) int or (n, k) float
        Predictions.

    Examples
    --------
    >>> split = agreement_by_supervisor_correctness([0, 0, 1, 1], weak=[0, 0, 0, 0], student=[0, 0, 1, 0])
    >>> split.when_right.mean, split.when_wrong.mean, split.overall
    (1.0, 0.5, 0.75)
    """
    truth, supervisor, _ = aligned(y, weak)
    _, learner, _ = aligned(y, student)
    if truth.ndim == 2:
        raise DataError("agreement by supervisor correctness needs hard truth (n,), not probabilities; pass y.argmax(1)")
    right, agree = supervisor == truth, supervisor == learner
    return Agreement(float(agree.mean()), _share_of(agree[right], confidence), _share_of(agree[~right], confidence))


def _share_of(hits: NDArray[np.bool_], confidence: float) -> Interval:
    low, high = wilson_interval(int(hits.sum()), hits.size, confidence)
    return Interval(float(hits.mean()) if hits.size else math.nan, float(low), float(high), confidence, hits.size)


def _shares(weak: Floats, student: Floats, ceiling: Floats, metric: str) -> Floats:
    sign = 1.0 if higher_is_better(metric) else -1.0
    gap = sign * (ceiling - weak)
    return np.where(gap > 0, sign * (student - weak) / np.where(gap > 0, gap, 1.0), np.nan)


def _share_interval(metric: str, estimate: Floats, resampled: Floats, n: int, confidence: float) -> tuple[Interval, str]:
    """Interval of the share from (weak, student, ceiling) and their resamples (r, 3), with a note where there is none."""
    share = float(_shares(estimate[0], estimate[1], estimate[2], metric))
    shares = _shares(resampled[:, 0], resampled[:, 1], resampled[:, 2], metric)
    undefined = float(np.isnan(shares).mean())
    if math.isnan(share):
        return Interval(share, math.nan, math.nan, confidence, n), "the ceiling is not better than the weak supervisor: no gap to recover"
    if undefined > (1 - confidence) / 2:
        note = f"the gap itself is within noise ({undefined:.0%} of resamples have none): no interval for the share recovered"
        return Interval(share, math.nan, math.nan, confidence, n), note
    low, high = np.nanquantile(shares, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(share, float(low), float(high), confidence, n), ""
