"""Machine-written rules: exact against scikit-learn's stump and logistic regression, and the same after a trip through JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from steelyard.errors import SourceError
from steelyard.sources import Rules
from steelyard.sources.rules import feature_subsets


@pytest.fixture(params=[2, 4])
def seeded(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    rng = np.random.default_rng(request.param)
    y = np.arange(90) % request.param
    return rng.normal(size=(90, 5)) + 1.5 * y[:, None] * rng.random(5), y, tuple("abcd"[: request.param])


def test_a_stump_is_the_tree_of_depth_one(seeded) -> None:
    X, y, classes = seeded
    rules = Rules.fit(X, y, classes, feature_subsets(5))
    for j in range(5):
        tree = DecisionTreeClassifier(max_depth=1).fit(X[:, [j]], y)
        assert rules.thresholds[j] == pytest.approx(tree.tree_.threshold[0])
        probability = rules.take([j]).best(X)[1]
        assert probability[:, 0] == pytest.approx(tree.predict_proba(X[:, [j]]).max(axis=1), abs=1e-6)


def test_a_logistic_rule_of_two_features_is_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    y = (X @ [1.0, -2.0] + rng.normal(size=80) > 0).astype(int)
    rules = Rules.fit(X, y, ("no", "yes"), np.array([[0, 1]]))
    assert not rules.is_stump[1]
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = LogisticRegression(tol=1e-10).fit(z, y).predict_proba(z).max(axis=1)
    assert rules.best(X)[1][:, 1] == pytest.approx(expected, abs=1e-4)


def test_the_best_class_is_that_of_the_normalised_functions_one_by_one(seeded) -> None:
    X, y, classes = seeded
    rules = Rules.fit(X, y, classes, feature_subsets(5, cardinality=2))
    label, probability = rules.best(X)
    for j in range(len(rules)):
        if rules.is_stump[j]:
            P = rules.leaves[j][(X[:, rules.columns[j, 0]] > rules.thresholds[j]).astype(int)]
        else:
            shares = 1 / (1 + np.exp(-(X[:, rules.columns[j]] @ rules.weights[j] + rules.intercepts[j])))
            P = shares / shares.sum(axis=1, keepdims=True)
        assert probability[:, j] == pytest.approx(P.max(axis=1), abs=1e-6)
        assert P[np.arange(len(X)), label[:, j]] == pytest.approx(P.max(axis=1), abs=1e-6)


def test_a_rule_on_two_features_takes_the_better_stump() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = np.column_stack([rng.normal(size=60), y + 0.01 * rng.normal(size=60)])
    assert Rules.fit(X, y, ("no", "yes"), np.array([[0, 1]])).columns[0].tolist() == [1, -1]


def test_more_confidence_means_fewer_votes_and_never_another(seeded) -> None:
    X, y, classes = seeded
    rules = Rules.fit(X, y, classes, feature_subsets(5))
    free, middle = rules.votes(X), np.median(rules.best(X)[1])
    shy = rules.with_confidences(np.full(len(rules), middle)).votes(X)
    assert (free >= 0).all()
    assert 0 < (shy >= 0).sum() < shy.size
    assert (shy[shy >= 0] == free[shy >= 0]).all()


def test_rules_survive_json_and_say_what_they_do(seeded) -> None:
    X, y, classes = seeded
    rules = Rules.fit(X, y, classes, feature_subsets(5, cardinality=2))
    back = Rules.from_dict(json.loads(json.dumps(rules.to_dict())))
    assert (back.votes(X) == rules.votes(X)).all()
    assert back.describe() == rules.describe()
    assert "height" in rules.describe(["height", "b", "c", "d", "e"])[0]
    with pytest.raises(SourceError, match="'leaves' is missing"):
        Rules.from_dict({key: value for key, value in rules.to_dict().items() if key != "leaves"})


def test_a_constant_feature_gives_a_rule_that_knows_only_the_base_rate() -> None:
    rules = Rules.fit(np.ones((10, 1)), np.arange(10) % 5 // 4, ("no", "yes"), np.array([[0]]))
    assert rules.best(np.zeros((1, 1)))[1] == pytest.approx(np.full((1, 2), 0.8), abs=0.02)


@pytest.mark.parametrize(("d", "cardinality", "most"), [(50, 2, 100), (5, 3, 1000), (30, 1, 7)])
def test_sampled_subsets_are_distinct_and_within_bounds(d: int, cardinality: int, most: int) -> None:
    subsets = feature_subsets(d, cardinality, most, seed=1)
    assert len(subsets) <= most
    assert len({tuple(row) for row in subsets.tolist()}) == len(subsets)
    assert subsets.max() < d
    assert (subsets == feature_subsets(d, cardinality, most, seed=1)).all()
