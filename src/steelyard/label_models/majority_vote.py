"""MajorityVote: every source has one vote, or a weight of your choice. The baseline that every other label model has to beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from steelyard.errors import LabelModelError
from steelyard.label_models.base import LabelModel, starting_prior
from steelyard.label_models.posterior import map_scores
from steelyard.row_blocks import BLOCK
from steelyard.vote_statistics import Keep, VoteStatistics
from steelyard.votes import Votes


class MajorityVote(LabelModel):
    """Weighted vote: P(k | row) = Σ_j w_j c_ij [vote of j counts for k] / Σ_k' (the same).

    Parameters
    ----------
    weights : (m,) float array, optional
        Non-negative weight of each source; 1 when left out.
    class_prior : (k,) float array, optional
        For all-abstain rows and ties. Otherwise from gold labels (at least ten per class), else from how often sources name each class.

    Notes
    -----
    On tags of tokens (votes with ``groups`` and a class "O") silence and "O" mean the same, and most sources are silent about most
    entities: "O" has the share 3 to the power of minus the votes for an entity, so that one of these beats any number of silent
    sources (the sequential vote of Lison et al. 2020).

    A vote for a parent is shared evenly by the classes below it. Confidences c_ij of the votes multiply the weights. Nothing is estimated
    from the votes but the prior; `confusions_` and `accuracies_` measure agreement with the vote (gold rows count with
    their label), the source's own vote included.

    Examples
    --------
    >>> from steelyard import Votes
    >>> votes = Votes([[0, 0, 1], [1, 1, -1], [-1, -1, -1]], classes=["HAM", "SPAM"])
    >>> MajorityVote().fit(votes).predict_proba(votes).round(2).tolist()
    [[0.6700000166893005, 0.33000001311302185], [0.0, 1.0], [0.5, 0.5]]
    """

    keep: ClassVar[Keep] = "moments"

    def __init__(self, weights: ArrayLike | None = None, class_prior: ArrayLike | None = None) -> None:
        self.weights = weights
        self.class_prior = class_prior

    def _fit(self, statistics: VoteStatistics) -> None:
        weights = np.ones(statistics.n_sources) if self.weights is None else np.asarray(self.weights, dtype=np.float64)
        if weights.shape != (statistics.n_sources,) or not np.isfinite(weights).all() or (weights < 0).any():
            raise LabelModelError(f"weights must be {statistics.n_sources} non-negative numbers, one per source, got {weights.tolist()}")
        self.weights_ = weights
        self.class_prior_, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        self.confusions_ = _agreement(statistics, self.class_prior_)

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        tables = np.zeros((votes.n_sources, votes.n_classes, len(votes.support) + 1))
        tables[:, :, :-1] = self.weights_[:, None, None] * _shares(votes.support).T
        shares = np.empty((votes.n_classes, votes.n_rows), dtype=np.float32).T

        outside = votes.classes.index("O") if is_tagging(votes) else None

        def finish(start: int, stop: int, block: NDArray[np.float64]) -> None:
            if outside is not None:
                block[outside] = 0
                block[outside] = 3.0 ** -block.sum(axis=0)
            total = block.sum(axis=0)
            silent = total <= 0
            total[silent] = 1
            block /= total
            if silent.any():
                block[:, silent] = self.class_prior_[:, None]
            shares[start:stop] = block.T

        if votes.confidences is None:
            map_scores(votes, tables, finish)
        else:
            _confident_scores(votes, self.weights_, finish)
        return shares


def is_tagging(votes: Votes) -> bool:
    """Whether the rows are tokens of documents and the classes their tags."""
    return votes.groups is not None and "O" in votes.classes


def _shares(support: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(S, k) how a vote for each symbol is divided: whole for a class, evenly among the classes below a parent."""
    return np.asarray(support / support.sum(axis=1, keepdims=True))


def _confident_scores(votes: Votes, weights: NDArray[np.float64], finish: Callable[[int, int, NDArray[np.float64]], None]) -> None:
    """Votes count for their source's weight times their own confidence."""
    support = _shares(votes.support)
    for start in range(0, votes.n_rows, BLOCK):
        part = votes.take(slice(start, start + BLOCK))
        matrix = part.csr
        symbols = matrix.data.astype(np.int64) - 1
        weighted = sparse.csr_array(
            (part.stored_confidences * weights[matrix.indices], symbols, matrix.indptr), shape=(part.n_rows, len(support))
        )
        finish(start, start + part.n_rows, np.ascontiguousarray((weighted @ support).T))


def _agreement(statistics: VoteStatistics, prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m, k, S + 1) confusions implied by pairwise agreement: how other sources vote, and gold labels, where source j names a symbol."""
    m, n_symbols, k = statistics.n_sources, statistics.n_symbols, statistics.n_classes
    moments = statistics.moments
    # Support for class k given that j says l: votes of all sources on those rows, plus gold rows.
    for_class = moments.table @ np.tile(statistics.support.astype(np.float64), (m, 1))
    for_class += moments.gold_columns.T
    for_class = for_class.reshape(m, n_symbols, k)
    spoken = np.asarray(moments.table.diagonal()).reshape(m, n_symbols)
    total = for_class.sum(axis=2, keepdims=True)
    share = np.divide(for_class, total, out=np.zeros_like(for_class), where=total > 0)
    joint = (spoken[:, :, None] * share / statistics.n_rows).transpose(0, 2, 1)
    confusions = np.zeros((m, k, n_symbols + 1))
    confusions[:, :, :-1] = joint / np.maximum(prior[None, :, None], 1e-12)
    # A class named more often than its prior allows would overfill its row.
    total = confusions.sum(axis=2, keepdims=True)
    confusions /= np.maximum(total, 1)
    confusions[:, :, -1] = 1 - confusions[:, :, :-1].sum(axis=2)
    return confusions
