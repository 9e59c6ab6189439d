"""VoteStatistics: the mergeable summary a label model is fitted from, so that fitting does not grow with the rows.

Either the distinct vote patterns with their counts (exact for every model that looks at a row only through its votes), or the pairwise
counts of the moment models. Both add up: parts of a stream, of a file or of a cluster merge to what one pass would have given, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import VotesError
from steelyard.row_blocks import in_row_blocks
from steelyard.vote_checks import smallest_signed
from steelyard.vote_moments import Moments, count_pairs, weighted_pairs

if TYPE_CHECKING:
    from steelyard.votes import Votes

Keep = Literal["patterns", "moments"]

_PATTERN_BLOCK = 1 << 22


@dataclass(frozen=True)
class VoteStatistics:
    """What label models are fitted from: a commutative monoid over parts of the votes.

    Attributes
    ----------
    classes, sources, parents : names, as in `Votes`
    support : (S, k) bool
        Which classes each symbol counts for.
    n_rows : int
        Rows seen, all-abstain ones too.
    gold_counts : (k,) int64
        Rows with a known label, per class.
    keys : (u, w) int64 or None
        The distinct patterns, with their gold label as one more vote, packed into 64-bit words, in ascending order.
    counts : (u,) int64 or None
        How often each pattern occurs.
    kept_moments : Moments or None
        Pairwise counts, when these were kept instead of patterns.

    Examples
    --------
    >>> from steelyard import Votes
    >>> votes = Votes([[0, 1], [0, 1], [1, -1]], classes=["a", "b"])
    >>> whole = VoteStatistics.from_votes(votes)
    >>> whole.counts.tolist()
    [2, 1]
    >>> whole == VoteStatistics.from_votes(votes[:1]) + VoteStatistics.from_votes(votes[1:])
    True
    """

    classes: tuple[str, ...]
    sources: tuple[str, ...]
    parents: tuple[str, ...]
    support: NDArray[np.bool_]
    n_rows: int
    gold_counts: NDArray[np.int64]
    keys: NDArray[np.int64] | None = None
    counts: NDArray[np.int64] | None = None
    kept_moments: Moments | None = None

    @staticmethod
    def from_votes(votes: Votes, y: ArrayLike | None = None, keep: Keep = "patterns") -> VoteStatistics:
        """Summarise votes, with gold labels `y` (n,) where known (-1 elsewhere), in one pass.

        Parameters
        ----------
        votes : Votes
        y : (n,) int array, optional
        keep : {"patterns", "moments"}
            Distinct patterns serve every model; moments have a fixed size and serve the moment models only.
        """
        gold = checked_gold(y, votes.n_rows, votes.n_classes)
        known = np.bincount(gold[gold >= 0], minlength=votes.n_classes).astype(np.int64)
        empty = VoteStatistics(votes.classes, votes.sources, votes.parents, votes.support, votes.n_rows, known)
        if keep == "moments":
            return replace(empty, kept_moments=count_pairs(votes, gold))
        if keep != "patterns":
            raise VotesError(f"keep must be 'patterns' or 'moments', got '{keep}'")
        keys, counts = _distinct(votes, gold)
        return replace(empty, keys=keys, counts=counts)

    @staticmethod
    def identity(votes: Votes, keep: Keep = "patterns") -> VoteStatistics:
        """The summary of no rows, with the names of `votes`: adding it changes nothing."""
        return VoteStatistics.from_votes(votes[:0], keep=keep)

    @staticmethod
    def merge(parts: Iterable[VoteStatistics]) -> VoteStatistics:
        """The sum of several summaries of disjoint rows."""
        listed = list(parts)
        if not listed:
            raise VotesError("no statistics to merge; give at least one part")
        total = listed[0]
        for part in listed[1:]:
            total = total + part
        return total

    def __add__(self, other: VoteStatistics) -> VoteStatistics:
        if (self.classes, self.sources, self.parents) != (other.classes, other.sources, other.parents):
            raise VotesError("statistics of different classes or sources cannot be merged")
        if (self.kept_moments is None) != (other.kept_moments is None):
            raise VotesError("statistics that keep patterns and statistics that keep moments cannot be merged; use the same `keep`")
        merged = replace(self, n_rows=self.n_rows + other.n_rows, gold_counts=self.gold_counts + other.gold_counts)
        if self.kept_moments is not None and other.kept_moments is not None:
            return replace(merged, kept_moments=self.kept_moments + other.kept_moments)
        assert self.keys is not None
        assert other.keys is not None
        assert self.counts is not None
        assert other.counts is not None
        keys, counts = _sum_by_key(np.vstack([self.keys, other.keys]), np.concatenate([self.counts, other.counts]))
        return replace(merged, keys=keys, counts=counts)

    @property
    def n_sources(self) -> int:
        """Number of sources m."""
        return len(self.sources)

    @property
    def n_classes(self) -> int:
        """Number of classes k."""
        return len(self.classes)

    @property
    def n_symbols(self) -> int:
        """Number of symbols S that a vote can name: classes and parents."""
        return len(self.support)

    @cached_property
    def patterns(self) -> NDArray[np.signedinteger[Any]]:
        """(u, m) distinct rows of codes, column-major."""
        if self.keys is None:
            raise VotesError("these statistics keep moments, not patterns; make them with keep='patterns' for this model")
        return _unpack(self.keys, range(self.n_sources), self.n_sources + 1, self.n_symbols + 1)

    @cached_property
    def gold(self) -> NDArray[np.signedinteger[Any]]:
        """(u,) gold label of each pattern, -1 = unknown."""
        if self.keys is None:
            raise VotesError("these statistics keep moments, not patterns; make them with keep='patterns' for this model")
        return _unpack(self.keys, [self.n_sources], self.n_sources + 1, self.n_symbols + 1)[:, 0]

    @cached_property
    def moments(self) -> Moments:
        """Pairwise counts, kept or computed from the patterns."""
        if self.kept_moments is not None:
            return self.kept_moments
        assert self.counts is not None
        return weighted_pairs(self.patterns, self.counts, self.gold, self.support)

    @cached_property
    def votes_for(self) -> NDArray[np.int64]:
        """(m, S) how often each source names each symbol."""
        m, n_symbols = self.n_sources, self.n_symbols
        if self.kept_moments is not None:
            return np.asarray(self.kept_moments.table.diagonal()).reshape(m, n_symbols)
        assert self.counts is not None
        named = [np.bincount(self.patterns[:, j] + 1, weights=self.counts, minlength=n_symbols + 1)[1:] for j in range(m)]
        return np.rint(named).astype(np.int64).reshape(m, n_symbols)

    def as_votes(self) -> Votes:
        """The distinct patterns as votes, one row each; their multiplicities are `counts`."""
        from steelyard.votes import Votes

        below = {p: [self.classes[c] for c in np.flatnonzero(self.support[self.n_classes + i])] for i, p in enumerate(self.parents)}
        return Votes(self.patterns, classes=self.classes, sources=self.sources, hierarchy=below)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VoteStatistics):
            return NotImplemented
        if (self.classes, self.sources, self.parents, self.n_rows) != (other.classes, other.sources, other.parents, other.n_rows):
            return False
        if self.kept_moments != other.kept_moments:
            return False
        arrays = [(self.gold_counts, other.gold_counts), (self.keys, other.keys), (self.counts, other.counts)]
        return all((a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b)) for a, b in arrays)

    __hash__ = None  # type: ignore[assignment]


def checked_gold(y: ArrayLike | None, n_rows: int, n_classes: int) -> NDArray[np.int64]:
    """(n,) gold labels with -1 where unknown; all unknown when `y` is None."""
    if y is None:
        return np.broadcast_to(np.int64(-1), (n_rows,))
    gold = np.asarray(y)
    if gold.shape != (n_rows,):
        raise VotesError(f"gold labels have shape {gold.shape}, votes have {n_rows} rows; give one label per row, -1 where unknown")
    if gold.dtype.kind not in "iu":
        raise VotesError(f"gold labels must be integers (class index, -1 = unknown), got {gold.dtype}")
    if gold.size and (gold.min() < -1 or gold.max() >= n_classes):
        raise VotesError(f"gold labels range from {gold.min()} to {gold.max()}; allowed are -1 (unknown) to {n_classes - 1}")
    return gold.astype(np.int64, copy=False)


# Patterns: a row of codes and its gold label is a number written in base S + 1, cut into 64-bit words.


def _sources_per_word(base: int) -> int:
    return max(1, int(62 / np.log2(max(base, 2))))


def _pack(columns: list[NDArray[Any]], base: int, words: NDArray[np.int64]) -> None:
    width = _sources_per_word(base)
    words[:] = 0
    for j, column in enumerate(columns):
        word = words[:, j // width]
        word *= base
        word += column
        word += 1


def _unpack(words: NDArray[np.int64], columns: Sequence[int], n_columns: int, base: int) -> NDArray[np.signedinteger[Any]]:
    width = _sources_per_word(base)
    codes = np.empty((len(words), len(columns)), dtype=smallest_signed(base - 1), order="F")
    for i, j in enumerate(columns):
        following = min((j // width + 1) * width, n_columns) - j - 1
        codes[:, i] = words[:, j // width] // base**following % base - 1
    return codes


def _distinct(votes: Votes, gold: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    base = len(votes.support) + 1
    parts = []
    for start in range(0, max(votes.n_rows, 1), _PATTERN_BLOCK):
        part = votes.take(slice(start, start + _PATTERN_BLOCK))
        words = np.empty((part.n_rows, -(-(part.n_sources + 1) // _sources_per_word(base))), dtype=np.int64, order="F")
        codes, known = part.codes, gold[start : start + _PATTERN_BLOCK]

        def pack(lo: int, hi: int, codes: Any = codes, known: Any = known, words: Any = words) -> None:
            _pack([*codes[lo:hi].T, known[lo:hi]], base, words[lo:hi])

        in_row_blocks(pack, part.n_rows)
        parts.append(_sum_by_key(words, None))
    if len(parts) == 1:
        return parts[0]
    keys, counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return _sum_by_key(keys, counts)


def _sum_by_key(keys: NDArray[np.int64], counts: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct keys in ascending order, and the sum of their counts (1 each when None)."""
    if keys.shape[1] == 1:
        if counts is None:
            distinct, occurrences = np.unique(keys[:, 0], return_counts=True)
            return distinct[:, None], occurrences
        order = np.argsort(keys[:, 0], kind="stable")
        in_order = keys[order, 0]
        first = np.flatnonzero(np.diff(in_order, prepend=in_order[:1] - 1))
        return in_order[first, None], np.add.reduceat(counts[order], first) if len(first) else counts
    names = [f"w{i}" for i in range(keys.shape[1])]
    frame = pl.DataFrame({name: np.ascontiguousarray(keys[:, i]) for i, name in enumerate(names)})
    weight = pl.len().cast(pl.Int64) if counts is None else pl.col("n").sum()
    if counts is not None:
        frame = frame.with_columns(n=pl.Series(counts))
    grouped = frame.group_by(names).agg(weight.alias("n")).sort(names)
    stacked = np.empty((grouped.height, len(names)), dtype=np.int64, order="F")
    for i, name in enumerate(names):
        stacked[:, i] = grouped[name].to_numpy()
    return stacked, grouped["n"].to_numpy().astype(np.int64)
