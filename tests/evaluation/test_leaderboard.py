"""Accuracy never without coverage; profiles and ranks against slow definitions; a board from a result."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import rankdata

from steelyard.errors import DataError
from steelyard.evaluation import accuracy, class_recall, coverage_scores, performance_profile, rank_strategies
from steelyard.evaluation.leaderboard import ranks
from steelyard.report import board_table, profile_plot, render_report
from steelyard.result import Result


def test_accuracy_is_coverage_times_accuracy_on_the_covered_rows() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 4, 200), rng.integers(-1, 4, 200)
    scores = coverage_scores(y, p)
    assert scores["accuracy"] == pytest.approx(scores["coverage"] * scores["accuracy_covered"]) == pytest.approx(accuracy(y, p))
    silent = coverage_scores(y, np.full(200, -1))
    assert silent["coverage"] == silent["accuracy"] == 0.0
    assert math.isnan(silent["accuracy_covered"])
    assert class_recall(y, p, 4) @ np.bincount(y) / 200 == pytest.approx(scores["accuracy"])


def test_unlabelled_rows_do_not_count_and_bad_input_is_named() -> None:
    assert coverage_scores([0, -1], [0, 1])["accuracy"] == 1.0
    with pytest.raises(DataError, match="do not match"):
        coverage_scores([0], [0, 1])
    with pytest.raises(DataError, match="none of the 1 rows"):
        coverage_scores([-1], [0])


def test_profiles_rise_to_the_share_of_tasks_done() -> None:
    errors = np.random.default_rng(0).random((3, 7)) + 0.1
    errors[2, :2] = np.nan
    taus = [1.0, 1.5, 3.0, 1e6]
    slow = [[np.mean([e <= tau * np.nanmin(errors[:, q]) for q, e in enumerate(row)]) for tau in taus] for row in errors]
    profile = performance_profile(errors, taus)
    assert profile == pytest.approx(np.array(slow))
    assert profile[:, -1] == pytest.approx([1, 1, 5 / 7])
    assert profile[:, 0].sum() == pytest.approx(1), "one strategy is best on each task"
    with pytest.raises(DataError, match="strategies × tasks"):
        performance_profile([[math.nan]], taus)


def test_ranks_are_those_of_scipy() -> None:
    scores = np.random.default_rng(0).integers(0, 4, (5, 6)) / 4
    assert ranks(scores) == pytest.approx(np.stack([rankdata(-column) for column in scores.T], axis=1))


def test_a_board_orders_strategies_and_says_where_one_does_not_apply() -> None:
    result = Result("bench")
    for seed in (0, 1, 2):
        result.add("few", seed, "a/accuracy", 0.9).add("few", seed, "b/accuracy", 0.8).add("rules", seed, "a/accuracy", 0.5 + 0.1 * seed)
        result.add("rules", seed, "a/coverage", 0.75).add("rules", seed, "a/accuracy_covered", 0.8)
    board = rank_strategies(result, ["a", "b"])
    assert [row["name"] for row in board["strategies"]] == ["few", "rules"]
    assert board["strategies"][0]["area"] == 1.0
    assert board["strategies"][1]["cells"][1] is None
    assert board_table(board)[2][3:] == ["0.600 ± 0.248; 0.800 on 75 %", "–"]
    more = rank_strategies(result.add("few", 0, "c/accuracy", 0.7), ["a", "b", "c"])
    # More tasks than strategies: a row per task, below the ranks.
    assert [row[0] for row in board_table(more)] == ["strategy", "mean rank", "profile area", "a", "b", "c"]
    assert board_table(more)[3][1:] == ["0.900 ± 0.000", "0.600 ± 0.248; 0.800 on 75 %"]
    assert [row["name"] for row in rank_strategies(result, ["c"])["strategies"]] == ["few"]
    result.artifacts["leaderboard"] = board
    page = render_report(result)
    assert "Leaderboard" in page
    assert profile_plot(board) == profile_plot(board)
    with pytest.raises(DataError, match="each of the 1 tasks"):
        rank_strategies(result, ["d"])
