"""Which rows should a fallible teacher label? Those the student needs and the teacher likely gets right, by a game with an adversary.

Baykal et al. 2022, "Robust Active Distillation": choose probabilities q over the pool, then an adversary picks which m rows the teacher
mislabels; the best q has a closed form and no parameter. Below it: drawing exactly b rows with given inclusion probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import ConfigError, DataError
from steelyard.training.selection.query_strategies import FLOOR, GAINS, Queried, QueryStrategy, checked_pool

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Game:
    """The solution of ``max_q min_{|E| ≤ m} sum_{i not in E} q_i g_i``.

    Parameters
    ----------
    q : (n,) float64
        Probability of each row; every supported row has the same q_i g_i, so the adversary gains nothing by his choice.
    support : int
        k*, the rows with q > 0: those of largest gain.
    value : float
        Expected gain of a rightly labelled query, whichever m rows are wrong: (k* − m) / H_k*.
    """

    q: Floats
    support: int
    value: float


def solve_game(gains: ArrayLike, mistakes: float, *, at_least: int = 1, seed: int = 0) -> Game:
    """Solve the game in O(n log n).

    With the gains in falling order and ``H_k = sum_{i ≤ k} 1/g_i``: ``k* = argmax_k (k − m) / H_k`` and ``q_i = 1 / (g_i H_k*)`` for the k*
    rows of largest gain. Within the support the hardest rows are not preferred; only easy rows are left out. m = 0 takes the one
    hardest row, m near n takes all rows almost evenly.

    Parameters
    ----------
    gains
        (n,) positive.
    mistakes
        m, how many of the n rows the teacher would label wrongly; any real number in [0, n).
    at_least
        Least size of the support, for a batch of more than k* rows.
    seed
        Orders rows of equal gain.

    Raises
    ------
    ConfigError
        m is negative or reaches n: then no row is worth asking about.
    DataError
        A gain is not positive and finite.

    Examples
    --------
    >>> game = solve_game([1.0, 0.5, 0.1], mistakes=1)
    >>> game.support, game.q.round(3).tolist(), round(game.value, 3)
    (2, [0.333, 0.667, 0.0], 0.333)
    """
    g = np.asarray(gains, dtype=np.float64)
    if g.ndim != 1 or not len(g) or not (np.isfinite(g) & (g > 0)).all():
        raise DataError(f"solve_game: gains must be a list of positive numbers, one per row of the pool; got shape {g.shape}")
    if not 0 <= mistakes < len(g):
        raise ConfigError(
            f"solve_game: {mistakes:g} mistakes among {len(g)} rows; it must be at least 0 and less than the rows, else no answer is right"
        )
    order = np.random.default_rng(seed).permutation(len(g))
    order = order[np.argsort(-g[order], kind="stable")]
    harmonic = np.cumsum(1 / g[order])
    values = (np.arange(1, len(g) + 1) - mistakes) / harmonic
    k = max(int(values.argmax()) + 1, min(at_least, len(g)))
    q = np.zeros(len(g))
    q[order[:k]] = 1 / (g[order[:k]] * harmonic[k - 1])
    return Game(q, k, float(values[k - 1]))


def inclusion_probabilities(q: ArrayLike, budget: int) -> Floats:
    """Return (n,) ``min(1, c·q)`` with the c for which they sum to `budget`: the excess of certain rows goes to the others in proportion.

    Examples
    --------
    >>> inclusion_probabilities([0.7, 0.2, 0.1, 0.0], budget=2).round(3).tolist()
    [1.0, 0.667, 0.333, 0.0]
    """
    shares = np.asarray(q, dtype=np.float64)
    if not 0 < budget <= np.count_nonzero(shares):
        raise ConfigError(f"inclusion_probabilities: {budget} rows cannot be drawn from the {np.count_nonzero(shares)} that have q > 0")
    certain = np.zeros(len(shares), dtype=np.bool_)
    while True:
        rest = shares * ~certain
        scaled = rest * ((budget - certain.sum()) / max(float(rest.sum()), np.finfo(np.float64).tiny))
        over = scaled >= 1
        if not over.any():
            return np.where(certain, 1.0, scaled)
        certain |= over


def systematic_draw(inclusion: ArrayLike, seed: int = 0) -> Ints:
    """Draw distinct rows, as many as `inclusion` (n,) sums to, row i with probability exactly ``inclusion[i]`` (Madow 1949).

    The rows are shuffled and laid end to end as pieces of these lengths; a comb of teeth one apart, shifted at random, picks them.

    Examples
    --------
    >>> len(systematic_draw([0.5, 0.5, 0.5, 0.5])), systematic_draw([1.0, 0.0, 1.0])
    (2, array([0, 2]))
    """
    p = np.asarray(inclusion, dtype=np.float64)
    if not len(p) or (p < 0).any() or (p > 1 + 1e-9).any() or abs(p.sum() - round(p.sum())) > 1e-6:
        raise ConfigError(f"systematic_draw: inclusion probabilities must be in [0, 1] and sum to a whole number; they sum to {p.sum():g}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.flatnonzero(p > 0))
    ends = np.cumsum(p[order])
    teeth = rng.uniform() + np.arange(round(float(p.sum())))
    # Rounding must not push the last tooth over the last end.
    picked = order[np.minimum(np.searchsorted(ends, teeth, side="right"), len(order) - 1)]
    return np.sort(picked)


class RobustActiveQuery(QueryStrategy):
    """Queries by the game: informative rows, spread so that no m mistakes of the teacher can spoil much.

    Parameters
    ----------
    gain
        How much the student would learn from a row: ``"margin"`` (1 − top-1 + top-2 probability), ``"entropy"`` (normalised) or
        ``"confidence"`` (1 − top-1).

    Raises
    ------
    ConfigError
        An unknown gain; from `select`, no budget or no mistakes given, or as many mistakes as rows.

    Examples
    --------
    >>> proba = np.array([[0.5, 0.5], [0.6, 0.4], [0.9, 0.1], [1.0, 0.0]])
    >>> queried = RobustActiveQuery().select(proba, budget=1, mistakes=1.5)
    >>> queried.game.support, queried.game.q.round(2).tolist()
    (2, [0.44, 0.56, 0.0, 0.0])
    """

    needs_mistakes = True

    def __init__(self, gain: str = "margin") -> None:
        if gain not in GAINS:
            raise ConfigError(f"RobustActiveQuery: gain is '{gain}'; use one of {', '.join(GAINS)}")
        self.gain = gain

    def select(
        self,
        proba: ArrayLike,
        budget: int,
        *,
        mistakes: float | None = None,
        features: ArrayLike | None = None,
        covered: ArrayLike | None = None,
        right: ArrayLike | None = None,
        seed: int = 0,
    ) -> Queried:
        """Choose rows of the pool; reads the student's `proba` (n, k) and `mistakes`, how many of the n rows the teacher gets wrong."""
        p, budget = checked_pool(proba, budget)
        if mistakes is None:
            raise ConfigError(
                "RobustActiveQuery: mistakes is missing; estimate it on held-out labelled rows as n · (1 − teacher's accuracy)"
            )
        gains = np.maximum(GAINS[self.gain](p), FLOOR)
        game = solve_game(gains, mistakes, at_least=budget, seed=seed)
        return Queried(systematic_draw(inclusion_probabilities(game.q, budget), seed), game)
