"""Whether a probability means what it says: reliability, expected calibration error, risk–coverage, temperature scaling.

Guo et al., 2017, "On Calibration of Modern Neural Networks"; Geifman & El-Yaniv, 2017, "Selective Classification for Deep Neural Networks".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import DataError
from steelyard.evaluation.classification import aligned, known_rows
from steelyard.evaluation.statistics import wilson_interval

Floats = NDArray[np.float64]
Binning = Literal["width", "mass"]


@dataclass(frozen=True)
class ReliabilityCurve:
    """Mean confidence and accuracy of each non-empty bin of predictions, (b,) each, with Wilson intervals of the accuracy."""

    confidence: Floats
    accuracy: Floats
    count: NDArray[np.int64]
    low: Floats
    high: Floats

    @property
    def expected_calibration_error(self) -> float:
        """Mean over rows of |accuracy − confidence| of their bin."""
        return float(self.count @ np.abs(self.accuracy - self.confidence) / self.count.sum())

    def to_dict(self) -> dict[str, Any]:
        """Return the "calibration" artifact that the report draws."""
        columns = {name: getattr(self, name).tolist() for name in ("confidence", "accuracy", "count", "low", "high")}
        return {**columns, "ece": self.expected_calibration_error}


def reliability_curve(y: ArrayLike, p: ArrayLike, *, n_bins: int = 15, binning: Binning = "width") -> ReliabilityCurve:
    """Bin rows by confidence, the largest probability, and compare each bin's mean confidence with its accuracy.

    Parameters
    ----------
    y : (n,) int or (n, k) float
        True classes (-1 = unknown, left out) or soft truth, whose probability of the predicted class counts as correctness.
    p : (n, k) float
        Probabilities.
    n_bins : int
        Number of bins; empty ones are left out of the curve.
    binning : {"width", "mass"}
        Bins of equal width on [0, 1], or of (nearly) equally many rows, which keeps every bin's noise alike.

    Examples
    --------
    >>> curve = reliability_curve([0, 0, 0, 1], [[0.75, 0.25]] * 4)
    >>> curve.confidence.tolist(), curve.accuracy.tolist(), curve.expected_calibration_error
    ([0.75], [0.75], 0.0)
    """
    return _reliability(*_confidence_and_correctness(y, p), n_bins, binning)


def expected_calibration_error(y: ArrayLike, p: ArrayLike, *, n_bins: int = 15, binning: Binning = "width") -> float:
    """Mean over rows of |accuracy − confidence| of their bin, in [0, 1]. Arguments as in `reliability_curve`.

    Examples
    --------
    >>> expected_calibration_error([0, 1], [[1.0, 0.0], [1.0, 0.0]])
    0.5
    """
    return reliability_curve(y, p, n_bins=n_bins, binning=binning).expected_calibration_error


@dataclass(frozen=True)
class RiskCoverage:
    """Error rate `risk` (n,) of the most confident `coverage` (n,) share of rows, and the `area` under the curve (0 is best)."""

    coverage: Floats
    risk: Floats
    area: float

    def to_dict(self, n_points: int = 100) -> dict[str, Any]:
        """Return the "risk_coverage" artifact that the report draws, thinned to at most `n_points`."""
        n = len(self.risk)
        kept = np.unique(np.linspace(0, n - 1, min(n, n_points)).round().astype(np.int64))
        return {"coverage": self.coverage[kept].tolist(), "risk": self.risk[kept].tolist(), "area": self.area}


def risk_coverage(y: ArrayLike, p: ArrayLike) -> RiskCoverage:
    """Answer only the most confident rows: how does the error rate fall with how many are answered?

    Rows of equal confidence share their errors evenly, the mean over every order of them. `area` is the mean risk over all coverages.
    Arguments as in `reliability_curve`.

    Examples
    --------
    >>> curve = risk_coverage([0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]])
    >>> curve.risk.round(3).tolist(), round(curve.area, 3)
    ([0.0, 0.0, 0.333], 0.111)
    """
    return _risk_coverage(*_confidence_and_correctness(y, p))


@dataclass(frozen=True)
class RiskScores:
    """How well a risk per answer foretells which answers are wrong.

    Attributes
    ----------
    ece : float
        Mean over answers of |share of wrong answers − mean risk| of their bin: 0 is best.
    r2 : float
        Squared correlation of mean risk and share of wrong answers over groups of √n answers alike in risk; NaN where all groups are
        alike. It forgives a risk that is off by a constant or a factor, `ece` does not.
    auroc : float
        Chance that a wrong answer has a higher risk than a right one, ties counted half; NaN without wrong or without right answers.
    coverage : RiskCoverage
        Error rate of the least risky answers.
    reliability : ReliabilityCurve
        Its ``confidence`` is the mean risk of a bin, its ``accuracy`` the share of wrong answers.
    """

    ece: float
    r2: float
    auroc: float
    coverage: RiskCoverage
    reliability: ReliabilityCurve


def risk_scores(risk: ArrayLike, wrong: ArrayLike, *, n_bins: int = 10, binning: Binning = "width") -> RiskScores:
    """Compare an estimated probability of being wrong with what was wrong, whoever gave the answers and whoever the risk.

    Zhao, Wei, Preston, Poon 2023, "Pareto Optimal Learning for Estimating Large Language Model Errors".

    Parameters
    ----------
    risk : (n,) float
        In [0, 1]; NaN = no answer, left out.
    wrong : (n,) bool
        Whether the answer is wrong.
    n_bins, binning
        As in `reliability_curve`.

    Raises
    ------
    DataError
        Shapes differ, nothing is left, or a risk is outside [0, 1].

    Examples
    --------
    >>> scores = risk_scores([0.25, 0.25, 0.25, 0.25], [True, False, False, False])
    >>> scores.ece, scores.auroc
    (0.0, 0.5)
    """
    given, failed = np.asarray(risk, dtype=np.float64), np.asarray(wrong, dtype=bool)
    if given.shape != failed.shape or given.ndim != 1:
        raise DataError(f"risk of shape {given.shape} and wrong of shape {failed.shape} must be one list of n answers each")
    kept = ~np.isnan(given)
    given, errors = given[kept], failed[kept].astype(np.float64)
    if not given.size or given.min() < 0 or given.max() > 1 + 1e-6:
        raise DataError("risk must hold probabilities of being wrong, between 0 and 1, for one answer at least")
    reliability = _reliability(np.minimum(given, 1.0), errors, n_bins, binning)
    coverage = _risk_coverage(1 - given, 1 - errors)
    return RiskScores(reliability.expected_calibration_error, _group_r2(given, errors), _auroc(given, errors), coverage, reliability)


class TemperatureScaling:
    """Divide logits by one temperature, fitted on labelled rows to minimise log loss (Guo et al., 2017).

    It never changes which class is largest. Works on probabilities, whose logarithms serve as logits.

    Attributes
    ----------
    temperature_ : float
        Above 1 where the probabilities were too sure of themselves.

    Examples
    --------
    >>> p = np.array([[0.99, 0.01]] * 4)
    >>> scaling = TemperatureScaling().fit(p, [0, 0, 0, 1])
    >>> scaling.transform(p)[0].round(3).tolist()
    [0.75, 0.25]
    """

    temperature_: float

    def fit(self, p: ArrayLike, y: ArrayLike) -> TemperatureScaling:
        """Fit on probabilities (n, k) and true classes (n,), -1 = unknown, or soft truth (n, k)."""
        from scipy.optimize import minimize_scalar
        from scipy.special import logsumexp

        logits = _log(p)
        truth, _, k = aligned(y, logits)
        soft = np.eye(k)[truth] if truth.ndim == 1 else truth
        logits = logits[known_rows(y)]
        # Log loss is convex in the inverse temperature; the bounds keep separable data from running away.
        found = minimize_scalar(
            lambda inverse: (soft.sum(1) * logsumexp(inverse * logits, axis=1) - inverse * (soft * logits).sum(1)).mean(),
            bounds=(1e-3, 20.0),
            method="bounded",
        )
        self.temperature_ = float(1 / found.x)
        return self

    def transform(self, p: ArrayLike) -> Floats:
        """Return the rescaled probabilities, (n, k)."""
        if not hasattr(self, "temperature_"):
            raise DataError("temperature scaling is not fitted; call fit(probabilities, y) first")
        return _softmax(_log(p) / self.temperature_)


def _reliability(confidence: Floats, correct: Floats, n_bins: int, binning: Binning) -> ReliabilityCurve:
    if n_bins < 1:
        raise DataError(f"n_bins must be at least 1, not {n_bins}")
    if binning == "width":
        # A bin is open to the left, as in Guo et al.: confidence 0.2 of five bins lies in (0, 0.2].
        which = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    elif binning == "mass":
        # Ranks by value, so that rows of equal confidence are never torn apart.
        which = np.searchsorted(np.sort(confidence), confidence, side="left") * n_bins // len(confidence)
    else:
        raise DataError(f"binning must be 'width' or 'mass', not '{binning}'")
    count = np.bincount(which, minlength=n_bins)
    filled = count > 0
    count = count[filled]
    mean_confidence = np.bincount(which, confidence, n_bins)[filled] / count
    hits = np.minimum(np.bincount(which, correct, n_bins)[filled], count)
    low, high = wilson_interval(hits, count)
    return ReliabilityCurve(mean_confidence, hits / count, count, low, high)


def _risk_coverage(confidence: Floats, correct: Floats) -> RiskCoverage:
    _, group, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    mean_error = np.bincount(group, 1 - correct) / size
    n = len(correct)
    risk = np.repeat(mean_error, size).cumsum() / np.arange(1, n + 1)
    return RiskCoverage(np.arange(1, n + 1) / n, risk, float(risk.mean()))


def _group_r2(risk: Floats, errors: Floats) -> float:
    order = np.argsort(risk, kind="stable")
    # Answers of equal risk share their errors, so that the order of the rows does not matter.
    _, tied, size = np.unique(risk, return_inverse=True, return_counts=True)
    shared = (np.bincount(tied, errors) / size)[tied]
    groups = np.array_split(order, max(1, len(order) // max(1, math.isqrt(len(order)))))
    x, y = (np.array([values[group].mean() for group in groups]) for values in (risk, shared))
    if np.ptp(x) < 1e-12 or np.ptp(y) < 1e-12:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def _auroc(risk: Floats, errors: Floats) -> float:
    from scipy.stats import rankdata

    wrong = errors.sum()
    right = len(errors) - wrong
    return float((rankdata(risk) @ errors - wrong * (wrong + 1) / 2) / (wrong * right)) if wrong and right else math.nan


def _confidence_and_correctness(y: ArrayLike, p: ArrayLike) -> tuple[Floats, Floats]:
    probabilities = np.asarray(p, dtype=np.float64)
    if probabilities.ndim != 2:
        raise DataError(f"calibration needs probabilities of shape (n, k), not shape {probabilities.shape}; pass predict_proba's output")
    truth, predicted, _ = aligned(y, probabilities)
    confidence = probabilities[known_rows(y)].max(1)
    if not (np.isfinite(confidence).all() and confidence.min() >= 0 and confidence.max() <= 1 + 1e-6):
        raise DataError("probabilities must lie between 0 and 1; pass logits through a softmax first")
    correct = truth[np.arange(len(truth)), predicted] if truth.ndim == 2 else truth == predicted
    return np.minimum(confidence, 1.0), correct.astype(np.float64)


def _log(p: ArrayLike) -> Floats:
    return np.log(np.clip(np.asarray(p, dtype=np.float64), np.finfo(np.float32).tiny, 1.0))


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))
