from __future__ import annotations

import numpy as np
import pytest

from steelyard import ABSTAIN, Votes, VoteStatistics
from steelyard.errors import LabelModelError
from steelyard.label_models import MMSR, DawidSkene, MajorityVote
from steelyard.label_models.m_msr import pairwise_agreement, robust_rank_one
from tests.label_models.check_estimator import simulate


@pytest.mark.parametrize("k", [2, 5])
def test_agreement_counted_pair_by_pair(k: int) -> None:
    votes, y = simulate(300, 5, k, seed=k)
    gold = np.where(np.arange(300) < 40, y, ABSTAIN)
    table = pairwise_agreement(VoteStatistics.from_votes(votes, gold, keep="moments"))
    columns = np.column_stack([votes.codes, gold])
    for i in range(6):
        for j in range(6):
            both = (columns[:, i] >= 0) & (columns[:, j] >= 0)
            if i == j:
                assert np.isnan(table[i, j])
            else:
                same = (columns[both, i] == columns[both, j]).mean()
                assert table[i, j] == pytest.approx((k * same - 1) / (k - 1))


def test_sources_that_share_no_row_have_no_entry() -> None:
    votes = Votes([[0, 0, -1], [1, 1, -1], [-1, 0, 0]], classes=["a", "b"])
    table = pairwise_agreement(VoteStatistics.from_votes(votes, keep="moments"))
    assert np.isnan(table[0, 2])
    np.testing.assert_allclose([table[0, 1], table[1, 2]], 1)


def test_an_exact_product_is_factored_exactly() -> None:
    skills = np.array([0.9, 0.7, 0.5, 0.3, 0.8])
    table = np.outer(skills, skills)
    np.fill_diagonal(table, np.nan)
    found, _, converged = robust_rank_one(table, 1e-3, max_iter=10_000, tol=1e-12)
    assert converged
    np.testing.assert_allclose(found, skills, atol=1e-6)


def test_a_corrupted_minority_does_not_move_the_others() -> None:
    """Three of eleven sources agree with the rest arbitrarily: the plain least-squares factor is off, the trimmed one is not."""
    rng = np.random.default_rng(0)
    skills = np.append(np.linspace(0.4, 0.9, 8), [0.5, 0.5, 0.5])
    table = np.outer(skills, skills)
    noise = rng.random((11, 3))
    table[:, 8:], table[8:, :] = noise, noise.T
    np.fill_diagonal(table, np.nan)
    trimmed, _, _ = robust_rank_one(table, 1e-3, max_iter=10_000, tol=1e-12)
    filled = np.where(np.isnan(table), np.outer(skills, skills), table)
    values, vectors = np.linalg.eigh(filled)
    plain = np.abs(vectors[:, -1]) * np.sqrt(values[-1])
    assert np.abs(trimmed[:8] - skills[:8]).max() < 0.05 < np.abs(plain[:8] - skills[:8]).max()


@pytest.mark.parametrize("k", [2, 4])
def test_planted_accuracies_are_recovered_as_n_grows(k: int) -> None:
    errors = []
    for n in (1_000, 200_000):
        rng = np.random.default_rng(k)
        y = rng.integers(0, k, n)
        accuracies = np.linspace(0.45, 0.9, 8) if k > 2 else np.array([0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.15])
        wrong = (y[:, None] + rng.integers(1, k, (n, 8))) % k
        codes = np.where(rng.random((n, 8)) < accuracies, y[:, None], wrong)
        votes = Votes(np.where(rng.random((n, 8)) < 0.2, ABSTAIN, codes), classes=[str(c) for c in range(k)])
        errors.append(np.abs(MMSR().fit(votes).accuracies_ - accuracies).max())
    assert errors[1] < 0.01
    assert errors[1] < errors[0] / 3


def test_colluding_sources_do_not_win() -> None:
    """Four of eleven sources repeat one random answer: one-coin EM believes them, the trimmed factor does not."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 20_000)
    honest = np.where(rng.random((20_000, 7)) < np.linspace(0.65, 0.8, 7), y[:, None], 1 - y[:, None])
    colluding = np.repeat(rng.integers(0, 2, (20_000, 1)), 4, axis=1)
    votes = Votes(np.hstack([honest, colluding]), classes=["a", "b"])
    ours = MMSR().fit(votes)
    assert np.abs(ours.accuracies_[7:] - 0.5).max() < 0.1
    for other in (MajorityVote(), DawidSkene("one-coin")):
        assert ours.score(votes, y) > other.fit(votes).score(votes, y) + 0.05


def test_rows_get_the_vote_with_log_odds_weights() -> None:
    votes, _ = simulate(2_000, 5, 3, seed=2)
    model = MMSR().fit(votes)
    p = model.accuracies_
    np.testing.assert_allclose(model.weights_, np.log(2 * p / (1 - p)), atol=1e-9)
    scores = np.einsum("nmk,m->nk", votes.codes[:, :, None] == np.arange(3), model.weights_)
    posterior = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    covered = votes.coverage
    np.testing.assert_allclose(model.predict_proba(votes)[covered], posterior[covered], atol=1e-5)


def test_parameters_are_checked() -> None:
    with pytest.raises(LabelModelError, match="max_iter"):
        MMSR(max_iter=0).fit(simulate(50, 3, 2, seed=0)[0])
