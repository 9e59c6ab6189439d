"""A copied source is found however it votes; sources that merely agree on the truth are not accused."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard import Votes
from steelyard.errors import VotesError
from steelyard.evaluation import near_duplicates


def independent(seed: int, n: int = 2000, m: int = 7, k: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    # A copy of a nearly perfect source cannot be told from a second one, so the first source errs visibly.
    skill = np.append(0.7, rng.uniform(0.55, 0.97, m - 1))
    codes = np.where(rng.random((n, m)) < skill, y[:, None], rng.integers(0, k, (n, m)))
    return np.where(rng.random((n, m)) < rng.uniform(0.3, 1, m), codes, -1)


def pairs(codes: np.ndarray, k: int = 2) -> list[tuple[str, str]]:
    return near_duplicates(Votes(codes, classes=[str(c) for c in range(k)])).select("first", "second").rows()


@pytest.mark.parametrize("k", [2, 4])
def test_independent_sources_are_not_accused(k: int):
    assert [pairs(independent(seed, k=k), k) for seed in range(10)] == [[]] * 10


def test_two_perfect_sources_agree_always_and_are_still_not_copies():
    codes = independent(1)
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, len(codes))
    codes = np.where(rng.random(codes.shape) < 0.75, y[:, None], 1 - y[:, None])
    codes[:, 0] = codes[:, 1] = y
    assert pairs(codes) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_copy_is_found(seed: int):
    codes = independent(seed)
    rng = np.random.default_rng(100 + seed)
    copy = np.where(rng.random(len(codes)) < 0.95, codes[:, 0], -1)
    assert pairs(np.column_stack([codes, copy])) == [("source_0", "source_7")]


def test_copies_that_only_ever_vote_one_class_are_found_by_where_they_vote():
    codes = independent(3)
    codes[:, 0] = np.where(codes[:, 0] == 1, 1, -1)
    assert pairs(np.column_stack([codes, codes[:, 0]])) == [("source_0", "source_7")]


def test_three_copies_are_three_pairs():
    codes = independent(4)
    found = pairs(np.column_stack([codes, codes[:, 0], codes[:, 0]]))
    assert set(found) == {("source_0", "source_7"), ("source_0", "source_8"), ("source_7", "source_8")}


def test_three_sources_cannot_be_judged():
    with pytest.raises(VotesError, match="at least four sources"):
        near_duplicates(Votes([[0, 0, 0]], classes=["a", "b"]))


@pytest.mark.parametrize("skill", [0.9, 0.99, 1.0])
def test_sources_that_are_all_nearly_perfect_are_not_accused(skill: float):
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, 2000)
    assert pairs(np.where(rng.random((2000, 6)) < skill, y[:, None], 1 - y[:, None])) == []
