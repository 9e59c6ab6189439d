from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from steelyard import ABSTAIN, Votes
from steelyard.errors import LabelModelError
from steelyard.label_models import DataProgramming, DawidSkene, MajorityVote
from tests.label_models.check_estimator import simulate

Array = NDArray[np.float64]


def every_joint_vote(m: int, symbols: int) -> NDArray[np.int64]:
    return np.array(list(itertools.product(range(-1, symbols), repeat=m)))


def log_joint(w: Array, rows: NDArray[np.int64], pairs: list[tuple[int, int]], prior: Array) -> Array:
    """(rows, k) log P(y, votes), normalised by listing all joint votes; w holds weights of voting, of being right and of being equal."""
    m, k = rows.shape[1], len(prior)

    def potential(votes: NDArray[np.int64]) -> Array:
        shared = (votes >= 0) @ w[:m] + sum(w[2 * m + i] * (votes[:, a] == votes[:, b]) for i, (a, b) in enumerate(pairs))
        return shared[:, None] + np.stack([(votes == y) @ w[m : 2 * m] for y in range(k)], axis=1)

    z = np.exp(potential(every_joint_vote(m, k))).sum(axis=0)
    return np.log(prior) + potential(rows) - np.log(z)


def correlated(n: int, k: int, seed: int) -> tuple[Votes, NDArray[np.int64], Array, list[tuple[int, int]]]:
    """Votes of five sources drawn from the model with three dependencies, the truth and the weights."""
    rng = np.random.default_rng(seed)
    pairs = [(0, 1), (1, 2), (3, 4)]
    w = np.array([0.5, 0.2, -0.3, 0.8, 0.1, 1.0, 1.2, 0.9, 1.5, 1.1, 1.2, -0.5, 0.8])
    prior = np.full(k, 1 / k)
    votes = every_joint_vote(5, k)
    chances = np.exp(log_joint(w, votes, pairs, prior))
    drawn = rng.choice(chances.size, n, p=chances.ravel())
    return Votes(votes[drawn // k], classes=[str(c) for c in range(k)]), drawn % k, w, pairs


@pytest.mark.parametrize("k", [2, 3])
def test_planted_weights_are_recovered_as_n_grows(k: int) -> None:
    errors = []
    for n in (4_000, 400_000):
        votes, _, w, pairs = correlated(n, k, seed=k)
        model = DataProgramming(pairs, class_prior=np.full(k, 1 / k), tol=1e-10, max_iter=1000).fit(votes)
        errors.append(max(np.abs(model.accuracy_weights_ - w[5:10]).max(), np.abs(model.correlations_ - w[10:]).max()))
    assert errors[1] < 0.05
    assert errors[1] < errors[0] / 3


def test_the_likelihood_is_that_of_listing_all_joint_votes_and_no_weights_are_better() -> None:
    votes, _, w, pairs = correlated(1_000, 2, seed=4)
    prior = np.array([0.4, 0.6])
    model = DataProgramming(pairs, class_prior=prior, prior_strength=0, tol=1e-13, max_iter=5000).fit(votes)

    def minus_log_likelihood(at: Array) -> float:
        return -float(np.logaddexp.reduce(log_joint(at, votes.codes, pairs, prior), axis=1).mean())

    best = minimize(minus_log_likelihood, w, method="BFGS", options={"gtol": 1e-6})
    assert model.log_likelihood_ == pytest.approx(-best.fun, abs=1e-7)
    np.testing.assert_allclose(model.accuracy_weights_, best.x[5:10], atol=2e-3)
    np.testing.assert_allclose(model.correlations_, best.x[10:], atol=2e-3)
    joint = np.exp(log_joint(best.x, votes.codes, pairs, prior))
    np.testing.assert_allclose(model.predict_proba(votes), joint / joint.sum(axis=1, keepdims=True), atol=1e-3)


def test_confusions_are_the_marginals_of_the_joint_votes() -> None:
    votes, _, _, pairs = correlated(2_000, 3, seed=5)
    model = DataProgramming(pairs).fit(votes)
    vote_rate = 1 - model.confusions_[:, :, -1] @ model.class_prior_
    np.testing.assert_allclose(vote_rate, (votes.codes >= 0).mean(axis=0), atol=0.01)
    np.testing.assert_allclose(model.confusions_.sum(axis=2), 1, atol=1e-9)


@pytest.mark.parametrize("abstain", [0.0, 0.4])
@pytest.mark.parametrize("k", [2, 4])
def test_without_dependencies_it_is_one_coin_dawid_skene(k: int, abstain: float) -> None:
    votes, _ = simulate(2_000, 6, k, seed=6, accuracy=0.65, abstain=abstain)
    prior = np.linspace(1, 2, k) / np.linspace(1, 2, k).sum()
    ours = DataProgramming(class_prior=prior, prior_strength=0, tol=1e-12, max_iter=500).fit(votes)
    peer = DawidSkene("one-coin", abstain="ignore", prior=None, class_prior=prior, tol=1e-12, max_iter=500).fit(votes)
    np.testing.assert_allclose(ours.accuracies_, peer.accuracies_, atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(votes), peer.predict_proba(votes), atol=1e-5)
    assert ours.log_likelihood_ == pytest.approx(peer.log_likelihood_, abs=1e-8)


@pytest.mark.parametrize("dependencies", [[], [(0, 1)], [(0, 1), (1, 2), (3, 4)]])
@pytest.mark.parametrize("prior_strength", [0.0, 20.0])
def test_the_objective_never_falls(dependencies: list[tuple[int, int]], prior_strength: float) -> None:
    votes, y = simulate(700, 6, 3, seed=7, accuracy=0.55)
    gold = np.where(np.arange(700) < 50, y, -1)
    model = DataProgramming(dependencies, prior_strength=prior_strength, tol=-np.inf, max_iter=40).fit(votes, gold)
    assert np.diff(model.objective_).min() > -1e-10


def test_declared_copies_count_once() -> None:
    rng = np.random.default_rng(8)
    y = rng.integers(0, 3, 20_000)
    wrong = (y[:, None] + rng.integers(1, 3, (20_000, 4))) % 3
    once = np.where(rng.random((20_000, 4)) < [0.85, 0.75, 0.7, 0.5], y[:, None], wrong)
    once[rng.random(once.shape) < 0.2] = ABSTAIN
    votes = Votes(once[:, [0, 1, 2, 3, 3, 3]], classes=["a", "b", "c"])
    plain = Votes(once, classes=["a", "b", "c"])
    honest = DataProgramming().fit(plain).score(plain, y)
    names = votes.sources[3:]
    declared = DataProgramming(list(itertools.combinations(names, 2))).fit(votes)
    assert DataProgramming().fit(votes).score(votes, y) < honest - 0.1
    assert declared.score(votes, y) == pytest.approx(honest, abs=0.01)
    # Three copies together weigh what the source weighs alone.
    assert declared.accuracy_weights_[3:].sum() == pytest.approx(DataProgramming().fit(plain).accuracy_weights_[3], abs=0.15)


def test_parents_are_right_for_the_classes_below_them() -> None:
    votes, y = simulate(5_000, 5, 3, seed=9, abstain=0.1)
    codes = votes.codes.copy()
    codes[:, :2] = np.where(codes[:, :2] > 0, 3, codes[:, :2])
    coarse = Votes(codes, classes=votes.classes, hierarchy={"rest": votes.classes[1:]})
    for dependencies in ([], [(0, 1), (1, 2)]):
        model = DataProgramming(dependencies).fit(coarse)
        assert model.score(coarse, y) > MajorityVote().fit(coarse).score(coarse, y) - 0.05
        np.testing.assert_allclose(model.confusions_.sum(axis=2), 1, atol=1e-9)


def test_real_crowd_of_language_models(data_root) -> None:
    from steelyard import datasets

    data = datasets.load("llm_votes_legal/sc_partywinning")
    votes, labels = data.votes["all"], data.labels("all")
    assert DataProgramming().fit(votes).score(votes, labels) > MajorityVote().fit(votes).score(votes, labels) + 0.05


@pytest.mark.parametrize(
    ("dependencies", "message"),
    [
        ([("source_0", "nobody")], "'nobody'"),
        ([(0, 9)], "source 9"),
        ([(1, 1)], "with itself"),
        ([(0, 1), (1, 0)], "twice"),
        ([(j, j + 1) for j in range(12)], "13 sources.*at most 10"),
    ],
)
def test_dependencies_are_checked(dependencies: list, message: str) -> None:
    n_sources = 13 if len(dependencies) == 12 else 4
    with pytest.raises(LabelModelError, match=message):
        DataProgramming(dependencies).fit(simulate(50, n_sources, 2, seed=0)[0])


@pytest.mark.parametrize("wrong", [{"prior_accuracy": 1.0}, {"prior_strength": -1.0}, {"max_iter": 0}])
def test_parameters_are_checked(wrong: dict) -> None:
    with pytest.raises(LabelModelError, match=next(iter(wrong))):
        DataProgramming(**wrong).fit(simulate(50, 3, 2, seed=0)[0])


def test_one_sided_sources_are_warned_of() -> None:
    rng = np.random.default_rng(10)
    fires = rng.random((200, 4)) < 0.5
    votes = Votes(np.where(fires, [0, 0, 1, 1], ABSTAIN), classes=["a", "b"])
    with pytest.warns(UserWarning, match="4 of 4 sources only ever name one class"):
        DataProgramming().fit(votes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DataProgramming().fit(simulate(200, 4, 2, seed=0)[0])
