"""Label spaces in several parts, against the table of distances in which infinity is replaced."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import DataError
from steelyard.inference import locus
from steelyard.label_models import EuclideanMetric, GraphMetric, MatrixMetric, PartedMetric
from steelyard.label_models.parted_metric import largest_distance


def forest(rng, n, extra):
    """Random edges among n labels, too few to join them all."""
    edges = [(int(rng.integers(0, i)), i) for i in range(1, n) if rng.uniform() < 0.7] + [tuple(map(int, rng.integers(0, n, 2)))] * extra
    return PartedMetric.from_edges(edges, rng.integers(1, 4, len(edges)).astype(float), labels=range(n))


@pytest.mark.parametrize("extra", [0, 1, 3])
def test_parts_answer_as_the_table_with_infinity_replaced_does(extra):
    rng = np.random.default_rng(extra)
    for _ in range(25):
        n = int(rng.integers(2, 14))
        metric = forest(rng, n, extra)
        within = np.full((n, n), np.inf)
        for part in metric.parts:
            at = metric.index(part.labels)
            within[np.ix_(at, at)] = part.distances(np.arange(len(part)))
        table = MatrixMetric(within, labels=metric.labels, apart="diameter")
        if len(metric.parts) > 1:
            assert metric.apart == within[np.isfinite(within)].max() + 1
        np.testing.assert_allclose(metric.distances(np.arange(n)), table.distances(np.arange(n)))
        np.testing.assert_allclose(metric.distances([n - 1, 0], [0, 1]), table.distances([n - 1, 0], [0, 1]))
        observed = rng.permutation(n)[: rng.integers(1, n + 1)]
        # Small whole numbers make ties frequent, also between parts.
        weights = rng.integers(0, 3, (8, len(observed))) + 1e-3 * np.eye(8, len(observed))
        weights[weights.sum(1) == 0] = 1.0
        weights /= weights.sum(1, keepdims=True)
        for candidates in (None, rng.permutation(n)[: (n + 1) // 2]):
            found = metric.frechet_means(weights, observed, candidates)
            np.testing.assert_array_equal(found, table.frechet_means(weights, observed, candidates))


def test_no_mean_lies_between_parts_and_each_part_keeps_its_own():
    metric = PartedMetric([EuclideanMetric(5), EuclideanMetric(5, labels=[f"other {i}" for i in range(5)])])
    assert metric.apart == 5
    np.testing.assert_array_equal(locus(metric, [0, 4, "other 0"]), [0, 1, 2, 3, 4, 5])
    weights = np.array([[0.3, 0.3, 0.4], [0.1, 0.1, 0.8]])
    # 0.6 lies in the first part, whose mean is 2: 0.6·4 + 0.4·25 against 0.6·25.
    np.testing.assert_array_equal(metric.frechet_means(weights, metric.index([0, 4, "other 0"])), [2, 5])


def test_the_diameter_is_the_largest_shortest_path():
    rng = np.random.default_rng(0)
    for extra in (0, 4):
        edges = [(int(rng.integers(0, i)), i) for i in range(1, 30)] + [tuple(map(int, rng.integers(0, 30, 2))) for _ in range(extra)]
        metric = GraphMetric(edges, rng.uniform(0.5, 2, len(edges)))
        assert largest_distance(metric) == pytest.approx(metric.distances(np.arange(30)).max())


def test_bad_parts_get_one_sentence():
    with pytest.raises(DataError, match="no part"):
        PartedMetric([])
    with pytest.raises(DataError, match="give each label its own"):
        PartedMetric([EuclideanMetric(2), EuclideanMetric(3)])
    with pytest.raises(DataError, match="distance between parts is -1"):
        PartedMetric([EuclideanMetric(2)], apart=-1)
    with pytest.raises(DataError, match="'c', which is not among"):
        PartedMetric.from_edges([("a", "c")], labels=["a", "b"])
    with pytest.raises(DataError, match=r"lengths of shape \(2,\)"):
        PartedMetric.from_edges([("a", "c")], [1.0, 2.0])
    with pytest.raises(DataError, match="PartedMetric, MatrixMetric"):
        GraphMetric([("a", "b"), ("c", "d")])
    with pytest.raises(DataError, match="apart is 0"):
        MatrixMetric([[0, np.inf], [np.inf, 0]], apart=0)
