"""Which rows of a pool to have labelled next: uniform, uncertain, spread out, or — to know the bound — only where the teacher is right.

One interface for all, so that an active loop can compare them. Lewis and Gale 1994 (uncertainty); Sener and Savarese 2018, "Active Learning
for Convolutional Neural Networks: A Core-Set Approach" (k-centre). The robust strategy is in `robust_distillation.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from steelyard.errors import ConfigError, DataError

if TYPE_CHECKING:
    from steelyard.training.selection.robust_distillation import Game

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FLOOR = 1e-6
"""Least gain of a row, where the student is certain."""


@dataclass(frozen=True)
class Queried:
    """The rows (b,) of the pool that were chosen, ascending, and the game that chose them where there was one."""

    rows: Ints
    game: Game | None = None


class QueryStrategy(ABC):
    """Chooses b rows of a pool from what the student thinks of it.

    Attributes
    ----------
    needs_mistakes, needs_features, needs_truth
        What `select` must be given besides the student's probabilities.
    """

    needs_mistakes: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False
    needs_truth: ClassVar[bool] = False

    @abstractmethod
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
        """Return `budget` distinct rows, or all where there are fewer.

        Parameters
        ----------
        proba
            (n, k) of the student on the pool.
        budget
            b ≥ 1.
        mistakes
            How many of the n rows the teacher would label wrongly.
        features, covered
            (n, d) of the pool and (l, d) of the rows that have labels, for strategies that spread out.
        right
            (n,) bool: whether the teacher is right; for the upper bound only.
        seed
            Decides draws and ties.
        """


class UniformQuery(QueryStrategy):
    """Rows at random.

    Examples
    --------
    >>> len(UniformQuery().select(np.full((10, 2), 0.5), budget=3).rows)
    3
    """

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
        """Reads nothing but the number of rows."""
        p, budget = checked_pool(proba, budget)
        return Queried(np.sort(np.random.default_rng(seed).permutation(len(p))[:budget]))


class UncertaintyQuery(QueryStrategy):
    """The rows the student is least sure of.

    Parameters
    ----------
    gain
        What is largest there: ``"margin"``, ``"entropy"`` or ``"confidence"``.

    Examples
    --------
    >>> UncertaintyQuery("margin").select([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]], budget=2).rows
    array([1, 2])
    """

    def __init__(self, gain: str = "margin") -> None:
        if gain not in GAINS:
            raise ConfigError(f"UncertaintyQuery: gain is '{gain}'; use one of {', '.join(GAINS)}")
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
        """Reads `proba`."""
        p, budget = checked_pool(proba, budget)
        return Queried(_largest(GAINS[self.gain](p), budget, seed))


class OracleQuery(QueryStrategy):
    """The least sure rows among those the teacher gets right: not available in practice, the upper bound of the others.

    Examples
    --------
    >>> OracleQuery().select([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]], budget=1, right=[True, False, True]).rows
    array([2])
    """

    needs_truth = True

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
        """Reads `proba` and `right`; fewer rows where the teacher is right on fewer."""
        p, budget = checked_pool(proba, budget)
        good = np.asarray(right, dtype=np.bool_)
        if right is None or good.shape != (len(p),):
            raise ConfigError(
                f"OracleQuery: right must say of each of the {len(p)} rows whether the teacher is right; gold labels are needed"
            )
        rows = np.flatnonzero(good)
        return Queried(np.sort(rows[_largest(GAINS["margin"](p[rows]), min(budget, len(rows)), seed)]))


class KCenterQuery(QueryStrategy):
    """Rows far from all that have labels, one after the other (farthest first).

    Examples
    --------
    >>> place = np.array([[0.0], [1.0], [5.0], [9.0]])
    >>> KCenterQuery().select(np.full((4, 2), 0.5), budget=2, features=place, covered=[[0.0]]).rows
    array([2, 3])
    """

    needs_features = True

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
        """Reads `features` and `covered`."""
        p, budget = checked_pool(proba, budget)
        if features is None or covered is None or len(np.asarray(features)) != len(p):
            raise ConfigError(
                f"KCenterQuery: features ({len(p)} rows) and covered are needed: the rows of the pool and the labelled ones as numbers"
            )
        x, known = np.asarray(features, dtype=np.float64), np.asarray(covered, dtype=np.float64)
        nearest = _squares(x, known).min(1)
        chosen: list[int] = []
        for _ in range(budget):
            chosen.append(int(nearest.argmax()))
            nearest = np.minimum(nearest, ((x - x[chosen[-1]]) ** 2).sum(1))
            nearest[chosen] = -1.0
        return Queried(np.sort(np.array(chosen, dtype=np.int64)))


def margin_gain(p: Floats) -> Floats:
    """(n,) one less the distance of the two largest probabilities of (n, k).

    Examples
    --------
    >>> margin_gain(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    array([1., 0.])
    """
    top = np.partition(p, -2, axis=1)[:, -2:]
    return np.asarray(1 - (top[:, 1] - top[:, 0]))


def entropy_gain(p: Floats) -> Floats:
    """(n,) entropy of (n, k) probabilities as a share of log k."""
    return np.asarray(entr(p).sum(1) / np.log(p.shape[1]))


def confidence_gain(p: Floats) -> Floats:
    """(n,) one less the largest probability of (n, k)."""
    return np.asarray(1 - p.max(1))


GAINS: dict[str, Callable[[Floats], Floats]] = {"margin": margin_gain, "entropy": entropy_gain, "confidence": confidence_gain}
"""How much a student would learn from a row, by name; in [0, 1]."""


def checked_pool(proba: ArrayLike, budget: int) -> tuple[Floats, int]:
    """Probabilities (n, k ≥ 2) in double precision and the budget, at most n; raises where they are none.

    Examples
    --------
    >>> checked_pool([[0.5, 0.5]], budget=3)[1]
    1
    """
    p = np.asarray(proba, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] < 2 or not len(p):
        raise DataError(
            f"query: the student's probabilities on the pool have shape {p.shape}; give (rows, classes), at least one row, two classes"
        )
    bad = ~np.isfinite(p).all(1) | (p < 0).any(1) | (np.abs(p.sum(1) - 1) > 1e-3)
    if bad.any():
        raise DataError(
            f"query: row {int(bad.argmax())} of the student's probabilities is no distribution; rows are non-negative and sum to 1"
        )
    if budget < 1:
        raise ConfigError(f"query: budget is {budget}; ask for at least one row")
    return p, min(budget, len(p))


def _largest(gains: Floats, budget: int, seed: int) -> Ints:
    order = np.random.default_rng(seed).permutation(len(gains))
    return np.sort(order[np.argsort(-gains[order], kind="stable")][:budget])


def _squares(x: Floats, centres: Floats, block: int = 256) -> Floats:
    """(n, 1) squared distance to the nearest centre, a block of centres at a time."""
    best = np.full((len(x), 1), np.inf)
    own = (x**2).sum(1)[:, None]
    for start in range(0, len(centres), block):
        some = centres[start : start + block]
        best = np.minimum(best, (own + (some**2).sum(1) - 2 * x @ some.T).min(1, keepdims=True))
    return best
