from __future__ import annotations

import warnings

import numpy as np
import pytest

from steelyard import Votes, VoteStatistics
from steelyard.errors import LabelModelError, VotesError
from steelyard.label_models import (
    EBCC,
    GLAD,
    IBCC,
    KOS,
    MACE,
    MMSR,
    Cage,
    DataProgramming,
    DawidSkene,
    HyperLabelModel,
    LabelModel,
    MajorityVote,
    MeTaL,
    TripletModel,
    Wawa,
    ZeroBasedSkill,
)
from tests.label_models.check_estimator import CHECKS, Check, simulate

MODELS: list[LabelModel] = [
    MajorityVote(),
    DawidSkene(),
    DawidSkene(kind="one-coin"),
    DawidSkene(abstain="model"),
    DawidSkene(prior=None),
    MeTaL(),
    TripletModel(),
    GLAD(),
    MACE(restarts=2),
    MACE(method="em", restarts=2),
    IBCC(),
    EBCC(n_subtypes=3, restarts=2),
    Cage(),
    DataProgramming(),
    DataProgramming(dependencies=[("source_0", "source_1")]),
    Wawa(),
    ZeroBasedSkill(),
    KOS(),
    MMSR(),
    HyperLabelModel(),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_check(model: LabelModel, check: Check) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        check(model)


@pytest.mark.parametrize("model", MODELS, ids=repr)
class TestErrors:
    def test_no_rows(self, model: LabelModel) -> None:
        with pytest.raises(LabelModelError, match="no rows"):
            model.fit(Votes(np.empty((0, 3), int), classes=["a", "b"]))

    def test_no_sources(self, model: LabelModel) -> None:
        with pytest.raises(LabelModelError, match="no sources"):
            model.fit(Votes(np.empty((4, 0), int), classes=["a", "b"]))

    def test_not_fitted(self, model: LabelModel) -> None:
        from sklearn.base import clone

        with pytest.raises(LabelModelError, match="not fitted"):
            clone(model).predict_proba(Votes([[0, 1]], classes=["a", "b"]))

    def test_other_sources(self, model: LabelModel) -> None:
        votes, _ = simulate(60, 3, 2, seed=0)
        other = Votes(votes.codes, classes=votes.classes, sources=["x", "y", "z"])
        with pytest.raises(LabelModelError, match="do not match"):
            model.fit(votes).predict_proba(other)

    def test_gold_of_wrong_length(self, model: LabelModel) -> None:
        votes, _ = simulate(60, 3, 2, seed=0)
        with pytest.raises(VotesError, match="one label per row"):
            model.fit(votes, np.zeros(59, int))

    def test_gold_beside_statistics(self, model: LabelModel) -> None:
        votes, y = simulate(60, 3, 2, seed=0)
        with pytest.raises(LabelModelError, match="already hold"):
            model.fit(VoteStatistics.from_votes(votes, keep=type(model).keep), y)

    def test_bad_class_prior(self, model: LabelModel) -> None:
        from sklearn.base import clone

        votes, _ = simulate(60, 3, 2, seed=0)
        with pytest.raises(LabelModelError, match="sum to 1"):
            clone(model).set_params(class_prior=[0.9, 0.9]).fit(votes)


def test_a_parent_vote_is_shared_by_the_classes_below_it() -> None:
    votes = Votes([[3, 2], [3, 0], [3, -1]], classes=["dog", "cat", "trout"], hierarchy={"mammal": ["dog", "cat"]})
    shares = MajorityVote().fit(votes).predict_proba(votes)
    np.testing.assert_allclose(shares, [[0.25, 0.25, 0.5], [0.75, 0.25, 0], [0.5, 0.5, 0]])
    sure = Votes(votes.codes, classes=votes.classes, hierarchy=votes.hierarchy, confidences=np.ones((3, 2)))
    np.testing.assert_allclose(MajorityVote().fit(sure).predict_proba(sure), shares)


def test_on_tags_one_vote_for_an_entity_beats_many_silent_sources() -> None:
    votes = Votes([[1, 0, 0, -1], [0, -1, -1, -1], [1, 1, 0, -1]], classes=["O", "B-X"], groups=[0, 3])
    np.testing.assert_allclose(MajorityVote().fit(votes).predict_proba(votes), [[0.25, 0.75], [1, 0], [1 / 19, 18 / 19]], atol=1e-6)
