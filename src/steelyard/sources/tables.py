"""What users hand over as data, as one polars table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from steelyard.errors import DataError


def as_table(data: Any) -> pl.DataFrame:
    """Return ``data`` as a polars table with at least one row.

    Parameters
    ----------
    data : table, mapping or sequence
        A polars, pandas, Arrow or Hugging Face table, a mapping of columns, a sequence or column of str or None (``text`` where it has no
        name), or a sequence of mappings (rows).

    Raises
    ------
    DataError
        When there is no row, or the data is none of these.

    Examples
    --------
    >>> as_table(["one", "two"]).columns, as_table([{"a": 1}]).columns, as_table({"b": [1, 2]}).height
    (['text'], ['a'], 2)
    """
    try:
        frame = _table(data)
    except (TypeError, pl.exceptions.PolarsError) as error:  # columns of different lengths, values of mixed types
        raise DataError(f"the data is not a table: {error}") from error
    if frame.height == 0:
        raise DataError("the data has no rows; give at least one")
    return frame


def _table(data: Any) -> pl.DataFrame:
    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if isinstance(data, pl.Series):
        return data.to_frame() if data.name else data.to_frame("text")
    if isinstance(data, Mapping):
        return pl.DataFrame(dict(data))
    if isinstance(data, np.ndarray) and data.ndim == 1:
        return _table(data.tolist())
    if getattr(data, "ndim", 2) == 1:  # one column of a pandas table
        return _table(pl.Series("" if data.name is None else str(data.name), data))
    if hasattr(data, "to_polars"):  # Hugging Face
        return _table(data.to_polars())
    if hasattr(data, "__arrow_c_stream__"):  # pandas, pyarrow, duckdb and every other table of the Arrow world
        table = pl.from_arrow(data) if "pyarrow" in type(data).__module__ else pl.DataFrame(data)
        return table if isinstance(table, pl.DataFrame) else table.to_frame("text")
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        if all(isinstance(item, str | None) for item in data):
            return pl.DataFrame({"text": list(data)}, schema={"text": pl.String})
        if all(isinstance(item, Mapping) for item in data):
            return pl.DataFrame([dict(item) for item in data], infer_schema_length=None)
    raise DataError(
        f"cannot read data of type {type(data).__name__}; give a polars, pandas or Arrow table, a dict of columns, a list of str or of dict"
    )
