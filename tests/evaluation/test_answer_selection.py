"""Selection metrics against counting by hand."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from steelyard.errors import DataError
from steelyard.evaluation.answer_selection import (
    accuracy_by_difficulty,
    cost_curve,
    generation_verification_gap,
    pass_at_k,
    selection_accuracy,
)

OFFSETS = np.array([0, 4, 7, 8, 14])
RIGHT = np.array([1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0])


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(k: int) -> None:
    shares = []
    for start, stop in pairwise(OFFSETS):
        draws = list(combinations(RIGHT[start:stop], min(k, stop - start)))
        shares.append(np.mean([any(draw) for draw in draws]))
    assert pass_at_k(RIGHT, OFFSETS, k) == pytest.approx(np.mean(shares))


def test_ties_count_as_an_even_draw_and_the_oracle_closes_the_gap() -> None:
    assert selection_accuracy(RIGHT, OFFSETS, np.zeros(14)) == pytest.approx(pass_at_k(RIGHT, OFFSETS, 1))
    assert generation_verification_gap(RIGHT, OFFSETS, RIGHT) == pytest.approx(0)
    assert generation_verification_gap(RIGHT, OFFSETS, -RIGHT) == pytest.approx(0.75 - 0.25)
    assert selection_accuracy(RIGHT, OFFSETS, np.where(RIGHT == 1, np.nan, 0.0)) == pytest.approx(0.25)


def test_groups_by_difficulty_add_up() -> None:
    rng = np.random.default_rng(0)
    offsets, right, scores = np.arange(0, 301, 3), rng.integers(0, 2, 300), rng.normal(size=300)
    groups = accuracy_by_difficulty(right, offsets, scores, rng.integers(1, 4, 100))
    assert sum(group["queries"] for group in groups) == 100
    total = sum(group["queries"] * group["accuracy"] for group in groups) / 100
    assert total == pytest.approx(selection_accuracy(right, offsets, scores))


def test_the_cost_curve_ends_where_all_responses_are_used() -> None:
    points = cost_curve(RIGHT, OFFSETS, {"oracle": RIGHT}, {"oracle": 2.0}, sizes=(1, 6))
    assert [point["cost"] for point in points] == [2.0, 2.0 * 14 / 4]
    assert points[0]["accuracy"] == 0.75
    assert points[-1]["accuracy"] == points[-1]["pass"] == 0.75


def test_refusals() -> None:
    with pytest.raises(DataError, match="one 0 or 1 per response"):
        pass_at_k([-1, 1], [0, 2], 1)
    with pytest.raises(DataError, match="draws at least one"):
        pass_at_k([1], [0, 1], 0)
    with pytest.raises(DataError, match="every query needs one"):
        selection_accuracy([1, 0], [0, 1], [0.1, 0.2])
