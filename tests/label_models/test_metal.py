from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone

from steelyard import Votes, VoteStatistics
from steelyard.errors import LabelModelError
from steelyard.label_models import LabelModel, MajorityVote, MeTaL, learn_dependencies
from steelyard.label_models.metal import with_margins
from steelyard.label_models.pair_frequencies import pair_frequencies


def planted(n: int, m: int, k: int, seed: int, *, even: bool) -> tuple[Votes, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Votes drawn from random confusions; `even` spreads errors equally over the wrong classes."""
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.full(k, 20.0))
    confusions = np.empty((m, k, k + 1))
    for j in range(m):
        for c in range(k):
            wrong = np.ones(k) if even else rng.dirichlet(np.full(k, 3.0))
            wrong[c] = 0
            right = rng.uniform(0.6, 0.9) if not even else 0.6 + 0.3 * j / m
            spoken = (1 - right) * wrong / wrong.sum()
            spoken[c] = right
            silent = rng.uniform(0.1, 0.5)
            confusions[j, c] = np.append((1 - silent) * spoken, silent)
    y = rng.choice(k, n, p=prior)
    codes = np.empty((n, m), dtype=np.int8)
    for j in range(m):
        codes[:, j] = (rng.random(n)[:, None] > confusions[j].cumsum(axis=1)[y][:, :-1]).sum(axis=1)
    codes[codes == k] = -1
    return Votes(codes, classes=[f"c{i}" for i in range(k)]), y, prior, confusions


@pytest.mark.parametrize(("k", "even"), [(2, False), (2, True), (4, True)])
def test_planted_confusions_are_recovered(k: int, even: bool) -> None:
    votes, _, prior, confusions = planted(200_000, 8, k, seed=1, even=even)
    model = MeTaL(abstain="model", class_prior=prior).fit(votes)
    assert model.converged_
    assert np.abs(model.confusions_ - confusions).max() < 0.02


def test_gold_labels_close_the_rotation_of_many_classes() -> None:
    """Errors that go round (a for b, b for c, c for a) look the same in pairs when they go round the other way."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 100_000)
    right = np.array([0.8, 0.75, 0.7, 0.65, 0.6])
    codes = np.where(rng.random((100_000, 5)) < right, y[:, None], (y[:, None] + 1) % 3)
    votes = Votes(codes, classes=["a", "b", "c"])
    known = np.where(np.arange(len(y)) < 20_000, y, -1)
    truth = right[:, None, None] * np.eye(3) + (1 - right)[:, None, None] * np.roll(np.eye(3), 1, axis=1)
    without, with_gold = (np.abs(MeTaL().fit(votes, g).confusions_[:, :, :3] - truth).max() for g in (None, known))
    assert with_gold < 0.02 < without


def test_expected_moments_are_a_fixed_point() -> None:
    """Three sources whose pairwise moments are exact: the least-squares solution is the truth."""
    prior, right = np.array([0.6, 0.4]), [0.9, 0.8, 0.7]
    cells = {}
    for row in np.ndindex(2, 2, 2):
        cells[row] = sum(p * np.prod([a if v == c else 1 - a for a, v in zip(right, row, strict=True)]) for c, p in enumerate(prior))
    codes = np.repeat(np.array(list(cells)), np.rint(np.array(list(cells.values())) * 1_000_000).astype(int), axis=0)
    model = MeTaL(class_prior=prior, prior_strength=0).fit(Votes(codes, classes=["a", "b"]))
    np.testing.assert_allclose(model.accuracies_, right, atol=1e-4)


def test_pair_frequencies_count_silence() -> None:
    votes = Votes([[0, -1], [1, 1], [-1, -1], [0, 1]], classes=["a", "b"])
    together = pair_frequencies(VoteStatistics.from_votes(votes, keep="moments"))
    expected = np.zeros((3, 3))
    for a, b in votes.codes:
        expected[a, b] += 0.25
    np.testing.assert_allclose(together[0, :, 1, :], expected)
    np.testing.assert_allclose(together[0, :, 0, :], np.diag([0.5, 0.25, 0.25]))


def test_too_few_overlapping_sources_warn_and_vote() -> None:
    codes = np.array([[0, -1, -1], [-1, 1, -1], [-1, -1, 0], [1, 1, -1]] * 5)
    votes = Votes(codes, classes=["a", "b"])
    with pytest.warns(UserWarning, match="fewer than three independent sources"):
        model = MeTaL(class_prior=[0.5, 0.5]).fit(votes)
    np.testing.assert_array_equal(model.predict(votes), MajorityVote().fit(votes).predict(votes))


def test_one_sided_sources_tell_classes_apart() -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, 20_000)
    side = np.array([0, 0, 0, 1, 1, 1])
    fires = rng.random((20_000, 6)) < np.where(y[:, None] == side, [0.6, 0.5, 0.4, 0.6, 0.5, 0.4], [0.05, 0.2, 0.3, 0.05, 0.2, 0.3])
    votes = Votes(np.where(fires, side, -1), classes=["a", "b"])
    model = MeTaL().fit(votes)
    assert model.score(votes, y) > MajorityVote().fit(votes).score(votes, y)
    assert model.accuracies_[0] > model.accuracies_[1] > model.accuracies_[2]


def test_silence_can_be_evidence() -> None:
    rng = np.random.default_rng(6)
    y = rng.integers(0, 2, 20_000)
    speaks = rng.random((20_000, 5)) < np.where(y[:, None] == 1, 0.9, 0.3)
    right = rng.random((20_000, 5)) < 0.7
    votes = Votes(np.where(speaks, np.where(right, y[:, None], 1 - y[:, None]), -1), classes=["a", "b"])
    assert MeTaL(abstain="model").fit(votes).score(votes, y) > MeTaL().fit(votes).score(votes, y) + 0.02


def test_sources_that_saw_different_rows_are_fitted_from_the_rows_they_share() -> None:
    """Five sources saw the first half of the rows, five the second: which half a row is from must not become its class."""
    rng = np.random.default_rng(8)
    y = rng.integers(0, 2, 20_000)
    right = np.tile([0.75, 0.7, 0.65, 0.6, 0.55], 2)
    codes = np.where(rng.random((20_000, 10)) < right, y[:, None], 1 - y[:, None])
    codes[:10_000, 5:] = codes[10_000:, :5] = -1
    model = MeTaL(class_prior=[0.5, 0.5]).fit(Votes(codes, classes=["a", "b"]))
    np.testing.assert_allclose(model.accuracies_, right, atol=0.03)
    np.testing.assert_allclose(model.confusions_[:, :, -1], 0.5, atol=0.01)
    half = MeTaL(class_prior=[0.5, 0.5]).fit(Votes(codes[:10_000, :5], classes=["a", "b"]))
    np.testing.assert_allclose(model.accuracies_[:5], half.accuracies_, atol=5e-3)


def test_random_silence_leaves_the_fit_alone() -> None:
    """Votes of every source hidden at random: the accuracies are those of the full table, up to noise."""
    votes, _, prior, _ = planted(100_000, 6, 3, seed=9, even=True)
    full = np.where(votes.codes < 0, np.random.default_rng(0).integers(0, 3, votes.codes.shape), votes.codes)
    hidden = np.where(np.random.default_rng(1).random(full.shape) < [0.0, 0.1, 0.3, 0.5, 0.7, 0.8], -1, full)
    fitted = [MeTaL(class_prior=prior).fit(Votes(codes, classes=["a", "b", "c"])) for codes in (full, hidden)]
    np.testing.assert_allclose(fitted[0].accuracies_, fitted[1].accuracies_, atol=0.03)


def always_speaking(n: int, prior: list[float], seed: int) -> tuple[Votes, NDArray[np.int64], NDArray[np.float64]]:
    """Nine sources that are never silent, each right more often on some classes than on others."""
    rng = np.random.default_rng(seed)
    k = len(prior)
    confusions = np.empty((9, k, k))
    for table in confusions:
        for c in range(k):
            table[c] = rng.dirichlet(np.ones(k))
            table[c] *= (1 - (right := rng.uniform(0.5, 0.95))) / (1 - table[c, c])
            table[c, c] = right
    y = rng.choice(k, n, p=prior)
    codes = np.stack([(rng.random(n)[:, None] > table.cumsum(axis=1)[y][:, :-1]).sum(axis=1) for table in confusions], axis=1)
    return Votes(codes, classes=[f"c{i}" for i in range(k)]), y, confusions


@pytest.mark.parametrize("prior", [[0.8, 0.2], [0.5, 0.3, 0.15, 0.05]])
def test_a_known_prior_held_exactly_recovers_the_confusions_as_n_grows(prior: list[float]) -> None:
    """Root mean square error over three draws; slack leaves a bias that more rows do not take away."""
    errors = {}
    for n, exact in ((1_000, True), (50_000, True), (50_000, False)):
        drawn = []
        for seed in range(3):
            votes, _, confusions = always_speaking(n, prior, seed)
            learned = MeTaL(class_prior=prior, exact_prior=exact).fit(votes).confusions_
            drawn.append(np.sqrt((np.array(prior)[:, None] * (learned[:, :, :-1] - confusions) ** 2).sum(axis=(1, 2)).mean()))
            said = np.stack([(votes.codes == c).mean(axis=0) for c in range(len(prior))], axis=1)
            if exact:
                assert learned[:, :, -1].max() < 1e-3
                np.testing.assert_allclose(np.einsum("k,jkl->jl", prior, learned[:, :, :-1]), said, atol=0.02)
        errors[n, exact] = np.mean(drawn)
    assert errors[50_000, True] < errors[1_000, True] / 3
    assert errors[50_000, True] < errors[50_000, False] / 3


def test_a_wrong_prior_harms_less_where_it_leaves_slack() -> None:
    gains = []
    for seed in range(10):
        votes, y, _ = always_speaking(1000, [0.8, 0.2], seed)
        slack, exact = (MeTaL(class_prior=[0.5, 0.5], exact_prior=e).fit(votes).score(votes, y) for e in (False, True))
        gains.append(slack - exact)
    assert np.mean(gains) > 0.05


def test_margins_leave_the_cross_ratios_alone() -> None:
    """Of all tables with these margins the one nearest in relative entropy has the cross ratios of the table it is near to."""
    rng = np.random.default_rng(0)
    prior, shares, mu = np.array([0.7, 0.3]), np.array([[0.5, 0.2, 0.3]]), rng.dirichlet(np.ones(3), 2).T[None]
    near = with_margins(mu, shares, prior)
    np.testing.assert_allclose(near @ prior, shares, atol=1e-6)
    np.testing.assert_allclose(near.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(
        near[0, 1:, 0] * near[0, :-1, 1] / near[0, :-1, 0] / near[0, 1:, 1],
        mu[0, 1:, 0] * mu[0, :-1, 1] / mu[0, :-1, 0] / mu[0, 1:, 1],
        rtol=1e-4,
    )


def test_one_unheard_vote_does_not_outvote_all_others() -> None:
    """Of few rows some chances come out as zero; by a row of habit they stay possible, as the probabilities of labels show."""
    for seed in range(5):
        votes, y, _ = always_speaking(300, [0.3, 0.25, 0.2, 0.15, 0.07, 0.03], seed)
        model = MeTaL(class_prior=[0.3, 0.25, 0.2, 0.15, 0.07, 0.03]).fit(votes)
        habit = np.stack([(votes.codes == c).mean(axis=0) for c in range(6)], axis=1)
        rows = 300 * model.class_prior_
        assert (model.confusions_[:, :, :-1] >= habit[:, None] / (rows[:, None] + 1) - 1e-12).all()
        log_loss = -np.log(model.predict_proba(votes)[np.arange(300), y]).mean()
        assert log_loss < -np.log(np.maximum(MajorityVote().fit(votes).predict_proba(votes)[np.arange(300), y], 1e-3)).mean()


def test_class_prior_sources() -> None:
    votes, y, prior, _ = planted(2000, 5, 2, seed=7, even=True)
    assert MeTaL(class_prior=prior).fit(votes).class_prior_source_ == "given"
    assert MeTaL().fit(votes, np.where(np.arange(2000) < 100, y, -1)).class_prior_source_ == "gold"
    assert MeTaL().fit(votes).class_prior_source_ == "votes"


@pytest.mark.parametrize("bad", [{"abstain": "maybe"}, {"prior_accuracy": 1.0}, {"prior_strength": -1.0}])
def test_bad_parameters(bad: dict[str, object]) -> None:
    with warnings.catch_warnings(), pytest.raises(LabelModelError, match="must"):
        MeTaL(**bad).fit(Votes([[0, 1, 0]], classes=["a", "b"]))  # type: ignore[arg-type]


def with_copies(votes: Votes, source: int, times: int, noise: float = 0.0, seed: int = 0) -> Votes:
    """The votes and copies of one source, of which a share is drawn from other rows."""
    rng = np.random.default_rng(seed)
    columns = [votes.codes]
    for _ in range(times):
        copy = votes.codes[:, source].copy()
        on = rng.random(len(copy)) < noise
        copy[on] = rng.permutation(votes.codes[:, source])[on]
        columns.append(copy[:, None])
    return Votes(np.hstack(columns), classes=votes.classes, sources=[*votes.sources, *(f"copy_{i}" for i in range(times))])


@pytest.mark.parametrize(("k", "abstain"), [(2, "ignore"), (2, "model"), (4, "ignore")])
def test_copies_leave_the_posterior_alone(k: int, abstain: str) -> None:
    votes, y, _, _ = planted(3000, 7, k, seed=11, even=True)
    copied = with_copies(votes, 0, 10)
    alone = MeTaL(abstain=abstain).fit(votes)  # type: ignore[arg-type]
    outvoted = MeTaL(abstain=abstain).fit(copied)  # type: ignore[arg-type]
    declared = MeTaL(abstain=abstain, dependencies=[("source_0", f"copy_{i}") for i in range(10)]).fit(copied)  # type: ignore[arg-type]
    learned = MeTaL(abstain=abstain, dependencies="learn").fit(copied)  # type: ignore[arg-type]
    assert len(learned.dependencies_) == 55
    np.testing.assert_allclose(declared.predict_proba(copied), alone.predict_proba(votes), atol=1e-3)
    np.testing.assert_allclose(learned.predict_proba(copied), alone.predict_proba(votes), atol=1e-3)
    np.testing.assert_allclose(declared.confusions_[:7], alone.confusions_, atol=1e-4)
    np.testing.assert_allclose(declared.class_prior_, alone.class_prior_)
    assert outvoted.score(copied, y) < alone.score(votes, y) - 0.02


def test_near_copies_cost_little() -> None:
    votes, y, _, _ = planted(6000, 9, 2, seed=12, even=True)
    copied = with_copies(votes, 0, 10, noise=0.2, seed=1)
    alone, outvoted, learned = MeTaL().fit(votes), MeTaL().fit(copied), MeTaL(dependencies="learn").fit(copied)
    assert learned.score(copied, y) > alone.score(votes, y) - 0.01
    assert learned.score(copied, y) > outvoted.score(copied, y) + 0.05


def test_dependent_sources_are_fitted_from_the_others() -> None:
    """Three of eight sources share their mistakes: their accuracies come out right only if their agreement is left out."""
    votes, _, prior, confusions = planted(200_000, 8, 2, seed=13, even=True)
    rng = np.random.default_rng(2)
    codes = votes.codes.copy()
    for j in (1, 2):
        on = rng.random(len(codes)) < 0.6
        codes[on, j] = codes[on, 0]
    mixed = Votes(codes, classes=votes.classes)
    truth = confusions.copy()
    truth[1:3] = 0.6 * confusions[0] + 0.4 * confusions[1:3]
    declared = MeTaL(abstain="model", class_prior=prior, dependencies=[(0, 1), (0, 2)]).fit(mixed)
    assert np.abs(declared.confusions_ - truth).max() < 0.02
    assert np.abs(MeTaL(class_prior=prior).fit(mixed).confusions_ - truth).max() > 0.05


def test_no_dependencies_change_nothing() -> None:
    votes, *_ = planted(1000, 5, 3, seed=14, even=False)
    np.testing.assert_array_equal(MeTaL(dependencies=[]).fit(votes).predict_proba(votes), MeTaL().fit(votes).predict_proba(votes))


def test_dependencies_survive_clone_and_disk(tmp_path: Path) -> None:
    votes, *_ = planted(1000, 5, 2, seed=15, even=True)
    copied = with_copies(votes, 2, 2)
    model = clone(MeTaL(dependencies=learn_dependencies(copied))).fit(copied)
    model.save(tmp_path / "model.safetensors")
    again = LabelModel.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict_proba(copied), model.predict_proba(copied))
    assert again.fit(copied).dependencies_.tolist() == model.dependencies_.tolist() == [[2, 5], [2, 6], [5, 6]]


def test_sparse_votes_know_dependencies_too() -> None:
    votes, *_ = planted(800, 6, 2, seed=16, even=True)
    model = MeTaL(dependencies=[(0, 1)]).fit(votes)
    sparse = Votes(votes.csr, classes=votes.classes, sources=votes.sources)
    np.testing.assert_allclose(model.predict_proba(sparse), model.predict_proba(votes), atol=1e-6)


def test_sources_that_are_all_dependent_warn() -> None:
    votes, *_ = planted(500, 4, 2, seed=17, even=True)
    with pytest.warns(UserWarning, match="fewer than three independent sources"):
        MeTaL(dependencies=[(0, 1), (1, 2)]).fit(votes)
    with pytest.raises(LabelModelError, match="which the votes lack"):
        MeTaL(dependencies=[("source_0", "nobody")]).fit(votes)
