"""Whatever users hand over becomes one polars table."""

from __future__ import annotations

import numpy as np
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


@pytest.mark.parametrize(
    "texts",
    [
        ("one", "two"),
        pd.Series(["one", "two"], index=[7, 8]),
        pd.Series(["one", "two"], name="text"),
        np.array(["one", "two"]),
        pl.Series(["one", "two"]),
    ],
    ids=["tuple", "pandas", "named", "numpy", "polars"],
)
def test_a_column_of_strings_is_text(texts: object) -> None:
    assert as_table(texts).to_dict(as_series=False) == {"text": ["one", "two"]}


def test_a_named_column_keeps_its_name() -> None:
    assert as_table(pd.Series(["one"], name="body")).columns == ["body"]


def test_a_missing_text_is_a_null() -> None:
    assert as_table(["one", None]).to_dict(as_series=False) == {"text": ["one", None]}


def test_a_hugging_face_data_set_is_a_table() -> None:
    datasets = pytest.importorskip("datasets")
    assert as_table(datasets.Dataset.from_dict(COLUMNS)).equals(pl.DataFrame(COLUMNS))


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
