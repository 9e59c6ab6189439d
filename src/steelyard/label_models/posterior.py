"""The one formula behind most label models: score of class k for a row = prior[k] + Σ_j table[j, k, vote of source j].

`VoteLookup` evaluates it (the E-step of every EM model) and its transpose, expected counts (the M-step). Consecutive sources are packed
into joint symbols whose tables are summed beforehand, so a row of 20 binary votes costs 3 look-ups a class, not 20.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from steelyard.row_blocks import in_row_blocks
from steelyard.votes import Votes

MOST_JOINT_SYMBOLS = 4096


class VoteLookup:
    """Rows of votes, prepared for being scored again and again.

    Parameters
    ----------
    votes : Votes, n rows × m sources

    Examples
    --------
    >>> votes = Votes([[0, -1], [1, 1]], classes=["a", "b"])
    >>> tables = np.zeros((2, 2, 3))
    >>> tables[:, 0, 0] = tables[:, 1, 1] = [1.0, 2.0]
    >>> VoteLookup(votes).scores(tables).tolist()
    [[1.0, 0.0], [0.0, 3.0]]
    """

    def __init__(self, votes: Votes) -> None:
        self.n_rows, self.n_sources = votes.shape
        self.n_symbols = len(votes.support)
        self._one_hot: sparse.csr_array | None = None
        if votes.is_sparse or self.n_symbols >= MOST_JOINT_SYMBOLS:
            matrix = votes.csr
            columns = matrix.indices.astype(np.int64) * self.n_symbols + matrix.data - 1
            self._one_hot = sparse.csr_array(
                (np.ones(len(columns)), columns, matrix.indptr), shape=(self.n_rows, self.n_sources * self.n_symbols)
            )
        else:
            self._spans = joint_spans(self.n_sources, self.n_symbols)
            self._symbols = _joint_symbols(votes.codes, self._spans, self.n_symbols + 1)

    def scores(self, tables: NDArray[Any]) -> NDArray[Any]:
        """(k, n) sum of the entries that each row's votes pick from tables (m, k, S + 1), abstain last."""
        k = tables.shape[1]
        if self._one_hot is not None:
            # Only what differs from abstaining is added, so silent sources cost nothing.
            silence = tables[:, :, -1].sum(axis=0)
            gain = (tables[:, :, :-1] - tables[:, :, -1:]).transpose(0, 2, 1).reshape(-1, k)
            return np.ascontiguousarray((self._one_hot @ gain + silence).T)
        by_digit = np.roll(tables, 1, axis=2).transpose(1, 0, 2)
        spoken = tables.any(axis=(0, 2))
        scores = np.zeros((k, self.n_rows), dtype=tables.dtype)
        for (first, stop), symbol in zip(self._spans, self._symbols, strict=True):
            joint = np.ascontiguousarray(
                (_digits(stop - first, self.n_symbols + 1) @ by_digit[:, first:stop].reshape(k, -1).T).T, tables.dtype
            )
            at = symbol.astype(np.intp)
            for c in np.flatnonzero(spoken):
                scores[c] += joint[c].take(at)
        return scores

    def counts(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """(m, k, S + 1) total weight of the rows on which source j says each symbol, for row weights (k, n); abstain last."""
        k = len(weights)
        counts = np.empty((self.n_sources, k, self.n_symbols + 1))
        if self._one_hot is not None:
            counts[:, :, :-1] = (self._one_hot.T @ weights.T).reshape(self.n_sources, self.n_symbols, k).transpose(0, 2, 1)
            counts[:, :, -1] = weights.sum(axis=1) - counts[:, :, :-1].sum(axis=2)
            return counts
        for (first, stop), symbol in zip(self._spans, self._symbols, strict=True):
            digits = _digits(stop - first, self.n_symbols + 1)
            at = symbol.astype(np.intp)
            joint = np.stack([np.bincount(at, weights=weights[c], minlength=digits.shape[0]) for c in range(k)], axis=1)
            counts[first:stop] = (digits.T @ joint).T.reshape(k, stop - first, -1).transpose(1, 0, 2)
        return np.roll(counts, -1, axis=2)


def joint_spans(n_sources: int, n_symbols: int) -> list[tuple[int, int]]:
    """Which consecutive sources (first, last + 1) are read as one symbol.

    Examples
    --------
    >>> joint_spans(20, 2)
    [(0, 7), (7, 14), (14, 20)]
    """
    width = max(1, int(np.log(MOST_JOINT_SYMBOLS) / np.log(n_symbols + 1)))
    return [(j, min(j + width, n_sources)) for j in range(0, n_sources, width)]


def map_scores(votes: Votes, tables: NDArray[Any], finish: Callable[[int, int, NDArray[Any]], None]) -> None:
    """Call ``finish(start, stop, scores (k, rows))`` for every block of rows, several blocks at a time."""

    def work(start: int, stop: int) -> None:
        finish(start, stop, VoteLookup(votes.take(slice(start, stop))).scores(tables))

    in_row_blocks(work, votes.n_rows)


def log_posterior(votes: Votes, tables: NDArray[np.float64], log_prior: NDArray[np.float64]) -> NDArray[np.float32]:
    """Posterior class probabilities (n, k); a row on which every source abstains gets the prior.

    Parameters
    ----------
    votes : Votes
    tables : (m, k, S + 1) float array of log-likelihoods, abstain last
    log_prior : (k,) float array
    """
    # Class by class in memory, as it is computed: (n, k) is a view.
    posterior = np.empty((len(log_prior), votes.n_rows), dtype=np.float32).T

    # Only differences between classes matter: measured from the first class, that one needs no look-ups.
    gain = (tables - tables[:, :1]).astype(np.float32)
    start_at = (log_prior - log_prior[0]).astype(np.float32)[:, None]

    def finish(start: int, stop: int, block: NDArray[Any]) -> None:
        block += start_at
        if len(block) == 2:
            with np.errstate(over="ignore"):  # against overwhelming odds the answer is 0, as it should be
                odds = np.exp(-block[1], out=block[0])
            odds += 1
            np.reciprocal(odds, out=block[1])
            np.subtract(1, block[1], out=block[0])
        else:
            softmax_columns(block)
        posterior[start:stop] = block.T

    map_scores(votes, gain, finish)
    if np.abs(gain[:, :, -1].sum(axis=0)).max(initial=0) > 0:
        prior = log_prior[:, None].copy()
        softmax_columns(prior)
        posterior[~votes.coverage] = prior[:, 0]
    return posterior


def softmax_columns(scores: NDArray[Any]) -> NDArray[Any]:
    """Normalise (k, n) log scores to probabilities over k, in place; returns the (n,) log normalisers."""
    top = scores.max(axis=0)
    scores -= top
    np.exp(scores, out=scores)
    total = scores.sum(axis=0)
    scores /= total
    return np.asarray(top + np.log(total))


def _joint_symbols(codes: NDArray[Any], spans: list[tuple[int, int]], base: int) -> list[NDArray[np.int16]]:
    """One (n,) array per span; abstain is digit 0, the first source of a span the highest digit."""
    packs = []
    for first, stop in spans:
        symbol = codes[:, first].astype(np.int16)
        for j in range(first + 1, stop):
            symbol *= base
            symbol += codes[:, j]
        # Every digit is a code plus one: the ones are added together.
        symbol += sum(base**j for j in range(stop - first))
        packs.append(symbol)
    return packs


@lru_cache(maxsize=64)
def _digits(width: int, base: int) -> sparse.csr_array:
    """(base ** width, width · base) which digit each source has in each joint symbol, one-hot: it sums tables and splits counts."""
    symbols = np.arange(base**width)
    # Sparse not for size: a dense product this small would wake BLAS threads at every step of EM.
    digits = np.stack([j * base + symbols // base ** (width - 1 - j) % base for j in range(width)], axis=1)
    starts = np.arange(len(symbols) + 1) * width
    return sparse.csr_array((np.ones(digits.size), digits.ravel(), starts), shape=(len(symbols), width * base))
