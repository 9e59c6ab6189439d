"""How sure a number is: bootstrap over test rows, paired tests over seeds, Wilson intervals for shares.

Two sources of chance, never mixed here: which rows were tested (resample rows of one run) and which seed was drawn (pair the runs).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import DataError
from steelyard.evaluation.classification import FROM_TABLES, aligned, known_rows, row_losses
from steelyard.result import Comparison, mean_interval, paired_t

__all__ = ["Interval", "bootstrap_interval", "mean_interval", "paired_difference", "paired_t", "sign_flip", "wilcoxon", "wilson_interval"]

Floats = NDArray[np.float64]
Metric = str | Callable[[Any, Any], float]

_ROW_LOSSES = ("log_loss", "brier")
_CELLS_AT_ONCE = 1 << 22
_EXACT_SIGN_FLIPS = 16


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, the interval around it and what it rests on: `n` rows or seeds."""

    mean: float
    low: float
    high: float
    confidence: float = 0.95
    n: int = 0

    def to_dict(self) -> dict[str, float]:
        """Return the JSON form that the report draws."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def bootstrap_interval(
    metric: Metric, y: ArrayLike, p: ArrayLike, *, n_resamples: int = 2000, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """Percentile bootstrap interval of a metric over test rows (Efron, 1979).

    A metric that depends on the rows only through the counts of (truth, prediction) is resampled as one multinomial draw of these counts:
    the same distribution as resampling rows, at a cost that does not grow with n.

    Parameters
    ----------
    metric : str or callable
        "accuracy", "balanced_accuracy", "f1_macro", "f1_binary", "matthews", "log_loss", "brier", or any function `(y, p) -> float`.
    y : (n,) int or (n, k) float
        True classes (-1 = unknown, left out) or soft truth.
    p : (n,) int or (n, k) float
        Predictions.
    n_resamples : int
        Bootstrap resamples.
    seed : int
        Same seed, same interval.
    confidence : float
        Coverage, in (0, 1).

    Returns
    -------
    Interval

    Examples
    --------
    >>> interval = bootstrap_interval("accuracy", [0, 1] * 100, [0, 1] * 80 + [1, 0] * 20)
    >>> interval.mean, 0.70 < interval.low < 0.8 < interval.high < 0.90
    (0.8, True)
    """
    estimate, resampled, n = resample(metric, y, [p], n_resamples, seed)
    low, high = _percentiles(resampled[:, 0], confidence)
    return Interval(float(estimate[0]), low, high, confidence, n)


def paired_difference(
    metric: Metric, y: ArrayLike, p_a: ArrayLike, p_b: ArrayLike, *, n_resamples: int = 2000, seed: int = 0, confidence: float = 0.95
) -> Comparison:
    """Bootstrap the difference metric(a) − metric(b) of two predictors on the same rows; both always see the same resample.

    The two-sided p-value is twice the smaller share of resamples on either side of zero, counting the observed sample as one of them.
    Arguments as in `bootstrap_interval`.

    Examples
    --------
    >>> y = [0, 1] * 50
    >>> paired_difference("accuracy", y, y, [1 - c for c in y[:20]] + y[20:]).verdict
    'better'
    """
    estimate, resampled, n = resample(metric, y, [p_a, p_b], n_resamples, seed)
    d = resampled[:, 0] - resampled[:, 1]
    low, high = _percentiles(d, confidence)
    tail = min(int((d <= 0).sum()), int((d >= 0).sum()))
    p_value = min(1.0, 2 * (tail + 1) / (n_resamples + 1))
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "value")
    return Comparison(float(estimate[0] - estimate[1]), low, high, p_value, n, metric=name, method="a", baseline="b", confidence=confidence)


def wilcoxon(method: ArrayLike, baseline: ArrayLike) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test (Wilcoxon, 1945) on pairs, exact for few untied pairs; 1 where nothing differs.

    Examples
    --------
    >>> wilcoxon([3.0, 4.1, 5.2, 6.3, 7.4], [1.0, 2.0, 3.0, 4.0, 5.0])
    0.0625
    """
    from scipy.stats import wilcoxon as signed_rank

    d = _differences(method, baseline)
    return 1.0 if not d.any() else float(signed_rank(d).pvalue)


def sign_flip(method: ArrayLike, baseline: ArrayLike, *, n_flips: int = 20_000, seed: int = 0) -> float:
    """Two-sided p-value of the sign-flip permutation test (Fisher, 1935) of the mean paired difference.

    It needs no normality, only that a difference is as likely as its negative when the two do not differ. Every flip is counted up to 16
    pairs, `n_flips` random ones beyond. With n pairs no p-value can be below 2^(1−n): five seeds cannot reach .05.

    Examples
    --------
    >>> sign_flip([0.8, 0.8, 0.9, 0.8, 0.9, 0.9], [0.7, 0.6, 0.7, 0.7, 0.7, 0.8])
    0.03125
    """
    d = _differences(method, baseline)
    observed = abs(d.sum()) - 1e-12 * np.abs(d).sum()
    if d.size <= _EXACT_SIGN_FLIPS:
        signs = 1 - 2 * ((np.arange(2**d.size)[:, None] >> np.arange(d.size)) & 1)
        return float((np.abs(signs @ d) >= observed).mean())
    rng = np.random.default_rng(seed)
    as_extreme, left = 0, n_flips
    while left:
        size = min(left, max(1, _CELLS_AT_ONCE // d.size))
        as_extreme += int((np.abs(rng.choice([-1.0, 1.0], (size, d.size)) @ d) >= observed).sum())
        left -= size
    return (as_extreme + 1) / (n_flips + 1)


def wilson_interval(successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Interval of a share (Wilson, 1927); stays inside [0, 1] and has width at 0 and 1. NaN where there were no trials.

    Parameters
    ----------
    successes, trials : (…) counts
        Broadcast against each other.

    Returns
    -------
    low, high : (…) float64

    Examples
    --------
    >>> low, high = wilson_interval(8, 10)
    >>> round(float(low), 3), round(float(high), 3)
    (0.49, 0.943)
    """
    from scipy.special import ndtri

    s, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if (s < 0).any() or (s > n).any():
        raise DataError("successes must lie between 0 and the number of trials")
    z = float(ndtri(0.5 + confidence / 2))
    safe = np.where(n > 0, n, 1.0)
    share = s / safe
    centre = (share + z**2 / (2 * safe)) / (1 + z**2 / safe)
    half = z / (1 + z**2 / safe) * np.sqrt(share * (1 - share) / safe + z**2 / (4 * safe**2))
    # Exact at the ends, where rounding would leave the share itself just outside of its interval.
    low = np.where(n <= 0, np.nan, np.where(s == 0, 0.0, centre - half))
    high = np.where(n <= 0, np.nan, np.where(s == n, 1.0, centre + half))
    return low, high


def resample(metric: Metric, y: ArrayLike, predictions: Sequence[ArrayLike], n_resamples: int, seed: int) -> tuple[Floats, Floats, int]:
    """Score s predictors on the same rows, (s,), and on the same resamples of them, (n_resamples, s); also the number of rows."""
    rng = np.random.default_rng(seed)
    n = int(known_rows(y).sum())
    if isinstance(metric, str) and metric not in FROM_TABLES and metric not in _ROW_LOSSES:
        raise DataError(f"unknown metric '{metric}'; use one of {', '.join([*FROM_TABLES, *_ROW_LOSSES])} or pass a function of (y, p)")
    if isinstance(metric, str) and metric in FROM_TABLES and np.asarray(y).ndim == 1:
        return *_from_tables(metric, y, predictions, n_resamples, rng), n
    if isinstance(metric, str) and metric in _ROW_LOSSES:
        losses = np.stack([row_losses(metric, y, p) for p in predictions], axis=1)
        means = [losses[rows].mean(1) for rows in _row_samples(n, n_resamples, rng)]
        return losses.mean(0), np.concatenate(means), n
    keep = known_rows(y)
    truth, arrays = np.asarray(y)[keep], [np.asarray(p)[keep] for p in predictions]
    score = _by_name(metric) if isinstance(metric, str) else metric
    values = [[score(truth[row], p[row]) for p in arrays] for rows in _row_samples(n, n_resamples, rng) for row in rows]
    return np.array([score(truth, p) for p in arrays]), np.array(values, dtype=np.float64), n


def _by_name(metric: str) -> Callable[[Any, Any], float]:
    from steelyard.evaluation import classification

    score: Callable[[Any, Any], float] = getattr(classification, metric)
    return score


def _from_tables(
    metric: str, y: ArrayLike, predictions: Sequence[ArrayLike], n_resamples: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Draw the counts of the distinct rows (truth, prediction of each predictor); mark out each predictor's table from them."""
    hard = [aligned(y, p) for p in predictions]
    k = max(classes for _, _, classes in hard)
    rows = np.stack([hard[0][0], *(codes for _, codes, _ in hard)], axis=1).astype(np.int64)
    rows[rows < 0] = k
    distinct, counts = _distinct(rows, k + 1)
    cells = distinct[:, [0]] * (k + 1) + distinct[:, 1:]
    used = [np.unique(cells[:, s], return_inverse=True) for s in range(len(hard))]
    score = FROM_TABLES[metric]

    def tables(draws: Floats) -> Floats:
        out = np.empty((len(draws), len(hard)))
        for s, (cell, position) in enumerate(used):
            gather = np.zeros((len(distinct), len(cell)))
            gather[np.arange(len(distinct)), position] = 1
            stack = np.zeros((len(draws), (k + 1) ** 2))
            stack[:, cell] = draws @ gather
            out[:, s] = score(stack.reshape(-1, k + 1, k + 1))
        return out

    step = max(1, _CELLS_AT_ONCE // max(len(distinct), (k + 1) ** 2))
    share = counts / counts.sum()
    drawn = [
        tables(rng.multinomial(len(rows), share, size=min(step, n_resamples - start)).astype(np.float64))
        for start in range(0, n_resamples, step)
    ]
    return tables(counts[None].astype(np.float64))[0], np.concatenate(drawn)


def _distinct(rows: NDArray[np.int64], base: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    keys = rows @ base ** np.arange(rows.shape[1], dtype=np.int64)
    largest = base ** rows.shape[1]
    if largest <= _CELLS_AT_ONCE:
        tally = np.bincount(keys, minlength=largest)
        found = np.flatnonzero(tally)
        counts = tally[found]
    else:
        found, counts = np.unique(keys, return_counts=True)
    return found[:, None] // base ** np.arange(rows.shape[1], dtype=np.int64) % base, counts


def _row_samples(n: int, n_resamples: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    step = max(1, _CELLS_AT_ONCE // n)
    for start in range(0, n_resamples, step):
        yield rng.integers(0, n, size=(min(step, n_resamples - start), n))


def _percentiles(values: Floats, confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise DataError(f"confidence must lie between 0 and 1, not {confidence}; 0.95 is usual")
    if np.isnan(values).all():
        return math.nan, math.nan
    low, high = np.nanquantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def _differences(method: ArrayLike, baseline: ArrayLike) -> Floats:
    a, b = np.asarray(method, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise DataError(f"a paired test needs two equally long lists, not shapes {a.shape} and {b.shape}")
    return a - b
