"""Distillation: match a teacher's whole distribution, softened by a temperature, in either direction of the Kullback–Leibler divergence.

Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network"; the reverse direction as in Gu et al. 2024, "MiniLLM".
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from steelyard.errors import ConfigError
from steelyard.training.objectives.objective import Objective

Direction = Literal["forward", "reverse"]


def distillation(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor | None = None,
    *,
    temperature: float = 1.0,
    direction: Direction = "forward",
) -> torch.Tensor:
    """Return `T²/n sum_i w_i KL(q_i ‖ p_i)`, or of `KL(p_i ‖ q_i)`, with `p = softmax(logits / T)` and `q ∝ targets^(1/T)`.

    `targets^(1/T)`, scaled to 1, is `softmax(teacher_logits / T)` for `targets = softmax(teacher_logits)`: probabilities are enough. The
    factor T² keeps the size of the gradient, which falls with 1/T², comparable between temperatures. At T = 1 the forward direction is
    `soft_cross_entropy` less the entropy of the targets, which has no gradient.

    Parameters
    ----------
    logits
        (n, k) real, of the student; computed in float32 at least.
    targets
        (n, k) probabilities of the teacher, rows sum to 1; no gradient flows into them.
    weights
        (n,) non-negative, or `None` for 1.
    temperature
        T > 0; above 1 the teacher's small probabilities count more.
    direction
        `"forward"`: KL(teacher ‖ student), the student covers all that the teacher believes. `"reverse"`: KL(student ‖ teacher), the
        student keeps to what the teacher believes most; a class that the teacher excludes counts as one of probability 1e-12.

    Returns
    -------
    () scalar tensor, not negative but for rounding.

    Examples
    --------
    >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.9, 0.1]])
    >>> round(float(distillation(student, teacher)), 4), round(float(distillation(student, teacher, direction="reverse")), 4)
    (0.3681, 0.5108)
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    log_student = (logits / temperature).log_softmax(-1)
    teacher = targets.detach().to(logits.dtype)
    if direction == "forward":
        # 0 log 0 is 0: the entropy is taken where no logarithm of zero meets a product.
        softened = (teacher.log() / temperature).softmax(-1)
        divergences = -torch.special.entr(softened).sum(-1) - (softened * log_student).sum(-1)
    else:
        log_teacher = (teacher.clamp(min=1e-12).log() / temperature).log_softmax(-1)
        divergences = (log_student.exp() * (log_student - log_teacher)).sum(-1)
    divergences = temperature**2 * divergences
    return divergences.mean() if weights is None else (weights * divergences).mean()


class Distillation(Objective):
    """`distillation` as an objective.

    Parameters
    ----------
    temperature
        T > 0.
    direction
        `"forward"`: KL(teacher ‖ student). `"reverse"`: KL(student ‖ teacher).

    Raises
    ------
    ConfigError
        `temperature` is not positive or `direction` is unknown.

    Examples
    --------
    >>> objective = Distillation(temperature=2.0)
    >>> teacher = torch.tensor([[3.0, 1.0, 0.0]])
    >>> bool(objective(teacher, teacher.softmax(-1)) < 1e-6)  # the student is the teacher
    True
    >>> sorted(objective.log)
    ['divergence']
    """

    def __init__(self, temperature: float = 1.0, direction: Direction = "forward") -> None:
        super().__init__()
        if not 0.0 < temperature < float("inf"):
            raise ConfigError(f"Distillation: temperature is {temperature}; it must be a positive number")
        if direction not in ("forward", "reverse"):
            raise ConfigError(f"Distillation: direction is '{direction}'; use 'forward' or 'reverse'")
        self.temperature = temperature
        self.direction = direction

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, **batch: Any) -> torch.Tensor:
        """Return the loss of logits (n, k) against the teacher's probabilities (n, k) with weights (n,); see `distillation`."""
        loss = distillation(logits, targets, weights, temperature=self.temperature, direction=self.direction)
        self.record(divergence=loss)
        return loss

    def extra_repr(self) -> str:
        """The parameters, as the printed module shows them."""
        return f"temperature={self.temperature}, direction={self.direction!r}"
