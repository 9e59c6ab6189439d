from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.special import digamma, gammaln, logsumexp
from scipy.stats import dirichlet

from steelyard import ABSTAIN, Votes
from steelyard.errors import LabelModelError
from steelyard.label_models import IBCC, DawidSkene, MajorityVote
from tests.label_models.check_estimator import simulate
from tests.label_models.test_dawid_skene import planted

PRIOR = np.array([[4.0, 1.0, 1.0], [1.0, 4.0, 1.0], [1.0, 1.0, 4.0]])


def row_by_row(codes: np.ndarray, n_iter: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Independent variational Bayes over rows, abstentions ignored: posterior means of θ and p, and the bound from its definition."""
    one_hot = (codes[:, :, None] == np.arange(3)).astype(float)
    tally = one_hot.sum(axis=1)
    q = np.where(tally.sum(1, keepdims=True) > 0, tally / np.maximum(tally.sum(1, keepdims=True), 1), tally.sum(0) / tally.sum())
    for _ in range(n_iter):
        alpha = 1 + q.sum(axis=0)
        counts = PRIOR + np.einsum("nk,njl->jkl", q, one_hot)
        log_p = digamma(alpha) - digamma(alpha.sum())
        log_theta = digamma(counts) - digamma(counts.sum(axis=2, keepdims=True))
        log_q = log_p + np.einsum("njl,jkl->nk", one_hot, log_theta)
        q = np.exp(log_q - logsumexp(log_q, axis=1, keepdims=True))
    # E[log p(votes, labels, p, θ)] + entropy of q, term by term.
    bound = (q * log_p).sum() + np.einsum("nk,njl,jkl->", q, one_hot, log_theta) - (q * np.log(np.maximum(q, 1e-300))).sum()
    bound += gammaln(3) + dirichlet(alpha).entropy()
    for by_class in zip(counts, log_theta, strict=True):
        for prior, posterior, expected in zip(PRIOR, *by_class, strict=True):
            bound += gammaln(prior.sum()) - gammaln(prior).sum() + ((prior - 1) * expected).sum() + dirichlet(posterior).entropy()
    return counts / counts.sum(axis=2, keepdims=True), alpha / alpha.sum(), bound


def test_variational_bayes_written_out_row_by_row_gives_the_same() -> None:
    votes, _ = simulate(200, 4, 3, seed=5, accuracy=0.6, abstain=0.25)
    codes = votes.codes
    theta, p, bound = row_by_row(codes, 25)
    model = IBCC(abstain="ignore", max_iter=25, tol=-np.inf).fit(votes)
    spoken = model.confusions_[:, :, :-1] / model.confusions_[:, :, :-1].sum(axis=2, keepdims=True)
    np.testing.assert_allclose(spoken, theta, atol=1e-9)
    np.testing.assert_allclose(model.class_prior_, p, atol=1e-9)
    rate = (codes >= 0).mean(axis=0)
    silence = (rate * np.log(rate) + (1 - rate) * np.log(1 - rate)).sum()
    assert model.objective_[-1] == pytest.approx(bound / 200 + silence, abs=1e-9)
    log_joint = np.log(p) + sum(np.where(codes[:, [j]] >= 0, np.log(theta[j][:, np.maximum(codes[:, j], 0)].T), 0) for j in range(4))
    posterior = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
    np.testing.assert_allclose(model.predict_proba(votes), np.where(votes.coverage[:, None], posterior, p), atol=1e-6)


def test_the_bound_is_below_the_exact_evidence_and_near_it() -> None:
    """Six rows: the evidence is a sum over all 64 labellings, each in closed form (parameters integrated out)."""
    codes = np.array([[0, 0, 0], [1, 1, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 0, 1]])
    prior = np.array([[4.0, 1.0], [1.0, 4.0]])

    def log_marginal(counts: np.ndarray, a: np.ndarray) -> float:
        return gammaln(a.sum()) - gammaln((a + counts).sum()) + (gammaln(a + counts) - gammaln(a)).sum()

    log_joint = []
    for labels in product([0, 1], repeat=6):
        z = np.array(labels)
        terms = [log_marginal(np.bincount(codes[z == c, j], minlength=2), prior[c]) for c in (0, 1) for j in range(3)]
        log_joint.append(log_marginal(np.bincount(z, minlength=2), np.ones(2)) + sum(terms))
    exact = logsumexp(log_joint) / 6
    bound = IBCC().fit(Votes(codes, classes=["a", "b"])).objective_[-1]
    assert exact - 0.15 < bound < exact


@pytest.mark.parametrize("abstain", ["ignore", "model"])
@pytest.mark.parametrize("prior", [(4.0, 1.0), (1.0, 0.2)])
def test_the_bound_never_falls(abstain: str, prior: tuple[float, float]) -> None:
    votes, y = simulate(700, 6, 3, seed=0, accuracy=0.55)
    gold = np.where(np.arange(700) < 50, y, -1)
    model = IBCC(abstain=abstain, prior=prior, tol=-np.inf, max_iter=60).fit(votes, gold)
    assert np.diff(model.objective_).min() > -1e-10


@pytest.mark.parametrize("k", [2, 4])
def test_planted_confusions_are_recovered_as_n_grows(k: int) -> None:
    errors = []
    for n in (2_000, 200_000):
        votes, _, theta, prior = planted(n, 6, k, seed=k)
        model = IBCC(tol=1e-9).fit(votes)
        errors.append(np.abs(model.confusions_ - theta).max())
        assert np.abs(model.class_prior_ - prior).max() < 5 / np.sqrt(n)
    assert errors[1] < min(0.02, errors[0] / 3)


def test_abstentions_that_depend_on_the_class_are_learned() -> None:
    votes, y, theta, _ = planted(200_000, 6, 3, seed=1, abstain_by_class=True)
    modelled = IBCC(abstain="model", tol=1e-9).fit(votes)
    assert np.abs(modelled.confusions_ - theta).max() < 0.02
    assert modelled.score(votes, y) > IBCC().fit(votes).score(votes, y)


def test_few_votes_per_source_do_not_lead_it_astray() -> None:
    """Forty equally good workers, fifteen votes each: maximum likelihood believes in accidents, a belief in better than chance does not."""
    scores = []
    for seed in range(10):
        votes, y = simulate(100, 40, 3, seed=seed, accuracy=0.6, abstain=0.85)
        scores.append([model.fit(votes).score(votes, y) for model in (IBCC(), DawidSkene(prior=None), MajorityVote())])
    ours, likelihood, vote = np.mean(scores, axis=0)
    assert ours > likelihood + 0.02
    assert ours > vote - 0.03


def test_the_silence_of_a_rule_that_names_one_class_is_evidence() -> None:
    """Two good rules per class and three that fire as often on the other class: only silence tells the ones from the others."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 20_000)
    named, good = np.arange(10) % 2, np.arange(10) < 4
    rate = np.where(named == y[:, None], 0.5, np.where(good, 0.05, 0.5))
    codes = np.where(rng.random((20_000, 10)) < rate, named, ABSTAIN)
    heard, deaf = (IBCC(abstain=abstain, class_prior=[0.5, 0.5]).fit(codes) for abstain in ("auto", "ignore"))
    assert heard.score(codes, y) > deaf.score(codes, y) + 0.02
    np.testing.assert_allclose(1 - heard.confusions_[[0, 4], :, -1], [[0.5, 0.05], [0.5, 0.5]], atol=0.02)


def test_a_given_class_prior_is_kept() -> None:
    votes, _ = simulate(500, 5, 2, seed=8, prior=[0.2, 0.8])
    assert IBCC(class_prior=[0.3, 0.7]).fit(votes).class_prior_.tolist() == [0.3, 0.7]
    learned = IBCC().fit(votes)
    assert learned.class_prior_source_ == "estimated"
    assert learned.class_prior_[1] == pytest.approx(0.8, abs=0.05)


def test_real_crowds(data_root) -> None:
    import polars as pl

    votes, tasks = Votes.from_long(pl.read_parquet(data_root / "crowd_bluebirds/votes.parquet"))
    gold = pl.DataFrame({"task": tasks}).join(pl.read_parquet(data_root / "crowd_bluebirds/gold.parquet"), on="task", how="left")
    assert IBCC().fit(votes).score(votes, gold["label"].to_numpy()) >= 0.88


@pytest.mark.parametrize("wrong", [{"prior": (0.0, 1.0)}, {"abstain": "maybe"}, {"max_iter": 0}])
def test_parameters_are_checked(wrong: dict) -> None:
    with pytest.raises(LabelModelError, match=next(iter(wrong))):
        IBCC(**wrong).fit(simulate(50, 3, 2, seed=0)[0])
