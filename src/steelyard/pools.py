"""Pools: which rows teach the weak supervisor with gold, which the student sees unlabeled, which only measure. Disjoint by construction.

The data of every weak-to-strong system (Burns et al. 2023, "Weak-to-Strong Generalization"): nobody labels what it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Pools:
    """Three disjoint sets of row numbers, int64.

    Parameters
    ----------
    gold : (g,) int
        Rows whose gold labels the weak supervisor learns from.
    unlabeled : (u,) int
        Rows that the supervisor labels and the student learns from.
    test : (t,) int
        Rows that only measure.

    Raises
    ------
    ConfigError
        A row number is negative, repeated, or lies in two pools.

    Examples
    --------
    >>> pools = Pools.split(10, gold=2, unlabeled=5, test=3, seed=0)
    >>> len(pools.gold), len(pools.unlabeled), len(pools.test)
    (2, 5, 3)
    >>> Pools(gold=[0, 1], unlabeled=[1, 2], test=[3])
    Traceback (most recent call last):
    ...
    steelyard.errors.ConfigError: pools gold and unlabeled share 1 row, for example row 1; every row may lie in one pool only
    """

    gold: NDArray[np.int64]
    unlabeled: NDArray[np.int64]
    test: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Bring the rows into one form and check that no row lies in two pools."""
        for field in fields(self):
            rows = np.atleast_1d(np.asarray(getattr(self, field.name)))
            if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
                raise ConfigError(f"pool {field.name} has shape {rows.shape} and type {rows.dtype}; give a list of row numbers")
            distinct = np.unique(rows)
            if len(distinct) < len(rows) or (rows.size and distinct[0] < 0):
                raise ConfigError(f"pool {field.name} holds a row twice or a negative row number; name each row once, counted from 0")
            object.__setattr__(self, field.name, rows.astype(np.int64))
        for first, second in (("gold", "unlabeled"), ("gold", "test"), ("unlabeled", "test")):
            shared = np.intersect1d(getattr(self, first), getattr(self, second))
            if len(shared):
                raise ConfigError(
                    f"pools {first} and {second} share {len(shared)} row{'s' * (len(shared) > 1)}, for example row {shared[0]}; "
                    "every row may lie in one pool only"
                )

    @classmethod
    def split(
        cls,
        n: int,
        gold: float = 0.5,
        unlabeled: float | None = None,
        test: float = 0,
        *,
        seed: int = 0,
        y: ArrayLike | None = None,
    ) -> Pools:
        """Draw pools from the rows 0 … n-1.

        With the same seed, test and unlabeled rows stay where they are while gold grows, and each pool grows by adding rows: sizes can be
        swept without moving the ruler.

        Parameters
        ----------
        n : int
            Number of rows.
        gold, unlabeled, test : int or float
            Number of rows, or (a float below 1, or 1.0) their share of n. `unlabeled` takes the rest when left out.
        seed : int
            Decides the draw.
        y : (n,) int, optional
            Classes: each pool then holds every class in proportion.

        Raises
        ------
        ConfigError
            The sizes are negative or more than n rows together, or `y` has another length.

        Examples
        --------
        >>> y = [0] * 90 + [1] * 10
        >>> pools = Pools.split(100, gold=0.3, test=0.2, y=y)
        >>> [int(np.sum(np.array(y)[rows])) for rows in (pools.gold, pools.unlabeled, pools.test)]
        [3, 5, 2]
        """
        sizes = {name: _size(name, size, n) for name, size in (("gold", gold), ("test", test))}
        sizes["unlabeled"] = max(n - sum(sizes.values()), 0) if unlabeled is None else _size("unlabeled", unlabeled, n)
        if min(sizes.values()) < 0 or sum(sizes.values()) > n:
            wanted = " + ".join(f"{size:,} {name}" for name, size in sizes.items())
            raise ConfigError(f"pools of {wanted} rows cannot be drawn from {n:,} rows; make one smaller")
        order = np.random.default_rng(seed).permutation(n)
        if y is not None:
            order = order[np.argsort(_place_in_class(y, order), kind="stable")]
        test_end = sizes["test"]
        # Unlabeled rows come from the end, so that they do not move when the gold pool grows.
        return cls(order[test_end : test_end + sizes["gold"]], order[n - sizes["unlabeled"] :], order[:test_end])

    def require_apart(self, items: Sequence[Any] | NDArray[Any]) -> None:
        """Check that no item of the test pool occurs in another pool under another row number: a duplicate would betray its label.

        Raises
        ------
        DataError
            An item lies on both sides; the message names the first.

        Examples
        --------
        >>> Pools([0], [1], [2]).require_apart(["a", "b", "c"])
        """
        keys = [row.tobytes() for row in np.ascontiguousarray(items)] if isinstance(items, np.ndarray) and items.ndim > 1 else items
        tested = {keys[row]: row for row in self.test[::-1]}
        for name in ("gold", "unlabeled"):
            found = [row for row in getattr(self, name) if keys[row] in tested]
            if found:
                shown = f" ({str(keys[found[0]])[:40]!r})" if isinstance(keys[found[0]], str) else ""
                raise DataError(
                    f"{len(found)} items of the {name} pool also lie in the test pool, for example row {found[0]} equals row "
                    f"{tested[keys[found[0]]]}{shown}; drop duplicates before splitting"
                )

    def __repr__(self) -> str:
        return f"Pools({len(self.gold):,} gold, {len(self.unlabeled):,} unlabeled, {len(self.test):,} test)"


def _size(name: str, size: float, n: int) -> int:
    if isinstance(size, float):
        if not 0.0 <= size <= 1.0:
            raise ConfigError(f"pool {name} is {size}; give a share between 0.0 and 1.0, or a whole number of rows")
        return round(size * n)
    return int(size)


def _place_in_class(y: ArrayLike, order: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) how far through its class each row of `order` comes, in (0, 1): sorted by it, every stretch holds all classes in proportion."""
    labels = np.asarray(y)
    if labels.shape != order.shape:
        raise ConfigError(f"y has shape {labels.shape} but there are {len(order)} rows; give one class per row")
    _, codes, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    by_class = np.argsort(codes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank = np.empty(len(order))
    rank[by_class] = np.arange(len(order)) - np.repeat(starts, counts)
    return (rank + 0.5) / counts[codes]
