"""The game against a linear program, draws against their probabilities, and the loop that charges each question once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from steelyard.errors import ConfigError, DataError
from steelyard.jobs.active_distillation import ActiveDistillation
from steelyard.training.selection.query_strategies import KCenterQuery, OracleQuery, UncertaintyQuery, UniformQuery
from steelyard.training.selection.robust_distillation import RobustActiveQuery, inclusion_probabilities, solve_game, systematic_draw
from steelyard.training.sklearn_student import SklearnStudent


@pytest.mark.parametrize("n", [1, 4, 7])
def test_the_closed_form_is_the_solution_of_the_linear_program(n):
    rng = np.random.default_rng(n)
    for m in range(n):
        g = rng.uniform(0.05, 1, n)
        # max v with v ≤ the gain that is left after any m rows are spoilt.
        sets = list(itertools.combinations(range(n), m))
        spoilt = np.array([[0.0 if i in chosen else g[i] for i in range(n)] for chosen in sets])
        solved = linprog(
            np.r_[np.zeros(n), -1], A_ub=np.c_[-spoilt, np.ones(len(sets))], b_ub=np.zeros(len(sets)), A_eq=[[1] * n + [0]], b_eq=[1]
        )
        game = solve_game(g, m)
        assert game.value == pytest.approx(-solved.fun, abs=1e-8)
        assert (spoilt @ game.q).min() == pytest.approx(game.value, abs=1e-12)
        assert game.q.sum() == pytest.approx(1)


def test_limits_of_the_game():
    g = np.array([0.9, 0.5, 0.1])
    assert solve_game(g, 0).q.tolist() == [1, 0, 0]
    assert solve_game(g, 2.9).support == 3
    np.testing.assert_allclose(solve_game(np.full(5, 0.3), 2).q, 0.2)
    q = solve_game(g, 2.9).q
    np.testing.assert_allclose(q * g, (q * g)[0])


def test_a_draw_has_exactly_the_inclusion_probabilities_and_the_size():
    pi = inclusion_probabilities([0.6, 0.15, 0.1, 0.1, 0.05], 2)
    assert pi.sum() == pytest.approx(2)
    assert pi[0] == 1
    draws = [systematic_draw(pi, seed) for seed in range(10_000)]
    assert {len(draw) for draw in draws} == {2}
    found = np.bincount(np.concatenate(draws), minlength=5) / 10_000
    # Four standard errors of a share.
    assert np.abs(found - pi).max() < 4 * np.sqrt(0.25 / 10_000)


def test_a_batch_larger_than_the_support_widens_it_and_a_small_pool_is_asked_whole():
    p = np.array([[0.5, 0.5], [0.8, 0.2], [0.9, 0.1], [1.0, 0.0]])
    queried = RobustActiveQuery().select(p, budget=3, mistakes=0)
    assert queried.rows.tolist() == [0, 1, 2]
    assert RobustActiveQuery().select(p, budget=99, mistakes=1).rows.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("strategy", [RobustActiveQuery(), UniformQuery(), UncertaintyQuery("entropy"), KCenterQuery(), OracleQuery()])
def test_every_strategy_gives_distinct_rows_and_the_same_for_the_same_seed(strategy):
    rng = np.random.default_rng(0)
    p, x = rng.dirichlet(np.ones(3), 50), rng.normal(size=(50, 4))
    given = {"mistakes": 10.0, "features": x, "covered": x[:2] + 1, "right": rng.uniform(size=50) < 0.8}
    rows = strategy.select(p, 12, seed=3, **given).rows
    assert len(np.unique(rows)) == 12
    np.testing.assert_array_equal(rows, strategy.select(p, 12, seed=3, **given).rows)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: solve_game([0.5, 0.5], 2), ConfigError, "less than the rows"),
        (lambda: solve_game([0.5, 0.0], 1), DataError, "positive"),
        (lambda: RobustActiveQuery().select([[0.5, 0.5]], 1), ConfigError, "mistakes is missing"),
        (lambda: RobustActiveQuery("regret"), ConfigError, "margin, entropy, confidence"),
        (lambda: UniformQuery().select([[0.5, 0.7]], 1), DataError, "row 0"),
        (lambda: UniformQuery().select([[0.5, 0.5]], 0), ConfigError, "at least one row"),
        (lambda: OracleQuery().select([[0.5, 0.5]], 1), ConfigError, "gold labels are needed"),
        (lambda: KCenterQuery().select([[0.5, 0.5]], 1), ConfigError, "features"),
        (lambda: inclusion_probabilities([1.0, 0.0], 2), ConfigError, "cannot be drawn"),
        (lambda: systematic_draw([0.5, 0.4]), ConfigError, "whole number"),
    ],
)
def test_bad_input_gets_one_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


class Teacher:
    """Right but left of -1, and silent right of 1.5."""

    def __init__(self):
        self.asked = []

    def predict_proba(self, x):
        self.asked += x[:, 0].tolist()
        right = (x.sum(1) > 0) ^ (x[:, 0] < -1)
        return np.column_stack([~right, right]).astype(float) * (x[:, :1] < 1.5)


def loop_on(strategy, teacher, **options):
    x = np.random.default_rng(1).normal(size=(300, 2))
    y = (x.sum(1) > 0).astype(int)
    parts = {"labeled": np.arange(10), "validation": np.arange(10, 80), "pool": np.arange(80, 300)}
    loop = ActiveDistillation(teacher, SklearnStudent(), strategy, rounds=3, budget=20, **options)
    return loop.fit(x, y, ["no", "yes"], **parts), x, y


def test_the_loop_asks_each_row_once_estimates_mistakes_on_validation_and_learns():
    teacher = Teacher()
    loop, x, y = loop_on(RobustActiveQuery(), teacher)
    rows = np.concatenate([record["rows"] for record in loop.history_])
    assert len(np.unique(rows)) == len(rows)
    assert rows.min() >= 80
    assert len(teacher.asked) == 70 + len(rows)
    held = x[10:80][x[10:80, 0] < 1.5]
    shares = [
        record["mistakes"] / n
        for record, n in zip(loop.history_, 220 - np.cumsum([0, *[len(r["rows"]) for r in loop.history_[:2]]]), strict=True)
    ]
    np.testing.assert_allclose(shares, (held[:, 0] < -1).mean())
    assert all(record["value"] > 0 for record in loop.history_)
    assert (loop.student_.predict(x) == y).mean() > 0.8


def test_what_watches_sees_the_student_of_every_round():
    x = np.random.default_rng(1).normal(size=(300, 2))
    y = (x.sum(1) > 0).astype(int)
    loop, seen = ActiveDistillation(Teacher(), SklearnStudent(), UniformQuery(), rounds=3, budget=20), []
    loop.fit(
        x, y, ["no", "yes"], labeled=range(10), pool=range(80, 300), validation=range(10, 80), watch=lambda s: seen.append(s) or len(seen)
    )
    assert [record["watched"] for record in loop.history_] == [1, 2, 3]
    assert seen[-1] is loop.student_


def test_an_abstention_is_not_charged():
    loop, x, _ = loop_on(UniformQuery(), Teacher())
    silent = [int((x[record["rows"], 0] >= 1.5).sum()) for record in loop.history_]
    assert [record["answered"] + s for record, s in zip(loop.history_, silent, strict=True)] == [20, 20 + silent[0], 20 + silent[1]]


def test_a_useless_teacher_ends_the_rounds_with_a_warning():
    with pytest.warns(UserWarning, match="right on no validation row"):
        loop, _, _ = loop_on(RobustActiveQuery(), Teacher(), mistakes=1.0)
    assert loop.history_ == []
