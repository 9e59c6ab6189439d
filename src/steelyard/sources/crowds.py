"""Crowds: every annotator of a long table of answers is a source, beside rules and models.

When there is nothing but the crowd, ``Votes.from_long`` reads the table directly.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from steelyard.errors import SourceError
from steelyard.sources.base import Source, SourceVotes, check_columns
from steelyard.sources.tables import as_table


def crowd(table: Any, *, task: str = "task", worker: str = "worker", label: str = "label", on: str | None = None) -> list[Source]:
    """Return one source per worker, in the order of first appearance.

    Parameters
    ----------
    table : table
        One answer per line: who (``worker``) said what (``label``) about which item (``task``). When somebody answers an item again, the
        last answer counts. Lines without a label are ignored.
    task, worker, label : str
        Names of these columns.
    on : str, optional
        The column of the data that holds the items' keys; the same as ``task`` by default.

    Raises
    ------
    SourceError
        When the table lacks one of the columns.

    Examples
    --------
    >>> answers = {"task": ["a", "b", "a"], "worker": ["Ann", "Ann", "Bo"], "label": ["duck", "goose", "duck"]}
    >>> from steelyard.sources.apply import apply
    >>> votes = apply(crowd(answers), {"task": ["b", "a"]})
    >>> votes.sources, votes.classes, votes.codes.tolist()
    (('Ann', 'Bo'), ('duck', 'goose'), [[1, -1], [0, 0]])
    """
    answers = as_table(table)
    for column in (task, worker, label):
        if column not in answers.columns:
            raise SourceError(f"the crowd's table lacks the column {column!r}; its columns are {', '.join(answers.columns)}")
    answers = answers.select(task=task, worker=pl.col(worker).cast(pl.String), label=pl.col(label).cast(pl.String)).drop_nulls()
    labels = tuple(answers["label"].unique().sort())
    answers = answers.unique(["task", "worker"], keep="last", maintain_order=True)
    by_worker = answers.partition_by("worker", maintain_order=True, as_dict=True)
    return [WorkerSource(str(name), part["task"], part["label"], labels=labels, on=on or task) for (name,), part in by_worker.items()]


class WorkerSource(Source):
    """The answers of one worker as a source; made by ``crowd``."""

    def __init__(self, name: str, tasks: pl.Series, answers: pl.Series, *, labels: tuple[str, ...], on: str = "task") -> None:
        self.name, self.labels, self.on = name, labels, on
        self.needs = (on,)
        codes = answers.replace_strict(labels, range(len(labels)), return_dtype=pl.Int32)
        self._answers = pl.DataFrame({on: tasks, "code": codes})

    def vote(self, batch: pl.DataFrame) -> SourceVotes:
        """Look up the worker's answer to each item; no answer is an abstention."""
        check_columns(self.name, self.needs, batch.columns)
        keys = batch.select(pl.col(self.on))
        if keys[self.on].dtype != self._answers[self.on].dtype:
            raise SourceError(
                f"source {self.name!r}: keys in the data's column {self.on!r} are of type {keys[self.on].dtype}, "
                f"those of the crowd's table of type {self._answers[self.on].dtype}; cast one of them"
            )
        answers = self._answers.rename({"code": "__code"})
        codes = keys.join(answers, on=self.on, how="left", maintain_order="left")["__code"].fill_null(-1)
        return SourceVotes(codes.to_numpy(), self.labels or ())
