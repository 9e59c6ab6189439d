"""The product loss: its target in closed form, its two limits, and that it sharpens what supervisor and student agree on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError
from steelyard.training import ProductLoss, SoftCrossEntropy


def test_the_target_is_the_normalised_product():
    generator = torch.Generator().manual_seed(0)
    logits, q = torch.randn(20, 4, generator=generator), torch.rand(20, 4, generator=generator).softmax(-1)
    f = logits.double().softmax(-1).numpy()
    expected = f**0.5 * q.double().numpy() ** 2
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ProductLoss(alpha=2.0, beta=0.5).target(logits, q).numpy(), expected, rtol=1e-4)
    loss = -(expected * np.log(f)).sum(axis=1).mean()
    assert float(ProductLoss(alpha=2.0, beta=0.5)(logits, q)) == pytest.approx(loss, rel=1e-4)


def test_an_undecided_student_imitates_and_an_undecided_supervisor_teaches_nothing():
    q = torch.tensor([[0.7, 0.2, 0.1]])
    torch.testing.assert_close(ProductLoss().target(torch.zeros(1, 3), q), q)
    logits = torch.tensor([[1.0, -0.5, 0.3]], requires_grad=True)
    ProductLoss()(logits, torch.full((1, 3), 1 / 3)).backward()
    torch.testing.assert_close(logits.grad, torch.zeros(1, 3), atol=1e-7, rtol=0)


def test_what_the_supervisor_excludes_stays_excluded_and_agreement_sharpens():
    logits = torch.tensor([[20.0, 0.0, 0.0]])
    assert float(ProductLoss().target(logits, torch.tensor([[0.0, 0.5, 0.5]]))[0, 0]) < 1e-6
    q = torch.tensor([[0.6, 0.4]])
    assert float(ProductLoss().target(q.log(), q)[0, 0]) == pytest.approx(0.36 / (0.36 + 0.16))


def test_weights_are_those_of_the_cross_entropy_and_exponents_are_checked():
    logits, q, weights = torch.randn(8, 3), torch.rand(8, 3).softmax(-1), torch.rand(8)
    loss = ProductLoss(beta=0.0)
    assert float(loss(logits, q, weights)) == pytest.approx(float(SoftCrossEntropy()(logits, q, weights)), rel=1e-5)
    assert set(loss.log) == {"product", "cross_entropy"}
    with pytest.raises(ConfigError, match="alpha"):
        ProductLoss(alpha=-1)
