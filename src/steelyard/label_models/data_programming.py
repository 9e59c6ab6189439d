"""DataProgramming: sources speak with some propensity and are right with some accuracy; declared pairs are also correlated.

Ratner, De Sa, Wu, Selsam, Ré (2016), "Data Programming: Creating Large Training Sets, Quickly".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components

from steelyard.errors import LabelModelError
from steelyard.label_models.base import FLOOR, LabelModel, starting_prior
from steelyard.label_models.correlated_votes import CorrelatedVotes
from steelyard.label_models.one_coin import (
    not_below_chance,
    one_coin_confusions,
    one_coin_tables,
    one_coin_weights,
    warn_of_one_sided_sources,
)
from steelyard.label_models.pattern_em import PatternEM, warn_without_three_votes
from steelyard.label_models.posterior import log_posterior
from steelyard.vote_checks import listed
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

Array = NDArray[np.float64]


class DataProgramming(LabelModel):
    r"""Factor graph over the class y and the votes λ, with EM:

        P(y, λ) = p_y Π_C 1/Z_C exp( Σ_{j ∈ C} [ w_j^prop 1[λ_j votes] + w_j^acc 1[λ_j names y] ] + Σ_{(a, b) ∈ C} w_ab 1[λ_a = λ_b] ),

    C running over the groups of sources that `dependencies` connect; most sources are alone. Right votes fall evenly on the symbols that
    name the class, wrong ones on the others.

    E-step: q_u(y) ∝ p_y Π_j exp(w_j^acc 1[λ_uj names y]), over the distinct patterns u.
    M-step: a source without dependencies has propensity β_j, its share of rows with a vote, and accuracy α_j, the expected share of its
    votes that are right: e^{w^acc} = (k - 1) α / (1 - α), e^{w^prop} = β (1 - α) / ((k - 1) (1 - β)). In a group, w is such that votes,
    right votes and equal pairs are as frequent in the model, summed over all (S + 1)^|C| joint votes, as they are expected to be in the
    rows (Newton's method); this limits a group to about 10 sources for 2 classes, 5 for 6, 3 for 20.

    Parameters
    ----------
    dependencies : sequence of (source, source)
        Pairs, by name or position, whose votes are correlated beyond what the class explains: copies, variants of one rule.
    prior_accuracy : float in (0, 1)
        Believed chance that a vote is right, before any evidence.
    prior_strength : float ≥ 0
        Votes per source that it takes to weigh as much as that belief, which also holds sources to be independent.
    class_prior : (k,) float array, optional
        p, which is not estimated. Otherwise from gold labels (ten per class at least), else from how often sources name each class; the
        publication takes its two classes as equally probable.
    max_iter, tol : int, float
        Stop when the penalised log-likelihood per row gains less than `tol`.

    Attributes
    ----------
    propensities_ : (m,) float64
        P(source votes).
    accuracy_weights_ : (m,) float64
        w^acc: what a vote adds to the log-odds of the class it names; less in a group than alone.
    correlations_ : (number of dependencies,) float64
        w_ab.
    objective_ : (n_iter_,) float64
        Penalised log-likelihood per row; never falls.

    Notes
    -----
    Without dependencies this is `DawidSkene(kind="one-coin", abstain="ignore")` with a belief about accuracies and a fixed class prior.
    Sources that name one class only break its symmetry: those for the same class always agree, however good they are. Their accuracy stays
    at 1 / k or above, unless there are gold labels, and a warning says so.

    Examples
    --------
    Three copies of one source outvote two better ones, unless they are declared.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 5000)
    >>> codes = np.where(rng.random((5000, 3)) < [0.9, 0.8, 0.6], truth[:, None], 1 - truth[:, None])[:, [0, 1, 2, 2, 2]]
    >>> votes = Votes(codes, classes=["HAM", "SPAM"])
    >>> bool(DataProgramming().fit(votes).score(votes, truth) < 0.7)
    True
    >>> bool(DataProgramming([(2, 3), (3, 4)]).fit(votes).score(votes, truth) > 0.85)
    True
    """

    def __init__(
        self,
        dependencies: Sequence[tuple[int | str, int | str]] = (),
        prior_accuracy: float = 0.7,
        prior_strength: float = 10.0,
        class_prior: ArrayLike | None = None,
        max_iter: int = 200,
        tol: float = 1e-6,
    ) -> None:
        self.dependencies = dependencies
        self.prior_accuracy = prior_accuracy
        self.prior_strength = prior_strength
        self.class_prior = class_prior
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, statistics: VoteStatistics) -> None:
        if not 0 < self.prior_accuracy < 1 or self.prior_strength < 0:
            raise LabelModelError(
                f"prior_accuracy must lie in (0, 1) and prior_strength be at least 0, got {self.prior_accuracy} and {self.prior_strength}"
            )
        if self.max_iter < 1:
            raise LabelModelError(f"max_iter must be at least 1, got {self.max_iter}")
        warn_without_three_votes(statistics, "DataProgramming")
        warn_of_one_sided_sources(statistics, "DataProgramming")
        self.class_prior_, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        self.propensities_ = statistics.votes_for.sum(axis=1) / statistics.n_rows
        pairs = _positions(self.dependencies, statistics.sources)
        groups = _connected(pairs, statistics, self.prior_accuracy, self.prior_strength)
        alone = ~np.isin(np.arange(statistics.n_sources), pairs)

        em, log_prior = PatternEM(statistics, self.class_prior_), np.log(np.maximum(self.class_prior_, FLOOR))
        expected, masses = em.start()
        objective: list[float] = []
        self.converged_ = False
        while len(objective) < self.max_iter and not self.converged_:
            accuracies = self._maximize(expected, masses, groups, statistics)
            log_likelihood, expected, masses = em.expect(self.tables_, log_prior)
            log_likelihood += sum(group.log_pairs() for group in groups)
            log_belief = self._log_belief(accuracies[alone]) + sum(group.log_belief() for group in groups)
            objective.append((log_likelihood + log_belief) / statistics.n_rows)
            self.converged_ = len(objective) > 1 and objective[-1] - objective[-2] < self.tol
        self.n_iter_, self.objective_ = len(objective), np.asarray(objective)
        self.log_likelihood_ = log_likelihood / statistics.n_rows

        self.confusions_ = one_coin_confusions(self.propensities_, accuracies, statistics.support)
        correlations: dict[tuple[int, int], float] = {}
        for group in groups:
            self.confusions_[group.members] = group.confusions()
            correlations |= dict(zip(group.pairs, group.correlations, strict=True))
        self.correlations_ = np.array([correlations[pair] for pair in pairs])

    def _maximize(self, expected: Array, masses: Array, groups: list[CorrelatedVotes], statistics: VoteStatistics) -> Array:
        """The M-step: sets the weights, and tables (m, k, S + 1) of what votes add to log-scores; returns α (m,), without dependencies."""
        right = (expected[:, :, :-1] * statistics.support.T).sum(axis=(1, 2))
        voted, belief = statistics.votes_for.sum(axis=1), self.prior_strength + FLOOR
        accuracies = np.asarray((right + belief * self.prior_accuracy) / (voted + belief))
        accuracies = np.where(not_below_chance(statistics), np.maximum(accuracies, 1 / statistics.n_classes), accuracies)
        vote_weights, self.accuracy_weights_ = one_coin_weights(self.propensities_, accuracies, statistics.n_classes)
        self.tables_ = one_coin_tables(vote_weights, self.accuracy_weights_, statistics.support)
        self.tables_ += np.log(np.maximum(1 - self.propensities_, FLOOR))[:, None, None]
        for group in groups:
            group.maximize(right[group.members], masses)
            self.accuracy_weights_[group.members] = group.accuracy_weights
            self.tables_[group.members] = group.tables()
        return accuracies

    def _log_belief(self, accuracies: Array) -> float:
        right, wrong = np.log(np.maximum(accuracies, FLOOR)), np.log(np.maximum(1 - accuracies, FLOOR))
        return float(self.prior_strength * (self.prior_accuracy * right + (1 - self.prior_accuracy) * wrong).sum())

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        return log_posterior(votes, self.tables_, np.log(np.maximum(self.class_prior_, FLOOR)))


def _positions(dependencies: Sequence[tuple[int | str, int | str]], sources: tuple[str, ...]) -> list[tuple[int, int]]:
    """Pairs of source positions, the lower first, in the order given."""
    place: dict[int | str, int] = {name: j for j, name in enumerate(sources)} | {j: j for j in range(len(sources))}
    pairs: list[tuple[int, int]] = []
    for pair in dependencies:
        unknown = [source for source in pair if source not in place]
        if unknown:
            raise LabelModelError(f"dependencies name source {unknown[0]!r}; sources are {listed(sources)}")
        a, b = sorted(place[source] for source in pair)
        if a == b or (a, b) in pairs:
            raise LabelModelError(
                f"dependencies hold the pair {tuple(pair)} {'twice' if a != b else 'of a source with itself'}; leave it out"
            )
        pairs.append((a, b))
    return pairs


def _connected(pairs: list[tuple[int, int]], statistics: VoteStatistics, accuracy: float, strength: float) -> list[CorrelatedVotes]:
    """One group for each set of sources that depend on each other, directly or through others."""
    m = statistics.n_sources
    linked = np.zeros((m, m), dtype=bool)
    for a, b in pairs:
        linked[a, b] = True
    _, group_of = connected_components(linked, directed=False)
    groups = []
    for label in np.unique([group_of[a] for a, _ in pairs]):
        inside = [pair for pair in pairs if group_of[pair[0]] == label]
        groups.append(CorrelatedVotes(np.flatnonzero(group_of == label).tolist(), inside, statistics, accuracy, strength))
    return groups
