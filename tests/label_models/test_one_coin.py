"""Sources that only ever name one class: not taken for liars by the models that think of sources as coins."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard import Votes
from steelyard.label_models import GLAD, KOS, MMSR, DataProgramming, MajorityVote
from steelyard.label_models.one_coin import not_below_chance, one_coin_confusions
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import ABSTAIN


def keyword_votes(n: int, seed: int) -> tuple[Votes, np.ndarray]:
    """Three keywords for each of two classes, right four times in five, and the truth."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    names = np.array([0, 0, 0, 1, 1, 1])
    fires = rng.random((n, 6)) < np.where(names == y[:, None], 0.4, 0.1)
    return Votes(np.where(fires, names, ABSTAIN), classes=["ham", "spam"]), y


def statistics_of(votes: Votes, y: np.ndarray | None = None) -> VoteStatistics:
    return VoteStatistics.from_votes(votes, y)


def test_only_sources_of_one_class_are_held_to_chance_unless_their_own_gold_labels_speak_against_them() -> None:
    codes = np.array([[0, 1, -1], [0, 0, -1]] * 8)
    votes = Votes(codes, classes=["a", "b"])
    assert not_below_chance(statistics_of(votes)).tolist() == [True, False, False]
    y = np.full(16, -1)
    y[:6] = 1  # wrong six times in six: by chance once in 64 times
    assert not_below_chance(statistics_of(votes, y)).tolist() == [True, False, False]
    y[6] = 1
    assert not not_below_chance(statistics_of(votes, y)).any()


@pytest.mark.filterwarnings("ignore:.*only ever name one class")
@pytest.mark.parametrize("model", [MMSR, DataProgramming])
def test_a_few_gold_labels_do_not_turn_keywords_into_liars(model: type) -> None:
    votes, truth = keyword_votes(3000, seed=0)
    y = np.where(np.arange(3000) < 20, truth, -1)
    unaided, aided = (float((model().fit(votes, gold).predict(votes) == truth).mean()) for gold in (None, y))
    assert aided > unaided - 0.01


@pytest.mark.filterwarnings("ignore:.*only ever name one class")
@pytest.mark.parametrize("model", [GLAD, KOS, MMSR, DataProgramming])
def test_no_keyword_speaks_against_its_own_class(model: type) -> None:
    votes, _ = keyword_votes(3000, seed=0)
    fitted = model().fit(votes)
    prior = getattr(fitted, "voted_prior_", fitted.class_prior_ if model is DataProgramming else np.full(2, 0.5))
    for j, named in enumerate([0, 0, 0, 1, 1, 1]):
        alone = np.full((1, 6), ABSTAIN)
        alone[0, j] = named
        assert fitted.predict_proba(alone)[0, named] >= prior[named] - 1e-6


@pytest.mark.filterwarnings("ignore:.*only ever name one class")
def test_agreement_of_keywords_then_says_nothing_and_their_vote_decides() -> None:
    votes, y = keyword_votes(3000, seed=1)
    covered = votes.coverage
    by_vote = MajorityVote().fit(votes).score(votes.take(covered), y[covered])
    assert abs(MMSR().fit(votes).score(votes.take(covered), y[covered]) - by_vote) < 0.02


def test_confusions_of_a_coin() -> None:
    assert one_coin_confusions(np.array([0.5]), np.array([0.8]), np.eye(3, dtype=bool))[0, 0] == pytest.approx([0.4, 0.05, 0.05, 0.5])
