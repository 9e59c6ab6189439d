"""Linear probe after fine-tuning: a probe on the features of a model that was first fine-tuned on the same weak labels.

Burns et al. 2023, "Weak-to-strong generalization", appendix on linear probing: the features move towards the task, the head starts anew.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from steelyard.encoders import TextEncoder
from steelyard.targets import Targets
from steelyard.training.base import Student
from steelyard.training.probe import ProbeStudent
from steelyard.training.rows import texts_of
from steelyard.training.student import StudentTrainer


class ProbeAfter(Student):
    """A `ProbeStudent` on what a `StudentTrainer` made of its model.

    Parameters
    ----------
    student : StudentTrainer
        Fine-tuned first, `tune="full"` or `"lora"`.
    C
        Inverse strength of the probe's penalty.
    pooling
        Of the features: `"last"` for decoders, `"mean"` or `"cls"` for encoders.
    seed
        Set as the student's.

    Attributes
    ----------
    student_, probe_
        The fine-tuned model and the probe on its features, which predicts.

    Examples
    --------
    >>> ProbeAfter(StudentTrainer("minilm-offline", tune="lora"), C=0.1).pooling
    'mean'
    """

    def __init__(self, student: StudentTrainer, *, C: float = 1.0, pooling: Literal["mean", "cls", "last"] = "mean", seed: int = 0) -> None:
        self.student = student
        self.C = C
        self.pooling = pooling
        self.seed = seed

    def fit(self, data: Any, targets: Targets) -> Self:
        """Fine-tune on texts (n) and the targets of their rows, then fit the probe on the same."""
        self.student_: StudentTrainer = clone(self.student).set_params(seed=self.seed).fit(data, targets)
        self._folder = tempfile.TemporaryDirectory()
        self.student_.save(self._folder.name)
        self.probe_ = ProbeStudent(self._encoder(Path(self._folder.name)), C=self.C)
        self.probe_.fit(texts_of(data, self.student.on), targets)
        self.classes_ = self.probe_.classes_
        return self

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Return (n, k) probabilities of the probe."""
        self._check_fitted()
        return self.probe_.predict_proba(texts_of(data, self.student.on))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the fine-tuned model and the probe."""
        self._check_fitted()
        self.student_.save(Path(folder) / "fine-tuned")
        self.probe_.save(Path(folder) / "probe")
        self._describe(Path(folder), C=self.C, pooling=self.pooling, seed=self.seed)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote."""
        folder = Path(folder)
        content = cls._description(folder)
        student = StudentTrainer.load(folder / "fine-tuned")
        after = cls(student, C=content["C"], pooling=content["pooling"], seed=content["seed"])
        after.student_, after.probe_ = student, ProbeStudent.load(folder / "probe")
        after.probe_.encoder = after._encoder(folder / "fine-tuned")
        after.classes_ = tuple(content["classes"])
        return after

    def _encoder(self, folder: Path) -> TextEncoder:
        encoder = TextEncoder(str(folder / "model"), pooling=self.pooling, cache=False, progress=self.student.progress)
        encoder.max_length = self.student.max_length or encoder.max_length
        return encoder
