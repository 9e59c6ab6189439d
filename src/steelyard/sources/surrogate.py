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
        shapes = [shape for into, out in pairwise(sizes) for shape in ((self.members, into, out), (self.members, 1, out))]
        ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
        # All numbers of all networks lie in one array, so that Adam takes one step for them all.
        theta, slope = np.empty(ends[-1], dtype=np.float32), np.empty(ends[-1], dtype=np.float32)
        parts, slopes = (
            [whole[i:j].reshape(shape) for i, j, shape in zip(ends, ends[1:], shapes, strict=False)] for whole in (theta, slope)
        )
        for part, into in zip(parts, [size for size in sizes[:-1] for _ in range(2)], strict=True):
            part[:] = rng.uniform(-(into**-0.5), into**-0.5, part.shape)
        self.layers_: list[tuple[Floats, Floats]] = list(zip(parts[::2], parts[1::2], strict=True))
        rows = np.broadcast_to(np.asarray(x, dtype=np.float32), (self.members, n, d))
        answer = np.asarray(y, dtype=np.float32)[None, :, None]
        moments = np.zeros_like(theta), np.zeros_like(theta)
        ones = np.ones((self.members, 1, n), dtype=np.float32)
        for step in range(1, self.epochs + 1):
            a1 = np.maximum(self._linear(0, rows), 0)
            a2 = np.maximum(self._linear(1, a1), 0)
            delta3 = drawn * (expit(self._linear(2, a2)) - answer)  # d BCE / d logit, (e, n, 1)
            delta2 = (delta3 @ self.layers_[2][0].transpose(0, 2, 1)) * (a2 > 0)
            delta1 = (delta2 @ self.layers_[1][0].transpose(0, 2, 1)) * (a1 > 0)
            for i, (before, delta) in enumerate(((rows, delta1), (a1, delta2), (a2, delta3))):
                np.matmul(before.transpose(0, 2, 1), delta, out=slopes[2 * i])
                np.matmul(ones, delta, out=slopes[2 * i + 1])
            self._adam(theta, slope, moments, step)
        return self

    def predict(self, x: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation (n,) of the members' probabilities for rows (n, d)."""
        rows = np.asarray(x, dtype=np.float32)[None]
        p = expit(self._linear(2, np.maximum(self._linear(1, np.maximum(self._linear(0, rows), 0)), 0)))[:, :, 0]
        return p.mean(axis=0, dtype=np.float64), p.std(axis=0, dtype=np.float64)

    def _linear(self, layer: int, rows: Floats) -> Floats:
        weight, bias = self.layers_[layer]
        return np.asarray(rows @ weight + bias, dtype=np.float32)

    def _adam(self, theta: Floats, slope: Floats, moments: tuple[Floats, Floats], step: int) -> None:
        """One step of Adam (Kingma and Ba 2015), in place; the decay is an L2 penalty."""
        m, v = moments
        g = slope + self.weight_decay * theta
        m *= 0.9
        m += 0.1 * g
        g *= g
        v *= 0.999
        v += 0.001 * g
        np.sqrt(v / (1 - 0.999**step), out=g)
        g += 1e-8
        theta -= (self.learning_rate / (1 - 0.9**step)) * m / g
