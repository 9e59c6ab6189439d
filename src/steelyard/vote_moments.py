"""Pairwise counts of votes: the fixed-size statistic of the moment models.

One bit per row and column, so that a pair of columns is counted by AND and popcount, 64 rows at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from steelyard.errors import VotesError
from steelyard.row_blocks import in_row_blocks

if TYPE_CHECKING:
    from steelyard.votes import Votes

MOST_MOMENT_COLUMNS = 1 << 14
_MOMENT_BLOCK = 1 << 17


@dataclass(frozen=True)
class Moments:
    """Pairwise counts; a column is one (source, symbol) pair, source by source, abstentions left out.

    Attributes
    ----------
    table : (m·S, m·S) int64, sparse where there are more than 16,384 columns
        Rows on which both columns hold; the diagonal counts each column alone.
    gold_columns : (k, m·S) int64
        Rows of each known gold class on which the column holds.
    """

    table: NDArray[np.int64] | sparse.csr_array
    gold_columns: NDArray[np.int64]

    @property
    def pairs(self) -> NDArray[np.int64]:
        """The table as a plain array.

        Raises
        ------
        VotesError
            It has too many columns.
        """
        if isinstance(self.table, np.ndarray):
            return self.table
        raise VotesError(
            f"{self.table.shape[0]:,} pairs of source and symbol are too many for a model of pairwise moments; "
            "use a pattern model such as DawidSkene"
        )

    def __add__(self, other: Moments) -> Moments:
        total: Any = self.table + other.table
        return Moments(total, self.gold_columns + other.gold_columns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Moments) or isinstance(self.table, np.ndarray) != isinstance(other.table, np.ndarray):
            return NotImplemented
        same = np.array_equal(self.gold_columns, other.gold_columns) and self.table.shape == other.table.shape
        differ: Any = self.table != other.table if same else True
        return bool(same and (not differ.any() if isinstance(differ, np.ndarray) else differ.nnz == 0))

    __hash__ = None  # type: ignore[assignment]


def count_pairs(votes: Votes, gold: NDArray[np.int64]) -> Moments:
    """Moments of all rows of votes, block by block."""
    if votes.is_sparse or votes.n_sources * len(votes.support) > MOST_MOMENT_COLUMNS:
        return _sparse_pairs(votes, gold)

    def count(start: int, stop: int) -> Moments:
        codes = np.asfortranarray(votes.codes[start:stop])
        return _bit_pairs(codes, gold[start:stop], votes.support)

    parts = in_row_blocks(count, votes.n_rows, size=_MOMENT_BLOCK) or [count(0, 0)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _bit_pairs(codes: NDArray[Any], gold: NDArray[np.int64], support: NDArray[np.bool_]) -> Moments:
    n, m = codes.shape
    n_symbols, k = support.shape
    n_words = -(-n // 64)
    bits = np.zeros((m * n_symbols, n_words * 8), dtype=np.uint8)
    for j in range(m):
        for a in range(n_symbols):
            packed = np.packbits(codes[:, j] == a)
            bits[j * n_symbols + a, : len(packed)] = packed
    words = bits.view(np.uint64)
    pairs = np.zeros((len(words), len(words)), dtype=np.int64)
    together = np.empty_like(words)
    for i in range(len(words)):
        np.bitwise_and(words[i], words[i:], out=together[i:])
        pairs[i, i:] = np.bitwise_count(together[i:]).sum(axis=1, dtype=np.int64)
    pairs += np.triu(pairs, 1).T
    gold_columns = np.zeros((k, m * n_symbols), dtype=np.int64)
    for c in np.unique(gold[gold >= 0]):
        mask = np.zeros(n_words * 8, dtype=np.uint8)
        packed = np.packbits(gold == c)
        mask[: len(packed)] = packed
        gold_columns[c] = np.bitwise_count(words & mask.view(np.uint64)).sum(axis=1, dtype=np.int64)
    return Moments(pairs, gold_columns)


def weighted_pairs(patterns: NDArray[Any], counts: NDArray[np.int64], gold: NDArray[np.int64], support: NDArray[np.bool_]) -> Moments:
    """Moments of distinct patterns (u, m) that occur `counts` times."""
    u, m = patterns.shape
    n_symbols, k = support.shape
    row, column = np.nonzero(patterns >= 0)
    held = column * n_symbols + patterns[row, column]
    indicator = sparse.csr_array((np.ones(len(row), np.int64), (row, held)), shape=(u, m * n_symbols))
    weighted = sparse.csr_array((counts[row], (row, held)), shape=indicator.shape)
    gold_columns = np.zeros((k, m * n_symbols), dtype=np.int64)
    for c in np.unique(gold[gold >= 0]):
        gold_columns[c] = weighted[gold == c].sum(axis=0)
    pairs = (indicator.T @ weighted).tocsr()
    return Moments(pairs if m * n_symbols > MOST_MOMENT_COLUMNS else pairs.toarray(), gold_columns)


def _sparse_pairs(votes: Votes, gold: NDArray[np.int64]) -> Moments:
    total: Moments | None = None
    for start in range(0, max(votes.n_rows, 1), _MOMENT_BLOCK):
        part = votes.take(slice(start, start + _MOMENT_BLOCK))
        pairs = weighted_pairs(part.codes, np.ones(part.n_rows, np.int64), gold[start : start + _MOMENT_BLOCK], votes.support)
        total = pairs if total is None else total + pairs
    assert total is not None
    return total
