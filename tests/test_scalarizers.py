"""Scalarizers have closed forms; what makes one Pareto optimal is tested by numbers, and refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import ConfigError
from steelyard.scalarizers import SCALARIZERS, checked_scalarizer, scalarizer_flaw

torch = pytest.importorskip("torch")

BY_HAND = {
    "linear": sum,
    "quadratic": lambda terms: sum(terms) ** 2,
    "euclidean": lambda terms: sum(term**2 for term in terms) ** 0.5,
    "chebyshev": max,
}


@pytest.mark.parametrize("name", SCALARIZERS)
def test_each_equals_its_definition_row_by_row_for_arrays_and_tensors(name: str) -> None:
    rng = np.random.default_rng(0)
    losses, weights = rng.exponential(size=(50, 6)), rng.random((50, 6)) * (rng.random((50, 6)) < 0.6)
    expected = [BY_HAND[name]([w * loss for w, loss in zip(*row, strict=True)]) for row in zip(weights, losses, strict=True)]
    np.testing.assert_allclose(SCALARIZERS[name](losses, weights), expected, atol=1e-7)
    np.testing.assert_allclose(SCALARIZERS[name](torch.from_numpy(losses), torch.from_numpy(weights)).numpy(), expected, atol=1e-7)


def test_all_are_pareto_scalarizers_but_chebyshev() -> None:
    assert {name for name, scalarizer in SCALARIZERS.items() if scalarizer_flaw(scalarizer)} == {"chebyshev"}
    assert checked_scalarizer("chebyshev") is SCALARIZERS["chebyshev"]  # weakly Pareto, offered under its name


def test_slopes_are_finite_where_no_loss_is_left() -> None:
    for scalarizer in SCALARIZERS.values():
        losses = torch.zeros(2, 3, requires_grad=True)
        scalarizer(losses, torch.ones(2, 3)).sum().backward()
        assert bool(torch.isfinite(losses.grad).all())


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (lambda losses, weights: (weights * losses).sqrt().sum(-1), "not convex"),
        (lambda losses, weights: losses.mean(-1), "abstains"),
        (lambda losses, weights: -(weights * losses).sum(-1), "does not fall"),
        (lambda losses, weights: (weights * losses).sum(), "one finite number per row"),
    ],
)
def test_a_function_of_ones_own_is_refused_with_the_reason(own, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        checked_scalarizer(own)


def test_a_sound_function_of_ones_own_passes() -> None:
    def cubic(losses, weights):
        return (weights * losses**3).sum(-1)

    assert checked_scalarizer(cubic) is cubic
    with pytest.raises(ConfigError, match="linear, quadratic, euclidean, chebyshev"):
        checked_scalarizer("cubic")
