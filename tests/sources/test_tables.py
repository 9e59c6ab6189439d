"""Whatever users hand over becomes one polars table."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from steelyard.errors import DataError
from steelyard.sources.tables import as_table

COLUMNS = {"text": ["one", "two"], "likes": [1, 2]}


@pytest.mark.parametrize(
    "data",
    [
        pl.DataFrame(COLUMNS),
        pl.LazyFrame(COLUMNS),
        pd.DataFrame(COLUMNS),
        pa.table(COLUMNS),
        COLUMNS,
        [{"text": "one", "likes": 1}, {"text": "two", "likes": 2}],
    ],
    ids=["polars", "lazy", "pandas", "arrow", "columns", "rows"],
)
def test_every_kind_of_table_reads_the_same(data: object) -> None:
    assert as_table(data).equals(pl.DataFrame(COLUMNS))


def test_a_polars_table_is_not_copied() -> None:
    frame = pl.DataFrame(COLUMNS)
    assert as_table(frame) is frame


def test_strings_become_the_column_text() -> None:
    assert as_table(["one", "two"]).to_dict(as_series=False) == {"text": ["one", "two"]}


def test_rows_may_lack_keys() -> None:
    assert as_table([{"a": 1}, {"b": "x"}]).rows() == [(1, None), (None, "x")]


@pytest.mark.parametrize("data", [[], {"text": []}, pl.DataFrame({"text": []})])
def test_no_rows_is_an_error(data: object) -> None:
    with pytest.raises(DataError, match="no rows"):
        as_table(data)


@pytest.mark.parametrize(("data", "says"), [(7, "type int"), ("text", "type str"), ({"a": [1], "b": [1, 2, 3]}, "not a table")])
def test_anything_else_is_an_error(data: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        as_table(data)
