"""Matching a prior: the nearest distribution with the right shares, checked against an optimiser and against a threshold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from steelyard.errors import TargetsError
from steelyard.label_models.transport import assign, match_prior


def random_case(seed: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(k, 0.5), n), rng.dirichlet(np.full(k, 3.0))


@pytest.mark.parametrize(("n", "k"), [(20, 2), (50, 6), (500, 3)])
def test_rows_sum_to_one_and_classes_have_their_share(n: int, k: int):
    p, prior = random_case(n, n, k)
    matched = match_prior(p, prior)
    np.testing.assert_allclose(matched.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(matched.mean(axis=0), prior, atol=1e-6)


def test_it_is_the_nearest_such_distribution():
    """The dual of the projection, solved by a general optimiser: minimise Σ_i log Σ_k p_ik e^{u_k} − n π·u."""
    p, prior = random_case(1, 30, 4)

    def dual(u: np.ndarray) -> float:
        return float(np.log(p @ np.exp(u)).sum() - len(p) * prior @ u)

    u = minimize(dual, np.zeros(4), tol=1e-12).x
    expected = p * np.exp(u)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(match_prior(p, prior, tol=1e-10), expected, atol=1e-4)


def test_what_already_has_its_share_stays():
    p, _ = random_case(2, 40, 3)
    np.testing.assert_allclose(match_prior(p, p.mean(axis=0)), p, atol=1e-12)


def test_two_classes_are_cut_at_one_threshold_with_the_right_share():
    p, _ = random_case(3, 200, 2)
    labels = assign(p, [0.3, 0.7])
    assert p[labels == 0, 0].min() > p[labels == 1, 0].max()
    assert abs((labels == 0).mean() - 0.3) < 0.1


def test_assignment_prevents_the_collapse_that_argmax_is():
    rng = np.random.default_rng(4)
    y = rng.integers(0, 5, 1000)
    logits = 2.0 * np.eye(5)[y] + rng.normal(size=(1000, 5)) + np.array([4.0, 0, 0, 0, 0])  # a bias towards the first class
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    prior = np.bincount(y) / 1000
    assert (p.argmax(axis=1) == 0).mean() > 0.7
    labels = assign(p, prior)
    np.testing.assert_allclose(np.bincount(labels) / 1000, prior, atol=0.05)
    assert (labels == y).mean() > (p.argmax(axis=1) == y).mean() + 0.2


def test_a_few_rounds_come_near_and_a_class_without_share_gets_nothing():
    p, prior = random_case(5, 100, 4)
    far = np.abs(p.mean(axis=0) - prior).max()
    errors = [np.abs(match_prior(p, prior, rounds=rounds).mean(axis=0) - prior).max() for rounds in (1, 3, 10)]
    assert far > errors[0] > errors[1] > errors[2]
    assert (match_prior(p, [0.5, 0.5, 0, 0])[:, 2:] == 0).all()


def test_certain_rows_can_still_be_moved():
    labels = assign(np.tile([1.0, 0.0], (10, 1)), [0.5, 0.5])
    np.testing.assert_allclose(match_prior(np.tile([1.0, 0.0], (10, 1)), [0.5, 0.5]), 0.5)
    assert len(labels) == 10


@pytest.mark.parametrize(
    ("p", "prior"),
    [([[0.5, 0.5]], [1.0]), ([[0.5, -0.5]], [0.5, 0.5]), ([[0.5, 0.5]], [0.0, 0.0]), ([[np.nan, 0.5]], [0.5, 0.5])],
)
def test_malformed_input_is_refused(p, prior):
    with pytest.raises(TargetsError):
        match_prior(p, prior)
