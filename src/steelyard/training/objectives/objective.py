"""The interface of every loss: logits and probabilistic targets in, one scalar out, its terms left in `.log`.

An objective knows nothing about models or trainers, so any module that yields logits can be trained with any of them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn


class Objective(nn.Module):
    """Base of the losses.

    A subclass implements `forward` and calls `record` with the terms worth watching.

    Attributes
    ----------
    log
        Detached scalar tensors of the last call, by name; a trainer adds them to its history.
    reads
        Names of further columns of a batch that `forward` takes where the data have them.

    Examples
    --------
    >>> class Brier(Objective):
    ...     def forward(self, logits, targets, weights=None, **batch):
    ...         squares = (logits.softmax(-1) - targets).square().sum(-1)
    ...         loss = squares.mean() if weights is None else (weights * squares).mean()
    ...         self.record(brier=loss)
    ...         return loss
    >>> brier = Brier()
    >>> float(brier(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])))
    0.5
    >>> brier.log
    {'brier': tensor(0.5000)}
    """

    reads: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.log: dict[str, torch.Tensor] = {}

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, **batch: Any) -> torch.Tensor:
        """Return the scalar loss of one batch.

        Parameters
        ----------
        logits
            (n, k) scores of the student, any real numbers.
        targets
            (n, k) probabilities; rows sum to 1.
        weights
            (n,) importance of each row, 1 on average over the training set; `None` means 1 for all.
        **batch
            What else the trainer knows. The trainers of this room pass `progress`, the share of the training steps done, in [0, 1):
            schedules are written in it.

        Raises
        ------
        NotImplementedError
            In the base class.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward(logits, targets, weights=None, **batch)")

    def record(self, **terms: torch.Tensor) -> None:
        """Replace `log` by these terms, detached.

        Examples
        --------
        >>> objective = Objective()
        >>> objective.record(margin=torch.tensor(2.0, requires_grad=True))
        >>> objective.log
        {'margin': tensor(2.)}
        """
        self.log = {name: value.detach() for name, value in terms.items()}
