"""The graph network of the hyper label model, in NumPy: a matrix of votes ±1 in, one logit per row out; with its gradient.

Every layer sees a cell beside the means over its row, its column and the whole matrix, so that the answer does not depend on the order
or the number of rows and sources. Wu, Chen, Zhang, Chu (2023), "Learning Hyper Label Model for Programmatic Weak Supervision".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float64]

WIDTHS = (1, 8, 8, 8, 32)
HEAD = (32, 32, 32, 1)
DEPTH = len(WIDTHS) - 1
WIDEST = max(WIDTHS[:-1])
SLOPE = 0.01

# Layer i is one matrix: [cell, row mean, column mean, mean of all, 1] of width 4 d + 1 to the next width; then the head's [row, 1].
SHAPES = [(4 * d + 1, e) for d, e in pairwise(WIDTHS)] + [(d + 1, e) for d, e in pairwise(HEAD)]
N_WEIGHTS = sum(a * b for a, b in SHAPES)


@dataclass(frozen=True)
class Cells:
    """The votes of a block of rows, one entry per vote that is no abstention.

    Attributes
    ----------
    rows, columns : (c,) int arrays
        Where each vote stands; rows ascending.
    weights : (u,) float64
        How many equal rows each row stands for.
    n_columns : int
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: Array
    n_columns: int

    @cached_property
    def row_means(self) -> sparse.csr_array:
        """(u, c) operator: means over the cells of each row, 0 for a row without any."""
        per_row = np.bincount(self.rows, minlength=len(self.weights))
        starts = np.concatenate([[0], np.cumsum(per_row)])
        share = 1.0 / per_row[self.rows]
        return sparse.csr_array((share, np.arange(len(self.rows)), starts), shape=(len(self.weights), len(self.rows)))

    @cached_property
    def column_sums(self) -> sparse.csr_array:
        """(m, c) operator: sums over the cells of each column, equal rows counted."""
        triples = (self.weights[self.rows], (self.columns, np.arange(len(self.rows))))
        return sparse.csr_array(triples, shape=(self.n_columns, len(self.rows)))


def unpack(weights: Array) -> list[Array]:
    """The matrices of `SHAPES` as views of one vector (N_WEIGHTS,)."""
    cuts = np.cumsum([a * b for a, b in SHAPES])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(weights, cuts), SHAPES, strict=True)]


def column_pools(weights: Array, blocks: Callable[[], Iterable[tuple[Cells, Array]]]) -> Array:
    """What every layer sees of columns and of the whole: (DEPTH, m + 1, WIDEST) means, the last row over all cells.

    Parameters
    ----------
    weights : (N_WEIGHTS,) float array
    blocks : function that gives (cells, (c,) votes ±1) block by block
        All rows of the matrix. A layer's means are taken over all blocks before the next is entered; blocks are asked for and computed
        anew for each layer, so that memory is that of one block.
    """
    mass = np.sum([cells.column_sums.sum(axis=1) for cells, _ in blocks()], axis=0)
    m, mass = len(mass), np.maximum(np.append(mass, mass.sum()), 1e-300)
    pools = np.zeros((DEPTH, m + 1, WIDEST))
    for depth, width in enumerate(WIDTHS[:-1]):
        for cells, votes in blocks():
            pools[depth, :m, :width] += cells.column_sums @ _through(weights, cells, votes, pools, depth)
        pools[depth, m] = pools[depth, :m].sum(axis=0)
        pools[depth] /= mass[:, None]
    return pools


def logits(weights: Array, cells: Cells, votes: Array, pools: Array, trace: list[Array] | None = None) -> Array:
    """(u,) log-odds that a row's class is the one that +1 stands for; a row without votes gets an answer that means nothing.

    Parameters
    ----------
    weights : (N_WEIGHTS,) float array
    cells : Cells, u rows × m columns
    votes : (c,) float array of +1 and -1
    pools : (DEPTH, m + 1, WIDEST) float array
        From `column_pools`.
    trace : list, optional
        Gets the votes and what every layer makes of them, as `gradient` needs it.

    Examples
    --------
    >>> cells = Cells(np.array([0, 0, 1]), np.array([0, 1, 0]), np.ones(2), 2)
    >>> votes, weights = np.array([1.0, 1.0, -1.0]), np.zeros(N_WEIGHTS)
    >>> logits(weights, cells, votes, column_pools(weights, lambda: [(cells, votes)])).tolist()
    [0.0, 0.0]
    """
    hidden = cells.row_means @ _through(weights, cells, votes, pools, DEPTH, trace)
    *inner, last = unpack(weights)[DEPTH:]
    for matrix in inner:
        _record(trace, hidden)
        hidden = _leaky(hidden @ matrix[:-1] + matrix[-1])
    _record(trace, hidden)
    return np.asarray((hidden @ last[:-1] + last[-1])[:, 0])


def gradient(weights: Array, cells: Cells, trace: list[Array], pools: Array, slopes: Array) -> Array:
    """(N_WEIGHTS,) gradient of a loss whose derivative by each row's logit is `slopes` (u,), pools being those of these very cells."""
    matrices, shares = unpack(weights), cells.row_means
    found = np.zeros(N_WEIGHTS)
    into = unpack(found)
    back = slopes[:, None]
    for i in range(len(SHAPES) - 1, DEPTH - 1, -1):
        if i < len(SHAPES) - 1:
            back = back * np.where(trace[i + 2] > 0, 1.0, SLOPE)
        into[i][:-1], into[i][-1] = trace[i + 1].T @ back, back.sum(axis=0)
        back = back @ matrices[i][:-1].T
    # From rows to cells: each cell has its share of its row's mean.
    back = shares.T @ back
    mass = cells.column_sums.sum(axis=1)
    per_cell = cells.weights[cells.rows, None]
    for i in range(DEPTH - 1, -1, -1):
        hidden, d = trace[i], WIDTHS[i]
        back = back * np.where(trace[i + 1] > 0, 1.0, SLOPE)
        own, row, column, whole = (matrices[i][j * d : (j + 1) * d] for j in range(4))
        by_row = _sum_by(cells.rows, back, len(cells.weights))
        by_column = _sum_by(cells.columns, back, cells.n_columns)
        total = back.sum(axis=0)
        means = [hidden, shares @ hidden, pools[i, :-1, :d], pools[i, -1:, :d]]
        for j, (mean, slope) in enumerate(zip(means, [back, by_row, by_column, total[None]], strict=True)):
            into[i][j * d : (j + 1) * d] = mean.T @ slope
        into[i][-1] = total
        through_columns = (by_column @ column.T) / np.maximum(mass, 1e-300)[:, None] + (total @ whole.T) / mass.sum()
        back = back @ own.T + shares.T @ (by_row @ row.T) + per_cell * through_columns[cells.columns]
    return found


def _through(weights: Array, cells: Cells, votes: Array, pools: Array, depth: int, trace: list[Array] | None = None) -> Array:
    """(c, width) cells after so many layers."""
    hidden = votes[:, None]
    for i, matrix in enumerate(unpack(weights)[:depth]):
        d = WIDTHS[i]
        _record(trace, hidden)
        own, row, column, whole = (matrix[j * d : (j + 1) * d] for j in range(4))
        by_row = (cells.row_means @ hidden) @ row
        by_column = pools[i, :-1, :d] @ column + (pools[i, -1, :d] @ whole + matrix[-1])
        hidden = _leaky(hidden @ own + by_row[cells.rows] + by_column[cells.columns])
    _record(trace, hidden)
    return hidden


def _record(trace: list[Array] | None, value: Array) -> None:
    if trace is not None:
        trace.append(value)


def _sum_by(index: NDArray[np.int64], values: Array, n: int) -> Array:
    pick = sparse.csr_array((np.ones(len(index)), (index, np.arange(len(index)))), shape=(n, len(index)))
    return np.asarray(pick @ values)


def _leaky(x: Array) -> Array:
    return np.maximum(x, SLOPE * x)
