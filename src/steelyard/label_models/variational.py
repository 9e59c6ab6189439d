"""Belief: Dirichlet posteriors over everything a Bayesian label model does not know. Expected counts are added to prior pseudo-counts.

Where `IBCC` and `EBCC` meet: a class has one or more subtypes z, each with its own confusion matrix per source.
Variational Bayes after Kim and Ghahramani, "Bayesian Classifier Combination" (2012).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

from steelyard.label_models.base import FLOOR
from steelyard.label_models.pattern_em import PatternEM
from steelyard.vote_statistics import VoteStatistics

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Belief:
    """Pseudo-counts of independent Dirichlet distributions; with m sources, k classes of M subtypes each, and S symbols.

    Attributes
    ----------
    classes : (k,) float array
        Over the class prior.
    subtypes : (k, M) float array
        Over the subtypes of each class.
    votes : (m, k · M, S) float array
        Over what a source says, given that it votes.
    silence : (m, k · M, 2) float array
        Over whether it votes (first) or abstains.
    speaks : (m,) bool array
        Whether the source's silence depends on the class; where not, its `silence` stays as it is.
    known_prior : (k,) float array or None
        The class prior, where it is not to be learned.
    """

    classes: Array
    subtypes: Array
    votes: Array
    silence: Array
    speaks: NDArray[np.bool_]
    known_prior: Array | None = None

    def updated(self, expected: Array, masses: Array) -> Belief:
        """The posterior, for this prior and expected counts (m, k · M, S + 1) and masses (k · M,)."""
        by_class = masses.reshape(self.subtypes.shape)
        spoken, silent = expected[:, :, :-1], expected[:, :, -1]
        heard = np.stack([spoken.sum(axis=2), silent], axis=2) * self.speaks[:, None, None]
        return replace(
            self,
            classes=self.classes + by_class.sum(axis=1),
            subtypes=self.subtypes + by_class,
            votes=self.votes + spoken,
            silence=self.silence + heard,
        )

    def expected_logs(self) -> tuple[Array, Array]:
        """E[log θ] as tables (m, k · M, S + 1), abstain last, and E[log weight] of every subtype (k · M,)."""
        classes = expected_log(self.classes) if self.known_prior is None else np.log(np.maximum(self.known_prior, FLOOR))
        silence = np.log(np.maximum(mean(self.silence), FLOOR))
        silence[self.speaks] = expected_log(self.silence[self.speaks])
        tables = np.concatenate([silence[:, :, :1] + expected_log(self.votes), silence[:, :, 1:]], axis=2)
        return tables, (classes[:, None] + expected_log(self.subtypes)).ravel()

    def means(self) -> tuple[Array, Array, Array]:
        """E[θ] (m, k · M, S + 1), the class prior (k,) and the weights of the subtypes of each class (k, M)."""
        silence = mean(self.silence)
        confusions = np.concatenate([silence[:, :, :1] * mean(self.votes), silence[:, :, 1:]], axis=2)
        return confusions, mean(self.classes) if self.known_prior is None else self.known_prior, mean(self.subtypes)

    def divergence(self, prior: Belief) -> float:
        """KL(self ‖ prior)."""
        classes = divergence(self.classes, prior.classes) if self.known_prior is None else 0.0
        silence = divergence(self.silence[self.speaks], prior.silence[self.speaks])
        return classes + divergence(self.subtypes, prior.subtypes) + divergence(self.votes, prior.votes) + silence


def prior_belief(
    statistics: VoteStatistics,
    votes: tuple[float, float],
    subtypes: Array,
    speaks: NDArray[np.bool_],
    known_prior: Array | None,
) -> Belief:
    """What is believed before any row is seen; the pseudo-counts `votes` are those of (compatible, incompatible) symbols."""
    k, n_subtypes = subtypes.shape
    by_symbol = np.repeat(np.where(statistics.support.T, *votes), n_subtypes, axis=0)
    spoken = statistics.votes_for.sum(axis=1)
    rate = np.stack([spoken, statistics.n_rows - spoken], axis=1) / statistics.n_rows
    # Worth one event of the rarer kind, and telling nothing: a source that seldom fires must not prove a class by one vote or by silence.
    silence = rate / np.where(speaks, rate.min(axis=1), 1.0)[:, None]
    m, z = statistics.n_sources, k * n_subtypes
    return Belief(np.ones(k), subtypes, np.tile(by_symbol, (m, 1, 1)), np.repeat(silence[:, None], z, axis=1), speaks, known_prior)


def silence_speaks(statistics: VoteStatistics, abstain: str) -> NDArray[np.bool_]:
    """(m,) whose silence is modelled: of all, of none, or ("auto") of the sources that never name some class."""
    spoken = statistics.votes_for.sum(axis=1)
    varies = (spoken > 0) & (spoken < statistics.n_rows)
    if abstain == "auto":
        named = (statistics.votes_for > 0) @ statistics.support
        return np.asarray(varies & ~named.all(axis=1))
    return np.asarray(varies & (abstain == "model"))


def variational_bayes(
    em: PatternEM, prior: Belief, expected: Array, masses: Array, max_iter: int, tol: float
) -> tuple[Belief, list[float], bool]:
    """Alternate between what is believed about the parameters and about the labels, beginning with expected counts.

    Returns
    -------
    the belief, the bound per row at each step, and whether it gained less than `tol` in the end

    The bound on the log evidence is Σ_u c_u log Σ_z exp(E log weight_z + Σ_j E log θ_j[z, L_uj]) - KL(belief ‖ prior); it never falls.
    """
    bounds: list[float] = []
    converged = False
    while len(bounds) < max_iter and not converged:
        belief = prior.updated(expected, masses)
        evidence, expected, masses = em.expect(*belief.expected_logs())
        bounds.append((evidence - belief.divergence(prior)) / em.n_rows)
        converged = len(bounds) > 1 and bounds[-1] - bounds[-2] < tol
    return belief, bounds, converged


def mean(counts: Array) -> Array:
    """Mean of Dirichlet distributions along the last axis."""
    return counts / counts.sum(axis=-1, keepdims=True)


def expected_log(counts: Array) -> Array:
    """E[log p] of Dirichlet distributions along the last axis."""
    return np.asarray(digamma(counts) - digamma(counts.sum(axis=-1, keepdims=True)))


def divergence(counts: Array, prior: Array) -> float:
    """Sum of KL(Dirichlet(counts) ‖ Dirichlet(prior)), distributions along the last axis."""
    log_normaliser = gammaln(counts.sum(axis=-1)) - gammaln(counts).sum(axis=-1)
    prior_log_normaliser = gammaln(prior.sum(axis=-1)) - gammaln(prior).sum(axis=-1)
    return float((log_normaliser - prior_log_normaliser).sum() + ((counts - prior) * expected_log(counts)).sum())
