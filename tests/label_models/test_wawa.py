from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from steelyard import ABSTAIN, Votes
from steelyard.label_models import MajorityVote, Wawa
from tests.label_models.check_estimator import simulate


def slow_wawa(codes: NDArray[np.int64], k: int) -> tuple[list[float], NDArray[np.float64]]:
    """Skills and shares, one vote at a time."""

    def vote(row: NDArray[np.int64], weights: list[float]) -> list[float]:
        return [sum(w for v, w in zip(row, weights, strict=True) if v == c) for c in range(k)]

    agreed, cast = [0.0] * codes.shape[1], [0] * codes.shape[1]
    for row in codes:
        counts = vote(row, [1.0] * codes.shape[1])
        winners = [c for c in range(k) if counts[c] == max(counts)]
        for j, v in enumerate(row):
            if v != ABSTAIN:
                cast[j] += 1
                agreed[j] += (v in winners) / len(winners)
    skills = [a / max(n, 1) for a, n in zip(agreed, cast, strict=True)]
    shares = np.array([vote(row, skills) for row in codes])
    return skills, shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)


@pytest.mark.parametrize("k", [2, 4])
def test_the_same_one_vote_at_a_time(k: int) -> None:
    votes, _ = simulate(400, 7, k, seed=k, accuracy=0.55)
    skills, shares = slow_wawa(votes.codes, k)
    model = Wawa().fit(votes)
    np.testing.assert_allclose(model.weights_, skills, atol=1e-12)
    covered = votes.coverage
    np.testing.assert_allclose(model.predict_proba(votes)[covered], shares[covered], atol=1e-6)


def test_skills_approach_agreement_with_the_truth_as_sources_grow() -> None:
    """With many sources the vote is nearly always right, and so agreement with it is accuracy."""
    errors = []
    for m in (3, 25):
        rng = np.random.default_rng(0)
        y = rng.integers(0, 2, 20_000)
        right = np.linspace(0.5, 0.9, m)
        votes = Votes(np.where(rng.random((20_000, m)) < right, y[:, None], 1 - y[:, None]), classes=["a", "b"])
        errors.append(np.abs(Wawa().fit(votes).weights_ - right).max())
    assert errors[1] < 0.03 < errors[0]


def test_good_sources_win_ties_of_the_plain_vote() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 5_000)
    votes = Votes(np.where(rng.random((5_000, 4)) < [0.95, 0.7, 0.6, 0.6], y[:, None], 1 - y[:, None]), classes=["a", "b"])
    assert Wawa().fit(votes).score(votes, y) > MajorityVote().fit(votes).score(votes, y) + 0.02


def test_on_gold_rows_agreement_is_with_the_label() -> None:
    votes = Votes([[0, 0, 1]] * 10, classes=["a", "b"])
    np.testing.assert_allclose(Wawa().fit(votes).weights_, [1, 1, 0])
    np.testing.assert_allclose(Wawa().fit(votes, np.ones(10, int)).weights_, [0, 0, 1])


def test_confusions_are_votes_given_the_consensus() -> None:
    votes = Votes([[0, 0, 0], [0, 0, 1], [1, 1, -1], [1, 1, 0]], classes=["a", "b"])
    np.testing.assert_allclose(Wawa().fit(votes).confusions_[2], [[0.5, 0.5, 0], [0.5, 0, 0.5]])
