"""The row that a function sees."""

from __future__ import annotations

import polars as pl
import pytest

from steelyard.errors import SourceError
from steelyard.sources.rows import MissingColumn, Row, RowBatch

FRAME = pl.DataFrame({"text": ["a", "b", "c"], "n": [1, None, 3], "two words": [7, 8, 9], "keys": ["k", "l", "m"]})


def rows(frame: pl.DataFrame = FRAME) -> list[dict[str, object]]:
    return [{name: row[name] for name in row} for _, row in RowBatch.of(frame).visit()]


def test_attribute_and_item_access_agree() -> None:
    for position, row in RowBatch.of(FRAME).visit():
        assert (row.text, row["n"], row["two words"]) == (FRAME["text"][position], FRAME["n"][position], FRAME["two words"][position])


def test_rows_are_those_of_the_table() -> None:
    assert rows() == FRAME.to_dicts()


def test_a_column_named_like_a_method_is_still_the_column() -> None:
    assert [row.keys for _, row in RowBatch.of(FRAME).visit()] == ["k", "l", "m"]


def test_one_view_serves_all_rows() -> None:
    assert len({id(row) for _, row in RowBatch.of(FRAME).visit()}) == 1


def test_only_touched_columns_become_lists() -> None:
    batch = RowBatch.of(FRAME)
    for _, row in batch.visit():
        assert row.text
    assert list(batch.columns) == ["text"]


def test_slices_share_what_was_fetched_and_number_rows_of_the_whole() -> None:
    batch = RowBatch.of(FRAME)
    part = batch.slice(range(1, 3))
    assert [row.text for _, row in part.visit()] == ["b", "c"]
    assert part.first_row == 1
    assert batch.columns["text"] == ["a", "b", "c"]


def test_some_rows_can_be_skipped() -> None:
    assert [position for position, _ in RowBatch.of(FRAME).visit(frozenset({1}))] == [0, 2]


def test_a_missing_column_is_an_attribute_a_key_and_a_source_error_that_lists_the_columns() -> None:
    row: Row = RowBatch.of(FRAME).view()
    assert getattr(row, "body", None) is None
    assert row.get("body", "none") == "none"
    assert "body" not in row
    for kind in (AttributeError, KeyError, SourceError, MissingColumn):
        with pytest.raises(kind, match="no column 'body'; its columns are text, n, two words, keys"):
            row["body"]
