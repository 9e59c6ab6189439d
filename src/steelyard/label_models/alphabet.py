"""Alphabet: the symbols that each source really says, numbered source by source, so that unsaid ones cost nothing.

A rule that only ever says one of 1,461 classes has an alphabet of one letter: EM then works on tables of one column, not of 1,461.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

Array = NDArray[np.float64]


class Alphabet:
    """Letters of the m sources: L real ones each (L = the longest alphabet, shorter ones padded) and two that stand for all unsaid symbols.

    The last two letters are "any unsaid symbol that is compatible with the class" and "any unsaid symbol that is not": pseudo-counts of
    what was never said are kept there, so that nothing is lost by the narrower tables.

    Attributes
    ----------
    symbols : (m, L) int64
        The symbol behind each letter, -1 = padding.
    support : (m, k, L + 2) bool
        Whether a letter is compatible with the class.
    size : (m, k, L + 2) float64
        How many symbols a letter stands for under the class: 1, 0 for padding, any number for the last two.

    Examples
    --------
    >>> votes = Votes([[0, 2], [0, -1], [1, 2]], classes=["a", "b", "c"])
    >>> alphabet = Alphabet(VoteStatistics.from_votes(votes))
    >>> alphabet.symbols.tolist()
    [[0, 1], [2, -1]]
    >>> alphabet.narrow(votes).codes.tolist()
    [[0, 0], [0, -1], [1, 0]]
    >>> alphabet.size[1].astype(int).tolist()
    [[1, 0, 1, 1], [1, 0, 1, 1], [1, 0, 0, 2]]
    """

    def __init__(self, statistics: VoteStatistics) -> None:
        said = statistics.votes_for > 0
        m, n_symbols = said.shape
        self._letters = np.where(said, said.cumsum(axis=1) - 1, -1)
        self.symbols = np.full((m, max(1, int(said.sum(axis=1).max(initial=0)))), -1, dtype=np.int64)
        source, symbol = np.nonzero(said)
        self.symbols[source, self._letters[source, symbol]] = symbol
        compatible = statistics.support.T
        real = self.symbols[:, None] >= 0
        letters = np.where(real, compatible[:, self.symbols].transpose(1, 0, 2), False)
        unsaid = np.stack([compatible.sum(axis=1) - letters.sum(axis=2), (~compatible).sum(axis=1) - (real & ~letters).sum(axis=2)], axis=2)
        always = np.broadcast_to(np.array([True, False]), unsaid.shape)
        self.support = np.concatenate([letters, always], axis=2)
        self.size = np.concatenate([np.broadcast_to(real, letters.shape).astype(np.float64), unsaid], axis=2)
        self._compatible, self._n_symbols = compatible, n_symbols

    def narrow(self, votes: Votes) -> Votes:
        """The same votes as letters."""
        n_letters = self.symbols.shape[1]
        if n_letters == self._n_symbols and (self.symbols >= 0).all():
            return votes
        codes = np.empty(votes.shape, dtype=np.int16 if n_letters > np.iinfo(np.int8).max else np.int8, order="F")
        for j, letters in enumerate(self._letters):
            codes[:, j] = np.append(letters, -1)[votes.codes[:, j]]
        return Votes(codes, classes=[str(letter) for letter in range(n_letters)], sources=votes.sources)

    def widen(self, tables: Array) -> Array:
        """Probabilities of letters (m, k, L + 3), abstain last, as probabilities of symbols (m, k, S + 1)."""
        m, k, _ = tables.shape
        wide = np.empty((m, k, self._n_symbols + 1))
        share = tables[:, :, -3:-1] / np.maximum(self.size[:, :, -2:], 1)
        wide[:, :, :-1] = share[:, :, 1:]
        np.copyto(wide[:, :, :-1], share[:, :, :1], where=self._compatible)
        source, letter = np.nonzero(self.symbols >= 0)
        wide[source, :, self.symbols[source, letter]] = tables[source, :, letter]
        wide[:, :, -1] = tables[:, :, -1]
        return wide
