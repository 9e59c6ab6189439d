"""Wawa: vote, weigh each source by how often it agrees with the vote, vote again ("worker agreement with aggregate").

As in Ustalov, Pavlichenko, Tseitlin (2024), "Learning from Crowds with Crowd-Kit".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.label_models.base import FLOOR, starting_prior
from steelyard.label_models.majority_vote import MajorityVote
from steelyard.label_models.pattern_em import PatternEM
from steelyard.vote_statistics import Keep, VoteStatistics

Array = NDArray[np.float64]


class Wawa(MajorityVote):
    """Majority vote in which a source's weight is the share of its votes that agree with the unweighted majority vote.

    Parameters
    ----------
    class_prior : (k,) float array, optional
        For all-abstain rows and ties, as in `MajorityVote`.

    Attributes
    ----------
    weights_ : (m,) float64
        In [0, 1]; 0 for a source that never votes.

    Notes
    -----
    Where several classes tie in the vote, a source that named one of t has agreed by 1 / t. On rows with a gold label agreeing means
    agreeing with that. `confusions_` describe how sources vote, given what the vote says.

    Examples
    --------
    >>> from steelyard import Votes
    >>> votes = Votes([[0, 0, 1], [1, 1, 1], [1, 1, 0], [0, 0, 0], [-1, 1, 0]], classes=["no", "yes"])
    >>> Wawa().fit(votes).weights_.tolist()
    [1.0, 0.9, 0.5]
    >>> Wawa().fit(votes).predict(votes).tolist()
    [0, 1, 1, 0, 1]
    """

    keep: ClassVar[Keep] = "patterns"

    def __init__(self, class_prior: ArrayLike | None = None) -> None:
        self.class_prior = class_prior

    def _fit(self, statistics: VoteStatistics) -> None:
        self.class_prior_, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        consensus = Consensus(statistics, self.class_prior_)
        self.weights_ = consensus.agreement(np.ones(statistics.n_sources))
        self.confusions_ = consensus.confusions(self.weights_)


class Consensus:
    """What the weighted vote says on the distinct patterns, and how the sources compare with it.

    Parameters
    ----------
    statistics : VoteStatistics that keep patterns
    class_prior : (k,) float array
        What the vote says where no source does.
    """

    def __init__(self, statistics: VoteStatistics, class_prior: Array) -> None:
        self.support, self.class_prior = statistics.support, class_prior
        self.blocks = PatternEM(statistics, class_prior).blocks

    def agreement(self, weights: Array) -> Array:
        """(m,) share of each source's votes that name the class which the vote with these weights says; 0 for a source without votes."""
        counts = self._counts(weights)[:, :, :-1]
        return np.asarray((counts * self.support.T).sum(axis=(1, 2)) / np.maximum(counts.sum(axis=(1, 2)), FLOOR))

    def confusions(self, weights: Array) -> Array:
        """(m, k, S + 1) P(vote of source j | class that the vote says); a class it never says gets the source's overall habits."""
        return votes_given_class(self._counts(weights))

    def _counts(self, weights: Array) -> Array:
        """(m, k, S + 1) how often each source says each symbol, by what the vote says; a tie counts in equal parts."""
        tables = np.zeros((len(weights), len(self.class_prior), len(self.support) + 1))
        tables[:, :, :-1] = weights[:, None, None] * (self.support / self.support.sum(axis=1, keepdims=True)).T
        total = np.zeros_like(tables)
        for lookup, counts, gold in self.blocks:
            shares = lookup.scores(tables)
            top = shares.max(axis=0)
            labels = (shares >= top * (1 - 1e-9)).astype(np.float64)
            labels /= labels.sum(axis=0)
            labels[:, top <= 0] = self.class_prior[:, None]
            known = np.flatnonzero(gold >= 0)
            labels[:, known] = 0
            labels[gold[known], known] = 1
            total += lookup.counts(labels * counts)
        return total


def votes_given_class(counts: Array) -> Array:
    """(m, k, S + 1) counts of each source's symbols in each class → P(symbol | class); a class without rows gets the overall habits."""
    mass = counts.sum(axis=2, keepdims=True)
    overall = counts.sum(axis=1, keepdims=True) / counts.sum(axis=(1, 2), keepdims=True)
    return np.where(mass > FLOOR, counts / np.maximum(mass, FLOOR), overall)
