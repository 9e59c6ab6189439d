"""RuleMaker: what every automatic rule maker shares, the checks of its few labels, and one against the rest for more than two classes.

A rule maker turns about 100 labelled rows and many unlabelled ones into rules; `vote` gives `Votes`, which a label model weighs.
One against the rest follows Roberts et al. 2022, "AutoWS-Bench-101": votes for "the rest" become abstentions, columns are concatenated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from steelyard.errors import SourceError
from steelyard.sources.rules import Rules
from steelyard.votes import ABSTAIN, Votes

REST = "the rest"


class Weigher(Protocol):
    """What a rule maker asks of a label model; every model of `steelyard.label_models` does it."""

    def fit(self, votes: Votes) -> Any:
        """Learn from votes."""

    def predict_proba(self, votes: Votes) -> NDArray[np.float32]:
        """Class probabilities (n, k)."""


class RuleMaker(BaseEstimator, ABC):
    """Base of `Snuba` and `InteractiveWS`.

    A subclass writes ``_rules(X, y, unlabeled, classes, prior) -> Rules``. With more than two classes it is called once per class, that
    class against the rest, unless it says in `takes_all_classes` that it needs no such help.

    Attributes
    ----------
    classes_ : tuple of str
    rules_ : list of Rules
        One set, or one per class.
    sources_ : tuple of str
        A name for every column of the votes.
    """

    @property
    def takes_all_classes(self) -> bool:
        """Whether `_rules` is made for any number of classes."""
        return False

    def fit(self, X: ArrayLike, y: ArrayLike, unlabeled: ArrayLike, *, classes: Sequence[str] | None = None) -> Self:
        """Make rules.

        Parameters
        ----------
        X : (l, d) float
            Features of the labelled rows.
        y : (l,) int
            Their classes.
        unlabeled : (n, d) float
            Features of unlabelled rows.
        classes : sequence of str, optional
            Names; the numbers that occur in `y` when left out.

        Raises
        ------
        SourceError
            Shapes do not match, a number is not finite, a class has no labelled row, or there is nothing unlabelled.
        """
        labelled, codes, free, names = checked_seed(X, y, unlabeled, classes)
        prior = np.bincount(codes, minlength=len(names)) / len(codes)
        self.classes_ = names
        self.one_vs_rest_ = len(names) > 2 and not self.takes_all_classes
        if self.one_vs_rest_:
            self.rules_ = [
                self._rules(labelled, (codes == c).astype(np.int64), free, (REST, name), np.array([1 - prior[c], prior[c]]))
                for c, name in enumerate(names)
            ]
        else:
            self.rules_ = [self._rules(labelled, codes, free, names, prior)]
        makers = names if self.one_vs_rest_ else (type(self).__name__,)
        self.sources_ = tuple(f"{name} {j}" for name, rules in zip(makers, self.rules_, strict=True) for j in range(len(rules)))
        if not self.sources_:
            raise SourceError(f"{type(self).__name__} found no rule worth keeping; give more labelled rows or other features")
        return self

    def vote(self, X: ArrayLike) -> Votes:
        """Votes of all rules, n rows × m sources, on rows (n, d)."""
        if not hasattr(self, "rules_"):
            raise SourceError(f"this {type(self).__name__} has made no rules yet; call fit first")
        rows = np.asarray(X, dtype=np.float64)
        found = [rules.votes(rows).astype(np.int16) for rules in self.rules_]
        if self.one_vs_rest_:
            found = [np.where(votes == 1, np.int16(c), np.int16(ABSTAIN)) for c, votes in enumerate(found)]
        return Votes(np.concatenate(found, axis=1), classes=self.classes_, sources=self.sources_)

    def describe(self, names: Sequence[str] | None = None) -> dict[str, str]:
        """Every source in words, with names (d) for the features."""
        only = 1 if self.one_vs_rest_ else None
        return dict(zip(self.sources_, [text for rules in self.rules_ for text in rules.describe(names, only)], strict=True))

    @abstractmethod
    def _rules(
        self, X: NDArray[np.float64], y: NDArray[np.int64], unlabeled: NDArray[np.float64], classes: tuple[str, ...], prior: NDArray[Any]
    ) -> Rules:
        """Make the rules for these classes."""


def checked_seed(
    X: ArrayLike, y: ArrayLike, unlabeled: ArrayLike, classes: Sequence[str] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], tuple[str, ...]]:
    """Labelled rows, their classes, unlabelled rows and class names, or one sentence on what is wrong with them.

    Examples
    --------
    >>> checked_seed([[0.0], [1.0]], [0, 0], [[2.0]], ["no", "yes"])
    Traceback (most recent call last):
    steelyard.errors.SourceError: class 'yes' is absent from the 2 labelled rows; label at least one row of it, or leave it out
    """
    labelled, free = (np.atleast_2d(np.asarray(part, dtype=np.float64)) for part in (X, unlabeled))
    codes = np.asarray(y)
    if codes.shape != (len(labelled),) or codes.dtype.kind not in "iu" or labelled.size == 0:
        raise SourceError(f"{len(labelled)} labelled rows and labels of shape {codes.shape} do not match; give one class index per row")
    if free.size == 0 or free.shape[1] != labelled.shape[1]:
        raise SourceError(
            f"unlabelled rows of shape {free.shape} do not fit labelled rows of shape {labelled.shape}; "
            "give at least one unlabelled row with the same features"
        )
    for name, rows in (("labelled", labelled), ("unlabelled", free)):
        if not np.isfinite(rows).all():
            row, column = np.argwhere(~np.isfinite(rows))[0]
            raise SourceError(f"feature {column} of {name} row {row} is not a finite number; fill missing values first")
    names = tuple(classes) if classes is not None else tuple(str(c) for c in range(max(int(codes.max()) + 1, 2)))
    if codes.min() < 0 or codes.max() >= len(names):
        raise SourceError(f"labels run from {codes.min()} to {codes.max()} but there are {len(names)} classes; all rows of X need a label")
    for c, name in enumerate(names):
        if not (codes == c).any():
            raise SourceError(
                f"class '{name}' is absent from the {len(codes)} labelled rows; label at least one row of it, or leave it out"
            )
    return labelled, codes.astype(np.int64), free, names
