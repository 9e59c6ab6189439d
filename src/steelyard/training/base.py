"""What every student has in common: the classes it learned, hard predictions, and a folder it can be saved to and read from."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from steelyard.errors import TrainingError
from steelyard.storage import read_json, write_json
from steelyard.targets import Targets

DESCRIPTION = "student.json"
"""The file of a saved student that says what it is; it is written last."""

_MODULES = {
    "SklearnStudent": "sklearn_student",
    "ProbeStudent": "probe",
    "HeadStudent": "head",
    "StudentTrainer": "student",
    "TokenStudent": "token_student",
    "BootstrapChain": "bootstrap",
    "ProbeAfter": "probe_after",
    **dict.fromkeys(("ASTRA", "COSINE", "DenoisingAttention", "ImplyLoss", "WeaSEL"), "joint"),
}


class Student(BaseEstimator, ABC):
    """Base of the students: `fit`, `predict_proba`, `predict`, `save`, `load`.

    Attributes
    ----------
    classes_
        (k,) names in the order of the columns of `predict_proba`: the order of the targets' classes.
    """

    classes_: tuple[str, ...]

    @abstractmethod
    def fit(self, data: Any, targets: Targets) -> Self:
        """Learn from `data` (n rows) and `targets` (n rows); returns the student itself."""

    @abstractmethod
    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Return (n, k) class probabilities, rows sum to 1."""

    def predict(self, data: Any) -> NDArray[np.int64]:
        """Return (n,) indices of the most probable class; the first of equals."""
        return np.asarray(self.predict_proba(data).argmax(axis=1), dtype=np.int64)

    @abstractmethod
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the fitted student to `folder` (JSON, npz, safetensors; nothing pickled)."""

    @classmethod
    @abstractmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a student that `save` wrote."""

    def _check_fitted(self) -> None:
        if not hasattr(self, "classes_"):
            raise TrainingError(f"this {type(self).__name__} has learned nothing yet; call fit(data, targets) or load(folder) first")

    def _describe(self, folder: Path, **content: Any) -> None:
        write_json(folder / DESCRIPTION, {"kind": type(self).__name__, "classes": list(self.classes_), **content})

    @classmethod
    def _description(cls, folder: Path) -> dict[str, Any]:
        content = read_json(folder / DESCRIPTION)
        if not isinstance(content, dict) or content.get("kind") != cls.__name__:
            found = content.get("kind") if isinstance(content, dict) else None
            raise TrainingError(f"'{folder}' holds a {found or 'file of another kind'}, not a {cls.__name__}; use load_student(folder)")
        return content


def load_student(folder: str | os.PathLike[str]) -> Student:
    """Read any saved student, whatever its class.

    Raises
    ------
    DataError
        The folder holds no whole `student.json`.
    TrainingError
        The student's class is unknown.

    Examples
    --------
    >>> import tempfile
    >>> from steelyard.targets import Targets
    >>> from steelyard.training import SklearnStudent
    >>> targets = Targets.from_labels(np.array([0, 1, 0, 1]), classes=["ham", "spam"])
    >>> student = SklearnStudent().fit(["see you", "buy now", "see me", "buy this"], targets)
    >>> folder = tempfile.mkdtemp()
    >>> student.save(folder)
    >>> load_student(folder).predict(["buy me"])
    array([1])
    """
    content = read_json(Path(folder) / DESCRIPTION)
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind not in _MODULES:
        raise TrainingError(f"'{folder}' holds a student of the unknown kind {kind!r}; known are {', '.join(_MODULES)}")
    student_class: type[Student] = getattr(import_module(f"steelyard.training.{_MODULES[kind]}"), kind)
    return student_class.load(folder)
