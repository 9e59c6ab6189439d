"""The temperature-softened divergence against its definition, its gradient, and its relation to the cross-entropy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from steelyard.errors import ConfigError
from steelyard.targets import Targets
from steelyard.training.head import HeadStudent
from steelyard.training.objectives.distillation import Distillation, distillation
from steelyard.training.objectives.soft_cross_entropy import soft_cross_entropy

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(6, 4)), RNG.normal(size=(6, 4))
WEIGHTS = RNG.random(6)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_it_is_the_weighted_divergence_of_both_softened_distributions(direction: str, temperature: float) -> None:
    p, q = softmax(STUDENT / temperature, axis=1), softmax(TEACHER / temperature, axis=1)
    divergences = rel_entr(q, p).sum(1) if direction == "forward" else rel_entr(p, q).sum(1)
    expected = temperature**2 * (WEIGHTS * divergences).mean()
    # Only probabilities are given: q^(1/T) is the softmax of the teacher's logits over T.
    found = distillation(
        torch.tensor(STUDENT),
        torch.tensor(softmax(TEACHER, axis=1)),
        torch.tensor(WEIGHTS),
        temperature=temperature,
        direction=direction,  # type: ignore[arg-type]
    )
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_at_temperature_one_it_is_the_cross_entropy_less_the_entropy_of_the_targets() -> None:
    q = torch.tensor(softmax(TEACHER, axis=1))
    losses, gradients = [], []
    for loss in (distillation, soft_cross_entropy):
        logits = torch.tensor(STUDENT, requires_grad=True)
        value = loss(logits, q, torch.tensor(WEIGHTS))
        value.backward()  # type: ignore[no-untyped-call]
        losses.append(float(value.detach()))
        gradients.append(logits.grad)
    entropy = float((torch.tensor(WEIGHTS) * torch.special.entr(q).sum(1)).mean())
    assert losses[1] - losses[0] == pytest.approx(entropy)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_the_gradient_at_high_temperature_is_the_squared_difference_of_centred_logits() -> None:
    # Hinton et al.: for T much larger than the logits, T² KL → 1/(2k) Σ (z − v)² of logits centred at 0.
    z = STUDENT - STUDENT.mean(1, keepdims=True)
    v = TEACHER - TEACHER.mean(1, keepdims=True)
    expected = ((z - v) ** 2).sum(1).mean() / (2 * z.shape[1])
    for direction in ("forward", "reverse"):
        found = Distillation(1000.0, direction)(torch.tensor(z), torch.tensor(softmax(v, axis=1)))  # type: ignore[arg-type]
        assert float(found) == pytest.approx(expected, rel=1e-2)


def test_a_class_that_the_teacher_excludes_costs_nothing_forward_and_is_avoided_in_reverse() -> None:
    sure = torch.tensor([[1.0, 0.0]])
    for direction in ("forward", "reverse"):
        logits = torch.zeros(1, 2, requires_grad=True)
        loss = Distillation(2.0, direction)(logits, sure)  # type: ignore[arg-type]
        loss.backward()
        assert torch.isfinite(loss)
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()
        assert logits.grad[0, 0] < 0 < logits.grad[0, 1]


def test_half_precision_is_computed_in_single() -> None:
    loss = Distillation()(torch.tensor(STUDENT).half(), torch.tensor(softmax(TEACHER, axis=1)))
    assert loss.dtype == torch.float32


def test_a_trainer_uses_it_like_any_objective() -> None:
    x = RNG.normal(size=(120, 3)).astype(np.float32)
    p = 1 / (1 + np.exp(-4 * x[:, 0]))
    targets = Targets(np.column_stack([1 - p, p]), classes=["low", "high"])
    student = HeadStudent(objective=Distillation(2.0, "reverse"), epochs=60, learning_rate=0.05).fit(x, targets)
    assert (student.predict(x) == targets.harden()).mean() > 0.95
    assert "divergence" in student.history_[-1]


@pytest.mark.parametrize(
    ("options", "sentence"), [({"temperature": 0.0}, "positive"), ({"direction": "sideways"}, "'forward' or 'reverse'")]
)
def test_a_wrong_option_gets_one_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Distillation(**options)  # type: ignore[arg-type]
