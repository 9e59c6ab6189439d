from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steelyard.completions import Completions
from steelyard.errors import DataError
from steelyard.preferences import Preferences


def pairs() -> Preferences:
    return Preferences(["p", "q", "r"], ["a", "b", "c"], ["A", "B", "C"], probabilities=[0.9, 0.5, 0.2], rows=[3, 1, 1])


def columns(preferences: Preferences) -> tuple[object, ...]:
    texts = preferences.prompts, preferences.chosen, preferences.rejected
    return *texts, preferences.probabilities.tolist(), preferences.rows.tolist()


def test_round_trip(tmp_path: Path) -> None:
    for number, preferences in enumerate([pairs(), Preferences([], [], [])]):
        preferences.to_parquet(tmp_path / f"{number}.parquet")
        assert columns(Preferences.from_parquet(tmp_path / f"{number}.parquet")) == columns(preferences)


def test_hardening_flips_exactly_the_improbable_orders() -> None:
    hard = pairs().harden()
    assert hard.chosen == ("a", "b", "C")
    assert hard.rejected == ("A", "B", "c")
    assert hard.probabilities.tolist() == [1, 1, 1]
    assert hard.rows.tolist() == [3, 1, 1]
    assert columns(hard.harden()) == columns(hard)


def test_confidence_does_not_depend_on_which_text_is_called_chosen() -> None:
    given = pairs()
    turned = Preferences(given.prompts, given.rejected, given.chosen, probabilities=1 - given.probabilities)
    np.testing.assert_allclose(turned.confidence, given.confidence)
    np.testing.assert_allclose(given.confidence, [0.9, 0.5, 0.8], atol=1e-6)


def test_take_and_concat_are_inverse() -> None:
    whole = pairs()
    assert columns(Preferences.concat([whole.take([True, False, False]), whole.take([1, 2])])) == columns(whole)


def test_left_out_probabilities_mean_certainty() -> None:
    assert Preferences(["p"], ["a"], ["b"]).probabilities.tolist() == [1.0]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Preferences(["p"], ["a"], []), "1 prompts but 0 rejected texts"),
        (lambda: Preferences(["p"], ["a"], ["b"], probabilities=[1.2]), r"probabilities\[0\] is 1.2"),
        (lambda: Preferences(["p"], ["a"], ["b"], probabilities=[np.nan]), r"probabilities\[0\] is nan"),
        (lambda: Preferences(["p"], [3], ["b"]), r"chosen texts\[0\] is int"),
        (lambda: Preferences.concat([]), "at least one part"),
    ],
)
def test_bad_input_is_named(make, sentence) -> None:
    with pytest.raises(DataError, match=sentence):
        make()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    Completions(["p"], ["a"]).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(DataError, match="does not hold preferences"):
        Preferences.from_parquet(tmp_path / "c.parquet")
