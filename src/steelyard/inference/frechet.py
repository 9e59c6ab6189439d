"""Answer with the Fréchet mean of the labels instead of the most probable one: less squared distance, and labels no example was seen of.

`y(x) = argmin_y sum_i P(i | x) d(y, i)²` over all labels of a metric space, for any classifier, without training. Roberts et al. 2023,
"Geometry-Aware Adaptation for Pretrained Models" (Loki). With the distance 0 or 1 it is argmax; on a scale, the rounded mean.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from steelyard.errors import ConfigError, DataError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ROWS = 1 << 12
"""Rows answered at a time."""


class LabelSpace(Protocol):
    """What this room asks of a label metric; `label_models.metric_space` has them."""

    labels: tuple[Hashable, ...]
    is_tree: bool

    def distances(self, rows: ArrayLike, columns: ArrayLike | None = None) -> Floats:
        """Return (r, c) distances by index."""

    def frechet_means(self, weights: Floats, observed: Ints, candidates: Ints | None = None) -> Ints:
        """Return the (n,) labels of least energy."""

    def index(self, labels: Any, what: str = "observed") -> Ints:
        """Return indices of labels by name."""

    def __len__(self) -> int: ...


def frechet_mean(
    proba: ArrayLike,
    metric: LabelSpace,
    observed: Sequence[Hashable] | NDArray[np.generic] | None = None,
    *,
    candidates: Sequence[Hashable] | NDArray[np.generic] | None = None,
    temperature: float = 1.0,
    top: int | None = None,
) -> Ints:
    """Return the (n,) indices, among the N labels of `metric`, of the Fréchet means of rows of probabilities.

    Parameters
    ----------
    proba
        (n, K) non-negative; rows are scaled to sum to 1.
    metric
        Distances between N labels, not squared: they are squared here, once.
    observed
        The K labels that the columns belong to, by name; the metric's own labels in order when left out.
    candidates
        The labels that may be answered, by name; all N when left out.
    temperature
        T > 0; the probabilities are replaced by `proba^(1/T)`, scaled to 1.
    top
        Keep only so many of the largest probabilities of each row: for very many labels, an approximation.

    Raises
    ------
    DataError
        A row is negative, not finite or all zero; columns and labels do not match; an observed label is not in the metric.
    ConfigError
        `temperature` or `top` is out of range.

    Notes
    -----
    Of labels with equal energy the more probable is taken, then the one nearer to the observed labels on the whole, then the first.

    Examples
    --------
    >>> from steelyard.label_models.metric_space import EuclideanMetric
    >>> frechet_mean([[0.5, 0.0, 0.5], [0.8, 0.1, 0.1]], EuclideanMetric(9), observed=[0, 1, 8])  # 4 is no column
    array([4, 1])
    """
    known = np.arange(len(metric)) if observed is None else metric.index(observed)
    answers = None if candidates is None else metric.index(candidates, "candidates")
    if answers is not None and not len(answers):
        raise ConfigError("frechet_mean: candidates is empty; give at least one label that may be answered, or leave it out")
    p = np.asarray(proba)
    if p.ndim != 2 or p.shape[1] != len(known):
        raise DataError(
            f"frechet_mean: probabilities have shape {p.shape} but there are {len(known)} observed labels; give a column for each"
        )
    if not 0 < temperature < np.inf or (top is not None and top < 1):
        raise ConfigError(f"frechet_mean: temperature ({temperature}) must be a positive number and top ({top}) at least 1")
    chosen = np.empty(len(p), dtype=np.int64)
    for start in range(0, len(p), ROWS):
        weights = _weights(p[start : start + ROWS], start, temperature)
        columns = known
        if top is not None and top < len(known):
            cut = np.partition(weights, -top, axis=1)[:, -top, None]
            weights = np.where(weights >= cut, weights, 0.0)
            used = weights.any(0)
            weights, columns = weights[:, used] / weights.sum(1, keepdims=True), known[used]
        chosen[start : start + ROWS] = metric.frechet_means(weights, columns, answers)
    return chosen


class FrechetMeanClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier that answers with Fréchet means of another one's probabilities.

    Parameters
    ----------
    estimator
        Anything with `predict_proba(X) -> (n, K)`. It is cloned and fitted by `fit`, unless `prefit`.
    metric
        A metric over N labels, among them the K of the estimator: `EuclideanMetric`, `GraphMetric`, `MatrixMetric`.
    observed
        The K labels by name in the order of the columns; the estimator's `classes_` when left out.
    candidates
        Labels that may be answered; all N when left out. `"leaves"`: those of a hierarchy with one edge.
    temperature
        T > 0 by which logits are divided, or `"calibrate"`: the T of least log loss on the rows given to `fit`, which must be rows the
        estimator has not seen; so it needs `prefit`. The rule uses the size of the probabilities: where they are far too sharp or too flat
        it can be worse than argmax.
    prefit
        The estimator is fitted already; `fit` only calibrates.

    Attributes
    ----------
    classes_
        (N,) the metric's labels: those that `predict` can answer where no candidates are named.
    observed_
        (K,) their indices among `classes_`.
    temperature_
        T.

    Raises
    ------
    DataError, ConfigError
        From `fit`: an observed label is not in the metric, no row has an observed label to calibrate on, an option is out of range.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from steelyard.label_models.metric_space import EuclideanMetric
    >>> x = np.linspace(0, 1, 50)[:, None]
    >>> y = np.round(4 * x[:, 0]).astype(int)
    >>> ends = (y == 0) | (y == 4)
    >>> loki = FrechetMeanClassifier(LogisticRegression(C=1), EuclideanMetric(5)).fit(x[ends], y[ends])
    >>> loki.predict([[0.0], [0.5], [1.0]])  # 2 was never seen
    array([1, 2, 3])
    """

    def __init__(
        self,
        estimator: Any,
        metric: LabelSpace,
        *,
        observed: Sequence[Hashable] | None = None,
        candidates: Sequence[Hashable] | Literal["leaves"] | None = None,
        temperature: float | Literal["calibrate"] = 1.0,
        prefit: bool = False,
    ) -> None:
        self.estimator = estimator
        self.metric = metric
        self.observed = observed
        self.candidates = candidates
        self.temperature = temperature
        self.prefit = prefit

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the estimator on rows X and labels y (n,), or with `prefit` only the temperature, on rows whose label was observed."""
        if isinstance(self.temperature, str) and (self.temperature != "calibrate" or not self.prefit):
            raise ConfigError(
                f"FrechetMeanClassifier: temperature is '{self.temperature}', prefit {self.prefit}; use a number, or 'calibrate' with a "
                "fitted estimator and rows that it has not seen"
            )
        if not hasattr(self.estimator, "predict_proba"):
            raise ConfigError(
                f"FrechetMeanClassifier: {type(self.estimator).__name__} has no predict_proba; choose a classifier that has one"
            )
        self.estimator_ = self.estimator if self.prefit else clone(self.estimator).fit(X, y)
        observed = self.estimator_.classes_ if self.observed is None else self.observed
        self.observed_ = self.metric.index(observed)
        self.classes_ = np.array(self.metric.labels)
        self.temperature_ = float(self._calibrated(X, y) if isinstance(self.temperature, str) else self.temperature)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return (n,) labels, also such as the estimator has never seen."""
        return np.asarray(self.classes_[self.predict_index(X)])

    def predict_index(self, X: Any) -> Ints:
        """Return (n,) the same as indices among `classes_`."""
        check_is_fitted(self, "observed_")
        observed = [self.metric.labels[i] for i in self.observed_]
        candidates: Any = self.candidates
        if isinstance(candidates, str):
            if candidates != "leaves" or not hasattr(self.metric, "leaves"):
                raise ConfigError(f"FrechetMeanClassifier: candidates is '{candidates}'; use labels, or 'leaves' with a tree or graph")
            candidates = [self.metric.labels[i] for i in self.metric.leaves]
        proba = self.estimator_.predict_proba(X)
        return frechet_mean(proba, self.metric, observed, candidates=candidates, temperature=self.temperature_)

    def _calibrated(self, X: Any, y: Any) -> float:
        p = _weights(np.asarray(self.estimator_.predict_proba(X)), 0, 1.0)
        place = {self.metric.labels[label]: column for column, label in enumerate(self.observed_)}
        column = np.array([place.get(name.item() if isinstance(name, np.generic) else name, -1) for name in y])
        rows = np.flatnonzero(column >= 0)
        if not len(rows):
            raise DataError(
                "FrechetMeanClassifier: no row given to calibrate on has an observed label; give held-out rows of observed labels"
            )
        logits, own = np.log(np.maximum(p[rows], np.finfo(np.float32).tiny)), column[rows]
        # The log loss is convex in 1/T; the bounds keep separable rows from running away.
        found = minimize_scalar(
            lambda inverse: (logsumexp(inverse * logits, axis=1) - inverse * logits[np.arange(len(own)), own]).mean(),
            bounds=(1e-3, 20.0),
            method="bounded",
        )
        return float(1 / found.x)


def _weights(p: NDArray[Any], start: int, temperature: float) -> Floats:
    """Rows scaled to 1, in double precision, at a temperature."""
    p = p.astype(np.float64)
    total = p.sum(1, keepdims=True)
    bad = ~np.isfinite(total[:, 0]) | (p < 0).any(1) | (total[:, 0] <= 0)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"frechet_mean: row {start + row} of the probabilities is negative, not finite or all zero; drop it or fill it first"
        )
    if temperature == 1.0:
        return np.asarray(p / total)
    with np.errstate(divide="ignore"):
        return np.asarray(softmax(np.log(p / total) / temperature, axis=1))
