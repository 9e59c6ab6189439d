from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steelyard import Targets
from steelyard.errors import DataError, TargetsError


def test_round_trip(tmp_path: Path) -> None:
    targets = Targets([[0.25, 0.75], [1, 0]], classes=["HAM", "SPAM"], weights=[1, 0.5], rows=[4, 9])
    targets.to_parquet(tmp_path / "t.parquet")
    again = Targets.from_parquet(tmp_path / "t.parquet")
    assert again.classes == targets.classes
    for name in ("probabilities", "weights", "rows"):
        np.testing.assert_array_equal(getattr(again, name), getattr(targets, name))


def test_hard_ties_go_to_the_more_probable_class_overall() -> None:
    assert Targets([[0.5, 0.5], [0.1, 0.9]], classes=["a", "b"]).harden().tolist() == [1, 1]


def test_labels_leave_out_the_unknown() -> None:
    targets = Targets.from_labels([1, -1, 0], ["a", "b"])
    assert targets.rows.tolist() == [0, 2]
    assert targets.probabilities.tolist() == [[0, 1], [1, 0]]


def test_filter_keeps_rows_and_weights() -> None:
    kept = Targets([[0.9, 0.1], [0.6, 0.4]], classes=["a", "b"], weights=[2, 3]).filter(confidence=0.9)
    assert kept.rows.tolist() == [0]
    assert kept.weights.tolist() == [2]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Targets([[0.9, 0.3]], classes=["a", "b"]), "row 0 is not a probability"),
        (lambda: Targets([[np.nan, 1]], classes=["a", "b"]), "row 0"),
        (lambda: Targets([[1.0]], classes=["a", "b"]), "shape"),
        (lambda: Targets([[1, 0]], classes=["a", "b"], weights=[-1]), "weights"),
        (lambda: Targets([[1, 0]], classes=["a", "b"], rows=[1, 2]), "rows"),
        (lambda: Targets.from_labels([2], ["a", "b"]), "out of range"),
        (lambda: Targets.from_labels(["a", "b"], ["a", "b"]), "labels must be integers .*, got <U1; map names to indices"),
        (lambda: Targets([[1, 0]], classes=["a", "b"]).filter(confidence=1.5), "between 0 and 1, got 1.5"),
        (lambda: Targets([[1, 0]], classes=["a", "b"]).filter(confidence=np.nan), "between 0 and 1, got nan"),
    ],
)
def test_one_clear_sentence(make, sentence: str) -> None:
    with pytest.raises(TargetsError, match=sentence):
        make()


def test_missing_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        Targets.from_parquet(tmp_path / "none.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="truncated"):
        Targets.from_parquet(tmp_path / "cut.parquet")
