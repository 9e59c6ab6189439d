"""Weights of sources from how they differ from the harmonizer: the fast products equal loops over rows, copies share one weight."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard import Votes
from steelyard.errors import LabelModelError
from steelyard.label_models.source_weights import residual_correlations, source_weights, vote_shares


def example(seed: int = 0, n: int = 200, m: int = 5, k: int = 3) -> tuple[Votes, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = np.where(rng.random((n, m)) < 0.7, rng.integers(0, k, (n, m)), -1)
    return Votes(codes, classes=[f"class {c}" for c in range(k)]), rng.dirichlet(np.ones(k), n)


def test_correlations_equal_the_definition_in_loops() -> None:
    votes, h = example()
    m, k = votes.n_sources, votes.n_classes
    residuals = np.zeros((m, votes.n_rows, k))
    for i in range(votes.n_rows):
        for j in range(m):
            if votes.codes[i, j] >= 0:
                residuals[j, i] = np.eye(k)[votes.codes[i, j]] - h[i]
    flat = residuals.reshape(m, -1)
    size = np.linalg.norm(flat, axis=1)
    np.testing.assert_allclose(residual_correlations(votes, h), flat @ flat.T / np.outer(size, size), atol=1e-12)


def test_copies_of_one_source_get_the_weight_of_one_under_min_var_and_more_under_max_eig() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 4000)
    single = np.where(rng.random((4000, 3)) < 0.75, y[:, None], 1 - y[:, None])
    codes = np.column_stack([single, single[:, 0], single[:, 0]])  # sources 0, 3 and 4 are the same
    h = np.full((4000, 2), 0.1)
    h[np.arange(4000), y] = 0.9
    votes = Votes(codes, classes=["no", "yes"])
    equal, floor = 1 / 5, 0.5 / 5
    min_var, max_eig = source_weights(votes, h, "min_var"), source_weights(votes, h, "max_eig")
    copies, others = [0, 3, 4], [1, 2]
    assert (min_var[copies] - floor).sum() == pytest.approx((min_var[others] - floor).mean(), rel=0.15)
    assert (max_eig[copies] > equal).all()
    assert (max_eig[others] < equal).all()
    for weights in (min_var, max_eig):
        assert weights.sum() == pytest.approx(1)
        assert (weights >= floor - 1e-12).all()


def test_permuting_sources_permutes_weights() -> None:
    votes, h = example(2)
    order = [3, 0, 4, 1, 2]
    np.testing.assert_allclose(source_weights(votes, h)[order], source_weights(votes.select(order), h))


def test_vote_shares_keep_the_weight_of_a_row() -> None:
    votes = Votes([[0, 0, 1], [-1, -1, -1], [1, -1, -1]], classes=["no", "yes"])
    shares = vote_shares(votes, [0.5, 0.25, 0.25])
    np.testing.assert_allclose(shares.probabilities, [[0.75, 0.25], [0, 1]])
    np.testing.assert_allclose(shares.weights, [1, 0.5])


def test_an_unknown_rule_is_named() -> None:
    votes, h = example()
    with pytest.raises(LabelModelError, match="'max_eig' or 'min_var', got 'median'"):
        source_weights(votes, h, "median")  # type: ignore[arg-type]
