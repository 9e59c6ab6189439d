"""Judges of debates: what they learn, how an ensemble is made, and that no gold beyond the gold pool is read."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from steelyard.errors import ConfigError, TrainingError
from steelyard.jobs.debated_labels import DebateJudges, Resampled
from steelyard.jobs.weak_labels import weak_labels
from steelyard.language.debate import Debate
from steelyard.pools import Pools

N = 1000
Y = np.random.default_rng(0).integers(2, size=N)
HINTS = np.where(np.random.default_rng(1).random(N) < 0.6, Y, 1 - Y)  # what the question itself tells
TEXTS = [f"case {number} {['old', 'new'][hint]}" for number, hint in enumerate(HINTS)]
POOLS = Pools.split(N, gold=300, test=400, y=Y)
CLASSES = ("no", "yes")
WEAK = make_pipeline(CountVectorizer(token_pattern=r"\w+"), LogisticRegression())


class Noisy:
    """A strong word for the right answer in 70 % of the arguments, for the wrong one in 30 %: what one debate shows, others show anew."""

    identity = None

    def argue(self, moves):
        for index, move in enumerate(moves):
            row = int(move.question.split()[1])
            sure = np.random.default_rng([move.seed, row, move.side, move.number]).random() < (0.7 if Y[row] == move.side else 0.3)
            yield index, f"{'surely' if sure else 'perhaps'}_{move.answer}"


def accuracy(labels, rows=POOLS.test):
    return float((labels[rows].argmax(axis=1) == Y[rows]).mean())


def judged(**options):
    judges = DebateJudges(WEAK, Debate(Noisy(), turns=1), **options)
    return judges, judges.labels(TEXTS, Y, POOLS, CLASSES)


def test_one_debate_helps_and_an_ensemble_of_debates_helps_more():
    plain = accuracy(weak_labels(WEAK, TEXTS, Y, POOLS, CLASSES))
    judges, labels = judged(members=6)
    single = accuracy(judges.members_[0])
    assert plain + 0.1 < single
    assert single + 0.05 < accuracy(labels)
    np.testing.assert_allclose(labels, np.mean(judges.members_, axis=0))
    assert np.isnan(labels[POOLS.gold]).all()


def test_members_read_debates_of_their_own_or_differ_by_training_alone():
    own, _ = judged(members=3)
    assert own.transcripts_[0] != own.transcripts_[1] != own.transcripts_[2]
    shared = DebateJudges(Resampled(WEAK), Debate(Noisy(), turns=1), members=3, diversity="seed")
    shared.labels(TEXTS, Y, POOLS, CLASSES)
    assert shared.transcripts_[0] is shared.transcripts_[2]
    assert not np.array_equal(shared.members_[0][POOLS.test], shared.members_[1][POOLS.test])


def test_any_label_model_weighs_the_judges():
    _, mean = judged(members=5)
    _, weighed = judged(members=5, combine="DawidSkene")
    assert np.isnan(weighed[POOLS.gold]).all()
    assert abs(accuracy(weighed) - accuracy(mean)) < 0.1


@pytest.mark.parametrize("protocol", ["debate", "consultancy", "market"])
def test_gold_outside_the_gold_pool_changes_nothing(protocol):
    hidden = np.where(np.isin(np.arange(N), POOLS.gold), Y, -1)
    labels = [
        DebateJudges(WEAK, Debate(Noisy(), protocol=protocol, turns=2), members=1).labels(TEXTS, y, POOLS, CLASSES) for y in (Y, hidden)
    ]
    np.testing.assert_array_equal(*labels)


def test_mistakes_are_one_sentence():
    with pytest.raises(ConfigError, match="give at least one"):
        DebateJudges(WEAK, Debate(Noisy()), members=0)
    one_class = np.where(np.isin(np.arange(N), POOLS.gold), 1, Y)
    with pytest.raises(TrainingError, match="class"):
        DebateJudges(WEAK, Debate(Noisy())).labels(TEXTS, one_class, POOLS, CLASSES)
