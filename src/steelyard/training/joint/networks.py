"""The small networks that joint models are made of: a classifier on features, and scores of the sources that read features and votes."""

from __future__ import annotations

import itertools

import torch
from torch import nn


class Classifier(nn.Module):
    """One hidden layer on features: `forward` gives logits (b, k), `read` also the hidden layer (b, hidden).

    Examples
    --------
    >>> logits, hidden = Classifier(4, 8, 2, dropout=0.0).read(torch.zeros(3, 4))
    >>> logits.shape, hidden.shape
    (torch.Size([3, 2]), torch.Size([3, 8]))
    """

    def __init__(self, d: int, hidden: int, k: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.out = nn.Linear(hidden, k)

    def read(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and hidden layer of features (b, d)."""
        hidden = self.hidden(features)
        return self.out(hidden), hidden

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (b, k) of features (b, d)."""
        return self.read(features)[0]


class JointNetwork(nn.Module):
    """What every joint model trains: the `student`, beside which a subclass puts what weighs the votes, and how features are scaled.

    Features are centred and divided by one number, so that their entries have mean 0 and mean square 1: learning rates then mean the
    same for every encoder, and the columns keep their proportions.

    Examples
    --------
    >>> network = JointNetwork(2, 8, 2, dropout=0.0)
    >>> network.fit_scale(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    >>> network.scaled(torch.tensor([[3.0, 0.0]])).round(decimals=2)
    tensor([[1.4100, 0.0000]])
    """

    centre: torch.Tensor
    size: torch.Tensor

    def __init__(self, d: int, hidden: int, k: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(d))
        self.register_buffer("size", torch.ones(1))
        self.student = Classifier(d, hidden, k, dropout)

    def fit_scale(self, features: torch.Tensor) -> None:
        """Learn the scale from training rows (n, d)."""
        self.centre.copy_(features.mean(0))
        size = (features - self.centre).square().mean().sqrt()
        self.size.fill_(float(size) if size > 0 else 1.0)

    def scaled(self, features: torch.Tensor) -> torch.Tensor:
        """Features (b, d) as the parts of the network read them."""
        return (features - self.centre) / self.size


def source_scores(d: int, m: int, k: int, hidden: int, *, layers: int, dropout: float) -> nn.Sequential:
    """A network from features and votes side by side (b, d + m k) to one score per source (b, m).

    Examples
    --------
    >>> source_scores(4, 3, 2, 8, layers=2, dropout=0.3)(torch.zeros(5, 10)).shape
    torch.Size([5, 3])
    """
    widths = [d + m * k] + [hidden] * layers
    parts: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        parts += [nn.Linear(before, after), nn.Tanh(), nn.Dropout(dropout)]
    return nn.Sequential(*parts, nn.Linear(hidden, m))
