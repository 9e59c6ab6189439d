"""The loss of a language model with weights: of each token, of each sequence, or both. The base of what reweights or mixes token losses.

Every mean leaves out the targets −100, so that padding and prompts count for nothing.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch.nn import functional

from steelyard.errors import ConfigError, TrainingError
from steelyard.training.objectives.objective import Objective

IGNORED = -100


class SampleLosses(NamedTuple):
    """Losses (n,) of n samples and how many tokens each was the mean of, (n,); a sample of size 0 has nothing to learn."""

    losses: torch.Tensor
    sizes: torch.Tensor


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return −log softmax(logits)[target], (b, t), 0 where the target is −100.

    Parameters
    ----------
    logits
        (b, t, v) real, already aligned with their targets; computed in float32 at least.
    targets
        (b, t) int64 tokens, or −100.

    Raises
    ------
    TrainingError
        The shapes do not fit.

    Examples
    --------
    >>> token_losses(torch.zeros(1, 2, 4), torch.tensor([[3, -100]]))
    tensor([[1.3863, 0.0000]])
    """
    if logits.ndim != 3 or logits.shape[:2] != targets.shape:
        raise TrainingError(f"token losses need logits (b, t, v) and targets (b, t), got {tuple(logits.shape)} and {tuple(targets.shape)}")
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return losses.view_as(targets)


def sequence_losses(logits: torch.Tensor, targets: torch.Tensor) -> SampleLosses:
    """Return the mean token loss of each sequence, (b,), and its number of learned tokens, (b,); see `token_losses`.

    Examples
    --------
    >>> sequence_losses(torch.zeros(2, 2, 4), torch.tensor([[3, -100], [-100, -100]]))
    SampleLosses(losses=tensor([1.3863, 0.0000]), sizes=tensor([1, 0]))
    """
    sizes = (targets != IGNORED).sum(1)
    return SampleLosses(token_losses(logits, targets).sum(1) / sizes.clamp(min=1), sizes)


def token_weighted_loss(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, *, mean: Literal["token", "sequence"] = "token"
) -> torch.Tensor:
    """Return the weighted loss of a batch, divided by what was learned and not by the weights, as `soft_cross_entropy` does.

    Parameters
    ----------
    logits, targets
        As `token_losses` takes them; N targets are not −100.
    weights
        (b,) of sequences or (b, t) of tokens, non-negative; `None` means 1.
    mean
        "token": `(1/N) Σ_it w_it ℓ_it`. "sequence": `(1/b) Σ_i mean_t w_it ℓ_it` over the b sequences with something to learn.

    Returns
    -------
    () scalar tensor; 0 where there is nothing to learn.

    Examples
    --------
    >>> logits, targets = torch.zeros(2, 2, 4), torch.tensor([[3, 1], [2, -100]])
    >>> [round(float(token_weighted_loss(logits, targets, torch.tensor([2.0, 0.0]), mean=mean)), 4) for mean in ("token", "sequence")]
    [1.8484, 1.3863]
    """
    losses, learned = token_losses(logits, targets), targets != IGNORED
    if weights is not None:
        if weights.shape not in (targets.shape, targets.shape[:1]):
            raise TrainingError(f"weights must be (b,) or (b, t) for targets {tuple(targets.shape)}, got {tuple(weights.shape)}")
        losses = losses * (weights if weights.ndim == 2 else weights[:, None])
    if mean == "token":
        return losses.sum() / learned.sum().clamp(min=1)
    sizes = learned.sum(1)
    return (losses.sum(1) / sizes.clamp(min=1)).sum() / (sizes > 0).sum().clamp(min=1)


class TokenWeighted(Objective):
    """`token_weighted_loss` as an objective: next-token prediction, with the weights that the data bring.

    Reads the batch's `weights` (b,) and, where the data have them, `token_weights` (b, t); both multiply.

    Parameters
    ----------
    mean
        "token" or "sequence", see `token_weighted_loss`.

    Examples
    --------
    >>> objective = TokenWeighted()
    >>> loss = objective(torch.zeros(1, 2, 4), torch.tensor([[3, 1]]), token_weights=torch.tensor([[1.0, 0.0]]))
    >>> round(float(loss), 4), sorted(objective.log)
    (0.6931, ['ce'])
    """

    reads: ClassVar[tuple[str, ...]] = ("token_weights",)

    def __init__(self, mean: Literal["token", "sequence"] = "token") -> None:
        super().__init__()
        if mean not in ("token", "sequence"):
            raise ConfigError(f"TokenWeighted: mean is '{mean}'; use 'token' or 'sequence'")
        self.mean = mean

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, **batch: Any) -> torch.Tensor:
        """Return the loss of logits (b, t, v) against next tokens (b, t)."""
        of_tokens = batch.get("token_weights")
        if of_tokens is not None:
            weights = of_tokens if weights is None else of_tokens * weights[:, None]
        loss = token_weighted_loss(logits, targets, weights, mean=self.mean)
        self.record(ce=loss)
        return loss

    def extra_repr(self) -> str:
        """The parameters, as the printed module shows them."""
        return f"mean={self.mean}"
