"""From what a user hands in to what a student reads: texts or feature rows, matched with the rows of the targets and checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard.errors import DataError, TrainingError
from steelyard.targets import Targets


@dataclass(frozen=True)
class TrainingRows:
    """The rows to learn from: `rows` (r,) of the data, their `probabilities` (r, k) and `weights` (r,), mean 1."""

    rows: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    weights: NDArray[np.float32]
    classes: tuple[str, ...]


def training_rows(length: int, targets: Targets, *, student: str) -> TrainingRows:
    """Match `targets` with data of `length` rows; rows of weight zero are left out, weights are scaled to mean 1.

    `targets.rows` says which rows of the data the targets belong to (after `filter`, some of them); data that was filtered along with
    the targets, and so has as many rows as they, is taken as it lies.

    Raises
    ------
    TrainingError
        Nothing to learn from: no rows, one class only, no positive weight, or lengths that do not fit.

    Examples
    --------
    >>> targets = Targets.from_labels(np.array([0, 1, 1]), classes=["no", "yes"])
    >>> training_rows(3, targets, student="demo").weights
    array([1., 1., 1.], dtype=float32)
    """
    if not isinstance(targets, Targets):
        found = type(targets).__name__
        raise TrainingError(f"{student}: targets are a {found}; pass Targets, for example Targets.from_labels(y, classes=[...])")
    probabilities, weights = targets.probabilities, targets.weights
    if length == 0 or len(probabilities) == 0:
        raise TrainingError(f"{student}: there is nothing to learn from ({length} rows of data, {len(probabilities)} rows of targets)")
    rows = _positions(length, targets, student)
    used = weights > 0
    if not used.any():
        raise TrainingError(f"{student}: every row of the targets has weight 0; there is nothing to learn from")
    rows, probabilities, weights = rows[used], probabilities[used], weights[used]
    present = np.flatnonzero(probabilities.max(axis=0) > 0)
    if len(present) < 2:
        name = targets.classes[int(present[0])]
        raise TrainingError(f"{student}: all {len(rows)} training rows are labelled '{name}'; a classifier needs at least two classes")
    return TrainingRows(rows, probabilities, weights / weights.mean(dtype=np.float64).astype(np.float32), tuple(targets.classes))


def texts_of(data: Any, on: str = "text") -> list[str]:
    """Return the texts of `data`: a list of strings, or column `on` of a table (polars, pandas, Arrow, dict of columns, list of dicts).

    Raises
    ------
    DataError
        The column is missing or a cell is no text.

    Examples
    --------
    >>> texts_of({"text": ["a", "b"], "likes": [1, 2]})
    ['a', 'b']
    """
    column = list(data) if _is_list_of_texts(data) else list(column_of(data, on))
    for row, text in enumerate(column):
        if not isinstance(text, str):
            raise DataError(f"column '{on}' holds {type(text).__name__} in row {row}, not text; fill or drop such rows first")
    return column


def matrix_of(data: Any, on: Sequence[str] | None = None) -> NDArray[np.floating[Any]]:
    """Return the numeric rows (n, d) of `data`: an array as it is, or the columns `on` of a table.

    Raises
    ------
    DataError
        A column is missing or not numeric, or the array is not two-dimensional.

    Examples
    --------
    >>> matrix_of({"age": [20, 30], "height": [1.6, 1.8]}, on=["age", "height"])
    array([[20. ,  1.6],
           [30. ,  1.8]])
    """
    if isinstance(data, np.ndarray):
        if data.ndim != 2 or data.dtype.kind not in "fiub":
            raise DataError(f"the feature array has shape {data.shape} and type {data.dtype}; give numbers of shape (rows, features)")
        return data if data.dtype.kind == "f" else data.astype(np.float64)
    if not on:
        raise DataError(f"data is a {type(data).__name__}; say which columns hold the features with on=[...]")
    try:
        return np.column_stack([np.asarray(column_of(data, name), dtype=np.float64) for name in on])
    except (TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the columns {list(on)} are not all numeric ({error}); encode them first or leave them out") from None


def take_rows(data: Any, rows: NDArray[np.int64]) -> Any:
    """Return the given rows of a list, array, sparse matrix or data frame, in the same form.

    Examples
    --------
    >>> take_rows(["a", "b", "c"], np.array([2, 0]))
    ['c', 'a']
    """
    if hasattr(data, "iloc"):
        return data.iloc[rows]
    if isinstance(data, (list, tuple)):
        return [data[row] for row in rows]
    return data[rows]


def length_of(data: Any) -> int:
    """Number of rows of an array, sparse matrix, data frame or list.

    Examples
    --------
    >>> length_of(np.zeros((3, 2)))
    3
    """
    return int(data.shape[0]) if hasattr(data, "shape") else len(data)


def _positions(length: int, targets: Targets, student: str) -> NDArray[np.int64]:
    if int(targets.rows.max()) < length:
        return targets.rows
    if len(targets) != length:
        raise TrainingError(
            f"{student}: {length} rows of data but {len(targets)} rows of targets for them; pass the data they were made from"
        )
    return np.arange(length, dtype=np.int64)


def _is_list_of_texts(data: Any) -> bool:
    if isinstance(data, pl.Series) or getattr(data, "ndim", 0) == 1:  # NumPy, pandas
        return True
    return isinstance(data, Sequence) and not isinstance(data, str) and (len(data) == 0 or not isinstance(data[0], Mapping))


def column_of(data: Any, name: str) -> Any:
    """Return one column of a table: polars, pandas, Arrow, dict of columns, or list of dicts.

    Raises
    ------
    DataError
        There is no such column.

    Examples
    --------
    >>> column_of([{"text": "a"}, {"text": "b"}], "text")
    ['a', 'b']
    """
    if isinstance(data, str) or data is None:
        raise DataError(f"data is a {type(data).__name__}; give a list of texts or a table with a column '{name}'")
    if isinstance(data, Sequence):
        missing = next((row for row, record in enumerate(data) if not isinstance(record, Mapping) or name not in record), None)
        if missing is not None:
            raise DataError(f"row {missing} of data has no field '{name}'; give records that all have it, or name the column with on=")
        return [record[name] for record in data]
    names = list(data) if isinstance(data, Mapping) else list(getattr(data, "column_names", getattr(data, "columns", [])))
    if name not in names:
        raise DataError(f"data has no column '{name}'; its columns are {', '.join(map(str, names)) or 'none'}: name one with on=")
    column = data[name]
    return column.to_pylist() if hasattr(column, "to_pylist") else column
