"""Whatever supervises, its labels are held out, aligned with the classes, and refused where they teach nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from steelyard.errors import ConfigError, TrainingError
from steelyard.jobs.weak_labels import seeded, weak_labels
from steelyard.pools import Pools
from steelyard.sources import keywords, model
from steelyard.training import HeadStudent, SklearnStudent
from steelyard.votes import Votes

CLASSES = ["ham", "spam"]


def mails(n: int = 120) -> tuple[list[str], np.ndarray, Pools]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    words = {0: ["mum", "lunch", "hello", "soon"], 1: ["cash", "prize", "win", "offer"]}
    texts = [" ".join([*rng.choice(words[int(c)], 2), *rng.choice(["the", "a", "now"], 2), str(i)]) for i, c in enumerate(y)]
    return texts, y, Pools.split(n, gold=30, test=40, seed=1)


def accuracy(labels: np.ndarray, y: np.ndarray, rows: np.ndarray) -> float:
    return float((labels[rows].argmax(axis=1) == y[rows]).mean())


@pytest.mark.parametrize("weak", [SklearnStudent(), [keywords(["cash", "win"], label="spam"), keywords(["mum", "hello"], label="ham")]])
def test_trained_models_and_sources_label_what_they_have_not_learned(weak):
    texts, y, pools = mails()
    labels = weak_labels(weak, texts, y, pools, CLASSES)
    known = np.concatenate([pools.unlabeled, pools.test])
    assert np.isnan(labels[pools.gold]).all()
    np.testing.assert_allclose(labels[known].sum(axis=1), 1, atol=1e-5)
    assert accuracy(labels, y, known) > 0.7


def test_gold_of_other_pools_is_never_read():
    texts, y, pools = mails()
    hidden = np.full_like(y, -1)
    hidden[pools.gold] = y[pools.gold]
    np.testing.assert_array_equal(
        weak_labels(SklearnStudent(), texts, y, pools, CLASSES), weak_labels(SklearnStudent(), texts, hidden, pools, CLASSES)
    )


def test_votes_are_weighed_by_a_label_model_that_may_use_the_gold():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    codes = np.column_stack([np.where(rng.random(400) < right, y, 1 - y) for right in (0.9, 0.6, 0.55)])
    pools = Pools.split(400, gold=100, test=100)
    labels = weak_labels(Votes(codes, classes=CLASSES), None, y, pools, CLASSES, label_model="DawidSkene")
    assert accuracy(labels, y, pools.test) > 0.85
    with pytest.raises(ConfigError, match="votes are 400 rows over ham, spam; give 400 over spam, ham"):
        weak_labels(Votes(codes, classes=CLASSES), None, y, pools, ["spam", "ham"])


def test_pretrained_classifiers_are_aligned_by_name():
    texts, y, pools = mails()
    source = model(gold=(texts[:30], [CLASSES[c] for c in y[:30]]), labels=["spam", "ham"])
    source.fit(None)
    labels = weak_labels(source, texts, y, pools, CLASSES)
    assert accuracy(labels, y, pools.test) > 0.7


def test_ready_probabilities_pass_through():
    _, y, pools = mails()
    p = np.random.default_rng(0).dirichlet([1, 1], len(y)).astype(np.float32)
    labels = weak_labels(p, None, y, pools, CLASSES)
    np.testing.assert_array_equal(labels[pools.test], p[pools.test])
    for wrong in (p[:10], np.where(np.arange(len(y))[:, None] == pools.test[0], np.nan, p)):
        with pytest.raises(TrainingError, match="must be \\(120, 2\\) and finite"):
            weak_labels(wrong, None, y, pools, CLASSES)


def test_a_supervisor_of_one_class_is_refused_in_one_sentence():
    texts, y, pools = mails()
    constant = np.tile([0.6, 0.4], (len(y), 1))
    with pytest.raises(TrainingError, match=r"labels all 50 unlabeled rows 'ham'.*give it more or other gold \(30 rows\)"):
        weak_labels(constant, texts, y, pools, CLASSES)
    only = Pools(np.flatnonzero(y == 0)[:5], pools.unlabeled[:0], [])
    with pytest.raises(TrainingError, match="5 training rows are labelled 'ham'"):
        weak_labels(SklearnStudent(), texts, y, only, CLASSES)
    with pytest.raises(TrainingError, match="gold pool is empty"):
        weak_labels(SklearnStudent(), texts, y, Pools([], pools.unlabeled, pools.test), CLASSES)
    with pytest.raises(ConfigError, match="cannot be a str"):
        weak_labels("gpt2", texts, y, pools, CLASSES)


def test_seeds_reach_students_and_estimators_but_not_what_is_already_set():
    assert seeded(HeadStudent(), 7).seed == 7
    assert seeded(SklearnStudent(DecisionTreeClassifier()), 7).estimator.random_state == 7
    assert seeded(LogisticRegression(random_state=1), 7).random_state == 1
