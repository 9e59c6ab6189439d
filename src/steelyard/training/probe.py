"""A probe: logistic regression on the frozen features of an encoder, exact and free of seeds.

Texts are embedded once (`TextEncoder` keeps the features on disk), so a sweep over targets or penalties embeds nothing again. The
linear probe of Alain and Bengio 2017, trained on probabilistic labels.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from steelyard.encoders import TextEncoder
from steelyard.errors import TrainingError
from steelyard.storage import atomic_path
from steelyard.targets import Targets
from steelyard.training.base import Student
from steelyard.training.logistic import soft_logistic_regression
from steelyard.training.rows import length_of, matrix_of, texts_of, training_rows


class ProbeStudent(Student):
    """Logistic regression on frozen features.

    Parameters
    ----------
    encoder
        Anything with `encode(texts) -> (n, d)`, usually a `TextEncoder`. `None` where the data are feature rows already.
    C
        Inverse strength of the L2 penalty, as in scikit-learn's `LogisticRegression`; smaller trusts the labels less.
    label_smoothing
        Share in [0, 1) of each target that is spread evenly over the classes.
    tol
        Largest entry of the gradient of the mean loss at the solution.
    on
        Column of the texts where data is a table. Two-dimensional arrays of numbers are taken as features and bypass the encoder.

    Attributes
    ----------
    coef_, intercept_
        (k, d) and (k,); the intercept of a class that never occurred is -inf.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 5))
    >>> p = 1 / (1 + np.exp(-3 * x[:, 0]))
    >>> probe = ProbeStudent().fit(x, Targets(np.column_stack([1 - p, p]), classes=["low", "high"]))
    >>> probe.predict(np.array([[-2.0, 0, 0, 0, 0], [2.0, 0, 0, 0, 0]]))
    array([0, 1])
    """

    def __init__(
        self,
        encoder: Any = None,
        *,
        C: float = 1.0,
        label_smoothing: float = 0.0,
        tol: float = 1e-6,
        max_iter: int = 2000,
        on: str = "text",
    ) -> None:
        self.encoder = encoder
        self.C = C
        self.label_smoothing = label_smoothing
        self.tol = tol
        self.max_iter = max_iter
        self.on = on

    def fit(self, data: Any, targets: Targets) -> Self:
        """Learn from texts or feature rows (n) and the targets of their rows.

        Raises
        ------
        TrainingError
            One class only, nothing to learn from, features that are not finite.
        """
        inputs = _inputs(data, self.on)
        used = training_rows(length_of(inputs), targets, student=type(self).__name__)
        features = features_of(self.encoder, inputs, used.rows)
        k = len(used.classes)
        smoothed = (1 - self.label_smoothing) * used.probabilities + self.label_smoothing / k
        self.coef_, self.intercept_ = soft_logistic_regression(
            features, smoothed, used.weights, C=self.C, tol=self.tol, max_iter=self.max_iter
        )
        self.classes_ = used.classes
        return self

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Return (n, k) probabilities in the targets' class order."""
        self._check_fitted()
        features = features_of(self.encoder, _inputs(data, self.on))
        if features.shape[1] != self.coef_.shape[1]:
            raise TrainingError(f"ProbeStudent: rows have {features.shape[1]} features, it was trained on {self.coef_.shape[1]}")
        return np.asarray(softmax(features @ self.coef_.T + self.intercept_, axis=1), dtype=np.float32)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write coefficients (npz) and description (JSON); of the encoder only its name and settings."""
        self._check_fitted()
        with atomic_path(Path(folder) / "arrays.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, coef=self.coef_, intercept=self.intercept_)
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name != "encoder"}
        self._describe(Path(folder), encoder=describe_encoder(self.encoder), parameters=parameters)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a probe that `save` wrote; an encoder of your own class must be set again as `probe.encoder`."""
        folder = Path(folder)
        content = cls._description(folder)
        probe = cls(restore_encoder(content["encoder"]), **content["parameters"])
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            probe.coef_, probe.intercept_ = arrays["coef"], arrays["intercept"]
        probe.classes_ = tuple(content["classes"])
        return probe


def features_of(encoder: Any, inputs: Any, rows: NDArray[np.int64] | None = None) -> NDArray[np.floating[Any]]:
    """Return the features (n, d) of texts through `encoder`, or feature rows as they are; of the given rows only.

    Raises
    ------
    TrainingError
        Texts without an encoder, or features that are not finite.

    Examples
    --------
    >>> features_of(None, np.eye(3), np.array([1]))
    array([[0., 1., 0.]])
    """
    if isinstance(inputs, np.ndarray):
        features = inputs if rows is None else inputs[rows]
    elif encoder is None:
        raise TrainingError("these are texts, but the probe has no encoder; pass encoder=TextEncoder(...) or rows of features")
    else:
        features = np.asarray(encoder.encode(inputs if rows is None else [inputs[row] for row in rows]))
    if not np.isfinite(features).all():
        first = int((~np.isfinite(features)).any(axis=1).argmax())
        raise TrainingError(f"row {first} of the features is not finite; fill or drop missing values")
    return features


def describe_encoder(encoder: Any) -> dict[str, Any] | None:
    """What must be written down to make the same `TextEncoder` again; `None` for anything else.

    Examples
    --------
    >>> describe_encoder(TextEncoder("minilm-offline"))["pooling"]
    'mean'
    """
    if not isinstance(encoder, TextEncoder):
        return None
    return {name: getattr(encoder, name) for name in ("name", "pooling", "max_length", "revision", "batch_size")}


def restore_encoder(description: dict[str, Any] | None) -> TextEncoder | None:
    """The encoder of `describe_encoder`.

    Examples
    --------
    >>> restore_encoder(describe_encoder(TextEncoder("minilm-offline")))
    TextEncoder('minilm-offline', pooling='mean', max_length=256)
    """
    return None if description is None else TextEncoder(**description)


def _inputs(data: Any, on: str) -> Any:
    return matrix_of(data) if isinstance(data, np.ndarray) and data.ndim == 2 else texts_of(data, on)
