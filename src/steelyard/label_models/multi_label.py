"""MultiLabelVote: several labels may apply to one row, so each label is weighed as a question of its own, absent or present.

Any label model answers the questions (binary relevance: Tsoumakas and Katakis, "Multi-label classification: an overview", 2007).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, clone

from steelyard.errors import DataError, LabelModelError
from steelyard.label_models.base import LabelModel
from steelyard.label_models.long_tables import encode, read_columns
from steelyard.label_models.majority_vote import MajorityVote
from steelyard.votes import ABSTAIN, Votes

ABSENT, PRESENT = "absent", "present"


class MultiLabelVote(BaseEstimator):
    """One label model per label, all of the same kind: P(label l applies to row i) = P_l(present | votes on l in row i).

    Parameters
    ----------
    model : LabelModel, optional
        Cloned for every label; `MajorityVote()` when left out.

    Attributes
    ----------
    labels_, sources_ : tuple of str
    models_ : dict of str to LabelModel
        The fitted model of each label, with its own confusions, prior and convergence.
    accuracies_ : (L, m) float64
        Per label, the chance that a vote of each source is right; NaN where it never votes.
    label_prior_ : (L,) float64
        P(label applies).

    Examples
    --------
    >>> table = {"task": [1, 1, 1, 2], "worker": ["Ann", "Bo", "Cy", "Ann"], "labels": [["sea"], ["sea", "sky"], ["sea"], []]}
    >>> votes, tasks = multi_label_votes(table)
    >>> model = MultiLabelVote().fit(votes)
    >>> model.labels_, model.predict_proba(votes).round(2).tolist()
    (('sea', 'sky'), [[1.0, 0.33000001311302185], [0.0, 0.0]])
    """

    def __init__(self, model: LabelModel | None = None) -> None:
        self.model = model

    def fit(self, votes: Mapping[str, Votes], y: ArrayLike | None = None) -> Self:
        """Fit every label's model.

        Parameters
        ----------
        votes : mapping of label to Votes
            For each of the L labels the votes of the same m sources on the same n rows, with classes ``("absent", "present")``. A source
            may abstain on some labels of a row and vote on others.
        y : (n, L) int array, optional
            Gold: 1 = applies, 0 = does not, -1 = unknown, label by label.

        Raises
        ------
        LabelModelError
            When there are no labels, the votes on the labels do not fit together, or gold has another shape.
        """
        _check_together(votes)
        n, labels = next(iter(votes.values())).n_rows, tuple(votes)
        gold = None if y is None else np.asarray(y)
        if gold is not None and gold.shape != (n, len(labels)):
            raise LabelModelError(f"gold has shape {gold.shape}; give one column per label, ({n}, {len(labels)}), with -1 where unknown")
        template = MajorityVote() if self.model is None else self.model
        self.labels_, self.sources_ = labels, votes[labels[0]].sources
        self.models_: dict[str, LabelModel] = {
            label: clone(template).fit(votes[label], None if gold is None else gold[:, i]) for i, label in enumerate(labels)
        }
        self.accuracies_ = np.stack([model.accuracies_ for model in self.models_.values()])
        self.label_prior_ = np.array([model.class_prior_[1] for model in self.models_.values()])
        return self

    def predict_proba(self, votes: Mapping[str, Votes]) -> NDArray[np.float32]:
        """Probability (n, L) that each label applies, float32; a label that nobody voted on in a row gets its prior there."""
        self._check(votes)
        return np.stack([model.predict_proba(votes[label])[:, 1] for label, model in self.models_.items()], axis=1)

    def predict(self, votes: Mapping[str, Votes]) -> NDArray[np.bool_]:
        """Which labels apply, (n, L); ties are drawn by the label's prior, as in `LabelModel.predict`."""
        self._check(votes)
        return np.stack([model.predict(votes[label]) == 1 for label, model in self.models_.items()], axis=1)

    def _check(self, votes: Mapping[str, Votes]) -> None:
        if not hasattr(self, "models_"):
            raise LabelModelError("this MultiLabelVote is not fitted yet; call `fit` first")
        if tuple(votes) != self.labels_:
            raise LabelModelError(f"votes on labels {', '.join(votes)} do not match the labels fitted: {', '.join(self.labels_)}")
        _check_together(votes)


def multi_label_votes(
    table: Any,
    *,
    task: str = "task",
    worker: str = "worker",
    labels: str = "labels",
    asked: str | None = None,
    names: Sequence[str] = (),
) -> tuple[dict[str, Votes], pl.Series]:
    """Votes on every label, and the tasks in row order, from a long table with one answer (a set of labels) per line.

    Parameters
    ----------
    table : polars or pandas DataFrame, Arrow table, or dict of columns
    task, worker : str
        Columns of names.
    labels : str
        Column of lists: the labels that the worker says apply; an empty list says that none does.
    asked : str, optional
        Column of lists: the labels that the worker was asked about. On others he abstains; without this column on none.
    names : sequence of str
        All labels, where some were never given; otherwise those that occur, sorted.

    Raises
    ------
    DataError
        When columns are missing or not lists, a label is not among `names`, a worker gives a label that was not asked, or answers a
        task twice.
    """
    columns = {"task": task, "worker": worker, "labels": labels} | ({"asked": asked} if asked else {})
    frame = read_columns(table, "answers", **columns)
    given = _label_table(frame["labels"], labels)
    about = _label_table(frame["asked"], asked) if asked else given
    known = tuple(names) or tuple(sorted({*given["label"], *about["label"]}))
    if not known:
        raise DataError(f"column '{labels}' holds no label at all; give `names` to say which there are")
    found, code = encode(given["label"], known)
    if len(found) > len(known):
        raise DataError(f"column '{labels}' holds the label '{found[len(known)]}'; labels are {', '.join(known)}")
    _, row = encode(frame["task"])
    workers, column = encode(frame["worker"])
    tasks = frame["task"].unique(maintain_order=True)
    shape = (len(tasks), len(workers))
    cell = row * shape[1] + column
    if len(np.unique(cell)) < len(cell):
        twice = frame.filter(frame.select("task", "worker").is_duplicated()).row(0, named=True)
        raise DataError(f"worker '{twice['worker']}' answered task '{twice['task']}' more than once; keep one answer of each")

    by_label = _answers_by_label(given["answer"].to_numpy(), code, len(known))
    shown = None
    if asked:
        names_shown, code_shown = encode(about["label"], known)
        if len(names_shown) > len(known):
            raise DataError(f"column '{asked}' holds the label '{names_shown[len(known)]}'; labels are {', '.join(known)}")
        shown = _answers_by_label(about["answer"].to_numpy(), code_shown, len(known))
    votes = {}
    for i, name in enumerate(known):
        said = np.zeros(len(cell), dtype=np.int8)
        if shown is not None:
            said[:] = ABSTAIN
            said[shown[i]] = 0
            unasked = by_label[i][said[by_label[i]] < 0]
            if len(unasked):
                at = frame.row(int(unasked[0]), named=True)
                raise DataError(f"worker '{at['worker']}' gives task '{at['task']}' the label '{name}', which is not in column '{asked}'")
        said[by_label[i]] = 1
        votes[name] = Votes(_matrix(said, row, column, shape), classes=[ABSENT, PRESENT], sources=workers)
    return votes, tasks


def _label_table(column: pl.Series, name: str) -> pl.DataFrame:
    """Rows (answer, label), one for each label of each answer's list."""
    if not isinstance(column.dtype, pl.List):
        raise DataError(f"column '{name}' must hold lists of labels, got {column.dtype}; split the texts into lists first")
    answers = pl.Series("answer", np.arange(len(column)))
    exploded = pl.DataFrame({"answer": answers, "label": column.cast(pl.List(pl.String))}).explode("label").drop_nulls()
    return exploded.unique(maintain_order=True)


def _answers_by_label(answer: NDArray[np.int64], code: NDArray[np.int64], n_labels: int) -> list[NDArray[np.int64]]:
    """For each label, the answers that hold it."""
    order = np.argsort(code, kind="stable")
    return np.split(answer[order], np.cumsum(np.bincount(code, minlength=n_labels))[:-1])


def _matrix(said: NDArray[np.int8], row: NDArray[np.int64], column: NDArray[np.int64], shape: tuple[int, int]) -> Any:
    """Codes (n, m), sparse when under a tenth is filled."""
    spoken = said >= 0
    if spoken.sum() < 0.1 * shape[0] * shape[1]:
        return sparse.csr_array((said[spoken] + np.int8(1), (row[spoken], column[spoken])), shape=shape)
    codes = np.full(shape, ABSTAIN, dtype=np.int8, order="F")
    codes[row[spoken], column[spoken]] = said[spoken]
    return codes


def _check_together(votes: Mapping[str, Votes]) -> None:
    if not votes:
        raise LabelModelError("no labels to weigh; give votes on at least one label")
    first_name, first = next(iter(votes.items()))
    for name, part in votes.items():
        if part.n_classes != 2 or part.parents:
            raise LabelModelError(f"votes on label '{name}' have classes {', '.join(part.symbols)}; each label needs exactly two")
        if (part.n_rows, part.sources, part.classes) != (first.n_rows, first.sources, first.classes):
            raise LabelModelError(f"votes on labels '{first_name}' and '{name}' differ in rows, sources or classes; they must be the same")
