"""A bagged ensemble of small neural networks, trained side by side in one set of arrays: a guess with an honest spread from a few answers.

The surrogate of `InteractiveWS`, which learns from a few answers which sources are useful (Boecking et al. 2021, "Interactive Weak
Supervision: Learning Useful Heuristics for Data Labeling"); bagging after Breiman 1996, "Bagging predictors".
"""

from __future__ import annotations

from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float32]


class BaggedNetworks:
    """P(yes | x) by `members` networks with two hidden layers of ten ReLU units, each trained on a bootstrap sample with Adam.

    Parameters
    ----------
    members, hidden, epochs : int
    learning_rate, weight_decay : float
    seed : int

    Examples
    --------
    >>> x = np.linspace(-2, 2, 20)[:, None]
    >>> mean, spread = BaggedNetworks(members=10).fit(x, x[:, 0] > 0).predict(np.array([[-2.0], [2.0]]))
    >>> bool(mean[0] < 0.5 < mean[1])
    True
    """

    def __init__(
        self, members: int = 50, hidden: int = 10, epochs: int = 200, learning_rate: float = 1e-3, weight_decay: float = 1e-4, seed: int = 0
    ) -> None:
        self.members = members
        self.hidden = hidden
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.seed = seed

    def fit(self, x: NDArray[np.floating], y: NDArray[np.generic], weights: NDArray[np.floating] | None = None) -> Self:
        """Learn from rows x (n, d), answers y (n,) in {0, 1} and how sure they are (n,)."""
        rng = np.random.default_rng(self.seed)
        n, d = x.shape
        sure = np.ones(n) if weights is None else np.asarray(weights)
        # Weighing row i by how often it was drawn is the bootstrap sample without copies of rows.
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=self.members) * sure
        drawn = (drawn / np.maximum(drawn.sum(axis=1, keepdims=True), 1e-12)).astype(np.float32)[:, :, None]  # (e, n, 1)
        sizes = [d, self.hidden, self.hidden, 1]
        self.layers_: list[tuple[Floats, Floats]] = []
        for into, out in pairwise(sizes):
            bound = into**-0.5
            self.layers_.append(
                (
                    rng.uniform(-bound, bound, (self.members, into, out)).astype(np.float32),
                    rng.uniform(-bound, bound, (self.members, 1, out)).astype(np.float32),
                )
            )
        rows = np.broadcast_to(np.asarray(x, dtype=np.float32), (self.members, n, d))
        answer = np.asarray(y, dtype=np.float32)[None, :, None]
        moments = [(np.zeros_like(part), np.zeros_like(part)) for layer in self.layers_ for part in layer]
        for step in range(1, self.epochs + 1):
            a1 = np.maximum(self._linear(0, rows), 0)
            a2 = np.maximum(self._linear(1, a1), 0)
            delta3 = drawn * (expit(self._linear(2, a2)) - answer)  # d BCE / d logit, (e, n, 1)
            delta2 = (delta3 @ self.layers_[2][0].transpose(0, 2, 1)) * (a2 > 0)
            delta1 = (delta2 @ self.layers_[1][0].transpose(0, 2, 1)) * (a1 > 0)
            slopes = [
                part
                for before, delta in ((rows, delta1), (a1, delta2), (a2, delta3))
                for part in (before.transpose(0, 2, 1) @ delta, delta.sum(axis=1, keepdims=True))
            ]
            self._adam([part for layer in self.layers_ for part in layer], slopes, moments, step)
        return self

    def predict(self, x: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation (n,) of the members' probabilities for rows (n, d)."""
        rows = np.asarray(x, dtype=np.float32)[None]
        p = expit(self._linear(2, np.maximum(self._linear(1, np.maximum(self._linear(0, rows), 0)), 0)))[:, :, 0]
        return p.mean(axis=0, dtype=np.float64), p.std(axis=0, dtype=np.float64)

    def _linear(self, layer: int, rows: Floats) -> Floats:
        weight, bias = self.layers_[layer]
        return np.asarray(rows @ weight + bias, dtype=np.float32)

    def _adam(self, parts: list[Floats], slopes: list[Floats], moments: list[tuple[Floats, Floats]], step: int) -> None:
        """One step of Adam (Kingma and Ba 2015), in place; the decay is an L2 penalty."""
        first, second = 1 - 0.9**step, 1 - 0.999**step
        for i, (m, v) in enumerate(moments):
            g = slopes[i] + self.weight_decay * parts[i]
            np.add(m, 0.1 * (g - m), out=m)
            np.add(v, 0.001 * (g * g - v), out=v)
            np.subtract(parts[i], (self.learning_rate / first) * m / (np.sqrt(v / second) + 1e-8), out=parts[i])
