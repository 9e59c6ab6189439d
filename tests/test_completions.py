from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from steelyard.completions import Completions
from steelyard.errors import DataError
from steelyard.preferences import Preferences


def full() -> Completions:
    return Completions(
        ["p", "p", "q"],
        ["a", "", "ß\n"],
        rows=[4, 4, 7],
        answers=["1", "", "2"],
        logprobs=[-1.5, -2.0, np.nan],
        finished=[True, False, True],
    )


def assert_equal(one: Completions, other: Completions) -> None:
    for field in dataclasses.fields(Completions):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def test_round_trip_through_parquet_keeps_every_column_that_is_known(tmp_path: Path) -> None:
    for number, completions in enumerate([full(), Completions(["p"], ["t"]), Completions([], [])]):
        completions.to_parquet(tmp_path / f"{number}.parquet")
        assert_equal(Completions.from_parquet(tmp_path / f"{number}.parquet"), completions)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    Preferences(["p"], ["a"], ["b"]).to_parquet(tmp_path / "pairs.parquet")
    with pytest.raises(DataError, match="does not hold completions"):
        Completions.from_parquet(tmp_path / "pairs.parquet")
    with pytest.raises(DataError, match="does not exist"):
        Completions.from_parquet(tmp_path / "nothing.parquet")


def test_take_by_mask_and_by_position_agree_and_concat_undoes_the_cut() -> None:
    whole = full()
    first = whole.take(whole.rows == 4)
    assert_equal(first, whole.take([0, 1]))
    assert_equal(Completions.concat([first, whole.take(slice(2, None))]), whole)
    assert len(whole.take([])) == 0


def test_concat_leaves_out_what_a_part_does_not_know() -> None:
    both = Completions.concat([full(), Completions(["r"], ["t"], rows=[9], finished=[True])])
    assert both.answers is None
    assert both.logprobs is None
    assert both.finished is not None
    assert both.rows.tolist() == [4, 4, 7, 9]


def test_records_are_frozen_and_own_their_arrays() -> None:
    rows = np.array([0, 1])
    completions = Completions(["p", "q"], ["a", "b"], rows=rows)
    rows[0] = 5
    assert completions.rows.tolist() == [0, 1]
    with pytest.raises(ValueError, match="read-only"):
        completions.rows[0] = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        completions.texts = ("x", "y")  # type: ignore[misc]


def test_answers_are_added_to_the_same_texts() -> None:
    answered = Completions(["p", "q"], ["a", "b"], finished=[True, False]).with_answers(["A", ""])
    assert answered.answers == ("A", "")
    assert answered.finished is not None
    assert repr(answered) == "Completions(2 texts for 2 questions, 1 with an answer, 1 stopped by length)"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Completions(["p"], ["a", "b"]), "1 prompts but 2 texts"),
        (lambda: Completions("p", ["a"]), "prompts is one string"),
        (lambda: Completions(["p"], [None]), r"texts\[0\] is NoneType"),
        (lambda: Completions(["p"], ["a"], rows=[-1]), r"rows\[0\] is negative"),
        (lambda: Completions(["p"], ["a"], rows=[0.5]), "rows must be 1 values of type int64"),
        (lambda: Completions(["p"], ["a"], answers=[]), "1 prompts but 0 answers"),
        (lambda: Completions(["p"], ["a"], logprobs=[0.7]), r"logprobs\[0\] is 0.7"),
        (lambda: Completions(["p"], ["a"], finished=["yes"]), "finished must be 1 values of type bool"),
        (lambda: Completions.concat([]), "at least one part"),
    ],
)
def test_bad_input_is_named(make, sentence) -> None:
    with pytest.raises(DataError, match=sentence):
        make()
