from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError
from steelyard.training.objectives import Objective, SoftCrossEntropy, soft_cross_entropy


def _batch(n: int = 7, k: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(n, k)) * 3, dtype=torch.float64, requires_grad=True)
    return logits, torch.tensor(rng.dirichlet(np.ones(k), n)), torch.tensor(rng.gamma(2.0, size=n))


def test_gradient_is_p_minus_q_over_n():
    logits, q, _ = _batch()
    soft_cross_entropy(logits, q).backward()
    torch.testing.assert_close(logits.grad, (logits.softmax(-1) - q).detach() / len(q))


def test_weighted_gradient_is_w_times_p_minus_q_over_n():
    logits, q, w = _batch()
    soft_cross_entropy(logits, q, w).backward()
    torch.testing.assert_close(logits.grad, w[:, None] * (logits.softmax(-1) - q).detach() / len(q))


def test_one_hot_targets_give_the_usual_cross_entropy():
    logits, _, _ = _batch()
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(soft_cross_entropy(logits, torch.eye(4, dtype=torch.float64)[labels]), expected)


def test_loss_is_smallest_at_the_targets_where_it_is_their_entropy():
    _, q, _ = _batch()
    entropy = -(q * q.log()).sum(-1).mean()
    torch.testing.assert_close(soft_cross_entropy(q.log(), q), entropy)
    assert soft_cross_entropy(q.log() + torch.randn(q.shape, dtype=q.dtype), q) > entropy


def test_label_smoothing_mixes_the_targets_with_the_uniform():
    logits, q, w = _batch()
    expected = soft_cross_entropy(logits, 0.8 * q + 0.2 / 4, w)
    torch.testing.assert_close(SoftCrossEntropy(label_smoothing=0.2)(logits, q, w), expected)


def test_half_precision_logits_are_computed_in_single_precision():
    logits, q, _ = _batch()
    assert soft_cross_entropy(logits.half(), q).dtype == torch.float32


def test_log_holds_detached_terms_of_the_last_call():
    logits, q, _ = _batch()
    objective = SoftCrossEntropy()
    loss = objective(logits, q, progress=0.5)
    assert not objective.log["cross_entropy"].requires_grad
    assert objective.log["cross_entropy"].item() == loss.item()


def test_smoothing_out_of_range_is_refused():
    with pytest.raises(ConfigError, match=r"label_smoothing is 1\.0"):
        SoftCrossEntropy(label_smoothing=1.0)


def test_an_objective_without_forward_says_what_to_define():
    class Empty(Objective):
        pass

    with pytest.raises(NotImplementedError, match="Empty does not define forward"):
        Empty()(torch.zeros(1, 2), torch.zeros(1, 2))
