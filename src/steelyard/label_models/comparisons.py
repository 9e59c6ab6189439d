"""Comparisons: who preferred which of two items, and what the models of pairwise comparisons have in common.

`BradleyTerry` and `NoisyBradleyTerry` are fitted from comparisons and give every item a score; nothing here is a vote on a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator

from steelyard.errors import DataError, LabelModelError
from steelyard.label_models.long_tables import as_frame, as_names, encode, read_columns

KNOWN = -1
"""The worker of a comparison whose outcome is known (gold)."""


@dataclass(frozen=True, eq=False, repr=False)
class Comparisons:
    """n comparisons of two items each.

    Attributes
    ----------
    items, workers : tuple of str
        Names; workers are empty where nobody is named.
    left, right : (n,) int64
        Positions of the two items, as they were shown.
    left_won : (n,) bool
    worker : (n,) int64
        Position of who judged; -1 where the outcome is known or nobody is named.

    Examples
    --------
    >>> table = {"left": ["tea", "milk"], "right": ["mud", "tea"], "winner": ["tea", "tea"], "worker": ["Ann", "Bo"]}
    >>> Comparisons.from_table(table)
    Comparisons(2 comparisons of 3 items by 2 workers)
    """

    items: tuple[str, ...]
    workers: tuple[str, ...]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    left_won: NDArray[np.bool_]
    worker: NDArray[np.int64]

    @staticmethod
    def from_table(table: Any, *, left: str = "left", right: str = "right", winner: str = "winner", worker: str = "worker") -> Comparisons:
        """Read a table with one comparison per line.

        Parameters
        ----------
        table : polars or pandas DataFrame, Arrow table, or dict of columns
        left, right, winner, worker : str
            Names of the columns; `winner` repeats the left or the right item. The column of workers may be absent.

        Raises
        ------
        DataError
            A column is missing or has an empty cell, an item is compared with itself, or the winner is neither item.
        """
        frame = as_frame(table, "comparisons")
        by = {"worker": worker} if worker in frame.columns else {}
        rows = read_columns(frame, "comparisons", left=left, right=right, winner=winner, **by)
        n = rows.height
        shown = pl.concat([as_names(rows["left"]), as_names(rows["right"]).rename("left")])
        items, codes = encode(shown)
        known, won = encode(rows["winner"], known=items)
        first, second = codes[:n], codes[n:]
        if (first == second).any():
            row = int(np.flatnonzero(first == second)[0])
            raise DataError(f"row {row} of the comparisons compares '{items[first[row]]}' with itself; drop it")
        stray = (won != first) & (won != second)
        if stray.any():
            row = int(np.flatnonzero(stray)[0])
            raise DataError(
                f"winner '{known[won[row]]}' in row {row} is neither '{items[first[row]]}' nor '{items[second[row]]}'; drop ties and skips"
            )
        workers, judge = encode(rows["worker"]) if by else ((), np.full(n, KNOWN))
        return Comparisons(items, workers, first, second, won == first, judge)

    def with_known(self, known: Comparisons) -> Comparisons:
        """The same comparisons and, after them, some whose outcome is known; items met only there come last."""
        items, codes = encode(pl.Series(known.items, dtype=pl.String), known=self.items)
        left, right = (np.concatenate([mine, codes[theirs]]) for mine, theirs in ((self.left, known.left), (self.right, known.right)))
        worker = np.concatenate([self.worker, np.full(len(known), KNOWN)])
        return Comparisons(items, self.workers, left, right, np.concatenate([self.left_won, known.left_won]), worker)

    @property
    def winners(self) -> NDArray[np.int64]:
        """(n,) position of the item that won."""
        return np.where(self.left_won, self.left, self.right)

    @property
    def losers(self) -> NDArray[np.int64]:
        """(n,) position of the item that lost."""
        return np.where(self.left_won, self.right, self.left)

    def __len__(self) -> int:
        return len(self.left)

    def __repr__(self) -> str:
        by = f" by {len(self.workers):,} workers" if self.workers else ""
        return f"Comparisons({len(self):,} comparisons of {len(self.items):,} items{by})"


class PairwiseModel(BaseEstimator):
    """Base of the models that give every item a score from comparisons; a subclass writes ``_fit(comparisons, n_gold)``.

    Attributes
    ----------
    items_ : tuple of str
    scores_ : (N,) float64
        Log-strength of each item, with mean 0: P(i beats j) = σ(scores_[i] - scores_[j]).
    ranking_ : tuple of str
        The items, best first; equal ones in order of appearance.
    converged_ : bool
    n_iter_ : int
    """

    def fit(self, comparisons: Comparisons | Any, gold: Comparisons | Any = None) -> Self:
        """Fit from comparisons.

        Parameters
        ----------
        comparisons : Comparisons, or a table with columns ``left``, ``right``, ``winner`` and, where the model needs it, ``worker``
        gold : the same, optional
            Comparisons whose outcome is known; who made them does not matter.
        """
        crowd = as_comparisons(comparisons)
        self.comparisons_ = crowd if gold is None else crowd.with_known(as_comparisons(gold))
        self.items_ = self.comparisons_.items
        scores = self._fit(self.comparisons_, len(self.comparisons_) - len(crowd))
        self.scores_ = scores - scores.mean()
        self.ranking_ = tuple(self.items_[i] for i in np.argsort(-self.scores_.round(12), kind="stable"))
        return self

    def _fit(self, comparisons: Comparisons, n_gold: int) -> NDArray[np.float64]:
        """Set the fitted attributes and return the (N,) scores; the last `n_gold` comparisons are known ones."""
        raise LabelModelError(f"{type(self).__name__} does not say how it is fitted")

    def predict_proba(self, left: Sequence[Any], right: Sequence[Any]) -> NDArray[np.float64]:
        """(n,) probability that each item of `left` (n names) beats the item beside it in `right` (n names)."""
        self._check_fitted()
        if len(left) != len(right):
            raise LabelModelError(f"{len(left)} left items and {len(right)} right items; give two lists of the same length")
        one, other = (self._positions(side) for side in (left, right))
        return np.asarray(expit(self.scores_[one] - self.scores_[other]))

    def table(self) -> pl.DataFrame:
        """One row per item, best first: ``item``, ``score``, ``wins``, ``comparisons`` (known ones included)."""
        self._check_fitted()
        size = len(self.items_)
        wins = np.bincount(self.comparisons_.winners, minlength=size)
        played = wins + np.bincount(self.comparisons_.losers, minlength=size)
        frame = pl.DataFrame({"item": self.items_, "score": self.scores_, "wins": wins, "comparisons": played})
        return frame[np.argsort(-self.scores_.round(12), kind="stable")]

    def _positions(self, names: Sequence[Any]) -> NDArray[np.int64]:
        met, codes = encode(pl.Series("item", names), known=self.items_)
        if len(met) > len(self.items_):
            raise LabelModelError(
                f"no comparison told anything about item '{met[len(self.items_)]}'; the model knows {len(self.items_)} items"
            )
        return codes

    def _check_fitted(self) -> None:
        if not hasattr(self, "scores_"):
            raise LabelModelError(f"this {type(self).__name__} is not fitted yet; call `fit` first")


def as_comparisons(comparisons: Comparisons | Any) -> Comparisons:
    """Comparisons, read from a table with the usual column names if need be."""
    return comparisons if isinstance(comparisons, Comparisons) else Comparisons.from_table(comparisons)
