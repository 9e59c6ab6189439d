"""One network for many classification tasks: it scores a text against descriptions of answers, so that a task is but a set of answers.

The student of Lawma (Dominguez-Olmedo et al. 2024) at the size of frozen features: a residual network on the text's side, a linear map on
the answer's side, a scaled cosine between. The answers of each example are its own: tasks, or subsets of a task's choices.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from steelyard.errors import TrainingError


class ChoiceScorer:
    """p(answer | text) ∝ exp(s · cos(f(text), A · description)) over the answers that an example allows.

    Parameters
    ----------
    hidden
        Width of the residual block.
    steps, batch_size, learning_rate, weight_decay
        AdamW with a cosine to zero; batches mix all tasks uniformly over examples.
    seed
        Decides weights and order.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, answers = rng.normal(size=(200, 4)).astype(np.float32), np.eye(4, dtype=np.float32)
    >>> tasks = np.arange(200) % 2  # task 0 asks about the first feature, task 1 about the second
    >>> y = 2 * tasks + (x[np.arange(200), tasks] > 0)
    >>> allowed = np.repeat(np.eye(2, dtype=bool)[tasks], 2, axis=1)
    >>> scorer = ChoiceScorer(steps=200, learning_rate=1e-2).fit(x, answers, y, allowed)
    >>> bool((scorer.predict_proba(x, answers, allowed).argmax(axis=1) == y).mean() > 0.9)
    True
    """

    def __init__(
        self,
        hidden: int = 256,
        *,
        steps: int = 400,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.seed = seed

    def fit(self, features: NDArray[np.float32], answers: NDArray[np.float32], y: NDArray[np.integer], allowed: NDArray[np.bool_]) -> Self:
        """Learn from n examples of any number of tasks.

        Parameters
        ----------
        features : (n, d)
            Of the texts.
        answers : (c, d)
            Of the descriptions of all answers of all tasks.
        y : (n,) int
            Gold answer in 0 … c-1.
        allowed : (n, c) bool
            The answers among which each example chooses.

        Raises
        ------
        TrainingError
            No examples; a gold answer that its example does not allow; an example with a single answer.
        """
        gold = np.asarray(y)
        if not len(gold):
            raise TrainingError("there are no examples to learn from; give at least one for each task")
        if not allowed[np.arange(len(gold)), gold].all():
            raise TrainingError(f"example {int((~allowed[np.arange(len(gold)), gold]).argmax())} has a gold answer that it does not allow")
        if (allowed.sum(axis=1) < 2).any():
            raise TrainingError(f"example {int((allowed.sum(axis=1) < 2).argmax())} allows one answer only; leave such a task out")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network_ = _Matcher(features.shape[1], self.hidden)
            x, a, mask = torch.from_numpy(features), torch.from_numpy(answers), torch.from_numpy(allowed)
            target = torch.from_numpy(gold.astype(np.int64))
            optimizer = torch.optim.AdamW(self.network_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
            for _ in range(self.steps):
                rows = torch.randint(len(x), (min(self.batch_size, len(x)),))
                loss = nn.functional.cross_entropy(self.network_(x[rows], a).masked_fill(~mask[rows], -torch.inf), target[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        if not bool(torch.isfinite(loss)):
            raise TrainingError(f"training diverged; lower learning_rate ({self.learning_rate})")
        return self

    def predict_proba(self, features: NDArray[np.float32], answers: NDArray[np.float32], allowed: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Probabilities (n, c), zero for answers that an example does not allow."""
        with torch.no_grad():
            logits = self.network_(torch.from_numpy(features), torch.from_numpy(answers))
            masked = logits.masked_fill(~torch.from_numpy(allowed), -torch.inf)
            return np.asarray(torch.softmax(masked, dim=1).numpy(), dtype=np.float32)


class _Matcher(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.answer = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.answer.weight)  # untrained, it is the zero-shot classifier of the encoder
        nn.init.zeros_(self.block[2].weight)
        self.scale = nn.Parameter(torch.tensor(np.log(20.0), dtype=torch.float32))

    def forward(self, texts: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """(n, d), (c, d) -> (n, c) logits."""
        left = nn.functional.normalize(texts + self.block(texts), dim=1)
        right = nn.functional.normalize(self.answer(answers), dim=1)
        logits: torch.Tensor = self.scale.exp() * left @ right.T
        return logits
