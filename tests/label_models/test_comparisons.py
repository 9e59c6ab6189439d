from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

from steelyard.errors import DataError, LabelModelError
from steelyard.label_models.bradley_terry import BradleyTerry
from steelyard.label_models.comparisons import Comparisons, PairwiseModel
from steelyard.label_models.noisy_bradley_terry import NoisyBradleyTerry

MODELS: list[PairwiseModel] = [BradleyTerry(), NoisyBradleyTerry(), NoisyBradleyTerry(noise="flips")]


def simulate_comparisons(
    n_items: int, n: int, m: int, seed: int, *, care: np.ndarray | float = 1.0, bias: np.ndarray | float = 0.5
) -> tuple[dict[str, list[str]], np.ndarray]:
    """A table of comparisons by workers who attend with probability `care` and else click left with probability `bias`; the scores."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n_items)
    scores -= scores.mean()
    left = rng.integers(0, n_items, n)
    right = (left + rng.integers(1, n_items, n)) % n_items
    worker = rng.integers(0, m, n)
    attends = rng.random(n) < np.broadcast_to(care, m)[worker]
    follows = rng.random(n) < 1 / (1 + np.exp(scores[right] - scores[left]))
    won = np.where(attends, follows, rng.random(n) < np.broadcast_to(bias, m)[worker])
    names = np.array([f"item {i}" for i in range(n_items)])
    table = {"left": names[left], "right": names[right], "winner": names[np.where(won, left, right)], "worker": [f"w{k}" for k in worker]}
    return {key: list(values) for key, values in table.items()}, scores


def in_order(model: PairwiseModel, n_items: int) -> np.ndarray:
    """Scores of "item 0", "item 1", …"""
    return model.scores_[[model.items_.index(f"item {i}") for i in range(n_items)]]


TABLE = {"left": ["a", "b", "a"], "right": ["b", "c", "c"], "winner": ["a", "c", "c"], "worker": ["Ann", "Bo", "Ann"]}


@pytest.mark.parametrize("form", [dict, pl.DataFrame, pd.DataFrame])
def test_tables_of_every_kind_are_read(form: type) -> None:
    read = Comparisons.from_table(form(TABLE))
    assert read.items == ("a", "b", "c")
    assert read.workers == ("Ann", "Bo")
    assert read.left_won.tolist() == [True, False, False]
    assert [read.items[i] for i in read.winners] == TABLE["winner"]
    assert [read.items[i] for i in read.losers] == ["b", "b", "a"]


def test_numbers_may_name_items_and_columns_may_have_other_names() -> None:
    read = Comparisons.from_table({"l": [7, 8], "r": [8, 9], "label": [8, 9]}, left="l", right="r", winner="label")
    assert read.items == ("7", "8", "9")
    assert read.left_won.tolist() == [False, False]
    assert read.workers == ()


def test_known_comparisons_follow_and_bring_their_items() -> None:
    both = Comparisons.from_table(TABLE).with_known(Comparisons.from_table({"left": ["z"], "right": ["a"], "winner": ["z"]}))
    assert both.items == ("a", "b", "c", "z")
    assert both.items[both.winners[-1]] == "z"
    assert both.worker.tolist() == [0, 1, 0, -1]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"left": ["a"], "right": ["b"]}, "no column 'winner'"),
        ({"left": [], "right": [], "winner": []}, "is empty"),
        ({"left": ["a"], "right": ["b"], "winner": ["c"]}, "neither 'a' nor 'b'"),
        ({"left": ["a"], "right": ["b"], "winner": [None]}, "empty in row 0"),
        (5, "cannot be read"),
        ({"left": [["a"]], "right": [["b"]], "winner": [["a"]]}, "names must be strings or numbers"),
        ({"left": ["a", "b"], "right": ["b", "b"], "winner": ["a", "b"]}, "row 1 of the comparisons compares 'b' with itself"),
    ],
)
def test_bad_tables_are_named(table: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Comparisons.from_table(table)


@pytest.mark.parametrize("model", MODELS, ids=repr)
class TestEveryPairwiseModel:
    def test_scores_have_mean_zero_and_order_the_ranking_and_the_table(self, model: PairwiseModel) -> None:
        table, _ = simulate_comparisons(8, 500, 5, seed=0)
        fitted = clone(model).fit(table)
        assert fitted.scores_.mean() == pytest.approx(0, abs=1e-12)
        shown = fitted.table()
        assert tuple(shown["item"]) == fitted.ranking_
        assert (np.diff(shown["score"].to_numpy()) <= 0).all()
        assert shown["comparisons"].sum() == 2 * shown["wins"].sum() == 1000

    def test_probabilities_follow_the_scores(self, model: PairwiseModel) -> None:
        table, _ = simulate_comparisons(6, 400, 5, seed=1)
        fitted = clone(model).fit(table)
        p = fitted.predict_proba(["item 1", "item 2"], ["item 2", "item 1"])
        gap = fitted.scores_[fitted.items_.index("item 1")] - fitted.scores_[fitted.items_.index("item 2")]
        np.testing.assert_allclose(p, [1 / (1 + np.exp(-gap)), 1 / (1 + np.exp(gap))])

    def test_the_order_of_the_rows_does_not_matter(self, model: PairwiseModel) -> None:
        table, _ = simulate_comparisons(6, 300, 4, seed=2)
        order = np.random.default_rng(0).permutation(300)
        shuffled = {key: [values[i] for i in order] for key, values in table.items()}
        one, other = clone(model).fit(table), clone(model).fit(shuffled)
        np.testing.assert_allclose(in_order(one, 6), in_order(other, 6), atol=2e-3)

    def test_known_comparisons_pull_the_scores(self, model: PairwiseModel) -> None:
        table, _ = simulate_comparisons(6, 300, 4, seed=3)
        plain = clone(model).fit(table)
        worst, best = plain.ranking_[-1], plain.ranking_[0]
        gold = {"left": [worst] * 5, "right": [best] * 5, "winner": [worst] * 5}
        assert clone(model).fit(table, gold).predict_proba([worst], [best])[0] > plain.predict_proba([worst], [best])[0] + 0.2

    def test_errors(self, model: PairwiseModel) -> None:
        table, _ = simulate_comparisons(4, 60, 3, seed=4)
        with pytest.raises(LabelModelError, match="not fitted"):
            clone(model).predict_proba(["a"], ["b"])
        fitted = clone(model).fit(table)
        with pytest.raises(LabelModelError, match="anything about item 'x'"):
            fitted.predict_proba(["item 0"], ["x"])
        with pytest.raises(LabelModelError, match="same length"):
            fitted.predict_proba(["item 0"], [])
        for wrong in ({"prior": -1.0}, {"gold_weight": 0.0}, {"max_iter": 0}):
            with pytest.raises(LabelModelError, match=next(iter(wrong))):
                clone(model).set_params(**wrong).fit(table)
