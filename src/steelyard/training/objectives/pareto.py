"""The loss of a harmonizer for any trainer: agree with all sources at once, by a Pareto scalarizer of the losses against them.

Zhao, Wei, Preston, Poon 2023, "Pareto Optimal Learning for Estimating Large Language Model Errors". With it a whole encoder is fine-tuned
where `steelyard.label_models.ParetoHarmonizer` learns on frozen features.
"""

from __future__ import annotations

from typing import Any

import torch

from steelyard.scalarizers import Scalarizer, checked_scalarizer
from steelyard.training.objectives.objective import Objective


class ParetoLoss(Objective):
    """Mean over rows of G(losses against the classes that were voted for).

    The targets of a row are the shares q of its votes and its weight W is their total weight, as `steelyard.label_models.vote_shares` makes
    them: class c counts as one source with loss −log h_c and weight W q_c. For ``linear`` and ``quadratic`` that equals the sum over the
    single sources; for the others, sources that agree count as one.

    Parameters
    ----------
    aggregation : str or callable
        ``linear``, ``quadratic``, ``euclidean``, ``chebyshev``, or a function of losses and weights, see `steelyard.scalarizers`.

    Raises
    ------
    ConfigError
        The aggregation is unknown or no Pareto scalarizer.

    Examples
    --------
    >>> loss = ParetoLoss("quadratic")
    >>> float(loss(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))) == float(torch.tensor(2.0).log() ** 2)
    True
    """

    def __init__(self, aggregation: str | Scalarizer = "quadratic") -> None:
        super().__init__()
        self.aggregation = aggregation
        self._scalarize = checked_scalarizer(aggregation)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, **batch: Any) -> torch.Tensor:
        """Return the loss of logits (n, k) against vote shares (n, k) with total weights (n,)."""
        losses = -logits.float().log_softmax(-1)
        cells = targets if weights is None else weights[:, None] * targets
        loss: torch.Tensor = self._scalarize(losses, cells.to(losses.dtype)).mean()
        self.record(scalarized=loss)
        return loss

    def extra_repr(self) -> str:
        """The parameters, as the printed module shows them."""
        return f"aggregation={self.aggregation!r}"
