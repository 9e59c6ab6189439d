"""One network for many tasks: what it learns, that answers of other tasks never win, and that a seed decides everything."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from steelyard.errors import TrainingError
from steelyard.training.choice_scorer import ChoiceScorer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 6)).astype(np.float32)
ANSWERS = RNG.normal(size=(5, 6)).astype(np.float32)
TASKS = np.arange(300) % 2  # the first has answers 0 and 1, the second 2, 3, 4
Y = np.where(TASKS == 0, (X[:, 0] > 0).astype(int), 2 + (X[:, 1] > -0.4).astype(int) + (X[:, 1] > 0.4))
ALLOWED = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]], dtype=bool)[TASKS]


def test_it_learns_several_tasks_at_once_and_chooses_among_the_allowed_answers():
    p = ChoiceScorer(steps=300, learning_rate=1e-2).fit(X, ANSWERS, Y, ALLOWED).predict_proba(X, ANSWERS, ALLOWED)
    assert (p[~ALLOWED] == 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    assert (p.argmax(axis=1) == Y).mean() > 0.9


def test_a_subset_of_the_choices_is_the_same_distribution_given_the_subset():
    scorer = ChoiceScorer(steps=20).fit(X, ANSWERS, Y, ALLOWED)
    whole = scorer.predict_proba(X, ANSWERS, ALLOWED)[TASKS == 1]
    part = ALLOWED.copy()
    part[:, 4] = False
    given = scorer.predict_proba(X, ANSWERS, part)[TASKS == 1]
    np.testing.assert_allclose(given[:, 2:4], whole[:, 2:4] / whole[:, 2:4].sum(axis=1, keepdims=True), rtol=1e-4)


def test_the_seed_decides_everything():
    one, same, other = (
        ChoiceScorer(steps=5, seed=seed).fit(X, ANSWERS, Y, ALLOWED).predict_proba(X, ANSWERS, ALLOWED) for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_mistakes_are_one_sentence():
    with pytest.raises(TrainingError, match="example 0 has a gold answer that it does not allow"):
        ChoiceScorer().fit(X, ANSWERS, Y, ~ALLOWED)
    with pytest.raises(TrainingError, match="allows one answer only"):
        ChoiceScorer().fit(X, ANSWERS, Y, np.eye(5, dtype=bool)[Y])
    with pytest.raises(TrainingError, match="no examples"):
        ChoiceScorer().fit(X[:0], ANSWERS, Y[:0], ALLOWED[:0])
