"""Stop where the student agrees best with weak labels that it was not trained on, before it learns the supervisor's errors by heart.

Burns et al. 2023, "Weak-to-strong generalization": a strong student over-fits weak labels early. No gold label is read; judging by gold
would be an oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from steelyard.errors import ConfigError
from steelyard.storage import read_json, write_json
from steelyard.training.rows import TrainingRows

CHECKS_PER_EPOCH = 4


class EarlyStopping:
    """Remembers the weights of the best check so far and says when to give up.

    Parameters
    ----------
    score
        Judges the model: the larger, the better.
    steps_per_epoch
        Optimiser steps; every quarter of them the model is judged.
    patience
        Epochs without a better check after which training stops.

    Attributes
    ----------
    best_score, best_step
        Of the best check; -inf and 0 before the first.

    Examples
    --------
    >>> model, scores = nn.Linear(1, 1), iter([0.5, 0.7, 0.6, 0.7, 0.4, 0.3])
    >>> stopping = EarlyStopping(lambda model: next(scores), steps_per_epoch=4, patience=1)
    >>> [stopping.after_step(step, model) for step in range(1, 7)], stopping.best_step
    ([False, False, False, False, False, True], 2)
    """

    def __init__(self, score: Callable[[nn.Module], float], steps_per_epoch: int, patience: int) -> None:
        self.score = score
        self.every = max(1, steps_per_epoch // CHECKS_PER_EPOCH)
        self.patience = patience * max(steps_per_epoch, CHECKS_PER_EPOCH)
        self.best_score, self.best_step = float("-inf"), 0
        self.weights: dict[str, torch.Tensor] = {}

    def after_step(self, step: int, model: nn.Module) -> bool:
        """Judge the model if it is time to; returns whether to stop."""
        if step % self.every:
            return False
        score = self.score(model)
        if score > self.best_score:
            self.best_score, self.best_step = score, step
            self.weights = {name: value.detach().cpu().clone() for name, value in model.named_parameters() if value.requires_grad}
        return step - self.best_step >= self.patience

    def restore(self, model: nn.Module) -> None:
        """Give the model the weights of the best check."""
        with torch.no_grad():
            for name, value in model.named_parameters():
                if name in self.weights:
                    value.copy_(self.weights[name])

    def save(self, folder: Path) -> None:
        """Write the best check into a checkpoint."""
        save_file(self.weights, folder / "best.safetensors")
        write_json(folder / "best.json", {"score": self.best_score, "step": self.best_step})

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint."""
        content = read_json(folder / "best.json")
        self.best_score, self.best_step = content["score"], content["step"]
        self.weights = load_file(folder / "best.safetensors")


def hold_out(n: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split n training rows at random into those to learn from and a share to judge by; both in order.

    Raises
    ------
    ConfigError
        The share is out of range, or leaves nothing on one side.

    Examples
    --------
    >>> learned, judged = hold_out(10, 0.2, seed=0)
    >>> len(learned), len(judged)
    (8, 2)
    """
    held = round(share * n)
    if not 0.0 < share < 1.0 or not 0 < held < n:
        raise ConfigError(f"early_stopping is {share}: the share of the {n} training rows to judge by must be in (0, 1) and hold some row")
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[held:]), np.sort(order[:held])


def some_rows(used: TrainingRows, index: NDArray[np.int64]) -> TrainingRows:
    """The training rows at these positions.

    Examples
    --------
    >>> rows = TrainingRows(np.array([4, 7]), np.eye(2, dtype=np.float32), np.ones(2, dtype=np.float32), ("a", "b"))
    >>> some_rows(rows, np.array([1])).rows
    array([7])
    """
    return TrainingRows(used.rows[index], used.probabilities[index], used.weights[index], used.classes)


def agreement(predicted: NDArray[np.int64], rows: TrainingRows) -> float:
    """Weighted share of rows whose predicted class (r,) is the most probable one of their target.

    Examples
    --------
    >>> rows = TrainingRows(np.arange(2), np.eye(2, dtype=np.float32), np.ones(2, dtype=np.float32), ("a", "b"))
    >>> agreement(np.array([0, 0]), rows)
    0.5
    """
    return float(np.average(predicted == rows.probabilities.argmax(axis=1), weights=rows.weights))
