"""The Fréchet mean inside a network: scores that a loss can be put on, and hard answers that let a gradient through.

Roberts et al. 2023, "Geometry-Aware Adaptation for Pretrained Models"; the projected gradient follows Blondel et al. 2022, "Efficient and
Modular Implicit Differentiation", in its use there.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from steelyard.errors import ConfigError


def frechet_scores(probabilities: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """Return (n, N) `−P D²`: minus the energies, whose argmax is the Fréchet mean; cross-entropy takes them as logits.

    Parameters
    ----------
    probabilities
        (n, K) rows sum to 1; gradients flow into them.
    distances
        (K, N) from the observed labels to all; squared here.

    Examples
    --------
    >>> scale = (torch.arange(2)[:, None] * 2 - torch.arange(3)).abs().float()  # labels 0 and 2 of 0, 1, 2
    >>> frechet_scores(torch.tensor([[0.5, 0.5]]), scale)
    tensor([[-2., -1., -2.]])
    """
    return -probabilities @ distances.to(probabilities.dtype).square()


def frechet_one_hot(
    scores: torch.Tensor,
    backward: Literal["straight_through", "projection"] = "straight_through",
    *,
    step: float = 0.01,
    smoothing: float = 1e-3,
) -> torch.Tensor:
    """Return (n, N) the answers of `frechet_scores` as smoothed one-hot rows z, with a gradient.

    Parameters
    ----------
    scores
        (n, N).
    backward
        `"straight_through"`: the gradient g passes as it is. `"projection"`: `z − proj(z − step · g)`, proj onto the simplex: a step that
        stays among distributions.
    step
        Size of this step.
    smoothing
        Share in [0, 1) of each row that is spread evenly, so that a logarithm of it is finite.

    Examples
    --------
    >>> scores = torch.tensor([[-2.0, -1.0, -2.0]], requires_grad=True)
    >>> answer = frechet_one_hot(scores, smoothing=0.0)
    >>> answer.detach(), torch.autograd.grad(answer[0, 0], scores)[0]
    (tensor([[0., 1., 0.]]), tensor([[1., 0., 0.]]))
    """
    if backward not in ("straight_through", "projection") or not 0 <= smoothing < 1 or step <= 0:
        raise ConfigError(
            f"frechet_one_hot: backward '{backward}' must be 'straight_through' or 'projection', smoothing ({smoothing}) in [0, 1), "
            f"step ({step}) positive"
        )
    return _OneHot.apply(scores, backward, step, smoothing)  # type: ignore[no-any-return, no-untyped-call]


class _OneHot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor, backward: str, step: float, smoothing: float) -> torch.Tensor:
        hard = torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)
        ctx.backward_rule, ctx.step = backward, step
        ctx.save_for_backward(hard)
        return (1 - smoothing) * hard + smoothing / scores.shape[-1]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        if ctx.backward_rule == "projection":
            (hard,) = ctx.saved_tensors
            gradient = hard - _onto_simplex(hard - ctx.step * gradient)
        return gradient, None, None, None


def _onto_simplex(rows: torch.Tensor) -> torch.Tensor:
    """The nearest point of the simplex to each row: shift all entries alike and cut at 0 (Duchi et al. 2008)."""
    ordered = rows.sort(dim=-1, descending=True).values
    excess = ordered.cumsum(-1) - 1
    count = torch.arange(1, rows.shape[-1] + 1, device=rows.device, dtype=rows.dtype)
    last = (ordered * count > excess).sum(-1, keepdim=True)
    shift = excess.gather(-1, last - 1) / last
    return (rows - shift).clamp(min=0)
