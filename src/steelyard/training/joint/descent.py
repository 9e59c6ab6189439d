"""Minibatch descent for joint models: AdamW over some parameters with a falling rate, in one phase or several, with one early stopping.

Plain torch on the CPU as in `HeadStudent`, since a step takes about a millisecond; checks and patience are `EarlyStopping`'s.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from steelyard.training.early_stopping import EarlyStopping

Loss = Callable[[torch.Tensor], tuple[torch.Tensor, dict[str, torch.Tensor]]]


@dataclass
class Descent:
    """How to go down, and what was seen on the way.

    Attributes
    ----------
    history
        By epoch: phase, epoch, mean loss and the terms of its last batch.
    judged
        Steps so far that `stopping` may have looked at; they count over all phases.

    Examples
    --------
    >>> model, x = nn.Linear(1, 1, bias=False), torch.ones(8, 1)
    >>> _ = nn.init.zeros_(model.weight)
    >>> descent = Descent(epochs=200, batch_size=4, learning_rate=0.1)
    >>> descent.run(model, torch.arange(8), lambda rows: ((model(x[rows]) - 3).square().mean(), {}), "fit")
    >>> round(float(model.weight.detach()), 1), len(descent.history)
    (3.0, 200)
    """

    epochs: float
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    progress: bool | None = None
    stopping: EarlyStopping | None = None
    history: list[dict[str, float | str]] = field(default_factory=list)
    judged: int = 0
    stopped: bool = False

    def run(
        self,
        module: nn.Module,
        rows: torch.Tensor,
        loss: Loss,
        phase: str,
        *,
        each_epoch: Callable[[], None] | None = None,
        judge: bool = False,
    ) -> None:
        """Minimise `loss(rows of a batch) -> (scalar, terms)` over the parameters of `module`.

        Parameters
        ----------
        rows
            (n,) positions that an epoch goes through, in another order each time.
        each_epoch
            Called before every epoch, with the module in evaluation mode: pseudo labels are renewed here.
        judge
            Let `stopping` look at the module, end the phase where it says so, and leave the best weights so far.
        """
        optimiser = _optimiser(module, self.learning_rate, self.weight_decay)
        per_epoch = math.ceil(len(rows) / self.batch_size)
        steps = max(1, math.ceil(self.epochs * per_epoch))
        stopping = self.stopping if judge else None
        total = 0.0
        for step in self._visible(steps, phase):
            place = step % per_epoch
            if place == 0:
                module.eval()
                if each_epoch is not None:
                    each_epoch()
                order, total = rows[torch.randperm(len(rows))], 0.0
            module.train()
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate * (1 - step / steps)
            value, terms = loss(order[place * self.batch_size : (place + 1) * self.batch_size])
            optimiser.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(value.detach())
            if place == per_epoch - 1 or step == steps - 1:
                shown = {name: float(term.detach()) for name, term in terms.items()}
                self.history.append({"phase": phase, "epoch": (step + 1) / per_epoch, "loss": total / (place + 1), **shown})
            if stopping is not None:
                self.judged += 1
                module.eval()
                if stopping.after_step(self.judged, module):
                    self.stopped = True
                    break
        module.eval()
        if stopping is not None:
            stopping.restore(module)

    def _visible(self, steps: int, phase: str) -> Iterator[int]:
        if not (self.progress if self.progress is not None else sys.stderr.isatty()):
            yield from range(steps)
            return
        from rich.console import Console
        from rich.progress import track

        yield from track(range(steps), description=phase, console=Console(stderr=True))


def _optimiser(module: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    # Only matrices decay: a bias says how common a class is, which should cost nothing.
    matrices = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    rest = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, fused=True)
