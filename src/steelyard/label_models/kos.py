"""KOS: rows and sources send each other messages about labels and reliabilities until the reliabilities stand still.

Karger, Oh, Shah (2011), "Iterative Learning for Reliable Crowdsourcing Systems".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import LabelModelError
from steelyard.label_models.base import FLOOR, LabelModel, starting_prior
from steelyard.label_models.one_coin import not_below_chance, warn_of_one_sided_sources
from steelyard.label_models.pattern_em import PatternEM
from steelyard.label_models.posterior import VoteLookup, log_posterior
from steelyard.label_models.wawa import votes_given_class
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

Array = NDArray[np.float64]


class KOS(LabelModel):
    r"""Message passing on the graph of votes A_ij ∈ {-1, 0, +1}, row i and source j:

        x_{i→j} = Σ_{j' ≠ j} A_ij' y_{j'→i},        y_{j→i} = Σ_{i' ≠ i} A_i'j x_{i'→j},

    and row i is labelled by the sign of Σ_j A_ij y_{j→i}. With more than two classes each one is set against the rest, A_ij = +1 for a vote
    on it, -1 for a vote on others.

    Parameters
    ----------
    class_prior : (k,) float array, optional
        For all-abstain rows and ties, as in `MajorityVote`; the messages know of none.
    max_iter : int
    tol : float
        Stop when no entry of the weights, scaled to length 1, moves by more.

    Attributes
    ----------
    reliabilities_ : (m, k) float64
        Weights of the sources for "this class or not": final messages to a row that is not among the fitted ones, scaled per class to
        what they stand for, P(vote right) - P(vote wrong), by least squares against agreement with the answers.

    Notes
    -----
    Messages need not be kept for every vote: started at y = 1 they always are y_{j→i} = w_j - A_ij b_i and, with d_i votes on row i and n_j
    votes of source j,

        b_i ← Σ_j A_ij w_j - (d_i - 1) b_i,        w_j ← Σ_i A_ij b_i - (n_j - 1) w_j,

    so that rows with the same votes are one. The publication starts at y ~ N(1, 1) instead, which would set equal rows apart. A row
    with a gold label sends that, as strongly as if all its sources agreed. Posteriors are ∝ exp(Σ_j A_ij reliability_j); for two classes
    the larger one is on the side of Σ_j A_ij w_j. A source's weight grows with its number of votes: the method is made for
    sources that vote about equally often. One that only ever names one class keeps w_j ≥ 0, unless there are gold labels.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 2000)
    >>> codes = np.where(rng.random((2000, 5)) < [0.95, 0.8, 0.6, 0.55, 0.5], truth[:, None], 1 - truth[:, None])
    >>> KOS().fit(Votes(codes, classes=["HAM", "SPAM"])).reliabilities_[:, 0].round(1).tolist()
    [0.8, 0.7, 0.5, 0.2, -0.1]
    """

    def __init__(self, class_prior: ArrayLike | None = None, max_iter: int = 100, tol: float = 1e-8) -> None:
        self.class_prior = class_prior
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, statistics: VoteStatistics) -> None:
        if self.max_iter < 1:
            raise LabelModelError(f"max_iter must be at least 1, got {self.max_iter}")
        warn_of_one_sided_sources(statistics, "KOS")
        self.class_prior_, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        graph = _Graph(statistics)
        w, b = np.ones((statistics.n_sources, statistics.n_classes)), np.zeros_like(graph.row_degrees)
        good = not_below_chance(statistics)
        self.converged_ = False
        while self.n_iter_ < self.max_iter and not self.converged_:
            before = w
            b = graph.with_gold(graph.to_rows(w) - (graph.row_degrees - 1) * b, graph.unanimous(w))
            w = graph.to_sources(b) - (graph.source_degrees - 1) * w
            w[good] = np.maximum(w[good], 0.0)
            length = np.maximum(np.linalg.norm(w, axis=0), FLOOR)
            w, b = w / length, b / length[:, None]
            self.n_iter_ += 1
            self.converged_ = bool(np.abs(w - before).max() < self.tol)
        answers = graph.with_gold(np.sign(graph.to_rows(w) - graph.row_degrees * b), np.ones_like(b))
        n_votes = statistics.votes_for @ np.abs(graph.side[:, :-1]).T
        scale = (graph.to_sources(answers) * w).sum(axis=0) / np.maximum((n_votes * w**2).sum(axis=0), FLOOR)
        self.reliabilities_ = w * scale
        _, counts, _ = PatternEM(statistics, self.class_prior_).expect(self._tables(), np.zeros(statistics.n_classes))
        self.confusions_ = votes_given_class(counts)

    def _tables(self) -> Array:
        """(m, k, S + 1) what each vote adds to the log-score of each class."""
        return self.reliabilities_[:, :, None] * against_the_rest(self.support_)

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        posterior = log_posterior(votes, self._tables(), np.zeros(votes.n_classes))
        posterior[~votes.coverage] = self.class_prior_
        return posterior


class _Graph:
    """Distinct rows (columns of (k, u) arrays) and sources (rows of (m, k) arrays), joined by votes A for and against each class."""

    def __init__(self, statistics: VoteStatistics) -> None:
        assert statistics.counts is not None
        self.lookup, self.counts = VoteLookup(statistics.as_votes()), statistics.counts.astype(np.float64)
        self.side = against_the_rest(statistics.support)
        m, k = statistics.n_sources, statistics.n_classes
        self.known = np.flatnonzero(statistics.gold >= 0)
        self.known_signs = 2.0 * (np.arange(k)[:, None] == statistics.gold[self.known]) - 1
        self.row_degrees = self.lookup.scores(np.tile(np.abs(self.side), (m, 1, 1)))
        unknown = np.where(statistics.gold < 0, self.counts, 0)
        self.source_degrees = (self.lookup.counts(np.tile(unknown, (k, 1))) * np.abs(self.side)).sum(axis=2)

    def to_rows(self, w: Array) -> Array:
        """(k, u) Σ_j A_ij w_j."""
        return self.lookup.scores(w[:, :, None] * self.side)

    def to_sources(self, b: Array) -> Array:
        """(m, k) Σ_i A_ij b_i over all rows, equal ones together."""
        return np.asarray((self.lookup.counts(b * self.counts) * self.side).sum(axis=2))

    def unanimous(self, w: Array) -> Array:
        """(k, u) Σ_j |A_ij w_j|: how strong a row's message would be if all its sources agreed."""
        return self.lookup.scores(np.abs(w[:, :, None] * self.side))

    def with_gold(self, b: Array, strength: Array) -> Array:
        """Messages (k, u) in which rows with a gold label say just that, with the strength (k, u) given."""
        b[:, self.known] = self.known_signs * strength[:, self.known]
        return b


def against_the_rest(support: NDArray[np.bool_]) -> Array:
    """(k, S + 1) +1 for a symbol that names the class alone, -1 for one that excludes it, 0 for its parents and for abstaining.

    Examples
    --------
    >>> against_the_rest(np.array([[True, False, False], [False, True, False], [False, False, True], [False, True, True]]))[1].tolist()
    [-1.0, 1.0, -1.0, 0.0, 0.0]
    """
    alone = np.where(support.sum(axis=1, keepdims=True) == 1, 1.0, 0.0)
    return np.append(np.where(support, alone, -1.0).T, np.zeros((support.shape[1], 1)), axis=1)
