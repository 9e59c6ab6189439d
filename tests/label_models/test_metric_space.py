"""Fréchet means in every metric against the plain table of energies, and what is said about metrics that are none."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import DataError
from steelyard.label_models.graph_metric import GraphMetric
from steelyard.label_models.metric_space import EuclideanMetric, MatrixMetric


def slow_mean(weights, distances, observed, candidates):
    """Row by row, label by label, ties as documented."""
    answers = []
    for row in weights:
        energy = {y: sum(p * distances[y, i] ** 2 for p, i in zip(row, observed, strict=True)) for y in candidates}
        least = min(energy.values())
        own = dict(zip(observed.tolist(), row, strict=True))
        tied = [y for y in sorted(candidates) if energy[y] <= least + 1e-9 * (1 + least)]
        answers.append(min(tied, key=lambda y: (-own.get(y, 0.0), distances[y, observed].sum(), y)))
    return np.array(answers)


def random_graph(rng, n, extra):
    edges = [(int(rng.integers(0, i)), i) for i in range(1, n)] + [tuple(map(int, rng.integers(0, n, 2))) for _ in range(extra)]
    names = rng.permutation(n)
    lengths = rng.integers(1, 4, len(edges)).astype(float)
    return GraphMetric([(int(names[a]), int(names[b])) for a, b in edges], lengths, labels=range(n))


@pytest.mark.parametrize("extra", [0, 1, 3, 15])
def test_trees_and_graphs_answer_as_the_table_of_energies_does(extra):
    rng = np.random.default_rng(extra)
    for _ in range(12):
        n = int(rng.integers(2, 16))
        metric = random_graph(rng, n, extra)
        table = metric.distances(np.arange(n))
        observed = rng.permutation(n)[: rng.integers(1, n + 1)]
        # Small whole numbers make ties frequent.
        weights = rng.integers(0, 4, (8, len(observed))) + np.eye(8, len(observed)) * 1e-3
        weights[weights.sum(1) == 0] = 1.0
        weights /= weights.sum(1, keepdims=True)
        for candidates in (None, rng.permutation(n)[: (n + 1) // 2]):
            expected = slow_mean(weights, table, observed, range(n) if candidates is None else candidates.tolist())
            np.testing.assert_array_equal(metric.frechet_means(weights, observed, candidates), expected)
            np.testing.assert_array_equal(MatrixMetric(table).frechet_means(weights, observed, candidates), expected)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_places_answer_as_the_table_of_energies_does(dimensions):
    rng = np.random.default_rng(dimensions)
    metric = EuclideanMetric(rng.normal(size=(30, dimensions)))
    observed, weights = rng.permutation(30)[:7], rng.dirichlet(np.ones(7), 40)
    for candidates in (None, np.arange(0, 30, 3)):
        expected = slow_mean(weights, metric.distances(np.arange(30)), observed, range(30) if candidates is None else candidates.tolist())
        np.testing.assert_array_equal(metric.frechet_means(weights, observed, candidates), expected)


def test_distances_of_a_graph_are_shortest_paths_and_parallel_edges_count_once():
    square = GraphMetric([("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("a", "b")], [1, 1, 1, 5, 9])
    assert square.distances(square.index(["a"]))[0].tolist() == [0, 1, 2, 3]
    assert (square.core_size, square.is_tree) == (4, False)


def test_hanging_trees_leave_only_the_core():
    edges = [(0, 1), (1, 2), (2, 0), *[(i % 3, i) for i in range(3, 500)]]
    assert GraphMetric(edges).core_size == 3
    assert GraphMetric([(i, i + 1) for i in range(5000)]).core_size == 1


def test_a_deep_hierarchy_of_100000_labels_needs_no_table():
    n = 100_000
    rng = np.random.default_rng(0)
    parents = np.maximum(np.arange(1, n) - 1 - rng.integers(0, np.arange(1, n) // 2 + 1), 0)
    tree = GraphMetric(np.column_stack([parents, np.arange(1, n)]), labels=range(n))
    observed = rng.permutation(n)[:50]
    weights = rng.dirichlet(np.full(50, 0.1), 20)
    found = tree.frechet_means(weights, observed)
    distances = tree.distances(observed)
    energies = weights @ distances**2
    np.testing.assert_allclose(energies[np.arange(20), found], energies.min(1))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: GraphMetric([("a", "b"), ("c", "d")]), "disconnected: no path joins 'a' and 'c'"),
        (lambda: GraphMetric.from_parents({"a": None, "b": None}), "disconnected: no path joins 'a' and 'b'"),
        (lambda: GraphMetric([("a", "b")], labels=["a", "b", "lonely"]), "no path joins 'a' and 'lonely'"),
        (lambda: GraphMetric([("a", "b")], [0.0]), "length 0; lengths are positive"),
        (lambda: GraphMetric([("a", "b")], labels=["a"]), "an edge names 'b'"),
        (lambda: MatrixMetric([[0, np.inf], [np.inf, 0]], ["x", "y"]), "no path joins 'x' and 'y'"),
        (lambda: MatrixMetric([[0, -1], [-1, 0]]), "distance of 0 and 1 is -1"),
        (lambda: MatrixMetric([[0, 1]]), "must be square"),
        (lambda: EuclideanMetric([0.0, np.nan], ["x", "y"]), "label 'y' is not finite"),
        (lambda: EuclideanMetric(2, ["x", "x"]), "give each label its own"),
        (lambda: EuclideanMetric(2).index([5]), "label 5 is not in the label metric"),
        (lambda: EuclideanMetric(2).index([1, 1]), "named twice"),
    ],
)
def test_what_is_no_metric_is_said_in_one_sentence(make, sentence):
    with pytest.raises(DataError, match=sentence):
        make()


def test_an_asymmetric_table_becomes_the_mean_of_both_directions():
    with pytest.warns(UserWarning, match="not symmetric"):
        assert MatrixMetric([[0, 1], [3, 0]]).distances([0]).tolist() == [[0, 2]]
