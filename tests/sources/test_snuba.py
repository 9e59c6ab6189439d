"""Snuba: its scores against slow ones written from the definition, what it commits, and the clear sentences for a poor seed."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from steelyard.errors import SourceError
from steelyard.label_models import MajorityVote, MeTaL
from steelyard.sources import Snuba
from steelyard.sources.rules import Rules, feature_subsets
from steelyard.sources.snuba import diversity, new_rules, weighted_f1, widest_useful_bands


def clouds(k: int, n: int = 400, d: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    return rng.normal(size=(n, d)) + 3 * rng.normal(size=(k, d))[y], y


def test_weighted_f1_is_the_one_of_scikit_learn_with_abstaining_as_a_wrong_answer() -> None:
    rng = np.random.default_rng(0)
    votes, y = rng.integers(-1, 3, (50, 4)), rng.integers(0, 3, 50)
    slow = [f1_score(y, votes[:, j], average="weighted", zero_division=0) for j in range(4)]
    assert weighted_f1(votes, y, 3) == pytest.approx(slow)


def test_diversity_is_one_minus_sum_of_minima_over_sum_of_maxima() -> None:
    rng = np.random.default_rng(0)
    said, committed = rng.integers(-1, 2, (40, 5)).astype(np.int8), rng.integers(-1, 2, (40, 3)).astype(np.int8)
    counts, covers = (committed >= 0).sum(axis=1), said >= 0
    slow = [1 - np.minimum(covers[:, j], counts).sum() / np.maximum(covers[:, j], counts).sum() for j in range(5)]
    assert diversity(said, committed) == pytest.approx(slow)
    assert (diversity(said, committed[:, :0]) == 1).all()


def test_neither_silent_nor_repeated_rules_are_committed() -> None:
    said = np.array([[-1, 1, 1, 0], [-1, 0, 0, 0]], dtype=np.int8)
    assert new_rules(np.array([0.9, 0.8, 0.7, 0.6]), said, said[:, :0], 3) == [1, 3]
    assert new_rules(np.array([0.9, 0.8, 0.7, 0.6]), said, said[:, [3]], 3) == [1]


def test_each_band_is_the_best_of_the_grid() -> None:
    X, y = clouds(2)
    rules = Rules.fit(X, y, ("a", "b"), feature_subsets(8))
    chosen = weighted_f1(widest_useful_bands(rules, X, y, (0.25, 0.45, 10)).votes(X), y, 2)
    for beta in np.linspace(0.25, 0.45, 10):
        assert (chosen >= weighted_f1(rules.with_confidences(np.full(len(rules), 0.5 + beta)).votes(X), y, 2) - 1e-12).all()


@pytest.mark.parametrize("multipolar", [False, True])
def test_its_votes_tell_the_classes_of_rows_never_seen(multipolar: bool) -> None:
    X, y = clouds(3)
    snuba = Snuba(MeTaL(max_iter=50), rounds=6, multipolar=multipolar).fit(X[:90], y[:90], X[90:300], classes=["a", "b", "c"])
    votes = snuba.vote(X[300:])
    covered = votes.coverage
    assert covered.mean() > 0.5
    # A stump names two of three classes at most; far better than always naming the commonest is what it can be asked for.
    assert (MajorityVote().fit(votes).predict(votes) == y[300:])[covered].mean() > np.bincount(y[300:]).max() / 100 + 0.2
    assert len(snuba.describe()) == votes.n_sources
    if not multipolar:  # the rest is never voted for: every column names one class
        assert all(len(set(column[column >= 0])) <= 1 for column in votes.codes.T)


def test_the_same_seed_gives_the_same_votes_and_history_starts_anew() -> None:
    X, y = clouds(3)
    snuba = Snuba(MajorityVote(), rounds=4)
    first = snuba.fit(X[:90], y[:90], X[90:]).vote(X).codes
    steps = len(snuba.history_)
    assert (snuba.fit(X[:90], y[:90], X[90:]).vote(X).codes == first).all()
    assert len(snuba.history_) == steps


def test_it_stops_when_all_labelled_rows_are_sure() -> None:
    X = np.repeat([[0.0, 0.0], [9.0, 9.0]], 50, axis=0) + np.random.default_rng(0).normal(size=(100, 2)) * 0.1
    snuba = Snuba(MajorityVote(), rounds=23).fit(X, np.repeat([0, 1], 50), X + 0.01)
    assert len(snuba.history_) < 23


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(60, int)}, "class 'b' is absent from the 60 labelled rows"),
        ({"y": np.zeros(59, int)}, "give one class index per row"),
        ({"y": np.arange(60) % 3}, "labels run from 0 to 2 but there are 2 classes"),
        ({"unlabeled": np.zeros((0, 8))}, "give at least one unlabelled row"),
        ({"unlabeled": np.zeros((5, 7))}, "with the same features"),
        ({"unlabeled": np.full((5, 8), np.nan)}, "feature 0 of unlabelled row 0 is not a finite number"),
    ],
)
def test_a_poor_seed_is_refused_in_one_sentence(change: dict, message: str) -> None:
    X, y = clouds(2)
    given = {"X": X[:60], "y": y[:60], "unlabeled": X[60:], "classes": ["a", "b"], **change}
    with pytest.raises(SourceError, match=message):
        Snuba(MajorityVote()).fit(**given)
    with pytest.raises(SourceError, match="has made no rules yet"):
        Snuba(MajorityVote()).vote(X)


def test_options_out_of_range() -> None:
    X, y = clouds(2)
    with pytest.raises(SourceError, match="at least one round"):
        Snuba(MajorityVote(), rounds=0).fit(X[:60], y[:60], X[60:])
