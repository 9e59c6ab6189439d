"""ImplyLoss: its terms by hand, the gradient of the implication, exemplars, and a source that holds in one region only."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError, TrainingError
from steelyard.targets import Targets
from steelyard.training import HeadStudent, ImplyLoss
from steelyard.training.joint.imply_loss import implication_loss, restriction_loss
from steelyard.training.joint.rows import JointRows
from steelyard.votes import Votes
from tests.training.joint.simulated import experts, some


def test_restriction_terms_by_hand():
    holds = torch.tensor([[0.8, 0.6, 0.3, 0.9]])
    fires = torch.tensor([[True, True, True, False]])
    right = torch.tensor([[True, True, False, True]])
    exemplar = torch.tensor([[True, False, False, False]])
    expected = -np.log(0.8) + (1 - 0.6**0.5) / 0.5 - np.log(1 - 0.3)
    assert float(restriction_loss(holds, fires, right, exemplar, q=0.5)) == pytest.approx(expected, abs=1e-6)


def test_implication_by_hand_and_its_gradient():
    votes = Votes([[0, 1, -1], [1, -1, -1]], classes=["a", "b"])
    rows = JointRows(torch.zeros(2, 1), votes, torch.tensor([-1, -1]), torch.arange(2))
    batch = rows.batch(rows.ids)
    g = torch.tensor([[0.5, 0.9, 0.7], [0.2, 0.3, 0.4]], dtype=torch.float64, requires_grad=True)
    p = torch.tensor([[0.8, 0.2], [0.6, 0.4]], dtype=torch.float64, requires_grad=True)
    expected = -(np.log(1 - 0.5 * 0.2) + np.log(1 - 0.9 * 0.8) + np.log(1 - 0.2 * 0.6)) / 3

    def loss(g: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        return implication_loss(g, batch, p)

    def loss64(g: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        wide = type(batch)(batch.features, batch.strength.double(), batch.ballots.double(), batch.gold, batch.rows)
        implied = torch.einsum("bk,bmk->bm", p, (wide.ballots > 0).double())
        return (-(1 - g * (1 - implied)).log() * wide.strength).sum() / wide.strength.sum()

    assert float(loss(g.float(), p.float()).detach()) == pytest.approx(expected, abs=1e-5)
    assert torch.autograd.gradcheck(loss64, (g, p))
    slow = torch.autograd.grad(loss64(g, p), (g, p))
    fast = torch.autograd.grad(loss(g.float(), p.float()), (g, p))
    for ours, theirs in zip(fast, slow, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_vote_that_holds_rules_the_other_classes_out_and_one_that_does_not_says_nothing():
    student = ImplyLoss(hidden=4)
    network = student._network(1, 1, 3).eval()
    rows = JointRows(torch.zeros(1, 1), Votes([[2]], classes=["a", "b", "c"]), torch.tensor([-1]), torch.arange(1))
    with torch.no_grad():
        for parameter in network.student.parameters():
            parameter.zero_()
        for bias, expected in ((30.0, [0, 0, 1]), (-30.0, [1 / 3] * 3)):
            network.restriction[-1].weight.zero_()
            network.restriction[-1].bias.fill_(bias)
            np.testing.assert_allclose(student._with_votes(network, rows.batch(rows.ids))[0], expected, atol=1e-5)


def test_it_learns_where_a_source_holds_and_beats_a_student_of_the_majority():
    """Wrong outside their region, the sources mislead a majority; gold rows show where each holds."""
    x, y, votes = experts(900, outside=0.3)
    test_x, test_y, _ = experts(2000, seed=1, outside=0.3)
    student = ImplyLoss(epochs=15).fit(x, votes, some(y, 60))
    counts = np.stack([(votes.codes == c).sum(1) for c in (0, 1)], axis=1) + 1e-9
    majority = HeadStudent(hidden=128, batch_size=64).fit(x, Targets(counts / counts.sum(1, keepdims=True), classes=["a", "b"]))
    assert (student.predict(test_x) == test_y).mean() > (majority.predict(test_x) == test_y).mean() + 0.05
    rows = JointRows(student.network_.scaled(torch.from_numpy(x)), votes, torch.from_numpy(y), torch.arange(900))
    batch = rows.batch(rows.ids)
    with torch.no_grad():
        holds = student.network_.holds(batch)
    right = votes.codes == y[:, None]
    assert holds[batch.fires & torch.from_numpy(right)].mean() > holds[batch.fires & torch.from_numpy(~right)].mean() + 0.2


def test_exemplars_must_be_rows_that_their_source_labels_rightly():
    x, y, votes = experts(60)
    gold = some(y, 30)
    right, wrong = (np.flatnonzero((votes.codes[:30, 0] == label) & (votes.codes[:30, 0] >= 0))[0] for label in (y[:30], 1 - y[:30]))
    exemplars = np.full(6, -1)
    exemplars[0] = right
    quick = ImplyLoss(epochs=2, hidden=8)
    assert quick.fit(x, votes, gold, exemplars).predict_proba(x).tobytes() != quick.fit(x, votes, gold).predict_proba(x).tobytes()
    for row in (wrong, 59, 700):
        exemplars[0] = row
        with pytest.raises(TrainingError, match=f"row {row} is no exemplar of source 'source_0'"):
            quick.fit(x, votes, gold, exemplars)
    with pytest.raises(TrainingError, match="one row \\(or -1\\) for each of the 6 sources"):
        quick.fit(x, votes, gold, [0, 1])
    with pytest.raises(ConfigError, match="q \\(0\\) must be in"):
        ImplyLoss(q=0).fit(x, votes, gold)
