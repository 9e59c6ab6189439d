from __future__ import annotations

import numpy as np
import pytest

from steelyard import Votes
from steelyard.errors import LabelModelError
from steelyard.label_models import Wawa, ZeroBasedSkill
from tests.label_models.check_estimator import simulate


def planted(n: int, seed: int) -> tuple[Votes, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    wrong = (y[:, None] + rng.integers(1, 3, (n, 9))) % 3
    return Votes(np.where(rng.random((n, 9)) < np.linspace(0.3, 0.9, 9), y[:, None], wrong), classes=["a", "b", "c"]), y


def test_weights_stand_still_where_they_are_the_agreement_with_the_vote_they_make() -> None:
    votes, _ = planted(3_000, seed=0)
    model = ZeroBasedSkill().fit(votes)
    assert model.converged_
    one_hot = votes.codes[:, :, None] == np.arange(3)
    answers = np.einsum("nmk,m->nk", one_hot, model.weights_).argmax(axis=1)
    np.testing.assert_allclose((votes.codes == answers[:, None]).mean(axis=0), model.weights_, atol=1e-4)


def test_one_step_is_wawa() -> None:
    votes, _ = simulate(500, 6, 3, seed=1)
    np.testing.assert_allclose(ZeroBasedSkill(max_iter=1).fit(votes).weights_, Wawa().fit(votes).weights_)


def test_smaller_steps_by_hand() -> None:
    votes = Votes([[0, 0, 1], [1, 1, 1]], classes=["a", "b"])
    # From 1/2 half-way to agreements 1, 1 and 1/2 with the vote, then a quarter of what is left.
    model = ZeroBasedSkill(learning_rate=0.5, halve_every=1, max_iter=2).fit(votes)
    np.testing.assert_allclose(model.weights_, [0.8125, 0.8125, 0.5])


def test_repeating_helps_where_poor_sources_are_many() -> None:
    votes, y = planted(20_000, seed=2)
    assert ZeroBasedSkill().fit(votes).score(votes, y) >= Wawa().fit(votes).score(votes, y)


@pytest.mark.parametrize("wrong", [{"learning_rate": 0.0}, {"halve_every": 0}, {"max_iter": 0}])
def test_parameters_are_checked(wrong: dict) -> None:
    with pytest.raises(LabelModelError, match=next(iter(wrong))):
        ZeroBasedSkill(**wrong).fit(simulate(50, 3, 2, seed=0)[0])
