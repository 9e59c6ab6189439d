"""ASTRA: the teacher's answer by hand, its gradient, and what it makes of sources that mislead outside their region."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError
from steelyard.targets import Targets
from steelyard.training import ASTRA, HeadStudent
from steelyard.training.joint.astra import rule_attention
from steelyard.training.joint.rows import JointRows
from steelyard.votes import Votes
from tests.training.joint.simulated import experts, some


def test_the_teacher_by_hand():
    codes, p = np.array([[0, 2, -1], [-1, -1, -1]]), np.array([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
    rows = JointRows(torch.zeros(2, 1), Votes(codes, classes=["a", "b", "c"]), torch.tensor([-1, -1]), torch.arange(2))
    batch = rows.batch(rows.ids)
    a, s = np.array([[0.9, 0.3, 0.8], [0.5, 0.5, 0.5]]), np.array([[0.4], [0.7]])
    found = rule_attention(torch.tensor(a).float(), torch.tensor(s).float(), batch.ballots, batch.strength, torch.tensor(p).float())
    first = np.array([0.9, 0, 0.3]) + 0.4 * p[0] + (3 - 0.9 - 0.3 - 0.4) / 3
    second = 0.7 * p[1] + (1 - 0.7) / 3
    np.testing.assert_allclose(found, [first / 3, second], atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_the_gradient_by_attention():
    generator = torch.Generator().manual_seed(0)
    a, s = (torch.rand(2, size, dtype=torch.float64, generator=generator).requires_grad_() for size in (3, 1))
    ballots = torch.eye(2, dtype=torch.float64)[torch.tensor([[0, 1, 1], [1, 0, 0]])]
    strength, answers = torch.ones(2, 3, dtype=torch.float64), torch.full((2, 2), 0.5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, s: rule_attention(a, s, ballots, strength, answers).log(), (a, s))


def test_no_gradient_flows_from_the_teacher_into_the_student():
    network = ASTRA(hidden=4)._network(2, 2, 2).train()
    rows = JointRows(torch.ones(2, 2), Votes([[0, 1], [1, -1]], classes=["a", "b"]), torch.tensor([-1, -1]), torch.arange(2))
    network.teach(rows.batch(rows.ids)).log().sum().backward()
    assert all(parameter.grad is None for parameter in network.student.parameters())
    assert all(parameter.grad is not None for parameter in network.teacher.parameters())
    assert network.student.training


def test_it_beats_a_student_of_the_majority_where_sources_mislead_outside_their_region():
    x, y, votes = experts(900, outside=0.3)
    test_x, test_y, test_votes = experts(2000, seed=1, outside=0.3)
    student = ASTRA(rounds=2).fit(x, votes, some(y, 60))
    counts = np.stack([(votes.codes == c).sum(1) for c in (0, 1)], axis=1) + 1e-9
    majority = HeadStudent(hidden=128, batch_size=64).fit(x, Targets(counts / counts.sum(1, keepdims=True), classes=["a", "b"]))
    score = (student.predict(test_x) == test_y).mean()
    assert score > (majority.predict(test_x) == test_y).mean() + 0.05
    assert (student.predict(test_x, test_votes) == test_y).mean() > 0.6


def test_turns_are_told_in_the_history():
    x, y, votes = experts(80)
    student = ASTRA(rounds=2, epochs=1, hidden=8).fit(x, votes, some(y, 30))
    assert list(dict.fromkeys(line["phase"] for line in student.history_)) == ["gold", "teacher 1", "student 1", "teacher 2", "student 2"]
    with pytest.raises(ConfigError, match="rounds is 0"):
        ASTRA(rounds=0).fit(x, votes, some(y, 30))
