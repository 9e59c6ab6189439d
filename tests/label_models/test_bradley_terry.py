from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import LabelModelError
from steelyard.label_models.bradley_terry import BradleyTerry
from tests.label_models.test_comparisons import in_order, simulate_comparisons


def test_two_items_have_a_closed_form() -> None:
    table = {"left": ["a"] * 10, "right": ["b"] * 10, "winner": ["a"] * 7 + ["b"] * 3}
    model = BradleyTerry(prior=0, tol=1e-12).fit(table)
    assert model.predict_proba(["a"], ["b"])[0] == pytest.approx(0.7)
    np.testing.assert_allclose(model.scores_, [np.log(7 / 3) / 2, -np.log(7 / 3) / 2])
    assert model.ranking_ == ("a", "b")


def test_with_a_prior_two_items_stay_finite_and_symmetric() -> None:
    model = BradleyTerry(prior=1.0, tol=1e-12).fit({"left": ["a"] * 3, "right": ["b"] * 3, "winner": ["a"] * 3})
    s = model.scores_[0]
    assert model.scores_[1] == pytest.approx(-s)
    # At the maximum wins are expected wins: of a, 3 + 1 = 3 σ(2s) + 2 σ(s), the average item lying halfway by symmetry.
    assert 3 / (1 + np.exp(-2 * s)) + 2 / (1 + np.exp(-s)) == pytest.approx(4)


def test_the_slow_obvious_iteration_gives_the_same() -> None:
    """Hunter's update, item by item over a dense table of wins, run until nothing moves."""
    table, _ = simulate_comparisons(6, 400, 1, seed=0)
    wins: dict[tuple[str, str], int] = {}
    for left, right, winner in zip(table["left"], table["right"], table["winner"], strict=True):
        pair = (winner, right if winner == left else left)
        wins[pair] = wins.get(pair, 0) + 1
    items = sorted(set(table["left"]) | set(table["right"]))
    p = dict.fromkeys(items, 1.0)
    for _ in range(3000):
        p = {
            i: sum(wins.get((i, j), 0) for j in items)
            / sum((wins.get((i, j), 0) + wins.get((j, i), 0)) / (p[i] + p[j]) for j in items if j != i)
            for i in items
        }
    expected = np.log([p[i] for i in items])
    model = BradleyTerry(prior=0, tol=1e-12).fit(table)
    np.testing.assert_allclose(in_order(model, 6), expected - expected.mean(), atol=1e-9)


def test_wins_equal_expected_wins_at_the_maximum() -> None:
    table, _ = simulate_comparisons(40, 3000, 1, seed=1)
    model = BradleyTerry(prior=0, tol=1e-10).fit(table)
    p = model.predict_proba(table["left"], table["right"])
    expected = dict.fromkeys(model.items_, 0.0)
    for left, right, chance in zip(table["left"], table["right"], p, strict=True):
        expected[left] += chance
        expected[right] += 1 - chance
    won = dict(zip(model.table()["item"], model.table()["wins"], strict=True))
    np.testing.assert_allclose([expected[i] for i in model.items_], [won[i] for i in model.items_], atol=1e-5)


def test_planted_scores_are_recovered_as_n_grows() -> None:
    errors = []
    for n in (2_000, 200_000):
        table, scores = simulate_comparisons(30, n, 1, seed=2)
        errors.append(np.abs(in_order(BradleyTerry().fit(table), 30) - scores).max())
    assert errors[1] < 0.06
    assert errors[1] < errors[0] / 5


@pytest.mark.parametrize("prior", [0.0, 0.1, 2.0])
def test_the_objective_never_falls(prior: float) -> None:
    table, _ = simulate_comparisons(15, 600, 1, seed=3)
    model = BradleyTerry(prior=prior, tol=1e-9).fit(table)
    assert np.diff(model.objective_).min() > -1e-12
    assert model.converged_


def test_renaming_items_and_turning_pairs_round_change_nothing() -> None:
    table, _ = simulate_comparisons(8, 300, 1, seed=4)
    turned = {"left": table["right"], "right": table["left"], "winner": table["winner"]}
    np.testing.assert_allclose(in_order(BradleyTerry().fit(table), 8), in_order(BradleyTerry().fit(turned), 8), atol=1e-6)


def test_an_undefeated_item_is_finite_with_a_prior_and_refused_without() -> None:
    table = {"left": ["a", "b", "c", "a"], "right": ["b", "c", "b", "c"], "winner": ["a", "b", "c", "a"]}
    model = BradleyTerry(prior=0.01).fit(table)
    assert model.ranking_[0] == "a"
    assert np.isfinite(model.scores_).all()
    with pytest.raises(LabelModelError, match="do not lead from 'a'"):
        BradleyTerry(prior=0).fit(table)


def test_groups_never_compared_are_refused_without_a_prior_and_warned_of_with_one() -> None:
    table = {"left": ["a", "b", "c", "d"], "right": ["b", "a", "d", "c"], "winner": ["a", "b", "c", "c"]}
    with pytest.raises(LabelModelError, match="groups"):
        BradleyTerry(prior=0).fit(table)
    with pytest.warns(UserWarning, match="2 groups"):
        model = BradleyTerry().fit(table)
    assert model.ranking_ == ("c", "a", "b", "d")
    assert model.scores_[0] == pytest.approx(model.scores_[1])


def test_a_long_chain_converges_too() -> None:
    """The graph on which plain MM steps need thousands of iterations."""
    rng = np.random.default_rng(5)
    left = np.repeat(np.arange(199), 20)
    won = rng.random(len(left)) < 0.5
    names = {"left": left, "right": left + 1, "winner": np.where(won, left, left + 1)}
    model = BradleyTerry(tol=1e-8).fit(names)
    assert model.converged_
    assert model.n_iter_ < 400


def test_a_fit_cut_short_says_so() -> None:
    table, _ = simulate_comparisons(30, 300, 1, seed=6)
    with pytest.warns(UserWarning, match="did not converge in 1 steps"):
        assert not BradleyTerry(max_iter=1, tol=1e-12).fit(table).converged_
