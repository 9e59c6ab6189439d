"""Answers: free texts that workers gave about tasks, one per line. What `Rover` and the models of embeddings aggregate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard.errors import DataError
from steelyard.label_models.long_tables import encode, read_columns


@dataclass(frozen=True, eq=False, repr=False)
class Answers:
    """a answers of m workers about T tasks.

    Attributes
    ----------
    tasks, workers : tuple of str
        Names, in order of appearance.
    task, worker : (a,) int64
        Positions among them.
    texts : tuple of str, length a
    confidences : polars.Series of length a, or None
        One number per answer, or a list with one number per word.

    Examples
    --------
    >>> Answers.from_table({"task": [1, 1], "worker": ["Ann", "Bo"], "text": ["a red cat", "a red bat"]})
    Answers(2 texts of 2 workers about 1 tasks)
    """

    tasks: tuple[str, ...]
    workers: tuple[str, ...]
    task: NDArray[np.int64]
    worker: NDArray[np.int64]
    texts: tuple[str, ...]
    confidences: pl.Series | None = None

    @staticmethod
    def from_table(table: Any, *, task: str = "task", worker: str = "worker", text: str = "text", confidence: str | None = None) -> Answers:
        """Read a table with one answer per line.

        Parameters
        ----------
        table : polars or pandas DataFrame, Arrow table, or dict of columns
        task, worker, text : str
            Names of the columns.
        confidence : str, optional
            Column of how sure each answer is, in [0, 1]: a number, or a list with one number per word.

        Raises
        ------
        DataError
            A column is missing or has an empty cell, or somebody answers a task twice.
        """
        columns = {"task": task, "worker": worker, "text": text} | ({"confidence": confidence} if confidence else {})
        frame = read_columns(table, "answers", **columns)
        twice = frame.filter(frame.select("task", "worker").is_duplicated())
        if twice.height:
            again = twice.row(0, named=True)
            raise DataError(f"worker '{again['worker']}' answered task '{again['task']}' more than once; keep one answer of each")
        tasks, of_task = encode(frame["task"])
        workers, by_worker = encode(frame["worker"])
        texts = tuple(frame["text"].cast(pl.String).to_list())
        return Answers(tasks, workers, of_task, by_worker, texts, frame["confidence"] if confidence else None)

    def of_each_task(self) -> list[NDArray[np.int64]]:
        """For every task the positions of its answers, in the order given."""
        order = np.argsort(self.task, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.task, minlength=len(self.tasks)))[:-1])

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"Answers({len(self):,} texts of {len(self.workers):,} workers about {len(self.tasks):,} tasks)"


def as_answers(answers: Answers | Any) -> Answers:
    """Answers, read from a table with the usual column names if need be."""
    return answers if isinstance(answers, Answers) else Answers.from_table(answers)


def known_texts(gold: Any) -> dict[str, str]:
    """The known text of each task, from a table with columns ``task`` and ``text``."""
    frame = read_columns(gold, "known texts", task="task", text="text")
    return dict(zip(frame["task"].cast(pl.String).to_list(), frame["text"].cast(pl.String).to_list(), strict=True))
