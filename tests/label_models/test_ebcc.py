from __future__ import annotations

import numpy as np
import pytest
from scipy.special import digamma, gammaln, logsumexp

from steelyard import ABSTAIN, Votes
from steelyard.errors import LabelModelError
from steelyard.label_models import EBCC, IBCC, LabelModel
from tests.label_models.check_estimator import simulate


def correlated(n: int, seed: int, misled: int = 3) -> tuple[Votes, np.ndarray, np.ndarray]:
    """Two classes, seven sources: a third of the rows of class 0 look like class 1 to the first few, and only to them.

    The votes, the truth, and θ (7, 3) = P(says 1 | easy 0, hard 0, class 1).
    """
    rng = np.random.default_rng(seed)
    y, hard = rng.integers(0, 2, n), rng.random(n) < 1 / 3
    theta = np.full((7, 3), 0.1)
    theta[:, 2] = 0.9
    theta[:misled, 1] = 0.9
    kind = np.where(y == 1, 2, hard.astype(int))
    codes = (rng.random((n, 7)) < theta[:, kind].T).astype(int)
    codes[rng.random((n, 7)) < 0.1] = ABSTAIN
    return Votes(codes, classes=["a", "b"]), y, theta


def test_with_one_subtype_it_is_ibcc() -> None:
    votes, y = simulate(400, 5, 3, seed=1, accuracy=0.6)
    gold = np.where(np.arange(400) < 40, y, -1)
    one, plain = EBCC(n_subtypes=1, restarts=1).fit(votes, gold), IBCC().fit(votes, gold)
    np.testing.assert_allclose(one.objective_, plain.objective_, atol=1e-12)
    np.testing.assert_allclose(one.predict_proba(votes), plain.predict_proba(votes), atol=1e-6)


@pytest.mark.parametrize(("misled", "n_gold", "gain"), [(3, 0, 0.002), (4, 100, 0.08)])
def test_sources_that_err_together_are_seen_to(misled: int, n_gold: int, gain: float) -> None:
    """Where the misled are the majority only gold labels can tell that the minority is right, and only subtypes can make use of them."""
    votes, y, _ = correlated(10_000, seed=0, misled=misled)
    gold = np.where(np.arange(10_000) < n_gold, y, -1)
    plain, ours = IBCC().fit(votes, gold), EBCC(n_subtypes=3, restarts=3).fit(votes, gold)
    assert ours.score(votes, y) > plain.score(votes, y) + gain
    assert ours.objective_[-1] > plain.objective_[-1] + 0.05


def test_planted_subtypes_are_recovered_as_n_grows() -> None:
    errors = []
    for n in (1000, 50_000):
        votes, _, theta = correlated(n, seed=1)
        model = EBCC(n_subtypes=2, restarts=3, tol=1e-8).fit(votes)
        subtypes = model.subtype_confusions_[:, 0, :, 1] / (1 - model.subtype_confusions_[:, 0, :, -1])
        found = subtypes[:, np.argsort(subtypes.mean(axis=0))]
        errors.append(np.abs(found - theta[:, :2]).max())
    assert errors[1] < min(0.03, errors[0] / 2)
    np.testing.assert_allclose(np.sort(model.subtype_weights_[0]), [1 / 3, 2 / 3], atol=0.03)


def row_by_row(codes: np.ndarray, k: int, n_subtypes: int, start: np.ndarray, n_iter: int) -> tuple[np.ndarray, float]:
    """Independent variational Bayes over rows from responsibilities `start` (n, k, M): class posterior by posterior means, the bound."""
    votes_prior, pi_prior = np.eye(k)[:, None, None, :] * 3 + 1, np.full((k, n_subtypes), 0.1 / n_subtypes)
    one_hot = (codes[:, :, None] == np.arange(k)).astype(float)
    q = start
    for _ in range(n_iter):
        nu, eta = 1 + q.sum(axis=(0, 2)), pi_prior + q.sum(axis=0)
        mu = votes_prior + np.einsum("nkz,njl->kzjl", q, one_hot)
        logs = [digamma(x) - digamma(x.sum(axis=-1, keepdims=True)) for x in (nu, eta, mu)]
        log_q = logs[0][:, None] + logs[1] + np.einsum("njl,kzjl->nkz", one_hot, logs[2])
        evidence = logsumexp(log_q, axis=(1, 2))
        q = np.exp(log_q - evidence[:, None, None])

    def gain(posterior: np.ndarray, prior: np.ndarray, expected: np.ndarray) -> float:
        def log_beta(a: np.ndarray) -> float:
            return (gammaln(a).sum(axis=-1) - gammaln(a.sum(axis=-1))).sum()

        return log_beta(posterior) - log_beta(np.broadcast_to(prior, posterior.shape)) - ((posterior - prior) * expected).sum()

    bound = evidence.sum() + gain(nu, np.ones(k), logs[0]) + gain(eta, pi_prior, logs[1]) + gain(mu, votes_prior, logs[2])
    means = [x / x.sum(axis=-1, keepdims=True) for x in (nu, eta, mu)]
    joint = means[0][:, None] * means[1] * np.exp(np.einsum("njl,kzjl->nkz", one_hot, np.log(means[2])))
    return joint.sum(axis=2) / joint.sum(axis=(1, 2))[:, None], bound / len(codes)


def test_variational_bayes_written_out_row_by_row_gives_the_same() -> None:
    """From many random starts over rows, the best bound and its posterior are those found from the library's starts over patterns."""
    votes, _, _ = correlated(250, seed=2)
    codes = np.where(votes.codes == ABSTAIN, 0, votes.codes)
    tally = np.stack([(codes == 0).mean(axis=1), (codes == 1).mean(axis=1)], axis=1)
    rng = np.random.default_rng(0)
    runs = [row_by_row(codes, 2, 2, tally[:, :, None] * rng.dirichlet(np.ones(2), (250, 2)), 400) for _ in range(6)]
    posterior, bound = max(runs, key=lambda run: run[1])
    model = EBCC(n_subtypes=2, restarts=6, tol=1e-14, max_iter=3000).fit(codes)
    assert model.objective_[-1] == pytest.approx(bound, abs=1e-9)
    np.testing.assert_allclose(model.predict_proba(codes), posterior, atol=1e-6)


@pytest.mark.parametrize("abstain", ["ignore", "model"])
def test_the_bound_never_falls(abstain: str) -> None:
    votes, y, _ = correlated(600, seed=3)
    gold = np.where(np.arange(600) < 40, y, -1)
    model = EBCC(n_subtypes=4, restarts=2, abstain=abstain, tol=-np.inf, max_iter=80).fit(votes, gold)
    assert np.diff(model.objective_).min() > -1e-10


def test_each_start_is_another_and_the_best_is_kept() -> None:
    votes, _, _ = correlated(150, seed=4)
    best = [EBCC(restarts=r).fit(votes).objective_[-1] for r in (1, 2, 5, 10)]
    assert best == sorted(best)
    assert best[0] < best[-1]


def test_the_seed_decides_whatever_the_order_of_the_sources() -> None:
    votes, _, _ = correlated(150, seed=4)
    one = EBCC(restarts=1, seed=3).fit(votes)
    again, other = (EBCC(restarts=1, seed=s).fit(votes) for s in (3, 4))
    np.testing.assert_array_equal(one.subtype_confusions_, again.subtype_confusions_)
    assert one.objective_[-1] != other.objective_[-1]
    order = [5, 2, 0, 1, 6, 3, 4]
    np.testing.assert_allclose(EBCC(restarts=1, seed=3).fit(votes.select(order)).objective_[-1], one.objective_[-1], rtol=1e-9)


def test_class_confusions_are_the_mean_over_subtypes() -> None:
    model = EBCC(n_subtypes=3, restarts=1).fit(correlated(300, seed=6)[0])
    mean = (model.subtype_weights_[None, :, :, None] * model.subtype_confusions_).sum(axis=2)
    np.testing.assert_allclose(model.confusions_, mean)


def test_round_trip(tmp_path) -> None:
    votes, _, _ = correlated(300, seed=6)
    model = EBCC(n_subtypes=3, restarts=1).fit(votes)
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(LabelModel.load(tmp_path / "model.safetensors").predict_proba(votes), model.predict_proba(votes))


@pytest.mark.parametrize(
    "wrong", [{"prior": (0.0, 1.0)}, {"n_subtypes": 0}, {"restarts": 0}, {"subtype_prior": 0.0}, {"abstain": "maybe"}, {"max_iter": 0}]
)
def test_parameters_are_checked(wrong: dict) -> None:
    with pytest.raises(LabelModelError, match=next(iter(wrong))):
        EBCC(**wrong).fit(simulate(50, 3, 2, seed=0)[0])
