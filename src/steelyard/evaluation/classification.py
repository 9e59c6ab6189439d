"""Classification metrics, each a function of truth and prediction.

All count metrics are functions of the confusion matrix and accept a stack of them, `(..., k, k)`: that is what lets `bootstrap_interval`
resample a small table instead of the rows. Definitions agree with scikit-learn's; truth may also be soft.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import DataError

Floats = NDArray[np.float64]


def accuracy(y: ArrayLike, p: ArrayLike) -> float:
    """Share of rows whose predicted class is the true one; for soft truth, the expected share.

    Parameters
    ----------
    y : (n,) int or (n, k) float
        True classes, -1 = unknown (the row is left out), or rows of class probabilities.
    p : (n,) int or (n, k) float
        Predicted classes (-1 = abstained, always wrong) or probabilities, of which the largest counts.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    DataError
        If lengths differ, nothing is labelled, or a class is out of range.

    Examples
    --------
    >>> accuracy([0, 1, 1, -1], [0, 1, 0, 0])
    0.6666666666666666
    """
    return _score("accuracy", y, p)


def balanced_accuracy(y: ArrayLike, p: ArrayLike) -> float:
    """Mean over the classes that occur in `y` of their recall. Arguments as in `accuracy`.

    Examples
    --------
    >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    return _score("balanced_accuracy", y, p)


def f1_macro(y: ArrayLike, p: ArrayLike) -> float:
    """Mean over the classes that occur in `y` or `p` of their F1 = 2TP / (2TP + FP + FN). Arguments as in `accuracy`.

    Examples
    --------
    >>> round(f1_macro([0, 0, 1, 1], [0, 1, 1, 1]), 4)
    0.7333
    """
    return _score("f1_macro", y, p)


def f1_weighted(y: ArrayLike, p: ArrayLike) -> float:
    """Mean of the classes' F1, each weighted by how often the class occurs in `y`. Arguments as in `accuracy`.

    Examples
    --------
    >>> round(f1_weighted([0, 0, 0, 1], [0, 0, 1, 1]), 4)
    0.7667
    """
    return _score("f1_weighted", y, p)


def f1_binary(y: ArrayLike, p: ArrayLike) -> float:
    """F1 of class 1 of a two-class problem; 0 where class 1 neither occurs nor is predicted. Arguments as in `accuracy`.

    Examples
    --------
    >>> f1_binary([0, 0, 1, 1], [0, 1, 1, 1])
    0.8
    """
    return _score("f1_binary", y, p)


def matthews(y: ArrayLike, p: ArrayLike) -> float:
    """Matthews correlation of truth and prediction, in its K-class form (Gorodkin, 2004), in [-1, 1]; 0 where either is constant.

    Examples
    --------
    >>> round(matthews([0, 0, 1, 1], [0, 1, 1, 1]), 4)
    0.5774
    """
    return _score("matthews", y, p)


def log_loss(y: ArrayLike, p: ArrayLike) -> float:
    """Mean cross-entropy −Σ_c y_c log p_c in nats. Probabilities are clipped to float32's resolution so that the value stays finite.

    Parameters
    ----------
    y : (n,) int or (n, k) float
        True classes (-1 = unknown, left out) or soft truth.
    p : (n, k) float
        Probabilities, rows sum to 1.

    Examples
    --------
    >>> round(log_loss([0, 1], [[0.5, 0.5], [0.25, 0.75]]), 4)
    0.4904
    """
    return float(row_losses("log_loss", y, p).mean())


def brier(y: ArrayLike, p: ArrayLike) -> float:
    """Brier score (Brier, 1950): mean over rows of Σ_c (p_c − y_c)², in [0, 2]. Arguments as in `log_loss`.

    Examples
    --------
    >>> brier([0, 1], [[0.5, 0.5], [0.0, 1.0]])
    0.25
    """
    return float(row_losses("brier", y, p).mean())


def confusion_matrix(y: ArrayLike, p: ArrayLike, n_classes: int | None = None) -> Floats:
    """Count rows by (true class, predicted class); soft truth spreads its row over the true classes.

    Returns
    -------
    (k, k) float64
        Rows are the truth. Rows that abstained (p = -1) are not in it.

    Examples
    --------
    >>> confusion_matrix([0, 1, 1], [0, 1, 0])
    array([[1., 0.],
           [1., 1.]])
    """
    truth, predicted, k = aligned(y, p, n_classes)
    table = _tally(truth, predicted, k)
    return table[:k, :k]


# The stacked forms: tables (..., k + 1, k + 1), whose last column counts abstained predictions -> (...).


def _recall_parts(tables: Floats) -> tuple[Floats, Floats, Floats]:
    right = np.diagonal(tables, axis1=-2, axis2=-1)[..., :-1]
    return right, tables.sum(-1)[..., :-1], tables.sum(-2)[..., :-1]


def _accuracy(tables: Floats) -> Floats:
    right, true, _ = _recall_parts(tables)
    return right.sum(-1) / np.maximum(true.sum(-1), 1e-300)


def _balanced_accuracy(tables: Floats) -> Floats:
    right, true, _ = _recall_parts(tables)
    return _mean_where(right / np.maximum(true, 1e-300), true > 0)


def _f1_macro(tables: Floats) -> Floats:
    right, true, predicted = _recall_parts(tables)
    return _mean_where(2 * right / np.maximum(true + predicted, 1e-300), true + predicted > 0)


def _f1_weighted(tables: Floats) -> Floats:
    right, true, predicted = _recall_parts(tables)
    return (true * 2 * right / np.maximum(true + predicted, 1e-300)).sum(-1) / np.maximum(true.sum(-1), 1e-300)


def _f1_binary(tables: Floats) -> Floats:
    if tables.shape[-1] != 3:
        raise DataError(f"f1_binary needs two classes, not {tables.shape[-1] - 1}; use f1_macro")
    right, true, predicted = _recall_parts(tables)
    return 2 * right[..., 1] / np.maximum((true + predicted)[..., 1], 1e-300)


def _matthews(tables: Floats) -> Floats:
    right, total = np.diagonal(tables, axis1=-2, axis2=-1)[..., :-1].sum(-1), tables.sum((-2, -1))
    true, predicted = tables.sum(-1), tables.sum(-2)
    covariance = right * total - (true * predicted).sum(-1)
    spread = (total**2 - (true**2).sum(-1)) * (total**2 - (predicted**2).sum(-1))
    return np.where(spread > 0, covariance / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)


def _mean_where(values: Floats, present: NDArray[np.bool_]) -> Floats:
    return np.where(present, values, 0).sum(-1) / np.maximum(present.sum(-1), 1)


FROM_TABLES: dict[str, Callable[[Floats], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "f1_weighted": _f1_weighted,
    "f1_binary": _f1_binary,
    "matthews": _matthews,
}


def _score(metric: str, y: ArrayLike, p: ArrayLike) -> float:
    truth, predicted, k = aligned(y, p)
    return float(FROM_TABLES[metric](_tally(truth, predicted, k)))


def _tally(truth: NDArray[np.int64] | Floats, predicted: NDArray[np.int64], k: int) -> Floats:
    """Tables (k + 1, k + 1); the last row and column stand for -1."""
    table = np.zeros((k + 1, k + 1))
    columns = np.where(predicted < 0, k, predicted)
    if truth.ndim == 1:
        counts = np.bincount(truth.astype(np.int64) * (k + 1) + columns, minlength=(k + 1) ** 2)
        return counts.reshape(k + 1, k + 1).astype(np.float64)
    np.add.at(table.T, columns, np.pad(truth, ((0, 0), (0, 1))))
    return table


def row_losses(metric: str, y: ArrayLike, p: ArrayLike) -> Floats:
    """Loss of each labelled row, (n,), for "log_loss" or "brier", whose mean is the metric."""
    probabilities = np.asarray(p, dtype=np.float64)
    if probabilities.ndim != 2:
        raise DataError(f"{metric} needs probabilities of shape (n, k), not shape {probabilities.shape}; pass predict_proba's output")
    truth, _, k = aligned(y, probabilities)
    if truth.ndim == 1:
        probabilities = probabilities[known_rows(y)]
        truth = np.eye(k)[truth]
    if metric == "brier":
        return np.asarray(((probabilities - truth) ** 2).sum(1))
    smallest = float(np.finfo(np.float32).eps)
    return np.asarray(-(truth * np.log(np.clip(probabilities, smallest, 1.0))).sum(1))


def known_rows(y: ArrayLike) -> NDArray[np.bool_]:
    """Rows whose truth is known, (n,) bool: all of them for soft truth, those that are not -1 otherwise."""
    truth = np.asarray(y)
    return np.ones(len(truth), dtype=bool) if truth.ndim == 2 else truth >= 0


def aligned(y: ArrayLike, p: ArrayLike, n_classes: int | None = None) -> tuple[NDArray[np.int64] | Floats, NDArray[np.int64], int]:
    """Check truth and prediction against each other; return known truth, hard predictions of the same rows and the number of classes."""
    truth, prediction = np.asarray(y), np.asarray(p)
    for name, given in (("truth", truth), ("prediction", prediction)):
        if given.dtype.kind not in "biuf":
            raise DataError(f"{name} holds {given.dtype}, not numbers; pass class indices (n,) or probabilities (n, k)")
    if truth.ndim not in (1, 2) or prediction.ndim not in (1, 2) or len(truth) != len(prediction):
        raise DataError(f"truth of shape {truth.shape} and prediction of shape {prediction.shape} do not match; both need n rows")
    keep = known_rows(truth)
    if not keep.any():
        raise DataError(f"none of the {len(truth)} rows has a known label; -1 means unknown")
    if prediction.dtype.kind == "f" and np.isnan(prediction[keep]).any():
        row = int(np.flatnonzero(keep)[np.isnan(prediction[keep]).reshape(int(keep.sum()), -1).any(axis=1)][0])
        raise DataError(f"prediction is NaN in row {row}; every labelled row needs one")
    hard = prediction.argmax(1) if prediction.ndim == 2 else prediction
    for name, codes in (("truth", truth if truth.ndim == 1 else None), ("prediction", hard)):
        if codes is not None and not np.issubdtype(codes.dtype, np.integer) and not (codes == np.floor(codes)).all():
            raise DataError(f"{name} holds fractions; pass class indices (n,) or probabilities (n, k)")
    widths = [a.shape[1] for a in (truth, prediction) if a.ndim == 2]
    if len(set(widths)) > 1:
        raise DataError(f"truth has {widths[0]} classes and prediction {widths[1]}; they must match")
    known, hard = truth[keep], hard[keep].astype(np.int64)
    largest = max(int(known.max()) if known.ndim == 1 else 0, int(hard.max()))
    k = n_classes or (widths[0] if widths else max(largest + 1, 2))
    if largest >= k or int(hard.min()) < -1:
        raise DataError(f"class index {largest if largest >= k else int(hard.min())} is out of range for {k} classes")
    return (known.astype(np.int64) if known.ndim == 1 else known.astype(np.float64)), hard, k
