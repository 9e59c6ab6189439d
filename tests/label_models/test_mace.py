from __future__ import annotations

import numpy as np
import pytest
from scipy.special import digamma

from steelyard import ABSTAIN, Votes
from steelyard.errors import LabelModelError
from steelyard.label_models import MACE, MajorityVote
from tests.label_models.check_estimator import simulate


def planted(n: int, k: int, seed: int) -> tuple[Votes, np.ndarray, np.ndarray, np.ndarray]:
    """Votes drawn from the model itself: truth, competences and spam distributions of six sources, one of them a pure spammer."""
    rng = np.random.default_rng(seed)
    competences, y = np.array([0.9, 0.75, 0.6, 0.45, 0.3, 0.0]), rng.integers(0, k, n)
    spam = rng.dirichlet(np.full(k, 2.0), 6)
    guesses = np.stack([rng.choice(k, n, p=p) for p in spam], axis=1)
    codes = np.where(rng.random((n, 6)) < competences, y[:, None], guesses)
    codes[rng.random((n, 6)) < 0.2] = ABSTAIN
    return Votes(codes, classes=[str(c) for c in range(k)]), y, competences, spam


def cell_by_cell(codes: np.ndarray, k: int, method: str, n_iter: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two steps written out for every row and every vote, with `knows` and `spams` kept apart; (posterior, competences, spam)."""
    n, m = codes.shape
    t, xi = np.full((m, 2), 0.5), np.full((m, k), 1 / k)
    for _ in range(n_iter):
        knows, spams = np.zeros((m, 2)), np.zeros((m, k))
        for row in codes:
            voters = np.flatnonzero(row >= 0)
            chance = [np.prod([t[j, 0] * (row[j] == c) + t[j, 1] * xi[j, row[j]] for j in voters]) for c in range(k)]
            for c, q in enumerate(chance / np.sum(chance)):
                for j in voters:
                    known = t[j, 0] * (row[j] == c)
                    share = known / (known + t[j, 1] * xi[j, row[j]])
                    knows[j] += q * share, q * (1 - share)
                    spams[j, row[j]] += q * (1 - share)
        prior_t, prior_xi = (0.5, 10.0) if method == "vb" else (0.01 / k, 0.01 / k)
        mean_t, mean_xi = ((a := knows + prior_t) / a.sum(1, keepdims=True)), ((b := spams + prior_xi) / b.sum(1, keepdims=True))
        t, xi = mean_t, mean_xi
        if method == "vb":
            t, xi = (np.exp(digamma(x) - digamma(x.sum(1, keepdims=True))) for x in (a, b))
    joint = np.ones((n, k))
    for c in range(k):
        for j in range(m):
            said = np.maximum(codes[:, j], 0)
            chance = mean_t[j, 0] * (codes[:, j] == c) + mean_t[j, 1] * mean_xi[j, said]
            joint[:, c] *= np.where(codes[:, j] >= 0, chance, 1)
    return joint / joint.sum(axis=1, keepdims=True), mean_t[:, 0], mean_xi


@pytest.mark.parametrize("method", ["vb", "em"])
def test_every_cell_written_out_gives_the_same(method: str) -> None:
    codes = planted(25, 3, seed=1)[0].codes
    posterior, competences, spam = cell_by_cell(codes, 3, method, 250)
    model = MACE(method=method, class_prior=np.full(3, 1 / 3), restarts=1, tol=1e-15, max_iter=5000).fit(
        Votes(codes, classes=["a", "b", "c"])
    )
    np.testing.assert_allclose(model.predict_proba(codes), posterior, atol=1e-6)
    np.testing.assert_allclose(model.competences_, competences, atol=1e-6)
    np.testing.assert_allclose(model.spam_distributions_, spam, atol=1e-6)


@pytest.mark.parametrize("method", ["vb", "em"])
def test_the_objective_never_falls(method: str) -> None:
    votes, y = simulate(700, 6, 3, seed=0, accuracy=0.5)
    gold = np.where(np.arange(700) < 50, y, -1)
    model = MACE(method=method, restarts=2, tol=-np.inf, max_iter=80).fit(votes, gold)
    assert np.diff(model.objective_).min() > -1e-10


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("method", ["vb", "em"])
def test_planted_competences_and_spam_are_recovered_as_n_grows(method: str, k: int) -> None:
    errors = []
    for n in (1000, 60_000):
        votes, y, competences, spam = planted(n, k, seed=k)
        model = MACE(method=method, restarts=2, tol=1e-9, max_iter=2000).fit(votes)
        errors.append(np.abs(model.competences_ - competences).max())
    assert errors[1] < 0.02 < errors[0]
    assert np.abs(model.spam_distributions_ - spam)[1:].max() < 0.03
    assert model.score(votes, y) > MajorityVote().fit(votes).score(votes, y)


def test_a_spammer_changes_no_answer() -> None:
    votes, *_ = planted(20_000, 3, seed=5)
    model = MACE(restarts=2).fit(votes)
    spammer_only = np.full((3, 6), ABSTAIN)
    spammer_only[:, 5] = [0, 1, 2]
    np.testing.assert_allclose(model.predict_proba(spammer_only), 1 / 3, atol=0.03)
    assert model.predict_proba([[1, ABSTAIN, ABSTAIN, ABSTAIN, ABSTAIN, ABSTAIN]])[0, 1] > 0.85


def test_each_start_is_another_and_the_best_is_kept() -> None:
    votes, _ = simulate(60, 8, 3, seed=6, accuracy=0.4)
    best = [MACE(restarts=r, max_iter=15).fit(votes).objective_[-1] for r in (1, 2, 5, 10)]
    assert best == sorted(best)
    assert best[0] < best[-1]


def test_the_seed_decides_whatever_the_order_of_the_sources() -> None:
    votes, _ = simulate(60, 8, 3, seed=6, accuracy=0.4)
    one = MACE(restarts=2, max_iter=10, seed=3).fit(votes)
    again, other = (MACE(restarts=2, max_iter=10, seed=s).fit(votes) for s in (3, 4))
    np.testing.assert_array_equal(one.competences_, again.competences_)
    assert (one.competences_ != other.competences_).any()
    order = [5, 2, 7, 0, 1, 6, 3, 4]
    np.testing.assert_allclose(
        MACE(restarts=2, max_iter=10, seed=3).fit(votes.select(order)).competences_, one.competences_[order], rtol=1e-9
    )


def test_one_who_knows_only_the_parent_is_not_taken_for_a_spammer() -> None:
    votes, y = simulate(5000, 5, 3, seed=7, accuracy=0.9, abstain=0.0)
    codes = votes.codes.copy()
    codes[:, 0] = np.where(y > 0, 3, 0)
    model = MACE(restarts=2).fit(Votes(codes, classes=votes.classes, hierarchy={"rest": votes.classes[1:]}))
    assert model.competences_[0] > 0.95


def test_rows_with_votes_have_a_uniform_prior_unless_it_is_known() -> None:
    votes, y = simulate(500, 5, 2, seed=8, prior=[0.2, 0.8])
    model = MACE(restarts=1).fit(votes)
    assert model.voted_prior_.tolist() == [0.5, 0.5]
    assert model.predict_proba(np.full((1, 5), -1))[0] == pytest.approx(model.class_prior_, abs=1e-6)
    assert model.class_prior_[1] > 0.6
    assert MACE(restarts=1).fit(votes, np.where(np.arange(500) < 100, y, -1)).class_prior_[1] > 0.7
    assert MACE(restarts=1, class_prior=[0.2, 0.8]).fit(votes).class_prior_.tolist() == [0.2, 0.8]


def test_real_crowds(data_root) -> None:
    import polars as pl

    votes, tasks = Votes.from_long(pl.read_parquet(data_root / "crowd_bluebirds/votes.parquet"))
    gold = pl.DataFrame({"task": tasks}).join(pl.read_parquet(data_root / "crowd_bluebirds/gold.parquet"), on="task", how="left")
    labels = gold["label"].to_numpy()
    assert MACE().fit(votes).score(votes, labels) > MajorityVote().fit(votes).score(votes, labels) + 0.08


@pytest.mark.parametrize(
    "wrong", [{"method": "gibbs"}, {"competence_prior": (0.0, 1.0)}, {"spam_prior": 0.0}, {"restarts": 0}, {"max_iter": 0}]
)
def test_parameters_are_checked(wrong: dict) -> None:
    with pytest.raises(LabelModelError, match=next(iter(wrong))):
        MACE(**wrong).fit(simulate(50, 3, 2, seed=0)[0])
