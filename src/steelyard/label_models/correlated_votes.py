"""CorrelatedVotes: a few sources that depend on each other beyond what the class explains, summed exactly over all their joint votes.

The part of `DataProgramming` that its `dependencies` call for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from steelyard.errors import LabelModelError
from steelyard.label_models.base import FLOOR
from steelyard.label_models.one_coin import one_coin_tables, one_coin_weights
from steelyard.vote_checks import listed
from steelyard.vote_statistics import VoteStatistics

Array = NDArray[np.float64]
Pairs = list[tuple[int, int]]
_MOST_STATES = 1 << 18
_NEWTON_STEPS = 50


class CorrelatedVotes:
    r"""P(λ_C | y) = exp(w · f(λ_C, y)) / Z_y for a group C of sources. Features f of their joint vote λ_C: source j votes; source j names
    the class y; the sources a and b of a pair say the same, be it nothing.

    Parameters
    ----------
    members : list of int
        The sources of the group.
    pairs : list of (int, int)
        Those of them that depend on each other directly.
    statistics : VoteStatistics that keep patterns
    accuracy, strength : float
        Belief: sources are independent and right with chance `accuracy`, which is worth `strength` votes of each.

    Attributes
    ----------
    weights : (2 |C| + number of pairs,) float64

    Raises
    ------
    LabelModelError
        When the group is too large to sum over its joint votes.
    """

    def __init__(self, members: list[int], pairs: Pairs, statistics: VoteStatistics, accuracy: float, strength: float) -> None:
        self.members, self.pairs, self.support = members, pairs, statistics.support
        n, c, (s, k) = statistics.n_rows, len(members), statistics.support.shape
        if (s + 1) ** c * k > _MOST_STATES:
            most, who = int(np.log(_MOST_STATES / k) / np.log(s + 1)), listed([statistics.sources[j] for j in members])
            raise LabelModelError(
                f"dependencies connect {c} sources ({who}), with {s} symbols at most {most} may be connected: "
                "leave out the weakest dependencies, or keep one source of each set of near copies"
            )
        # Joint votes (x, |C|), their features (k, x, f) and log h (k, x), h being how many ways a vote has of being right or wrong.
        self.states = np.indices((s + 1,) * c).reshape(c, -1).T - 1
        place = {j: i for i, j in enumerate(members)}
        equal = np.stack([self.states[:, place[a]] == self.states[:, place[b]] for a, b in pairs], axis=1)
        names = np.vstack([self.support, np.zeros(k, dtype=bool)])[self.states]
        self.features = np.stack([np.hstack([self.states >= 0, names[:, :, y], equal]) for y in range(k)]).astype(np.float64)
        self.log_ways = one_coin_tables(np.zeros(1), np.zeros(1), self.support)[0][:, self.states].sum(axis=2)

        patterns, counts, voted = statistics.patterns, statistics.counts, statistics.votes_for.sum(axis=1)[members]
        assert counts is not None
        self.counted = np.concatenate([voted, np.zeros(c), [counts @ (patterns[:, a] == patterns[:, b]) for a, b in pairs]])
        # Half a row keeps a source that never, or always, votes from being unable to do otherwise.
        rates = voted.clip(0.5, n - 0.5) / n
        self.weights = np.concatenate([*one_coin_weights(rates, np.full(c, accuracy), k), np.zeros(len(pairs))])
        self.believed_masses = np.full(k, strength / rates.mean() / k)
        self.believed = np.einsum("y,yx,yxf->f", self.believed_masses, self._joint(), self.features)

    def maximize(self, right: Array, masses: Array) -> None:
        """Move the weights, by Newton's method, to where features are as frequent in the model as they are counted and believed to be.

        Parameters
        ----------
        right : (|C|,) float array
            Expected number of votes of each source that name the class.
        masses : (k,) float array
            Expected number of rows of each class.
        """
        self.counted[len(self.members) : 2 * len(self.members)] = right
        target, mass = self.counted + self.believed, masses + self.believed_masses
        for _ in range(_NEWTON_STEPS):
            weighted = mass[:, None] * self._joint()
            mean = np.einsum("yx,yxf->yf", weighted, self.features)
            square = sum((f.T * w) @ f for f, w in zip(self.features, weighted, strict=True))
            curvature = square - (mean / np.maximum(mass, FLOOR)[:, None]).T @ mean
            slope = target - mean.sum(axis=0)
            step = np.linalg.solve(curvature + 1e-9 * mass.sum() * np.eye(len(slope)), slope)
            if slope @ step < 1e-10 * mass.sum():
                return
            before, value, size = self.weights, self._value(target, mass), 1.0
            self.weights = before + step
            while self._value(target, mass) < value and size > 1e-6:
                size /= 2
                self.weights = before + size * step

    def tables(self) -> Array:
        """(|C|, k, S + 1) what each vote adds to the log-score of each class; the pairs' part, the same for all classes, is left out."""
        c = len(self.members)
        alone = one_coin_tables(self.weights[:c], self.weights[c : 2 * c], self.support)
        return np.asarray(alone - self._log_normalizers()[:, None] / c)

    def confusions(self) -> Array:
        """(|C|, k, S + 1) P(vote of one source | class), the others summed out."""
        joint = self._joint()
        symbols = [*range(len(self.support)), -1]
        return np.stack([[joint @ (votes == symbol) for symbol in symbols] for votes in self.states.T]).transpose(0, 2, 1)

    def log_pairs(self) -> float:
        """Σ over rows of w_ab 1[λ_a = λ_b]: what `tables` leave out of the log-likelihood."""
        return float(self.correlations @ self.counted[2 * len(self.members) :])

    def log_belief(self) -> float:
        """Log-density of the belief, up to a constant."""
        return self._value(self.believed, self.believed_masses)

    @property
    def accuracy_weights(self) -> Array:
        """(|C|,) weights of "source j names the class"."""
        return self.weights[len(self.members) : 2 * len(self.members)]

    @property
    def correlations(self) -> Array:
        """(number of pairs,) weights of "sources a and b say the same"."""
        return self.weights[2 * len(self.members) :]

    def _value(self, target: Array, mass: Array) -> float:
        return float(target @ self.weights - mass @ self._log_normalizers())

    def _log_normalizers(self) -> Array:
        return np.asarray(logsumexp(self.features @ self.weights + self.log_ways, axis=1))

    def _joint(self) -> Array:
        return np.exp(self.features @ self.weights + self.log_ways - self._log_normalizers()[:, None])
