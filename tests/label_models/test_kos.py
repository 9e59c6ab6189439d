from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from steelyard import ABSTAIN, Votes
from steelyard.errors import LabelModelError
from steelyard.label_models import KOS, DawidSkene, MajorityVote
from tests.label_models.check_estimator import simulate

Array = NDArray[np.float64]


def crowd(n: int, m: int, per_row: int, seed: int, k: int = 2) -> tuple[Votes, NDArray[np.int64], Array]:
    """Hammers, always right, and spammers, who guess: each row goes to a few sources drawn at random."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    accuracies = np.where(np.arange(m) < m * 0.4, 1.0, 1 / k)
    wrong = (y[:, None] + rng.integers(1, k, (n, m))) % k
    codes = np.where(rng.random((n, m)) < accuracies, y[:, None], wrong)
    asked = rng.random((n, m)).argsort(axis=1) < per_row
    return Votes(np.where(asked, codes, ABSTAIN), classes=[str(c) for c in range(k)]), y, accuracies


def slow_messages(votes: Votes, rounds: int) -> tuple[Array, Array]:
    """x_{i→j} and y_{j→i} as published, one message per vote; started at 1."""
    a = np.where(votes.codes == ABSTAIN, 0, 1 - 2 * votes.codes).astype(float)
    y = np.abs(a)
    for _ in range(rounds):
        x = np.abs(a) * ((a * y).sum(axis=1, keepdims=True) - a * y)
        y = np.abs(a) * ((a * x).sum(axis=0, keepdims=True) - a * x)
        y /= np.abs(y).max()
    return x, y


def test_messages_need_not_be_kept_for_every_vote() -> None:
    votes, _, _ = crowd(600, 12, 5, seed=0)
    model = KOS(max_iter=8, tol=0).fit(votes)
    _, y = slow_messages(votes, 8)
    a = np.where(votes.codes == ABSTAIN, 0, 1 - 2 * votes.codes)
    # What a source sends differs from row to row by that row's own part, one in 250: y_{j→i} = w_j - A_ij b_i.
    sent = y.sum(axis=0) / (votes.codes >= 0).sum(axis=0)
    weights = model.reliabilities_[:, 0]
    np.testing.assert_allclose(weights / np.linalg.norm(weights), sent / np.linalg.norm(sent), atol=0.01)
    published = (a * y).sum(axis=1)
    clear = np.abs(published) > 0.05 * np.abs(published).max()
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(model.predict(votes)[clear], (published < 0)[clear])


def test_one_round_by_hand() -> None:
    # From y = 1, b = (2, 2, 0, -1); w_j = Σ_i A_ij b_i - (n_j - 1).
    votes = Votes([[0, 0], [0, 0], [0, 1], [1, -1]], classes=["a", "b"])
    weights = KOS(max_iter=1).fit(votes).reliabilities_[:, 0]
    assert weights[1] / weights[0] == pytest.approx((2 + 2 - 0 - 2) / (2 + 2 + 0 + 1 - 3))


@pytest.mark.parametrize("k", [2, 3])
def test_hammers_are_told_from_spammers_as_n_grows(k: int) -> None:
    errors = []
    for n in (50, 5_000):
        votes, y, accuracies = crowd(n, 10, 5, seed=1, k=k)
        model = KOS().fit(votes)
        errors.append(1 - model.score(votes, y))
    hammers = accuracies == 1
    assert model.reliabilities_[hammers].min() > 3 * model.reliabilities_[~hammers].max()
    assert errors[1] < 1 - DawidSkene("one-coin").fit(votes).score(votes, y) + 0.02
    assert errors[1] < 1 - MajorityVote().fit(votes).score(votes, y) - 0.03


def test_sources_worse_than_chance_are_turned_round() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 5_000)
    votes = Votes(np.where(rng.random((5_000, 6)) < [0.9, 0.85, 0.8, 0.8, 0.2, 0.15], y[:, None], 1 - y[:, None]), classes=["a", "b"])
    model = KOS().fit(votes)
    assert (model.reliabilities_[4:] < -0.4).all()
    assert model.score(votes, y) > MajorityVote().fit(votes).score(votes, y) + 0.05


def test_two_classes_are_one_problem_seen_from_both_sides() -> None:
    votes, _ = simulate(500, 6, 2, seed=3)
    model = KOS().fit(votes)
    np.testing.assert_allclose(model.reliabilities_[:, 0], model.reliabilities_[:, 1], atol=1e-9)


def test_scale_is_that_of_agreement_with_the_answers() -> None:
    votes, _ = simulate(20_000, 15, 2, seed=4, accuracy=0.8, abstain=0)
    np.testing.assert_allclose(KOS().fit(votes).reliabilities_[:, 0], 0.6, atol=0.03)


def test_a_row_with_a_label_sends_it() -> None:
    votes = Votes([[0, 1], [1, 0]] * 30, classes=["a", "b"])
    second_is_right = np.where(np.arange(60) < 30, votes.codes[:, 1], -1)
    model = KOS().fit(votes, second_is_right)
    np.testing.assert_array_equal(model.predict(votes), votes.codes[:, 1])
    np.testing.assert_allclose(model.reliabilities_, [[-1, -1], [1, 1]], atol=1e-6)


def test_parameters_are_checked() -> None:
    with pytest.raises(LabelModelError, match="max_iter"):
        KOS(max_iter=0).fit(simulate(50, 3, 2, seed=0)[0])
