"""Rows as a joint model reads them: features, votes and the few gold labels of the same items, checked once, then cut into batches.

Votes stay as they are held, dense or CSR; only the cells of a batch are spread over sources and classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from steelyard.errors import TrainingError
from steelyard.votes import Votes

CHUNK = 2048
"""Rows that are read at once where no gradient is needed."""


@dataclass(frozen=True)
class JointBatch:
    """Some rows: `features` (b, d), `strength` (b, m) of each vote, 0 = silent, `ballots` (b, m, k) of how each vote spreads over the
    classes, `gold` (b,) with -1 = unknown, and `rows` (b,), their positions in what the user passed."""

    features: torch.Tensor
    strength: torch.Tensor
    ballots: torch.Tensor
    gold: torch.Tensor
    rows: torch.Tensor

    @property
    def fires(self) -> torch.Tensor:
        """(b, m) which sources vote."""
        return self.strength > 0

    @property
    def covered(self) -> torch.Tensor:
        """(b,) rows on which any source votes."""
        return self.fires.any(1)

    @property
    def seen_by_sources(self) -> torch.Tensor:
        """(b, d + m k) features and votes side by side: what a network that weighs sources reads."""
        return torch.cat([self.features, (self.strength[:, :, None] * self.ballots).flatten(1)], dim=1)


@dataclass(frozen=True)
class JointRows:
    """All rows of a fit, by position; `ids` (n,) are their positions in what the user passed.

    Examples
    --------
    >>> votes = Votes([[0, -1], [-1, -1], [0, 1]], classes=["a", "b"])
    >>> rows = JointRows(torch.zeros(3, 4), votes, torch.full((3,), -1), torch.arange(3))
    >>> rows.shares.tolist()
    [[1.0, 0.0], [0.0, 0.0], [0.5, 0.5]]
    >>> rows.batch(torch.tensor([2])).ballots.tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """

    features: torch.Tensor
    votes: Votes
    gold: torch.Tensor
    ids: torch.Tensor

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def shares(self) -> torch.Tensor:
        """(n, k) majority vote: the share of each class in the votes of the row; zeros where all sources are silent."""
        matrix = self.votes.csr
        symbols = matrix.data.astype(np.int64) - 1
        spread = sparse.csr_array((self.votes.stored_confidences, symbols, matrix.indptr), shape=(len(self), len(self.votes.support)))
        counts = np.asarray(spread @ ballot_table(self.votes)[1:])
        return torch.from_numpy((counts / np.maximum(counts.sum(1, keepdims=True), 1e-12)).astype(np.float32))

    @cached_property
    def covered(self) -> torch.Tensor:
        """(n,) rows on which any source votes."""
        return self.shares.sum(1) > 0

    @cached_property
    def labelled(self) -> torch.Tensor:
        """(g,) positions of the rows with a gold label."""
        return torch.nonzero(self.gold >= 0).flatten()

    @cached_property
    def targets(self) -> torch.Tensor:
        """(n, k) the gold label where it is known, else `shares`."""
        return with_gold(self.shares, self.gold)

    def batch(self, rows: torch.Tensor) -> JointBatch:
        """The rows at these positions (b,)."""
        index = rows.numpy()
        cells: Any = self.votes.csr[index] if self.votes.is_sparse else self.votes.codes[index].astype(np.int64) + 1
        held = cells.toarray() if self.votes.is_sparse else cells
        symbols = torch.from_numpy(np.asarray(held, dtype=np.int64))
        strength = (symbols > 0).float()
        if self.votes.confidences is not None:
            part: Any = self.votes.confidences[index]
            strength = strength * torch.from_numpy(np.asarray(part.toarray() if self.votes.is_sparse else part, dtype=np.float32))
        return JointBatch(self.features[rows], strength, self._table[symbols], self.gold[rows], self.ids[rows])

    def chunks(self) -> Iterator[JointBatch]:
        """All rows in order, a bounded number at a time."""
        for start in range(0, len(self), CHUNK):
            yield self.batch(torch.arange(start, min(start + CHUNK, len(self))))

    def some_labelled(self, most: int) -> JointBatch:
        """The rows with a gold label, or as many of them as `most`, drawn at random."""
        rows = self.labelled
        return self.batch(rows if len(rows) <= most else rows[torch.randperm(len(rows))[:most]])

    def take(self, rows: NDArray[np.int64]) -> JointRows:
        """The rows at these positions as rows of their own."""
        index = torch.from_numpy(rows)
        return JointRows(self.features[index], self.votes.take(rows), self.gold[index], self.ids[index])

    @cached_property
    def _table(self) -> torch.Tensor:
        return torch.from_numpy(ballot_table(self.votes))


def ballot_table(votes: Votes) -> NDArray[np.float32]:
    """(S + 1, k) how silence and each symbol spread over the classes: not at all, wholly for a class, evenly among those below a parent.

    Examples
    --------
    >>> ballot_table(Votes([[2]], classes=["cat", "dog"], hierarchy={"pet": ["cat", "dog"]})).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
    """
    spread = votes.support / votes.support.sum(axis=1, keepdims=True)
    return np.vstack([np.zeros((1, votes.n_classes)), spread]).astype(np.float32)


def with_gold(probabilities: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """(n, k) probabilities with the rows of known gold label (n,) replaced by it.

    Examples
    --------
    >>> with_gold(torch.tensor([[0.5, 0.5], [0.5, 0.5]]), torch.tensor([-1, 0])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    known = torch.nn.functional.one_hot(gold.clamp(min=0), probabilities.shape[1]).to(probabilities.dtype)
    return torch.where((gold >= 0)[:, None], known, probabilities)


def hardened(shares: torch.Tensor) -> torch.Tensor:
    """(n, k) the largest of each row as 1, evenly shared by those that are equally large; zeros stay zeros.

    Examples
    --------
    >>> hardened(torch.tensor([[0.6, 0.4, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])).tolist()
    [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    top = shares.max(1, keepdim=True).values
    best = (shares >= top * (1 - 1e-5)) & (top > 0)
    return best / best.sum(1, keepdim=True).clamp(min=1)


def checked_gold(y: ArrayLike | None, votes: Votes, student: str) -> NDArray[np.int64]:
    """(n,) gold labels of the rows of `votes`, -1 = unknown.

    Raises
    ------
    TrainingError
        `y` is about other rows or names no class.

    Examples
    --------
    >>> checked_gold(None, Votes([[0], [1]], classes=["a", "b"]), "demo")
    array([-1, -1])
    """
    if y is None:
        return np.full(votes.n_rows, -1, dtype=np.int64)
    gold = np.asarray(y)
    if gold.shape != (votes.n_rows,) or gold.dtype.kind not in "iu":
        raise TrainingError(
            f"{student}: y has shape {gold.shape} and type {gold.dtype}; give one class index for each of the {votes.n_rows} rows, "
            "-1 where the label is unknown"
        )
    if gold.size and (gold.min() < -1 or gold.max() >= votes.n_classes):
        row = int(np.flatnonzero((gold < -1) | (gold >= votes.n_classes))[0])
        raise TrainingError(f"{student}: y is {gold[row]} in row {row}; it must be -1 (unknown) or one of the {votes.n_classes} classes")
    return gold.astype(np.int64)


def check_votes(length: int, votes: Any, gold: NDArray[np.int64] | None, student: str) -> None:
    """Whether there is something to learn from votes on `length` rows.

    Raises
    ------
    TrainingError
        `votes` are no `Votes` or about other rows, are all silent, or name one class only, no gold label another.

    Examples
    --------
    >>> check_votes(2, Votes([[0], [1]], classes=["a", "b"]), None, "demo")
    """
    if not isinstance(votes, Votes):
        raise TrainingError(f"{student}: votes are a {type(votes).__name__}; pass Votes, for example sy.apply(sources, data)")
    if votes.n_rows != length:
        raise TrainingError(f"{student}: {length} rows of data but votes on {votes.n_rows} rows; both must be about the same items")
    if gold is None:
        return
    if not votes.coverage.any():
        raise TrainingError(f"{student}: every source is silent on all {length} rows; there is nothing to learn from")
    named = np.logical_or.reduce(votes.support[np.unique(votes.csr.data).astype(np.int64) - 1], axis=0)
    named[gold[gold >= 0]] = True
    if named.sum() < 2:
        name = votes.classes[int(named.argmax())]
        raise TrainingError(
            f"{student}: all votes name '{name}'; a classifier needs at least two classes: add a source for another, or gold labels"
        )


def check_enough_gold(gold: NDArray[np.int64], classes: tuple[str, ...], student: str) -> None:
    """Whether the gold labels show two classes at least.

    Raises
    ------
    TrainingError
        No gold label, or one class only.

    Examples
    --------
    >>> check_enough_gold(np.array([0, -1, 1]), ("a", "b"), "demo")
    """
    present = np.unique(gold[gold >= 0])
    if len(present) == 0:
        raise TrainingError(f"{student} learns from a few gold labels beside the votes; pass y with the class of some rows, -1 elsewhere")
    if len(present) == 1:
        raise TrainingError(f"{student}: every gold label is '{classes[present[0]]}'; label some rows of another class too")
