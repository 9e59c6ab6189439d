"""The product loss: learn towards the normalised product of one's own prediction and the weak label, where both agree or one is sure.

From the authors' code of Burns et al. 2023, "Weak-to-strong generalization".
"""

from __future__ import annotations

from typing import Any

import torch

from steelyard.errors import ConfigError
from steelyard.training.objectives.objective import Objective
from steelyard.training.objectives.soft_cross_entropy import soft_cross_entropy


class ProductLoss(Objective):
    """Cross-entropy with the target `t ∝ q^alpha · f^beta`: q the weak label, f the student; no gradient flows into t.

    An undecided student (f uniform) imitates q, an undecided supervisor leaves f alone, and where both lean to one class the target is
    surer than either: each step sharpens what supervisor and student agree on.

    Parameters
    ----------
    alpha, beta
        Exponents of the weak label and of the student's prediction, not negative.

    Raises
    ------
    ConfigError
        An exponent is negative.

    Examples
    --------
    >>> q = torch.tensor([[0.8, 0.2]])
    >>> ProductLoss().target(torch.tensor([[0.8, 0.2]]).log(), q)
    tensor([[0.9412, 0.0588]])
    >>> ProductLoss(beta=0.0).target(torch.tensor([[5.0, 0.0]]), q)  # the plain cross-entropy
    tensor([[0.8000, 0.2000]])
    """

    def __init__(self, alpha: float = 1.0, beta: float = 1.0) -> None:
        super().__init__()
        if alpha < 0 or beta < 0:
            raise ConfigError(f"ProductLoss: alpha ({alpha}) and beta ({beta}) must not be negative")
        self.alpha = alpha
        self.beta = beta

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, **batch: Any) -> torch.Tensor:
        """Return the loss of logits (n, k) against weak labels (n, k) with weights (n,)."""
        loss = soft_cross_entropy(logits, self.target(logits, targets), weights)
        self.record(product=loss, cross_entropy=soft_cross_entropy(logits, targets, weights))
        return loss

    def target(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(n, k) `q^alpha · f^beta`, rows scaled to 1."""
        # In logarithms, where a product of small numbers does not vanish; what q excludes stays excluded.
        log_student = logits.detach().float().log_softmax(-1)
        return (self.alpha * targets.float().clamp(min=1e-30).log() + self.beta * log_student).softmax(-1)

    def extra_repr(self) -> str:
        """The parameters, as the printed module shows them."""
        return f"alpha={self.alpha}, beta={self.beta}"
