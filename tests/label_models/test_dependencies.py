from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from steelyard import ABSTAIN, Votes, VoteStatistics
from steelyard.errors import LabelModelError
from steelyard.label_models import learn_dependencies

Codes = NDArray[np.int64]


def independent(n: int, m: int, k: int, seed: int) -> tuple[Codes, Codes]:
    """Sources of different skill on each class, with habits of their own, silent on part of the rows; and the truth."""
    rng = np.random.default_rng(seed)
    y = rng.choice(k, size=n, p=rng.dirichlet(np.full(k, 5.0)))
    codes = np.empty((n, m), dtype=np.int64)
    for j in range(m):
        confusion = rng.dirichlet(np.full(k, 1.0), size=k) * 0.4 + 0.6 * np.eye(k) * rng.uniform(0.6, 1, k)[:, None]
        silent = 1 - confusion.sum(axis=1, keepdims=True) + rng.uniform(0, 0.3)
        said = np.hstack([confusion, silent])
        said /= said.sum(axis=1, keepdims=True)
        codes[:, j] = (rng.random(n)[:, None] > said.cumsum(axis=1)[y][:, :-1]).sum(axis=1)
    return np.where(codes == k, ABSTAIN, codes), y


def rules(n: int, m: int, k: int, seed: int) -> Codes:
    """Sources that name one class each, on few rows."""
    rng = np.random.default_rng(seed)
    y, meant = rng.integers(0, k, n), np.arange(m) % k
    fires = rng.random((n, m)) < np.where(y[:, None] == meant, rng.uniform(0.05, 0.3, m), rng.uniform(0.005, 0.05, m))
    return np.where(fires, meant, ABSTAIN)


def repeated(codes: Codes, pairs: list[tuple[int, int]], chance: float, seed: int) -> Codes:
    """The second of each pair repeats the first on a share of the rows."""
    rng, out = np.random.default_rng(seed), codes.copy()
    for first, second in pairs:
        on = rng.random(len(out)) < chance
        out[on, second] = out[on, first]
    return out


def votes_of(codes: Codes, k: int) -> Votes:
    return Votes(codes, classes=[f"c{i}" for i in range(k)], sources=[f"s{j}" for j in range(codes.shape[1])])


def pairs_found(votes: Votes, **options: float) -> set[tuple[int, int]]:
    return {(int(found.first[1:]), int(found.second[1:])) for found in learn_dependencies(votes, **options)}


@pytest.mark.parametrize(("n", "m", "k"), [(1000, 10, 2), (1000, 5, 2), (1500, 9, 4)])
def test_independent_sources_are_left_alone(n: int, m: int, k: int) -> None:
    """Of 100 sets of independent sources hardly any has a false pair, however weak a dependence may be listed: at most 5 % are allowed."""
    alarms = sum(bool(pairs_found(votes_of(independent(n, m, k, seed)[0], k), min_strength=0.0)) for seed in range(100))
    assert alarms <= 5


def test_rare_rules_are_left_alone() -> None:
    alarms = sum(bool(pairs_found(votes_of(rules(2000, 30, 3, seed), 3), min_strength=0.0)) for seed in range(60))
    assert alarms <= 3


def test_recall_rises_with_the_rows() -> None:
    planted = [(0, 1), (2, 3)]

    def recall(n: int) -> float:
        hits = [
            len(pairs_found(votes_of(repeated(independent(n, 10, 2, seed)[0], planted, 0.2, seed), 2), min_strength=0.0) & set(planted))
            for seed in range(15)
        ]
        return sum(hits) / (2 * len(hits))

    few, more, many = recall(150), recall(600), recall(4000)
    assert few < more < many
    assert many > 0.95


def test_false_pairs_stay_rare_beside_true_ones() -> None:
    planted = {(0, 1), (2, 3), (4, 5)}
    found = [
        pairs_found(votes_of(repeated(independent(3000, 12, 3, seed)[0], sorted(planted), 0.5, seed), 3), min_strength=0.0)
        for seed in range(30)
    ]
    assert all(planted <= one for one in found)
    assert np.mean([len(one - planted) / len(one) for one in found]) < 0.05


def test_strength_is_the_correlation_left_when_the_class_is_known() -> None:
    codes, y = independent(100_000, 12, 2, seed=1)
    codes = repeated(np.where(codes == ABSTAIN, 0, codes), [(0, 1)], 0.4, seed=2)
    named = (codes[:, :2] == 1).astype(float)
    within = named - np.stack([named[y == c].mean(axis=0) for c in range(2)])[y]
    expected = (within[:, 0] * within[:, 1]).mean() / named.std(axis=0).prod()
    found = learn_dependencies(votes_of(codes, 2))
    assert [(one.first, one.second) for one in found] == [("s0", "s1")]
    assert found[0].strength == pytest.approx(expected, abs=0.02)
    assert found[0].p_value < 1e-6


@pytest.mark.parametrize("k", [2, 5])
def test_exact_copies_are_always_found(k: int) -> None:
    codes, y = independent(400, 6, k, seed=3)
    codes = np.column_stack([codes, codes[:, 2], codes[:, 2], y, y])
    assert {(2, 6), (2, 7), (6, 7), (8, 9)} <= pairs_found(votes_of(codes, k))


def test_exact_copies_need_no_other_source_and_few_votes() -> None:
    rng = np.random.default_rng(4)
    rare = np.full(2000, ABSTAIN)
    rare[rng.choice(2000, 3, replace=False)] = 1
    lone = np.column_stack([rare, rare, np.full(2000, ABSTAIN), np.full(2000, ABSTAIN), np.zeros(2000, int), np.zeros(2000, int)])
    assert pairs_found(votes_of(lone, 2)) == {(0, 1)}


@pytest.mark.parametrize("chance", [0.8, 0.95])
@pytest.mark.parametrize("k", [2, 4])
def test_many_near_copies_of_one_source_are_not_taken_for_the_class(chance: float, k: int) -> None:
    codes, _ = independent(4000, 19, k, seed=5)
    codes = repeated(codes, [(0, 9 + i) for i in range(10)], chance, seed=6)
    clique = [0, *range(9, 19)]
    assert pairs_found(votes_of(codes, k)) == {(i, j) for i in clique for j in clique if i < j}


def test_rules_that_fire_together_are_found_among_many() -> None:
    codes = repeated(rules(5000, 80, 4, seed=7), [(0, 4), (1, 9)], 0.6, seed=8)
    assert pairs_found(votes_of(codes, 4)) == {(0, 4), (1, 9)}


def test_good_sources_are_not_called_copies() -> None:
    rng = np.random.default_rng(9)
    y = rng.integers(0, 2, 5000)
    right = np.array([0.97, 0.96, 0.96, 0.8, 0.75, 0.7, 0.7, 0.65])
    codes = np.where(rng.random((5000, 8)) < right, y[:, None], 1 - y[:, None])
    assert pairs_found(votes_of(codes, 2)) == set()


def test_statistics_and_shards_give_the_same_list_and_order_does_not_matter() -> None:
    votes = votes_of(repeated(independent(2000, 8, 3, seed=10)[0], [(1, 5)], 0.6, seed=11), 3)
    whole = learn_dependencies(votes)
    shards = [VoteStatistics.from_votes(votes[i::3], keep="moments") for i in range(3)]
    assert learn_dependencies(VoteStatistics.merge(shards)) == whole
    assert learn_dependencies(VoteStatistics.from_votes(votes)) == whole
    mixed = learn_dependencies(votes.select([5, 3, 0, 7, 1, 2, 4, 6]))
    assert [{one.first, one.second} for one in mixed] == [{one.first, one.second} for one in whole] == [{"s1", "s5"}]
    assert mixed[0].strength == pytest.approx(whole[0].strength, abs=1e-3)


def test_weak_dependence_is_listed_on_demand_only() -> None:
    votes = votes_of(repeated(independent(20_000, 10, 2, seed=12)[0], [(0, 1)], 0.12, seed=13), 2)
    assert pairs_found(votes) == set()
    assert pairs_found(votes, min_strength=0.02) == {(0, 1)}


def test_three_sources_and_votes_that_tell_nothing() -> None:
    codes, _ = independent(500, 3, 2, seed=14)
    assert learn_dependencies(codes) == []
    assert learn_dependencies(np.zeros((50, 6), int)) == []
    assert learn_dependencies(np.full((50, 6), ABSTAIN)) == []
    assert learn_dependencies(np.array([[0, 1, 0, 1, 1]])) == []


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"alpha": 1.5}, {"min_strength": -0.1}, {"min_strength": 1.0}])
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(LabelModelError, match="must lie"):
        learn_dependencies(np.array([[0, 1, 0, 1]]), **options)


def test_no_rows() -> None:
    with pytest.raises(LabelModelError, match="no rows"):
        learn_dependencies(Votes(np.empty((0, 4), int), classes=["a", "b"]))
