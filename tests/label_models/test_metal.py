from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from steelyard import Votes, VoteStatistics
from steelyard.errors import LabelModelError
from steelyard.label_models import MajorityVote, MeTaL
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
    model = MeTaL(class_prior=prior).fit(votes)
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


def test_class_prior_sources() -> None:
    votes, y, prior, _ = planted(2000, 5, 2, seed=7, even=True)
    assert MeTaL(class_prior=prior).fit(votes).class_prior_source_ == "given"
    assert MeTaL().fit(votes, np.where(np.arange(2000) < 100, y, -1)).class_prior_source_ == "gold"
    assert MeTaL().fit(votes).class_prior_source_ == "votes"


@pytest.mark.parametrize("bad", [{"abstain": "maybe"}, {"prior_accuracy": 1.0}, {"prior_strength": -1.0}])
def test_bad_parameters(bad: dict[str, object]) -> None:
    with warnings.catch_warnings(), pytest.raises(LabelModelError, match="must"):
        MeTaL(**bad).fit(Votes([[0, 1, 0]], classes=["a", "b"]))  # type: ignore[arg-type]
