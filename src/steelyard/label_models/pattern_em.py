"""PatternEM: the sums over rows that EM needs, taken over the distinct vote patterns u with their counts c_u, a block at a time.

It serves every model that scores a row by weight[z] · Π_j table[j, z, vote of j], where the hidden z is the class or a subtype of one.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.label_models.alphabet import Alphabet
from steelyard.label_models.posterior import VoteLookup, softmax_columns
from steelyard.vote_statistics import VoteStatistics

Array = NDArray[np.float64]
EM_BLOCK = 1 << 16


class PatternEM:
    """Distinct vote patterns, prepared for many E-steps.

    Parameters
    ----------
    statistics : VoteStatistics that keep patterns
    class_prior : (k,) float array
        What rows without votes start from.
    alphabet : Alphabet, optional
        Work on letters instead of symbols: tables then have L + 1 columns, not S + 1.

    Examples
    --------
    >>> from steelyard import Votes
    >>> votes = Votes([[0, 0], [0, 1], [0, 1]], classes=["a", "b"])
    >>> expected, masses = PatternEM(VoteStatistics.from_votes(votes), np.array([0.5, 0.5])).start()
    >>> masses.tolist()
    [2.0, 1.0]
    >>> expected[1].tolist()
    [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    """

    def __init__(self, statistics: VoteStatistics, class_prior: Array, alphabet: Alphabet | None = None) -> None:
        patterns, counts = statistics.as_votes(), statistics.counts
        assert counts is not None
        self.n_rows, self.class_prior = statistics.n_rows, class_prior
        self.compatible = statistics.support.T[None]
        if alphabet is not None:
            patterns, self.compatible = alphabet.narrow(patterns), alphabet.support[:, :, :-2]
        self.cuts = [slice(start, start + EM_BLOCK) for start in range(0, patterns.n_rows, EM_BLOCK)]
        self.blocks = [(VoteLookup(patterns.take(cut)), counts[cut], statistics.gold[cut]) for cut in self.cuts]

    def start(self, division: Array | None = None) -> tuple[Array, Array]:
        """What the soft majority vote expects.

        Parameters
        ----------
        division : (u, M) float array, optional
            How each pattern's class shares are divided among the M subtypes of the class; one subtype when left out.

        Returns
        -------
        expected counts (m, k · M, S + 1), abstain last, and masses (k · M,)
        """
        first = self.blocks[0][0]
        for_class = np.zeros((first.n_sources, len(self.class_prior), first.n_symbols + 1))
        for_class[:, :, :-1] = self.compatible
        n_subtypes = 1 if division is None else division.shape[1]
        expected, masses = np.zeros_like(for_class).repeat(n_subtypes, axis=1), np.zeros(len(self.class_prior) * n_subtypes)
        for cut, (lookup, counts, gold) in zip(self.cuts, self.blocks, strict=True):
            share = lookup.scores(for_class)
            total = share.sum(axis=0)
            share = np.where(total > 0, share / np.maximum(total, 1), self.class_prior[:, None])
            known = np.flatnonzero(gold >= 0)
            share[:, known] = np.arange(len(share))[:, None] == gold[known]
            share *= counts
            if division is not None:
                share = (share[:, None] * division[cut].T).reshape(-1, len(counts))
            expected += lookup.counts(share)
            masses += share.sum(axis=1)
        return expected, masses

    def expect(self, tables: Array, log_weights: Array) -> tuple[float, Array, Array]:
        """The E-step.

        Parameters
        ----------
        tables : (m, k · M, S + 1) float array
            Log-probability of every symbol, abstain last, for the M subtypes of the first class, of the second, ….
        log_weights : (k · M,) float array

        Returns
        -------
        log-likelihood summed over rows, expected counts (m, k · M, S + 1), masses (k · M,)
        """
        log_likelihood, expected, masses = 0.0, np.zeros_like(tables), np.zeros(len(log_weights))
        for lookup, counts, gold in self.blocks:
            scores = lookup.scores(tables)
            scores += log_weights[:, None]
            rule_out_other_classes(scores.reshape(len(self.class_prior), -1, len(gold)), gold)
            log_likelihood += float(counts @ softmax_columns(scores))
            scores *= counts
            expected += lookup.counts(scores)
            masses += scores.sum(axis=1)
        return log_likelihood, expected, masses


def rule_out_other_classes(scores: Array, gold: NDArray[np.signedinteger[Any]]) -> None:
    """Where a row has a gold label no other class is possible: log scores (k, M, n) become -inf there, in place."""
    known = np.flatnonzero(gold >= 0)
    classes, rows = np.nonzero(np.arange(len(scores))[:, None] != gold[known])
    scores[classes, :, known[rows]] = -np.inf


def warn_without_three_votes(statistics: VoteStatistics, name: str) -> None:
    """Say so where no row has three votes: agreement then tells nothing about who is right."""
    if int((statistics.patterns >= 0).sum(axis=1).max(initial=0)) < 3:
        warnings.warn(
            f"fewer than 3 sources vote on any row, so {name} cannot tell good sources from bad ones beyond its prior; prefer MajorityVote",
            stacklevel=5,
        )
