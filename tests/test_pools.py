"""Pools are disjoint, drawn by a seed, stratified where asked, and grow without moving what is measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import ConfigError, DataError
from steelyard.pools import Pools


@given(st.integers(3, 200), st.floats(0, 0.4), st.floats(0, 0.4), st.integers(0, 5), st.booleans())
def test_pools_are_disjoint_and_have_the_sizes_asked_for(n: int, gold: float, test: float, seed: int, stratify: bool):
    y = np.arange(n) % 3 if stratify else None
    pools = Pools.split(n, gold, test=test, seed=seed, y=y)
    rows = np.concatenate([pools.gold, pools.unlabeled, pools.test])
    assert sorted(rows) == list(range(n))
    assert (len(pools.gold), len(pools.test)) == (round(gold * n), round(test * n))


def test_the_same_seed_draws_the_same_rows_and_another_seed_others():
    first, again, other = (Pools.split(100, test=20, seed=seed) for seed in (0, 0, 1))
    assert first.gold.tolist() == again.gold.tolist() != other.gold.tolist()
    assert first.gold.dtype == np.int64


def test_a_growing_gold_pool_keeps_its_rows_and_moves_no_other_pool():
    small, large = (Pools.split(100, gold=gold, unlabeled=30, test=20, seed=3) for gold in (10, 50))
    assert set(small.gold) < set(large.gold)
    assert small.unlabeled.tolist() == large.unlabeled.tolist()
    assert small.test.tolist() == large.test.tolist()


def test_stratified_pools_hold_every_class_in_proportion():
    rng = np.random.default_rng(0)
    y = rng.choice(4, size=1000, p=[0.6, 0.25, 0.1, 0.05])
    pools = Pools.split(1000, gold=100, unlabeled=0.5, test=0.3, seed=2, y=y)
    for rows in (pools.gold, pools.unlabeled, pools.test):
        expected = np.bincount(y) * len(rows) / 1000
        assert np.abs(np.bincount(y[rows], minlength=4) - expected).max() <= 1.5


def test_a_rare_class_reaches_the_gold_pool():
    y = np.array([0] * 990 + [1] * 10)
    assert all((y[Pools.split(1000, gold=100, seed=seed, y=y).gold] == 1).any() for seed in range(50))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pools([0, 1, 1], [2], [3]), "pool gold holds a row twice"),
        (lambda: Pools([0], [-1], [3]), "negative row number"),
        (lambda: Pools([0], [2, 3], [3, 2]), "unlabeled and test share 2 rows, for example row 2"),
        (lambda: Pools([0.5], [2], [3]), "give a list of row numbers"),
        (lambda: Pools.split(10, gold=8, test=5), "8 gold \\+ 5 test \\+ 0 unlabeled rows cannot be drawn from 10"),
        (lambda: Pools.split(10, gold=1.5), "pool gold is 1.5"),
        (lambda: Pools.split(10, y=[0, 1]), "give one class per row"),
    ],
)
def test_impossible_pools_are_refused(make, message: str):
    with pytest.raises(ConfigError, match=message):
        make()


def test_an_item_may_not_be_tested_and_taught():
    pools = Pools([0, 1], [2], [3, 4])
    pools.require_apart(["a", "a", "b", "c", "c"])
    with pytest.raises(DataError, match="1 items of the unlabeled pool also lie in the test pool, for example row 2 equals row 3"):
        pools.require_apart(["a", "b", "c", "c", "d"])
    with pytest.raises(DataError, match="row 1 equals row 4"):
        pools.require_apart(np.array([[0.0], [1.0], [2.0], [3.0], [1.0]]))
    with pytest.raises(DataError, match="\\('long text"):
        pools.require_apart(["long text", "b", "c", "long text", "d"])
