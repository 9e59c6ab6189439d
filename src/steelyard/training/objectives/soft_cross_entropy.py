"""Cross-entropy with probabilistic targets: imitate the whole distribution a label model believes in, not its argmax.

The expected log loss under the targets (Ratner et al. 2016, "Data programming"; Burns et al. 2023, "Weak-to-strong generalization").
Label smoothing follows Szegedy et al. 2016, "Rethinking the Inception architecture".
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from steelyard.errors import ConfigError
from steelyard.training.objectives.objective import Objective


def soft_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, *, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Return `-(1/n) sum_i w_i sum_k q_ik log softmax(logits_i)_k`.

    The mean is over the n rows, not over the sum of the weights: then a batch's gradient is an unbiased estimate of the whole
    set's, and the gradient by the logits is `w_i (p_i - q_i) / n`.

    Parameters
    ----------
    logits
        (n, k) real; computed in float32 at least.
    targets
        (n, k) probabilities, rows sum to 1.
    weights
        (n,) non-negative, or `None`.
    label_smoothing
        Share in [0, 1) of each target that is spread evenly over the k classes.

    Returns
    -------
    () scalar tensor.

    Examples
    --------
    >>> logits = torch.tensor([[0.0, 0.0]], requires_grad=True)
    >>> loss = soft_cross_entropy(logits, torch.tensor([[0.75, 0.25]]))
    >>> loss.backward()
    >>> logits.grad
    tensor([[-0.2500,  0.2500]])
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    losses = functional.cross_entropy(logits, targets.to(logits.dtype), reduction="none", label_smoothing=label_smoothing)
    return losses.mean() if weights is None else (weights * losses).mean()


class SoftCrossEntropy(Objective):
    """`soft_cross_entropy` as an objective; the default of every student.

    Parameters
    ----------
    label_smoothing
        Share in [0, 1) of each target that is spread evenly over the classes.

    Raises
    ------
    ConfigError
        `label_smoothing` is out of range.

    Examples
    --------
    >>> objective = SoftCrossEntropy(label_smoothing=0.1)
    >>> loss = objective(torch.zeros(4, 3), torch.eye(3)[[0, 1, 2, 0]])
    >>> round(float(loss), 4)  # log 3
    1.0986
    >>> sorted(objective.log)
    ['cross_entropy']
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ConfigError(f"SoftCrossEntropy: label_smoothing is {label_smoothing}; it must be in [0, 1)")
        self.label_smoothing = label_smoothing

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, **batch: Any) -> torch.Tensor:
        """Return the loss of logits (n, k) against targets (n, k) with weights (n,); see `soft_cross_entropy`."""
        loss = soft_cross_entropy(logits, targets, weights, label_smoothing=self.label_smoothing)
        self.record(cross_entropy=loss)
        return loss

    def extra_repr(self) -> str:
        """The parameters, as the printed module shows them."""
        return f"label_smoothing={self.label_smoothing}"
