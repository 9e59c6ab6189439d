"""Slices and what a model does on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, recall_score

from steelyard.errors import SourceError
from steelyard.sources import slice_metrics, slicing_function

TEXTS = ["a", "bb", "ccc", "dddd"]


@slicing_function
def short(row: Any) -> bool:
    return len(row.text) < 3


@slicing_function(batch=True, name="starts with d")
def starts(table: pl.DataFrame) -> pl.Series:
    return table["text"].str.starts_with("d")


@slicing_function
def never(row: Any) -> None:
    return None


def test_masks_of_rows_and_tables() -> None:
    assert short.mask(TEXTS).tolist() == [True, True, False, False]
    assert starts.mask(TEXTS).tolist() == [False, False, False, True]
    assert not never.mask(TEXTS).any()


def test_every_slice_and_the_whole_get_their_metrics() -> None:
    y, predictions = [0, 1, 1, 0], [0, 0, 1, 1]
    table = slice_metrics([short, starts, never], TEXTS, y, predictions)
    assert table.rows() == [("overall", 4, 0.5), ("short", 2, 0.5), ("starts with d", 1, 0.0), ("never", 0, None)]


def test_metrics_may_be_any_callables_also_of_probabilities() -> None:
    y, probabilities = np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.5, 0.5]])
    table = slice_metrics([short], TEXTS, y, probabilities, metric={"log loss": lambda a, b: log_loss(a, b, labels=[0, 1])})
    assert table["log loss"].to_list() == pytest.approx([-np.log([0.9, 0.6, 0.8, 0.5]).mean(), -np.log([0.9, 0.6]).mean()])
    assert slice_metrics([short], TEXTS, y, probabilities.argmax(1), metric=recall_score).columns == ["slice", "n", "recall_score"]


def test_a_measurement_never_skips_rows() -> None:
    with pytest.raises(SourceError, match="slice 'broken' failed on row 2: ZeroDivisionError"):
        slicing_function(name="broken")(lambda row: 1 / (len(row.text) - 3)).mask(TEXTS)
    with pytest.raises(SourceError, match="1 answers for 4 rows"):
        slicing_function(name="one", batch=True)(lambda table: [True]).mask(TEXTS)


def test_mistakes_are_named() -> None:
    with pytest.raises(SourceError, match="3 labels for 4 rows"):
        slice_metrics([short], TEXTS, [0, 1, 1], [0, 0, 1, 1])
    with pytest.raises(SourceError, match="two slices are named 'short'"):
        slice_metrics([short, short], TEXTS, [0] * 4, [0] * 4)
