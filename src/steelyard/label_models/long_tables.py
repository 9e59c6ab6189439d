"""Long crowd tables, one answer per line: columns are found and checked, names become codes. What the models without a vote matrix read."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard.errors import DataError


def read_columns(table: Any, what: str, **columns: str) -> pl.DataFrame:
    """The named columns of a table, under the keywords' names, none of them empty.

    Parameters
    ----------
    table : polars or pandas DataFrame, Arrow table, or dict of columns
    what : str
        What the table is called in messages.
    **columns : str
        Name to give = name in the table.

    Raises
    ------
    DataError
        When a column is missing or holds an empty cell, or there are no rows.

    Examples
    --------
    >>> read_columns({"who": ["Ann", "Bo"], "said": [1, 0]}, "answers", worker="who")["worker"].to_list()
    ['Ann', 'Bo']
    """
    frame = as_frame(table, what)
    for name in columns.values():
        if name not in frame.columns:
            raise DataError(f"table of {what} has no column '{name}'; columns are {', '.join(frame.columns)}")
    if frame.is_empty():
        raise DataError(f"table of {what} is empty; it needs at least one row")
    chosen = frame.select(**{key: pl.col(name) for key, name in columns.items()})
    for key, name in columns.items():
        if chosen[key].null_count():
            row = int(chosen[key].is_null().arg_max() or 0)
            raise DataError(f"column '{name}' of the table of {what} is empty in row {row}; fill it or drop the row")
    return chosen


def as_frame(table: Any, what: str) -> pl.DataFrame:
    """Any table as a polars frame.

    Examples
    --------
    >>> as_frame({"task": [1, 2]}, "answers").height
    2
    """
    try:
        return table if isinstance(table, pl.DataFrame) else pl.DataFrame(table)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(f"table of {what} cannot be read ({error}); give a DataFrame, an Arrow table or a dict of columns") from None


def as_names(values: pl.Series) -> pl.Series:
    """Names as strings; numbers are written out.

    Examples
    --------
    >>> as_names(pl.Series([7, 8])).to_list()
    ['7', '8']
    """
    try:
        return values.cast(pl.String)
    except pl.exceptions.PolarsError:
        raise DataError(f"column '{values.name}' holds values of type {values.dtype}; names must be strings or numbers") from None


def encode(values: pl.Series, known: tuple[str, ...] = ()) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Distinct names, `known` ones first and then in order of appearance, and the position of each value among them.

    Examples
    --------
    >>> encode(pl.Series(["b", "a", "b"]), known=("z",))
    (('z', 'b', 'a'), array([1, 2, 1]))
    """
    texts = as_names(values)
    names = pl.concat([pl.Series(known, dtype=pl.String), texts.rename("")]).unique(maintain_order=True)
    return tuple(names.to_list()), texts.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
