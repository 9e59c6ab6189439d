"""The one formula behind most label models: score of class k for a row = prior[k] + Σ_j table[j, k, vote of source j].

`VoteLookup` evaluates it (the E-step of every EM model) and its transpose, expected counts (the M-step). Consecutive sources are packed
into joint symbols whose tables are summed beforehand, so a row of 20 binary votes costs 3 look-ups a class (2 of many rows), not 20.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from steelyard.row_blocks import BLOCK, in_row_blocks
from steelyard.votes import Votes

MOST_JOINT_SYMBOLS = 4096
MOST_SCORES = 1 << 24
# Joint symbols of two bytes: their tables pay off where few classes are looked up for many rows.
_MANY_JOINT_SYMBOLS = 1 << 16
_FEW_CLASSES = 8


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
        if votes.is_sparse or self.n_symbols >= MOST_JOINT_SYMBOLS or _mostly_silent(votes):
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
        scores = np.empty((k, self.n_rows), dtype=tables.dtype)
        _look_up(self._symbols, _joint_tables(tables, self._spans), out=scores)
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


def _mostly_silent(votes: Votes) -> bool:
    """Whether adding up single votes is less work than one look-up per span of sources, tables of joint symbols included."""
    spans = len(joint_spans(votes.n_sources, len(votes.support)))
    if spans <= 4 and votes.n_rows > MOST_JOINT_SYMBOLS:
        return False  # a few look-ups a row are cheaper than to count the votes
    # A vote costs about as much as two look-ups.
    return 2 * int(np.count_nonzero(votes.codes >= 0)) < spans * (votes.n_rows + MOST_JOINT_SYMBOLS)


def joint_spans(n_sources: int, n_symbols: int, most: int = MOST_JOINT_SYMBOLS) -> list[tuple[int, int]]:
    """Which consecutive sources (first, last + 1) are read as one symbol, of which there may be `most`.

    Examples
    --------
    >>> joint_spans(20, 2)
    [(0, 7), (7, 14), (14, 20)]
    """
    width = _votes_below(most, n_symbols + 1)
    return [(j, min(j + width, n_sources)) for j in range(0, n_sources, width)]


def map_scores(
    votes: Votes, tables: NDArray[Any], finish: Callable[[int, int, NDArray[Any]], None], out: NDArray[Any] | None = None
) -> None:
    """Call ``finish(start, stop, scores (k, rows))`` for every block of rows, several blocks at a time.

    With `out`, a (k, n) array of the tables' dtype, a block's scores are a view of its columns.
    """
    k, n_symbols = tables.shape[1], len(votes.support)
    if votes.is_sparse or n_symbols >= MOST_JOINT_SYMBOLS:

        def work(start: int, stop: int) -> None:
            scores = VoteLookup(votes.take(slice(start, stop))).scores(tables)
            if out is not None:
                out[:, start:stop] = scores
                scores = out[:, start:stop]
            finish(start, stop, scores)

    else:
        most = _MANY_JOINT_SYMBOLS if votes.n_rows > BLOCK and k <= _FEW_CLASSES else MOST_JOINT_SYMBOLS
        spans = joint_spans(votes.n_sources, n_symbols, most)
        joint = _joint_tables(tables, spans)
        codes = votes.codes

        def work(start: int, stop: int) -> None:
            scores = np.empty((k, stop - start), tables.dtype) if out is None else out[:, start:stop]
            _look_up(_joint_symbols(codes[start:stop], spans, n_symbols + 1), joint, out=scores)
            finish(start, stop, scores)

    in_row_blocks(work, votes.n_rows, size=max(1, min(BLOCK, MOST_SCORES // max(k, 1))))


def log_posterior(
    votes: Votes,
    tables: NDArray[np.float64],
    log_prior: NDArray[np.float64],
    pairs: Sequence[tuple[int, int, NDArray[np.float64]]] = (),
) -> NDArray[np.float32]:
    """Posterior class probabilities (n, k); a row on which every source abstains gets the prior.

    Parameters
    ----------
    votes : Votes
    tables : (m, k, S + 1) float array of log-likelihoods, abstain last
    log_prior : (k,) float array
    pairs : sequence of (i, j, (k, S + 1, S + 1) float array), optional
        What the votes of sources i and j together add to the sum of their own log-likelihoods.
    """
    # Class by class in memory, as it is computed: (n, k) is a view.
    by_class = np.empty((len(log_prior), votes.n_rows), dtype=np.float32)

    # Only differences between classes matter: measured from the first class, that one needs no look-ups.
    gain = (tables - tables[:, :1]).astype(np.float32)
    start_at = (log_prior[1:] - log_prior[0]).astype(np.float32)[:, None]
    pair_gains = [(i, j, (table - table[:1]).astype(np.float32)) for i, j, table in pairs]

    def finish(start: int, stop: int, block: NDArray[Any]) -> None:
        if pair_gains:
            _add_pairs(votes.take(slice(start, stop)), pair_gains, block)
        block[1:] += start_at
        if len(block) == 2:
            with np.errstate(over="ignore"):  # against overwhelming odds the answer is 0, as it should be
                odds = np.exp(block[1], out=block[0])
            odds += 1
            np.reciprocal(odds, out=block[0])
            np.subtract(1, block[0], out=block[1])
        else:
            softmax_columns(block)

    map_scores(votes, gain, finish, out=by_class)
    silence_counts = np.abs(gain[:, :, -1].sum(axis=0)).max(initial=0) > 0
    if silence_counts or any(table[:, -1, -1].any() for _, _, table in pair_gains):
        prior = log_prior[:, None].copy()
        softmax_columns(prior)
        by_class[:, ~votes.coverage] = prior
    return by_class.T


def _add_pairs(part: Votes, pairs: list[tuple[int, int, NDArray[np.float32]]], scores: NDArray[Any]) -> None:
    """Add to scores (k, rows) the entry of each table (k, S + 1, S + 1) that the votes of its two sources pick."""
    base = len(part.support) + 1
    for i, j, table in pairs:
        at = (part.column(i).astype(np.intp) % base) * base + part.column(j).astype(np.intp) % base
        for c in range(1, len(table)):
            scores[c] += table[c].ravel().take(at)


def softmax_columns(scores: NDArray[Any]) -> NDArray[Any]:
    """Normalise (k, n) log scores to probabilities over k, in place; returns the (n,) log normalisers."""
    top = scores.max(axis=0)
    scores -= top
    np.exp(scores, out=scores)
    total = scores.sum(axis=0)
    scores /= total
    return np.asarray(top + np.log(total))


def _votes_below(most: int, base: int) -> int:
    """How many digits of a base make a number below `most` (one at least)."""
    width = 1
    while base ** (width + 1) <= most:
        width += 1
    return width


def _joint_symbols(codes: NDArray[Any], spans: list[tuple[int, int]], base: int) -> list[NDArray[np.unsignedinteger[Any]]]:
    """One (n,) array per span; abstain is digit 0, the first source of a span the highest digit."""
    # As many votes as fit are put together in bytes, over which the processor is fastest.
    word: Any = np.uint8 if base <= 1 << 8 else np.uint16
    width = _votes_below(1 << 8, base)
    packs = []
    for first, stop in spans:
        symbol: NDArray[np.unsignedinteger[Any]] | None = None
        for lo in range(first, stop, width):
            hi = min(lo + width, stop)
            digits = codes[:, lo].astype(word)
            for j in range(lo + 1, hi):
                digits *= word(base)
                digits += codes[:, j].astype(word, copy=False) if codes.dtype != np.int8 else codes[:, j].view(np.uint8)
            # Every digit is a code plus one, -1 being the largest word: the ones are added together, all modulo the word's size.
            digits += word(sum(base**i for i in range(hi - lo)) % (np.iinfo(word).max + 1))
            if symbol is None:
                symbol = digits
            else:
                symbol = symbol.astype(np.uint16, copy=False)
                symbol *= np.uint16(base ** (hi - lo))
                symbol += digits
        assert symbol is not None
        packs.append(symbol)
    return packs


def _joint_tables(tables: NDArray[Any], spans: list[tuple[int, int]]) -> list[NDArray[Any]]:
    """Per span the (k, joint symbols) sums of the tables (m, k, S + 1) of its sources, abstain last."""
    by_digit = np.roll(tables, 1, axis=2)

    def joint(first: int, stop: int) -> NDArray[Any]:
        if stop - first == 1:
            return by_digit[first]
        middle = (first + stop) // 2
        high, low = joint(first, middle), joint(middle, stop)
        return (high[:, :, None] + low[:, None, :]).reshape(len(high), -1)

    return [joint(first, stop) for first, stop in spans]


def _look_up(symbols: list[NDArray[Any]], joint: list[NDArray[Any]], out: NDArray[Any]) -> None:
    """Set out (k, n) to the sum over spans of the entries that the symbols pick from the joint tables."""
    told = np.array([any(table[c].any() for table in joint) for c in range(len(out))], dtype=bool)
    out[~told] = 0
    scratch = np.empty(out.shape[1], out.dtype)
    for position, (symbol, table) in enumerate(zip(symbols, joint, strict=True)):
        at = symbol.astype(np.intp)
        for c in np.flatnonzero(told):
            # No symbol lies outside its table; saying so spares a pass over them.
            if position == 0:
                table[c].take(at, out=out[c], mode="clip")
            else:
                out[c] += table[c].take(at, out=scratch, mode="clip")


@lru_cache(maxsize=64)
def _digits(width: int, base: int) -> sparse.csr_array:
    """(base ** width, width · base) which digit each source has in each joint symbol, one-hot: it splits counts."""
    symbols = np.arange(base**width)
    # Sparse not for size: a dense product this small would wake BLAS threads at every step of EM.
    digits = np.stack([j * base + symbols // base ** (width - 1 - j) % base for j in range(width)], axis=1)
    starts = np.arange(len(symbols) + 1) * width
    return sparse.csr_array((np.ones(digits.size), digits.ravel(), starts), shape=(len(symbols), width * base))
