"""The network of the harmonizer: minibatches of a scalarized loss against masked votes, the best epoch kept; forward in NumPy.

PyTorch is imported where something is fitted, so that a fitted harmonizer is used without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from steelyard.errors import LabelModelError
from steelyard.scalarizers import Scalarizer
from steelyard.votes import Votes

Layers = list[tuple[NDArray[np.float32], NDArray[np.float32]]]
"""(W (in, out), b (out,)) of each layer, with ReLU between them."""

COLLAPSED = 1e-8
"""A network whose probability of every class varies less than this over the held-out rows says the same of every row."""


@dataclass(frozen=True)
class NetworkTask:
    """Features (n, d), votes of m sources, their weights (m,), rows to learn from and to judge by, gold labels (n,) or none."""

    features: NDArray[np.float32]
    votes: Votes
    weights: NDArray[np.float64]
    learned: NDArray[np.int64]
    judged: NDArray[np.int64]
    gold: NDArray[np.int64] | None


class NetworkOptions(Protocol):
    """The parameters of `ParetoHarmonizer` that are read here."""

    hidden: int | None
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int
    seed: int


def fit_network(task: NetworkTask, options: NetworkOptions, scalarize: Scalarizer) -> tuple[Layers, list[dict[str, float]], int]:
    """Minimise the mean over rows of the scalarized losses; return the layers of the best epoch, the history, and which epoch that was.

    Raises
    ------
    LabelModelError
        Training diverged, or the network says the same of every row.
    """
    import torch
    from torch import nn

    # Copies: what the votes hold is frozen, and torch wants to write.
    x, codes = torch.from_numpy(task.features), torch.from_numpy(np.array(task.votes.codes))
    share = torch.from_numpy(task.weights.astype(np.float32))
    truth = None if task.gold is None else torch.from_numpy(np.array(task.gold))

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        log_h, said = network(x[rows]).log_softmax(-1), codes[rows].long()
        loss: torch.Tensor = scalarize(-log_h.gather(1, said.clamp(min=0)), share * (said >= 0)).mean()
        return loss

    def judge(rows: torch.Tensor) -> tuple[float, bool]:
        with torch.no_grad():
            log_h = network(x[rows]).log_softmax(-1)
            loss = loss_of(rows) if truth is None else -log_h.gather(1, truth[rows, None]).mean()
            return float(loss), len(rows) > 1 and bool(log_h.exp().var(dim=0).max() < COLLAPSED)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        d, k = task.features.shape[1], task.votes.n_classes
        first = [] if options.hidden is None else [nn.Linear(d, options.hidden), nn.ReLU()]
        network = nn.Sequential(*first, nn.Linear(options.hidden or d, k))
        # Scalarized losses are as small as the weights; the steps of AdamW do not depend on their scale.
        optimiser = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True)
        rows, held = torch.from_numpy(task.learned), torch.from_numpy(task.judged)
        lowest, best, kept = float("inf"), 0, None
        history: list[dict[str, float]] = []
        for epoch in range(1, options.epochs + 1):
            total = 0.0
            for batch in rows[torch.randperm(len(rows))].split(options.batch_size):
                loss = loss_of(batch)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total += float(loss.detach()) * len(batch)
            # Without rows to judge by, the last epoch is the best.
            judged, collapsed = judge(held) if len(held) else (-float(epoch), False)
            history.append({"epoch": epoch, "loss": total / len(rows), **({"held_out_loss": judged} if len(held) else {})})
            if not np.isfinite(total):
                raise LabelModelError(f"training diverged in epoch {epoch}; lower learning_rate ({options.learning_rate})")
            if judged < lowest and not collapsed:
                lowest, best, kept = judged, epoch, [parameter.detach().clone() for parameter in network.parameters()]
            if epoch - best >= options.patience:
                break
    if kept is None:
        raise LabelModelError("the harmonizer says the same of every row; check the features, or lower the weight of one-sided sources")
    layers: Layers = [(kept[i].numpy().T.copy(), kept[i + 1].numpy()) for i in range(0, len(kept), 2)]
    return layers, history, best


def forward(layers: Layers, features: NDArray[Any]) -> NDArray[np.float32]:
    """Class probabilities (n, k) of features (n, d).

    Examples
    --------
    >>> forward([(np.zeros((3, 2), np.float32), np.zeros(2, np.float32))], np.ones((1, 3), np.float32)).tolist()
    [[0.5, 0.5]]
    """
    values = features
    for i, (weight, bias) in enumerate(layers):
        values = (np.maximum(values, 0) if i else values) @ weight + bias
    return np.asarray(softmax(values, axis=1), dtype=np.float32)
