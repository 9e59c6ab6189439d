from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard import Votes, VoteStatistics
from steelyard.errors import LabelModelError
from steelyard.label_models import DawidSkene, MajorityVote, MeTaL, SequenceHMM, select
from tests.label_models.check_estimator import simulate
from tests.label_models.test_sequence_hmm import tagged_documents


def uneven(n: int, seed: int) -> tuple[Votes, np.ndarray]:
    """Two good sources among many that hardly know anything."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    codes = np.where(rng.random((n, 8)) < [0.95, 0.92, 0.9] + [0.56] * 5, y[:, None], 1 - y[:, None])
    return Votes(codes, classes=["a", "b"]), y


def test_unequal_sources_leave_the_vote() -> None:
    votes, y = uneven(3000, seed=0)
    model = select(votes)
    assert not isinstance(model, MajorityVote)
    assert model.score(votes, y) > MajorityVote().fit(votes).score(votes, y) + 0.05


def test_equal_sources_keep_the_vote() -> None:
    votes, _ = simulate(1500, 7, 2, seed=1, abstain=0.2)
    assert isinstance(select(votes), MajorityVote)


@pytest.mark.parametrize("rows", [1, 20])
def test_too_little_evidence_keeps_the_vote(rows: int) -> None:
    votes, _ = uneven(rows, seed=2)
    assert isinstance(select(votes), MajorityVote)


def test_two_sources_keep_the_vote() -> None:
    votes, _ = uneven(500, seed=3)
    model = select(votes.select([0, 1]))
    assert isinstance(model, MajorityVote)
    assert "no other model" in model.explanation_["reason"]


def test_explanation_is_json_and_complete() -> None:
    votes, _ = uneven(800, seed=4)
    explanation = select(votes, candidates=[MeTaL(), DawidSkene(abstain="model")]).explanation_
    assert json.loads(json.dumps(explanation)) == explanation
    assert set(explanation["scores"]) == {"MeTaL", "DawidSkene(abstain='model')"}
    for score in explanation["scores"].values():
        low, high = score["accuracy_gain_interval"]
        assert low <= score["accuracy_gain"] <= high
        assert abs(score["accuracy_gain"]) <= score["disputed"]
    assert explanation["chosen"] in explanation["reason"]


def test_same_seed_same_choice() -> None:
    votes, _ = uneven(600, seed=5)
    assert select(votes, seed=3).explanation_ == select(votes, seed=3).explanation_


class TrustsTheGood(MajorityVote):
    """Sources named "good" weigh more than all others together."""

    def _fit(self, statistics: VoteStatistics) -> None:
        super()._fit(statistics)
        self.weights_ = np.where([name.startswith("good") for name in statistics.sources], 2.5, 1.0)


def test_gold_labels_decide_what_votes_leave_open() -> None:
    """Three copies of one bad source outvote two good ones; held-out copies speak for each other, gold labels do not."""
    rng = np.random.default_rng(6)
    y = rng.integers(0, 2, 2000)
    good = np.where(rng.random((2000, 2)) < 0.9, y[:, None], 1 - y[:, None])
    bad = np.where(rng.random(2000) < 0.6, y, 1 - y)
    copies = np.where(rng.random((2000, 3)) < 0.95, bad[:, None], 1 - bad[:, None])
    votes = Votes(np.hstack([good, copies]), classes=["a", "b"], sources=["good_1", "good_2", "copy_1", "copy_2", "copy_3"])
    known = np.where(np.arange(2000) < 400, y, -1)
    assert not isinstance(select(votes, candidates=[TrustsTheGood()]), TrustsTheGood)
    chosen = select(votes, known, candidates=[TrustsTheGood()])
    assert isinstance(chosen, TrustsTheGood)
    assert chosen.explanation_["gold_labels"] == 400
    assert chosen.score(votes[400:], y[400:]) > MajorityVote().fit(votes).score(votes[400:], y[400:]) + 0.1


def test_a_model_with_classes_exchanged_is_never_chosen() -> None:
    class Swapped(MeTaL):
        def _posterior(self, votes: Votes) -> np.ndarray:
            return super()._posterior(votes)[:, ::-1]

    votes, _ = uneven(2000, seed=7)
    model = select(votes, candidates=[Swapped()])
    assert isinstance(model, MajorityVote)
    assert not isinstance(model, Swapped)


def test_tags_get_a_sequence_model() -> None:
    votes, y = tagged_documents(200, seed=8)
    model = select(votes)
    assert isinstance(model, SequenceHMM)
    assert "tagging scheme" in model.explanation_["reason"]
    vote = MajorityVote(class_prior=[0.98, 0.01, 0.01]).fit(votes)
    assert (model.predict(votes) != y).mean() < (vote.predict(votes) != y).mean()


def test_tags_keep_the_vote_when_held_out_sources_speak_for_it() -> None:
    votes, y = tagged_documents(200, seed=8, late_tag=2)
    model = select(votes)
    assert isinstance(model, MajorityVote)
    assert model.explanation_["scores"]["SequenceHMM"]["vote_breaks_scheme"] > 0
    assert (model.predict(votes) != y).mean() <= (SequenceHMM().fit(votes).predict(votes) != y).mean()


def test_no_rows() -> None:
    with pytest.raises(LabelModelError, match="no rows"):
        select(Votes(np.empty((0, 3), int), classes=["a", "b"]))


@pytest.mark.parametrize("name", ["ws_youtube_spam", "ws_spouse_relations", "ws_sms_spam"])
def test_real_votes_never_lose_to_the_vote(data_root: Path, name: str) -> None:
    table = pl.read_parquet(data_root / name / "data.parquet")
    votes = Votes(np.array(table["votes"].to_list(), dtype=np.int8), classes=["0", "1"])
    y = table["label"].to_numpy().astype(np.int64)
    assert select(votes).score(votes, y) >= MajorityVote().fit(votes).score(votes, y) - 0.005


def test_a_class_that_one_source_names_cannot_be_corroborated() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 3000)
    fires = rng.random((3000, 3)) < np.where(truth[:, None] == np.arange(3), 0.7, 0.2)
    votes = Votes(np.where(fires, np.arange(3), -1), classes=["a", "b", "c"])
    assert select(votes).explanation_["chosen"] == "MajorityVote"
