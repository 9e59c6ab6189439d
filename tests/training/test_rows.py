from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from steelyard.errors import DataError, TargetsError, TrainingError
from steelyard.targets import Targets
from steelyard.training.rows import matrix_of, texts_of, training_rows

TABLE = {"text": ["a", "b", "c"], "n": [1, 2, 3], "x": [0.5, 1.5, 2.5]}


@pytest.mark.parametrize(
    "data",
    [
        ["a", "b", "c"],
        np.array(["a", "b", "c"]).tolist(),
        TABLE,
        pl.DataFrame(TABLE),
        pd.DataFrame(TABLE),
        pa.table(TABLE),
        pl.Series(["a", "b", "c"]),
        pd.Series(["a", "b", "c"], index=[7, 8, 9]),
        np.array(["a", "b", "c"], dtype=object),
        [{"text": "a"}, {"text": "b"}, {"text": "c"}],
    ],
    ids=["list", "array", "dict", "polars", "pandas", "arrow", "series", "pandas series", "objects", "records"],
)
def test_texts_of_every_form_of_data(data):
    assert texts_of(data) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "data", [TABLE, pl.DataFrame(TABLE), pd.DataFrame(TABLE), pa.table(TABLE)], ids=["dict", "polars", "pandas", "arrow"]
)
def test_matrix_of_every_form_of_table(data):
    np.testing.assert_array_equal(matrix_of(data, ["x", "n"]), [[0.5, 1], [1.5, 2], [2.5, 3]])


def test_missing_column_names_those_there_are():
    with pytest.raises(DataError, match="no column 'body'; its columns are text, n, x"):
        texts_of(pl.DataFrame(TABLE), on="body")


def test_a_null_text_is_named_by_row():
    with pytest.raises(DataError, match="NoneType in row 1"):
        texts_of({"text": ["a", None]})
    with pytest.raises(DataError, match="NoneType in row 0"):
        texts_of([None, "a"])


def test_text_columns_are_no_features():
    with pytest.raises(DataError, match="not all numeric"):
        matrix_of(TABLE, ["text", "n"])


def test_filtered_targets_find_their_rows_and_zero_weights_leave():
    targets = Targets([[0.9, 0.1], [0.4, 0.6], [0.1, 0.9], [0.8, 0.2]], classes=["a", "b"], weights=[2.0, 1.0, 0.0, 4.0])
    used = training_rows(4, targets.filter(confidence=0.7), student="test")
    assert used.rows.tolist() == [0, 3]
    np.testing.assert_allclose(used.weights, [2 / 3, 4 / 3], rtol=1e-6)


def test_data_that_was_filtered_along_is_taken_as_it_lies():
    targets = Targets(np.eye(2)[[0, 1, 0, 1]], classes=["a", "b"]).take([2, 3])
    assert training_rows(2, targets, student="test").rows.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("length", "targets", "message"),
    [
        (0, Targets(np.zeros((0, 2)), classes=["a", "b"]), "nothing to learn from"),
        (3, Targets(np.zeros((0, 2)), classes=["a", "b"]), "nothing to learn from"),
        (2, Targets.from_labels([1, 1], classes=["a", "b"]), "all 2 training rows are labelled 'b'"),
        (2, Targets(np.eye(2), classes=["a", "b"], weights=[0, 0]), "weight 0"),
        (2, Targets.from_labels([0, 1, 1], classes=["a", "b"]), "2 rows of data but 3 rows of targets"),
        (2, np.eye(2), "pass Targets"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(length, targets, message):
    with pytest.raises(TrainingError, match=message):
        training_rows(length, targets, student="test")


def test_nan_probabilities_never_become_targets():
    with pytest.raises(TargetsError, match="row 1 is not a probability"):
        Targets([[0.5, 0.5], [np.nan, 0.5]], classes=["a", "b"])


def test_the_room_opens_without_torch_and_students_of_tables_never_need_it():
    code = "import sys, steelyard.training as t; t.SklearnStudent; t.select_confident; t.load_student; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
