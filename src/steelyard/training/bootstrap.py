"""Bootstrapping: a chain of growing students, each taught by the one before, so that no step has to cross the whole gap.

Burns et al. 2023, "Weak-to-strong generalization": bootstrapping with intermediate model sizes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from steelyard.errors import ConfigError
from steelyard.targets import Targets
from steelyard.training.base import Student, load_student
from steelyard.training.rows import length_of, take_rows, training_rows


class BootstrapChain(Student):
    """Students in a row: the first learns from the targets, each next one, from its own start, from the soft labels of the one before.

    Parameters
    ----------
    students
        The models from the smallest to the largest; they stay as they are, copies learn.
    fresh
        Deal the rows to the students in equal parts at random, so that nobody labels what it was trained on; otherwise every student
        learns from all rows.
    seed
        Deals the rows, and is set as the `seed` of every student that has one.

    Attributes
    ----------
    students_
        The fitted students; the last one predicts.

    Raises
    ------
    ConfigError
        From `fit`: there is no student.

    Examples
    --------
    >>> from steelyard.training import SklearnStudent
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(300, 4))
    >>> targets = Targets.from_labels((x[:, 0] > 0).astype(int), classes=["no", "yes"])
    >>> chain = BootstrapChain([SklearnStudent(), SklearnStudent()]).fit(x, targets)
    >>> len(chain.students_), chain.predict(np.array([[3.0, 0, 0, 0]]))
    (2, array([1]))
    """

    def __init__(self, students: Sequence[Student], *, fresh: bool = False, seed: int = 0) -> None:
        self.students = students
        self.fresh = fresh
        self.seed = seed

    def fit(self, data: Any, targets: Targets) -> Self:
        """Learn from n rows of data and the targets of some of them; weights of rows stay with the rows."""
        if not self.students:
            raise ConfigError("BootstrapChain: there is no student; give the models from the smallest to the largest")
        used = training_rows(length_of(data), targets, student="BootstrapChain")
        parts = [np.arange(len(used.rows))] * len(self.students)
        if self.fresh:
            parts = np.array_split(np.random.default_rng(self.seed).permutation(len(used.rows)), len(self.students))
        self.students_: list[Student] = []
        for student, part in zip(self.students, parts, strict=True):
            rows = used.rows[part]
            taught = self.students_[-1].predict_proba(take_rows(data, rows)) if self.students_ else used.probabilities[part]
            copy = clone(student)
            if "seed" in copy.get_params(deep=False):
                copy.set_params(seed=self.seed)
            self.students_.append(copy.fit(data, Targets(taught, classes=used.classes, weights=used.weights[part], rows=rows)))
        self.classes_ = used.classes
        return self

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Return (n, k) probabilities of the last student."""
        self._check_fitted()
        return self.students_[-1].predict_proba(data)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write every student of the chain to a folder of its own, `1`, `2`, …"""
        self._check_fitted()
        for position, student in enumerate(self.students_, start=1):
            student.save(Path(folder) / str(position))
        self._describe(Path(folder), length=len(self.students_), fresh=self.fresh, seed=self.seed)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a chain that `save` wrote."""
        folder = Path(folder)
        content = cls._description(folder)
        students = [load_student(folder / str(position)) for position in range(1, content["length"] + 1)]
        chain = cls(students, fresh=content["fresh"], seed=content["seed"])
        chain.students_, chain.classes_ = students, tuple(content["classes"])
        return chain
