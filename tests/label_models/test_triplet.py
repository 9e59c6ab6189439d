from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from steelyard import Votes, VoteStatistics
from steelyard.errors import LabelModelError
from steelyard.label_models import MajorityVote, TripletModel
from steelyard.label_models.metal import believed_confusions
from steelyard.label_models.pair_frequencies import pair_frequencies
from steelyard.label_models.source_groups import SourceGroups
from steelyard.label_models.triplet import _weighted_median, class_conditional_triplets, symmetric_triplets
from tests.label_models.test_metal import planted, with_copies


def exact_three(right_on_a: list[float], right_on_b: list[float], prior: list[float]) -> Votes:
    """Three sources, every pattern as often as expected among a million rows."""
    rows, counts = [], []
    for row in np.ndindex(2, 2, 2):
        chance = prior[0] * np.prod([r if v == 0 else 1 - r for r, v in zip(right_on_a, row, strict=True)])
        chance += prior[1] * np.prod([r if v == 1 else 1 - r for r, v in zip(right_on_b, row, strict=True)])
        rows.append(row)
        counts.append(round(chance * 1_000_000))
    return Votes(np.repeat(np.array(rows), counts, axis=0), classes=["a", "b"])


def test_three_sources_by_hand() -> None:
    """a_i = sqrt(E[v1 v2] E[v1 v3] / E[v2 v3]): accuracies .9, .8, .7 are E[v Y] = .8, .6, .4, whose products are .48, .32, .24."""
    votes = exact_three([0.9, 0.8, 0.7], [0.9, 0.8, 0.7], [0.5, 0.5])
    signs = 1 - 2 * votes.codes.astype(float)
    assert [(signs[:, i] * signs[:, j]).mean().round(4) for i, j in ((0, 1), (0, 2), (1, 2))] == [0.48, 0.32, 0.24]
    for variant in ("symmetric", "class-conditional"):
        model = TripletModel(variant, class_prior=[0.5, 0.5], prior_strength=0).fit(votes)
        np.testing.assert_allclose(model.accuracies_, [0.9, 0.8, 0.7], atol=1e-4)


def test_unequal_accuracies_need_the_class_conditional_variant() -> None:
    votes = exact_three([0.95, 0.9, 0.7], [0.6, 0.7, 0.8], [0.7, 0.3])
    model = TripletModel(class_prior=[0.7, 0.3], prior_strength=0).fit(votes)
    np.testing.assert_allclose(model.confusions_[:, 0, 0], [0.95, 0.9, 0.7], atol=1e-4)
    np.testing.assert_allclose(model.confusions_[:, 1, 1], [0.6, 0.7, 0.8], atol=1e-4)
    symmetric = TripletModel("symmetric", class_prior=[0.7, 0.3], prior_strength=0).fit(votes)
    assert np.abs(symmetric.confusions_[:, 1, 1] - [0.6, 0.7, 0.8]).max() > 0.04


@pytest.mark.parametrize("k", [2, 4])
def test_planted_confusions_are_recovered(k: int) -> None:
    votes, _, prior, confusions = planted(200_000, 8, k, seed=1, even=k > 2)
    assert np.abs(TripletModel(class_prior=prior).fit(votes).confusions_ - confusions).max() < 0.02


def test_a_source_worse_than_chance_is_turned_round() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 20_000)
    codes = np.where(rng.random((20_000, 5)) < [0.85, 0.8, 0.75, 0.7, 0.2], y[:, None], 1 - y[:, None])
    votes = Votes(codes, classes=["a", "b"])
    for variant in ("symmetric", "class-conditional"):
        model = TripletModel(variant).fit(votes)
        assert model.accuracies_[4] < 0.3
        assert model.score(votes, y) > MajorityVote().fit(votes).score(votes, y)


def test_tables_are_distributions_on_moments_no_model_could_give() -> None:
    rng = np.random.default_rng(3)
    votes = Votes(rng.integers(-1, 3, (12, 6)), classes=["a", "b", "c"])
    statistics = VoteStatistics.from_votes(votes, keep="moments")
    together = pair_frequencies(statistics)
    shares, prior = np.einsum("jaja->ja", together), np.array([0.98, 0.01, 0.01])
    given = (together, prior, votes.support, 12, SourceGroups.of(None, statistics, together))
    believed = believed_confusions(shares, prior, votes.support, 0.7)
    for mu in (class_conditional_triplets(*given, believed), symmetric_triplets(*given)):
        assert np.isfinite(mu).all()
        assert (mu > 0).all()
        np.testing.assert_allclose(mu.sum(axis=1), 1)


def test_too_few_overlapping_sources_warn_and_vote() -> None:
    votes = Votes([[0, 1], [1, 1], [0, 0], [-1, 1]] * 5, classes=["a", "b"])
    with pytest.warns(UserWarning, match="fewer than three independent sources"):
        model = TripletModel(class_prior=[0.5, 0.5]).fit(votes)
    np.testing.assert_allclose(model.predict_proba(votes)[0], [0.5, 0.5], atol=0.2)


def test_unknown_variant() -> None:
    with pytest.raises(LabelModelError, match="variant"):
        TripletModel("other").fit(Votes([[0, 1, 0]], classes=["a", "b"]))  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["class-conditional", "symmetric"])
@pytest.mark.parametrize("k", [2, 3])
def test_copies_leave_the_posterior_alone(variant: Literal["class-conditional", "symmetric"], k: int) -> None:
    votes, y, *_ = planted(3000, 7, k, seed=11, even=True)
    copied = with_copies(votes, 0, 10)
    alone, outvoted = TripletModel(variant).fit(votes), TripletModel(variant).fit(copied)
    declared = TripletModel(variant, dependencies=[(0, 7 + i) for i in range(10)]).fit(copied)
    learned = TripletModel(variant, dependencies="learn").fit(copied)
    np.testing.assert_allclose(declared.predict_proba(copied), alone.predict_proba(votes), atol=1e-3)
    np.testing.assert_allclose(learned.predict_proba(copied), alone.predict_proba(votes), atol=1e-3)
    assert outvoted.score(copied, y) < alone.score(votes, y) - 0.02


def test_triplets_come_from_different_groups() -> None:
    votes, _, prior, confusions = planted(200_000, 8, 2, seed=13, even=True)
    rng = np.random.default_rng(2)
    codes = votes.codes.copy()
    for j in (1, 2):
        on = rng.random(len(codes)) < 0.6
        codes[on, j] = codes[on, 0]
    truth = confusions.copy()
    truth[1:3] = 0.6 * confusions[0] + 0.4 * confusions[1:3]
    mixed = Votes(codes, classes=votes.classes)
    declared = TripletModel(class_prior=prior, dependencies=[(0, 1), (0, 2)]).fit(mixed)
    assert np.abs(declared.confusions_ - truth).max() < 0.02
    assert np.abs(TripletModel(class_prior=prior).fit(mixed).confusions_ - truth).max() > 0.03


def test_the_weighted_median_of_copies_is_the_median() -> None:
    rng = np.random.default_rng(4)
    for size in (1, 4, 5):
        values = rng.random(size)
        repeated = np.repeat(values, 11)
        assert _weighted_median(values, np.ones(size)) == pytest.approx(np.median(values))
        assert _weighted_median(repeated, np.full(len(repeated), 1 / 11)) == pytest.approx(np.median(values))


def test_rules_for_one_class_each_keep_what_they_know_when_taken_as_symmetric() -> None:
    """Such a rule cannot be silent independently of the class; its share of agreement counts, and rules of two classes are no liars."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, 2, 20_000)
    named = np.array([0, 0, 0, 1, 1, 1])
    fires = rng.random((20_000, 6)) < np.where(y[:, None] == named, [0.5, 0.4, 0.3, 0.5, 0.4, 0.3], [0.05, 0.1, 0.15, 0.05, 0.1, 0.15])
    votes = Votes(np.where(fires, named, -1), classes=["a", "b"])
    for abstain in ("ignore", "model"):
        model = TripletModel("symmetric", abstain, class_prior=[0.5, 0.5], prior_strength=0).fit(votes)
        right, wrong = model.confusions_[np.arange(6), named, named], model.confusions_[np.arange(6), 1 - named, named]
        assert (right > wrong).all()
        np.testing.assert_allclose((right + wrong) / 2, fires.mean(axis=0), atol=1e-5)
        assert model.score(votes, y) > 0.75


def test_sources_that_prefer_different_classes_are_no_liars_when_taken_as_symmetric() -> None:
    """Two preferences set sources against each other on most rows; given the class all of them still lean the right way."""
    rng = np.random.default_rng(8)
    y = rng.integers(0, 2, 20_000)
    says_b = np.where(y[:, None] == 1, [0.99, 0.97, 0.95, 0.3, 0.25, 0.35], [0.7, 0.65, 0.65, 0.01, 0.03, 0.05])
    votes = Votes((rng.random((20_000, 6)) < says_b).astype(int), classes=["a", "b"])
    model = TripletModel("symmetric", class_prior=[0.5, 0.5]).fit(votes)
    assert (model.accuracies_ > 0.75).all()
    assert model.score(votes, y) > MajorityVote().fit(votes).score(votes, y)


@pytest.mark.parametrize("variant", ["class-conditional", "symmetric"])
def test_no_vote_is_impossible_even_without_belief(variant: Literal["class-conditional", "symmetric"]) -> None:
    """A chance that the moments put at zero or below keeps one row of the source's overall habit."""
    votes, _, prior, _ = planted(200, 6, 4, seed=21, even=False)
    model = TripletModel(variant, class_prior=prior, prior_strength=0).fit(votes)
    habit = np.stack([(votes.codes == c).mean(axis=0) for c in (0, 1, 2, 3, -1)], axis=1)
    assert (model.confusions_ >= habit[:, None] / (200 * prior[:, None] + 1) - 1e-12).all()
    np.testing.assert_allclose(model.confusions_.sum(axis=2), 1, atol=1e-6)
