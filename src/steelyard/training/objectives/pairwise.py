"""The loss of a reward model: the probability that one text is better than another is a logistic function of their rewards' difference.

Bradley and Terry 1952; Christiano et al. 2017, "Deep reinforcement learning from human preferences". The explicit conflict of interest is
the instrument of Yang et al. 2024, "Super(ficial)-alignment".
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from steelyard.errors import ConfigError
from steelyard.training.objectives.objective import Objective


class PairwiseBCE(Objective):
    """`BCE(sigma(r_c - r_r), q)` over pairs with P(chosen is better) = q.

    Parameters
    ----------
    alpha
        With `gold` in the batch: on the pairs where the model at that moment prefers the truly worse text, `alpha` times the loss that
        rewards it is added. This simulates a pay-off for doing the wrong thing; it is a red-team instrument, never a recipe.

    Raises
    ------
    ConfigError
        `alpha` is negative.

    Examples
    --------
    >>> objective = PairwiseBCE()
    >>> rewards = torch.tensor([[1.0], [1.0], [2.0], [0.0]])  # chosen, rejected, chosen, rejected
    >>> targets = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    >>> round(float(objective(rewards, targets)), 4)  # (log 2 + log(1 + e^-2)) / 2
    0.41
    """

    reads: ClassVar[tuple[str, ...]] = ("gold",)

    def __init__(self, alpha: float = 0.5) -> None:
        super().__init__()
        if alpha < 0:
            raise ConfigError(f"PairwiseBCE: alpha is {alpha}; it must not be negative")
        self.alpha = alpha

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, **batch: Any) -> torch.Tensor:
        """Return the mean loss of n pairs.

        Parameters
        ----------
        logits
            (n, 2) rewards of chosen and rejected, or (2n, 1) in turns.
        targets
            (n, 2): q and 1 − q.
        weights
            (n,) or `None`.
        **batch
            `gold` (n,), where a conflict is simulated: 1 chosen is truly better, 0 rejected is, NaN no conflict for this pair.
        """
        rewards = logits.float().reshape(-1, 2)
        z = rewards[:, 0] - rewards[:, 1]
        losses = binary_cross_entropy_with_logits(z, targets[:, 0].to(z.dtype), reduction="none")
        gold = batch.get("gold")
        if gold is not None:
            tempted = (gold == 1) & (z < 0) | (gold == 0) & (z > 0)
            reward_of_worse = binary_cross_entropy_with_logits(z, (gold == 0).to(z.dtype), reduction="none")
            losses = losses + self.alpha * tempted * reward_of_worse
        loss = losses.mean() if weights is None else (weights * losses).mean()
        self.record(pairwise_bce=loss, accuracy=((z > 0) == (targets[:, 0] > 0.5)).float().mean())
        return loss

    def extra_repr(self) -> str:
        """The parameters, as the printed module shows them."""
        return f"alpha={self.alpha}"
