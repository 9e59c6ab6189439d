"""Any scikit-learn classifier as a student of probabilistic labels, without torch.

The expected loss under the targets, `sum_i w_i sum_k q_ik loss(x_i, k)`, is exactly the loss on rows replicated once per class with the
sample weights `w_i q_ik`: so every estimator that knows sample weights learns from soft labels.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter

from steelyard.errors import TrainingError
from steelyard.storage import atomic_path
from steelyard.targets import Targets
from steelyard.training.base import Student
from steelyard.training.rows import TrainingRows, length_of, matrix_of, take_rows, texts_of, training_rows

NEGLIGIBLE = 1e-6
"""A replicated row that weighs less than this (rows weigh 1 on average) is left out."""


class SklearnStudent(Student):
    """A scikit-learn classifier trained on probabilistic labels.

    Parameters
    ----------
    estimator
        A classifier or a pipeline that ends in one. By default TF-IDF of one and two words with logistic regression for texts, and
        standard scaling with logistic regression for numbers; for tables with missing numbers or strong interactions pass
        `HistGradientBoostingClassifier()`. An estimator without sample weights is trained on the hardened labels, with a warning.
    on
        Column of the texts; or the list of the numeric columns; or `None` to hand the data to the estimator as it is (for example a data
        frame to a `ColumnTransformer`). A two-dimensional array of numbers is always taken as features.

    Attributes
    ----------
    classes_
        (k,) names, in the order of the targets.
    estimator_
        The fitted pipeline.

    Raises
    ------
    TrainingError
        From `fit`: one class only, nothing to learn from, an estimator without `predict_proba`. From `save`: a pipeline that cannot be
        written without pickle.

    Notes
    -----
    Transformers of a pipeline see each row once, only the classifier sees the replicas. An estimator that cross-validates inside would
    find replicas of one row on both sides of its splits: harden the targets for those.

    Examples
    --------
    >>> targets = Targets([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9]], classes=["ham", "spam"])
    >>> student = SklearnStudent().fit(["see you", "buy now", "see me", "buy this"], targets)
    >>> student.predict_proba(["buy me"]).shape
    (1, 2)
    >>> student.predict(["buy me", "see you"])
    array([1, 0])
    """

    def __init__(self, estimator: Any = None, on: str | Sequence[str] | None = "text") -> None:
        self.estimator = estimator
        self.on = on

    def fit(self, data: Any, targets: Targets) -> Self:
        """Learn from `data` (n rows) and the targets of its rows; see `training_rows` for how they are matched."""
        inputs = self._inputs(data)
        used = training_rows(length_of(inputs), targets, student="SklearnStudent")
        x = take_rows(inputs, used.rows)
        pipeline = _as_pipeline(self.estimator, is_text=isinstance(inputs, list))
        self.estimator_ = _fit_soft(pipeline, x, used)
        self.classes_ = used.classes
        return self

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Return (n, k) probabilities in the targets' class order; a class that never occurred gets 0."""
        self._check_fitted()
        inputs = self._inputs(data)
        proba = np.zeros((length_of(inputs), len(self.classes_)), dtype=np.float32)
        if len(proba):
            proba[:, self.estimator_.classes_.astype(np.int64)] = self.estimator_.predict_proba(inputs)
        return proba

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the student as JSON and npz; possible for pipelines of TF-IDF, standard scaling and logistic regression."""
        self._check_fitted()
        steps: list[dict[str, Any]] = []
        arrays: dict[str, NDArray[Any]] = {}
        for position, (name, step) in enumerate(self.estimator_.steps):
            steps.append({"name": name, "class": type(step).__name__, **_state_of(step, position, arrays)})
        folder = Path(folder)
        with atomic_path(folder / "arrays.npz") as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **cast(Any, arrays))
        self._describe(folder, on=self.on, steps=steps)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a student that `save` wrote."""
        folder = Path(folder)
        content = cls._description(folder)
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            steps = [(step["name"], _restore(step, position, arrays)) for position, step in enumerate(content["steps"])]
        student = cls(estimator=Pipeline([(name, clone(step)) for name, step in steps]), on=content["on"])
        student.estimator_ = Pipeline(steps)
        student.classes_ = tuple(content["classes"])
        return student

    def _inputs(self, data: Any) -> Any:
        if isinstance(data, np.ndarray) and data.ndim == 2:
            return matrix_of(data)
        if self.on is None:
            return data
        return texts_of(data, self.on) if isinstance(self.on, str) else matrix_of(data, self.on)


def _as_pipeline(estimator: Any, *, is_text: bool) -> Pipeline:
    if estimator is None:
        first = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True) if is_text else StandardScaler()
        return make_pipeline(first, LogisticRegression(max_iter=1000))
    if not hasattr(estimator, "fit") or not hasattr(estimator, "predict_proba"):
        raise TrainingError(
            f"SklearnStudent: {type(estimator).__name__} has no predict_proba, so it cannot teach probabilities; "
            "choose another classifier or wrap it in CalibratedClassifierCV"
        )
    estimator = clone(estimator)
    return estimator if isinstance(estimator, Pipeline) else Pipeline([("classifier", estimator)])


def _fit_soft(pipeline: Pipeline, x: Any, used: TrainingRows) -> Pipeline:
    hard = used.probabilities.argmax(axis=1)
    *first, (name, classifier) = pipeline.steps
    try:
        if first:
            transformers = Pipeline(first)
            x = transformers.fit_transform(x, hard)
            first = transformers.steps
        if has_fit_parameter(classifier, "sample_weight"):
            rows, codes, weights = _replicate(used)
            classifier.fit(take_rows(x, rows), codes, sample_weight=weights)
        else:
            warnings.warn(
                f"{type(classifier).__name__} does not take sample weights: it is trained on the {len(hard)} hardened labels, "
                "and what the targets say about uncertainty is lost",
                stacklevel=3,
            )
            if len(np.unique(hard)) < 2:
                only = used.classes[hard[0]]
                raise TrainingError(f"SklearnStudent: all {len(hard)} hardened labels are '{only}'; use an estimator with sample weights")
            classifier.fit(x, hard)
    except TrainingError:
        raise
    except ValueError as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        if isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind == "f" and (lost := int((~np.isfinite(x)).any(axis=1).sum())):
            reason += f"; {lost} rows hold NaN or infinity: fill them or leave them out"
        raise TrainingError(f"SklearnStudent: {type(classifier).__name__} refused the data: {reason}") from error
    return Pipeline([*first, (name, classifier)])


def _replicate(used: TrainingRows) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    joint = used.probabilities.astype(np.float64) * used.weights[:, None]
    rows, codes = np.nonzero(joint > NEGLIGIBLE)
    return rows, codes, joint[rows, codes]


# The fitted attributes that `predict_proba` reads, per class that can be saved.
_ARRAYS: dict[type, tuple[str, ...]] = {
    TfidfVectorizer: ("idf_",),
    StandardScaler: ("mean_", "var_", "scale_"),
    LogisticRegression: ("coef_", "intercept_", "classes_", "n_iter_"),
}
_BY_NAME = {savable.__name__: savable for savable in _ARRAYS}


def _state_of(step: Any, position: int, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    attributes = _ARRAYS.get(type(step))
    if attributes is None:
        raise TrainingError(
            f"SklearnStudent: a {type(step).__name__} cannot be saved without pickle; savable are pipelines of {', '.join(_BY_NAME)}: "
            "use one of those, or keep the estimator with a tool of your own"
        )
    default = type(step)().get_params(deep=False)
    parameters = {name: value for name, value in step.get_params(deep=False).items() if value != default[name]}
    for name, value in parameters.items():
        flat = value if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(part, (str, int, float, bool)) for part in flat):
            raise TrainingError(f"SklearnStudent: {type(step).__name__}({name}={value!r}) cannot be saved; only texts and numbers can")
    for name in attributes:
        if getattr(step, name, None) is not None:
            arrays[f"{position}.{name}"] = np.asarray(getattr(step, name))
    content: dict[str, Any] = {"parameters": parameters, "features": int(getattr(step, "n_features_in_", 0))}
    if isinstance(step, TfidfVectorizer):
        content["vocabulary"] = sorted(step.vocabulary_, key=step.vocabulary_.__getitem__)
    return content


def _restore(step: dict[str, Any], position: int, arrays: Any) -> Any:
    savable = _BY_NAME.get(step["class"])
    if savable is None:
        raise TrainingError(f"SklearnStudent: the saved step '{step['class']}' is unknown; was it written by a newer version?")
    fitted = savable(**{name: tuple(value) if isinstance(value, list) else value for name, value in step["parameters"].items()})
    if "vocabulary" in step:
        fitted.vocabulary_ = {term: column for column, term in enumerate(step["vocabulary"])}
        fitted.fixed_vocabulary_ = False
    elif step["features"]:
        fitted.n_features_in_ = step["features"]
    for name in _ARRAYS[savable]:
        if f"{position}.{name}" in arrays:
            setattr(fitted, name, arrays[f"{position}.{name}"])
    return fitted
