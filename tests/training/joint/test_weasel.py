"""WeaSEL: accuracies that sum to √m, a posterior by hand, and targets that no gradient enters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError
from steelyard.training import WeaSEL
from steelyard.training.joint.rows import JointRows
from steelyard.training.joint.weasel import source_accuracies
from steelyard.votes import Votes


def test_accuracies_sum_to_the_root_of_m_over_the_sources_that_vote():
    scores, fires = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.ones(5, 4, dtype=torch.bool)
    fires[0, 1:] = False
    fires[1] = False
    found = source_accuracies(scores, fires, 0.7)
    np.testing.assert_allclose(found.sum(1), [2, 0, 2, 2, 2], atol=1e-6)
    assert (found[~fires] == 0).all()
    assert found[0, 0] == pytest.approx(2)
    plain = torch.exp(scores[2] / 0.7)
    np.testing.assert_allclose(found[2], 2 * plain / plain.sum(), atol=1e-6)


def model_and_row(codes: list[int], **options):
    student = WeaSEL(hidden=4, **options)
    network = student._network(2, len(codes), 2).eval()
    with torch.no_grad():
        for parameter in network.scores.parameters():
            parameter.zero_()
    rows = JointRows(torch.ones(1, 2), Votes([codes], classes=["a", "b"]), torch.tensor([-1]), torch.arange(1))
    return student, network, rows.batch(torch.tensor([0]))


def test_with_equal_scores_the_posterior_is_the_majority_vote_in_log_space():
    student, network, batch = model_and_row([0, 0, 1, -1])
    each = math.sqrt(4) / 3
    odds = math.exp(2 * each) / math.exp(each)
    np.testing.assert_allclose(student._with_votes(network, batch)[0].detach(), [odds / (1 + odds), 1 / (1 + odds)], atol=1e-6)


def test_a_class_prior_multiplies_the_posterior():
    student, network, batch = model_and_row([0, 1], class_prior=[0.8, 0.2])
    np.testing.assert_allclose(student._with_votes(network, batch)[0].detach(), [0.8, 0.2], atol=1e-6)
    with pytest.raises(ConfigError, match="it must be 2 numbers"):
        WeaSEL(class_prior=[1.0])._network(2, 2, 2)
    with pytest.raises(ConfigError, match="temperature is 0"):
        WeaSEL(temperature=0).fit(np.zeros((2, 1)), Votes([[0], [1]], classes=["a", "b"]))


def test_both_networks_move_towards_each_other_and_unanimous_rows_keep_them_from_agreeing_on_nothing():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    x = (rng.normal(size=(300, 3)) + 2 * y[:, None]).astype(np.float32)
    votes = Votes(np.stack([y, np.where(rng.random(300) < 0.5, y, -1), np.where(rng.random(300) < 0.3, y, -1)], axis=1), classes=["a", "b"])
    student = WeaSEL(epochs=30).fit(x, votes)
    first, last = student.history_[0], student.history_[-1]
    assert last["student"] < first["student"]
    # √3 for one class against the other is what every row of agreeing votes says, whatever the network.
    assert student.predict_proba(x, votes).max(1) == pytest.approx(1 / (1 + math.exp(-math.sqrt(3))), abs=1e-4)
