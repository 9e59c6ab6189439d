"""Columns of the records that hold texts: checked once, copied and made read-only, each error naming record, column and row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import DataError


def set_field(record: Any, name: str, value: Any) -> None:
    """Set a field of a frozen dataclass while it is being made."""
    object.__setattr__(record, name, value)


def strings(values: Sequence[str], name: str, owner: str, length: int | None = None) -> tuple[str, ...]:
    """Return `values` as a tuple of strings of the given length, else raise `DataError`.

    Examples
    --------
    >>> strings(["a", "b"], "texts", "completions", 2)
    ('a', 'b')
    """
    if isinstance(values, str):
        raise DataError(f"{owner}: {name} is one string; give a list of strings")
    checked = tuple(values)
    for row, value in enumerate(checked):
        if not isinstance(value, str):
            raise DataError(f"{owner}: {name}[{row}] is {type(value).__name__}, not text; use '' for nothing")
    if length is not None and len(checked) != length:
        raise DataError(f"{owner}: {length} prompts but {len(checked)} {name}; give one per prompt")
    return checked


def row_numbers(rows: ArrayLike | None, length: int, owner: str) -> NDArray[np.int64]:
    """Return `rows` (n,) as non-negative int64, ``0 … n-1`` where there are none, else raise `DataError`.

    Examples
    --------
    >>> row_numbers(None, 3, "completions")
    array([0, 1, 2])
    """
    checked = column(np.arange(length) if rows is None else rows, np.int64, length, "rows", owner)
    if (checked < 0).any():
        raise DataError(f"{owner}: rows[{int(np.flatnonzero(checked < 0)[0])}] is negative; rows are indices of questions from 0")
    return checked


def column(values: ArrayLike, dtype: Any, length: int, name: str, owner: str) -> NDArray[Any]:
    """Return a read-only copy of `values` (n,) in `dtype`, else raise `DataError`.

    Examples
    --------
    >>> column([1, 0], np.bool_, 2, "finished", "completions")
    array([ True, False])
    """
    given = np.asarray(values)
    kinds = {"b": "b" + "iu" * (dtype is np.bool_), "i": "iu", "f": "fiu"}[np.dtype(dtype).kind]
    if given.shape != (length,) or (length and given.dtype.kind not in kinds):
        raise DataError(f"{owner}: {name} must be {length} values of type {np.dtype(dtype)}, got shape {given.shape} of {given.dtype}")
    checked = given.astype(dtype)
    checked.flags.writeable = False
    return checked
