"""Means over tasks, exact intervals, and the accuracy before balancing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from steelyard.errors import DataError
from steelyard.evaluation.task_means import clopper_pearson, task_means, unbalanced_accuracy


@pytest.mark.parametrize(("right", "n"), [(0, 7), (3, 7), (7, 7), (250, 1000)])
def test_the_interval_is_that_of_the_exact_binomial_test(right, n):
    exact = binomtest(right, n).proportion_ci(0.9, method="exact")
    np.testing.assert_allclose(clopper_pearson(right, n), (exact.low, exact.high), atol=1e-9)


def test_the_interval_covers_at_least_as_often_as_it_says():
    intervals = np.array([clopper_pearson(right, 20) for right in range(21)])
    for share in np.linspace(0.02, 0.98, 25):
        covering = (intervals[:, 0] <= share) & (share <= intervals[:, 1])
        assert binom.pmf(np.arange(21), 20, share)[covering].sum() >= 0.9


def test_balancing_is_undone_on_average():
    rng = np.random.default_rng(0)
    is_majority = rng.random(40_000) < 0.8
    right = rng.random(40_000) < np.where(is_majority, 0.9, 0.5)
    kept = ~is_majority | (rng.random(40_000) < 0.25)
    assert right[kept].mean() < right.mean() - 0.1
    assert abs(unbalanced_accuracy(right[kept], is_majority[kept], 0.25) - right.mean()) < 0.01


def test_mistakes_are_one_sentence():
    for call in (lambda: clopper_pearson(3, 2), lambda: unbalanced_accuracy([1], [1], 0.0), lambda: task_means({"a": []})):
        with pytest.raises(DataError):
            call()
