"""Denoising attention: weights, pseudo labels and the running mean by hand, and which source it comes to rely on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError
from steelyard.training import DenoisingAttention
from steelyard.training.joint.denoising_attention import _combined, pseudo_labels
from steelyard.training.joint.rows import JointRows
from steelyard.votes import Votes
from tests.training.joint.simulated import experts


def test_attention_sums_to_one_over_the_sources_and_weighs_votes():
    x, _, votes = experts(50)
    student = DenoisingAttention(epochs=2).fit(x, votes)
    rows = JointRows(torch.from_numpy(x), votes, torch.full((50,), -1), torch.arange(50))
    batch = rows.batch(rows.ids)
    with torch.no_grad():
        attention = student.network_.attention(batch)
        found = _combined(attention, batch)
    np.testing.assert_allclose(attention.sum(1), 1, atol=1e-6)
    for i in range(50):
        voting = votes.codes[i] >= 0
        expected = [attention[i, votes.codes[i] == c].sum() / max(attention[i, voting].sum(), 1e-10) for c in (0, 1)]
        np.testing.assert_allclose(found[i], expected, atol=1e-5)
    assert student.reliabilities_.sum() == pytest.approx(1, abs=1e-6)
    assert student.reliabilities_.max() <= np.e * student.reliabilities_.min() + 1e-6


def test_pseudo_labels_follow_the_weightier_side_share_ties_and_yield_to_gold():
    ballots = torch.eye(2)[torch.tensor([[0, 1, 1]] * 3)]
    weights = torch.tensor([[0.5, 0.2, 0.2], [0.2, 0.1, 0.1], [0.1, 0.4, 0.4]])
    found = pseudo_labels(weights, ballots, torch.tensor([-1, -1, 0]))
    np.testing.assert_allclose(found, [[1, 0], [0.5, 0.5], [1, 0]])
    assert (pseudo_labels(torch.zeros(1, 3), ballots[:1], torch.tensor([-1])) == 0).all()


def test_the_running_mean_of_a_constant_answer_is_that_answer_from_the_first_time_on():
    student = DenoisingAttention(ensembling=0.6)
    ensemble, seen, index = torch.zeros(1, 2), torch.zeros(1), torch.tensor([0])
    logits = torch.tensor([[2.0, 0.0]])
    assert student._silent(logits, index, ensemble, seen) == 0  # nothing to be near to yet
    for _ in range(3):
        assert float(student._silent(logits, index, ensemble, seen)) == pytest.approx(0, abs=1e-10)
    p, q = logits.softmax(-1)[0, 0], torch.tensor([[-2.0, 0.0]]).softmax(-1)[0, 0]
    assert float(student._silent(-logits, index, ensemble, seen)) == pytest.approx(float(2 * (p - q) ** 2), abs=1e-5)


def test_an_accurate_source_among_two_weak_ones_gets_the_most_reliability():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    x = (rng.normal(size=(600, 4)) + 1.5 * y[:, None]).astype(np.float32)
    right = rng.random((600, 4)) < [0.95, 0.75, 0.6, 0.6]
    votes = Votes(np.where(right, y[:, None], 1 - y[:, None]), classes=["a", "b"])
    student = DenoisingAttention().fit(x, votes)
    assert student.reliabilities_.argmax() == 0
    assert (student.predict(x) == y).mean() > 0.9


def test_silent_rows_are_learned_from_by_their_own_answers():
    x, y, votes = experts(300)
    codes = votes.codes.copy()
    codes[150:] = -1
    student = DenoisingAttention(epochs=6).fit(x, Votes(codes, classes=["a", "b"]))
    assert student.history_[0]["silent"] == 0
    assert student.history_[-1]["silent"] > 0
    assert (student.predict(x)[150:] == y[150:]).mean() > 0.85


def test_weights_out_of_range_are_named():
    x, _, votes = experts(20)
    for options in ({"attention_weight": 0.6, "student_weight": 0.6}, {"attention_weight": -0.1}, {"ensembling": 1.0}):
        with pytest.raises(ConfigError, match="DenoisingAttention"):
            DenoisingAttention(**options).fit(x, votes)
