"""Strategies are joined from parts; parts that do not fit are one sentence; the labels they teach."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from steelyard.errors import ConfigError
from steelyard.jobs.strategies import composed_arm, mean_labels, other_supervisors, shuffled_labels
from steelyard.jobs.weak_labels import weak_labels
from steelyard.pools import Pools
from steelyard.training import ProductLoss, SklearnStudent

MAKERS = dict.fromkeys(("ensemble", "shuffled", "bootstrap", "twin"), object)


def test_parts_compose():
    labels, chain = np.full((4, 2), 0.5), object()
    arm = composed_arm("ensemble+filter+product", {"ensemble": lambda: labels})
    assert arm.labels is labels
    assert arm.confidence == 0.75
    assert isinstance(arm.objective, ProductLoss)
    assert not arm.hard
    arm = composed_arm("hard + bootstrap", {"bootstrap": lambda: chain})
    assert arm.student is chain
    assert arm.hard
    assert composed_arm("confidence:0.25", {}).objective.alpha == 0.25


def test_order_does_not_matter():
    first, second = (composed_arm(strategy, {}) for strategy in ("filter:0.6+hard", "hard+filter:0.6"))
    assert first == second


def test_nothing_is_made_before_all_parts_are_read():
    with pytest.raises(ConfigError, match="'xent' is unknown"):
        composed_arm("ensemble+xent", {"ensemble": lambda: pytest.fail("made")})


def test_the_mean_is_that_of_the_supervisors():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 6)).astype(np.float32)
    y, pools = (x.sum(axis=1) > 0).astype(np.int64), Pools.split(600, gold=40, unlabeled=360, test=200)
    weak = [LogisticRegression(), SklearnStudent()]
    found = mean_labels(weak, x, y, pools, ["no", "yes"])
    parts = [weak_labels(one, x, y, pools, ["no", "yes"]) for one in weak]
    np.testing.assert_allclose(found, (parts[0] + parts[1]) / 2, atol=1e-6)
    assert np.isnan(found[pools.gold]).all()
    # Ready labels are a supervisor, too.
    np.testing.assert_allclose(mean_labels([parts[0], weak[1]], x, y, pools, ["no", "yes"]), found, atol=1e-6)


def test_shuffling_keeps_the_labels_and_forgets_the_rows():
    labels = np.random.default_rng(0).dirichlet([1, 1], 300).astype(np.float32)
    pools = Pools.split(300, gold=50, unlabeled=200, test=50)
    dealt = shuffled_labels(labels, pools, 3)
    np.testing.assert_array_equal(np.sort(dealt[pools.unlabeled, 0]), np.sort(labels[pools.unlabeled, 0]))
    np.testing.assert_array_equal(dealt[pools.test], labels[pools.test])
    assert abs(np.corrcoef(dealt[pools.unlabeled, 0], labels[pools.unlabeled, 0])[0, 1]) < 0.2
    np.testing.assert_array_equal(dealt, shuffled_labels(labels, pools, 3))


def test_other_supervisors_read_texts():
    texts = ["bread and soup", "bus and train", "cake with bread", "train ticket"]
    for model in other_supervisors(10):
        assert model.fit(texts, [0, 1, 0, 1]).predict_proba(texts).argmax(axis=1).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("xent", "'xent' is unknown"),
        ("", "'' is unknown"),
        ("hard+product", "'product' changes what another part already changes"),
        ("filter+filter:0.5", "'filter' changes what another part"),
        ("ensemble+shuffled", "'shuffled' changes what another part"),
        ("bootstrap+twin", "'twin' changes what another part"),
        ("filter:most", "write filter:0.75"),
        ("filter:1", "write filter:0.75"),
        ("confidence:2", "write confidence:0.75"),
        ("bootstrap+product", "leave out the loss"),
    ],
)
def test_mistakes_are_one_sentence(strategy, message):
    with pytest.raises(ConfigError, match=message):
        composed_arm(strategy, MAKERS)


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ConfigError, match="'ensemble' is unknown or not possible here"):
        composed_arm("ensemble", {})
