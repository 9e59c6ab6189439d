"""The confidence loss: its terms by hand, its threshold, its ramp, and that it resists the collapse of plain argmax."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError, TrainingError
from steelyard.label_models.transport import match_prior
from steelyard.targets import Targets
from steelyard.training import ConfidenceLoss, HeadStudent, SoftCrossEntropy
from steelyard.training.objectives.confidence import balanced


def batch(seed: int, n: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, k, generator=generator), torch.rand(n, k, generator=generator).pow(2).softmax(-1)


def test_binary_loss_is_what_the_authors_compute():
    """Their formula in the open: t = quantile(p0, mean(q1)), h0 = [p0 >= t], loss = CE((1 - a) q + a h, p)."""
    logits, q = batch(0, 64, 2)
    p = logits.double().softmax(-1).numpy()
    threshold = np.quantile(p[:, 0], q[:, 1].numpy().mean())
    hard = np.stack([p[:, 0] >= threshold, p[:, 0] < threshold], axis=1)
    for progress, a in ((0.05, 0.5 * 0.05), (0.3, 0.5)):
        expected = -(((1 - a) * q.numpy() + a * hard) * np.log(p)).sum(axis=1).mean()
        loss = ConfidenceLoss(0.5, warmup=0.1, ramp="official")
        assert float(loss(logits, q, progress=progress)) == pytest.approx(expected, rel=1e-5)


def test_the_linear_ramp_is_continuous_and_the_official_one_jumps():
    linear, official = ConfidenceLoss(0.6, warmup=0.2), ConfidenceLoss(0.6, warmup=0.2, ramp="official")
    assert [linear.alpha_at(x) for x in (0.0, 0.1, 0.2, 0.9)] == pytest.approx([0, 0.3, 0.6, 0.6])
    assert [official.alpha_at(x) for x in (0.0, 0.1, 0.199, 0.2)] == pytest.approx([0, 0.06, 0.1194, 0.6])
    assert ConfidenceLoss(0.6, warmup=0.0).alpha_at(0.0) == 0.6


def test_the_student_predicts_each_class_as_often_as_the_weak_labels():
    for k in (2, 3, 6):
        logits, q = batch(k, 400, k)
        logits[:, 0] += 3.0  # without the threshold nearly everything would be the first class
        own = ConfidenceLoss(rounds=50).hardened(logits.softmax(-1), q)
        share = torch.bincount(own, minlength=k) / 400
        expected = torch.from_numpy(match_prior(logits.softmax(-1).numpy(), q.mean(0).numpy())).float().argmax(-1)
        assert (own == expected).float().mean() > (0.85 if k == 2 else 0.99)
        assert (share - q.mean(0)).abs().max() < 0.1
        assert ConfidenceLoss(harden="argmax").hardened(logits.softmax(-1), q).eq(0).float().mean() > 0.8


def test_balancing_agrees_with_transport_in_numpy():
    logits, q = batch(1, 50, 4)
    p, prior = logits.softmax(-1), q.mean(0)
    for rounds in (1, 4, 200):
        expected = match_prior(p.numpy(), prior.numpy(), rounds=rounds)
        np.testing.assert_allclose(balanced(p, prior, rounds).numpy(), expected, atol=1e-5)


def test_no_gradient_flows_into_the_own_prediction():
    logits, q = batch(2, 32, 3)
    logits.requires_grad_()
    loss = ConfidenceLoss(0.5)
    loss(logits, q, progress=0.5).backward()
    own = torch.nn.functional.one_hot(loss.hardened(logits.detach().softmax(-1), q), 3)
    expected = (logits.detach().softmax(-1) - (0.5 * q + 0.5 * own)) / 32
    torch.testing.assert_close(logits.grad, expected)


def test_without_confidence_it_is_the_soft_cross_entropy():
    logits, q = batch(3, 16, 3)
    weights = torch.rand(16)
    assert float(ConfidenceLoss(0.0)(logits, q, weights)) == pytest.approx(float(SoftCrossEntropy()(logits, q, weights)))
    one = logits[:1], q[:1]
    assert float(ConfidenceLoss(0.75)(*one, progress=0.9)) == pytest.approx(float(SoftCrossEntropy()(*one)))


def test_terms_are_recorded():
    logits, q = batch(4, 16, 3)
    loss = ConfidenceLoss(0.5)
    value = loss(logits, q, progress=0.5)
    log = {name: float(term) for name, term in loss.log.items()}
    assert float(value) == pytest.approx(0.5 * log["cross_entropy"] + 0.5 * log["self_training"])
    assert log["alpha"] == 0.5
    assert 0 <= log["overruled"] <= 1


def test_one_class_has_no_threshold_and_odd_parameters_are_refused():
    with pytest.raises(TrainingError, match="one class"):
        ConfidenceLoss()(torch.zeros(4, 1), torch.ones(4, 1))
    for options in ({"alpha": 1.0}, {"warmup": -0.1}, {"ramp": "steep"}, {"harden": "dice"}, {"rounds": 0}):
        with pytest.raises(ConfigError):
            ConfidenceLoss(**options)


def weakly_labelled(seed: int, n: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four blobs in twenty dimensions; the weak label names another class in a third of the rows, at random."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n)
    x = np.concatenate([2.0 * np.eye(4)[y], np.zeros((n, 16))], axis=1) + rng.normal(size=(n, 20))
    named = np.where(rng.random(n) < 0.35, (y + rng.integers(1, 4, n)) % 4, y)
    return x.astype(np.float32), y, 0.1 + 0.6 * np.eye(4)[named]


def test_where_the_plain_loss_learns_errors_by_heart_prior_matching_helps_and_argmax_less():
    losses = {"soft": SoftCrossEntropy(), "prior": ConfidenceLoss(0.75), "argmax": ConfidenceLoss(0.75, harden="argmax")}
    scores: dict[str, list[float]] = {name: [] for name in (*losses, "weak")}
    for seed in range(3):
        x, y, q = weakly_labelled(seed)
        scores["weak"].append(float((q[500:].argmax(axis=1) == y[500:]).mean()))
        for name, loss in losses.items():
            student = HeadStudent(objective=loss, hidden=64, epochs=12, learning_rate=3e-3, seed=seed)
            student.fit(x[:500], Targets(q[:500], classes=list("abcd")))
            scores[name].append(float((student.predict(x[500:]) == y[500:]).mean()))
    mean = {name: float(np.mean(values)) for name, values in scores.items()}
    assert mean["prior"] > mean["soft"] + 0.04
    assert mean["prior"] > mean["argmax"] + 0.02
    assert mean["prior"] > mean["weak"] + 0.03
