"""MACE: each source knows the answer with some probability, and otherwise says what it is in the habit of saying.

Hovy, Berg-Kirkpatrick, Vaswani, Hovy, "Learning Whom to Trust with MACE", NAACL-HLT (2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import LabelModelError
from steelyard.label_models.base import FLOOR, LabelModel, starting_prior
from steelyard.label_models.pattern_em import PatternEM, warn_without_three_votes
from steelyard.label_models.posterior import log_posterior
from steelyard.label_models.variational import divergence, expected_log, mean
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Habits:
    """Of each source: whether it knows (m, 2: knows, does not), and what it says where it does not (m, S); counts or probabilities."""

    knows: Array
    spam: Array


class MACE(LabelModel):
    r"""Multi-annotator competence estimation.

    The model: a row's class is drawn from p, uniform unless you know better. Source j knows it with probability t_j and then names it;
    otherwise it draws a symbol from ξ_j, whatever the class. Hence P(j says l | class k) = t_j [l = k] + (1 - t_j) ξ_j[l].

    E-step: q_uk ∝ p_k Π_j (t_j [L_uj = k] + (1 - t_j) ξ_j[L_uj]); of the votes that name the class, the share
    t_j / (t_j + (1 - t_j) ξ_j[l]) was known, the rest and all others were spam. Rows with a gold label keep it.
    M-step: t_j and ξ_j are normalised counts of what was known and of what was spam ("em"), or Beta and Dirichlet posteriors, entering
    the E-step as exp(ψ(count) - ψ(sum)) ("vb"). All sums run over the distinct vote patterns u with their counts.

    Parameters
    ----------
    method : {"vb", "em"}
        Variational Bayes, or maximum likelihood with counts smoothed by 0.01 / k.
    competence_prior : (float, float)
        Beta parameters of t_j; one half each pulls towards sources that mostly know and sources that mostly do not.
    spam_prior : float
        Dirichlet parameter of every symbol in ξ_j.
    class_prior : (k,) float array, optional
        Otherwise from gold labels (at least ten per class), else from how often sources name each class.
    restarts : int
        Random starts; the one that ends with the highest objective is kept.
    max_iter : int
    tol : float
        Stop when the objective per row gains less.
    seed : int
        Draws depend on it and on the names of the sources, not on their order.

    Attributes
    ----------
    competences_ : (m,) float64
        t_j.
    spam_distributions_ : (m, S) float64
        ξ_j; rows sum to 1.
    voted_prior_ : (k,) float64
        Prior of rows with votes: `class_prior_` where it is given or from gold labels, else uniform as published.
    objective_ : (n_iter_,) float64
        Per row, of the best start: lower bound on the log marginal likelihood ("vb"), or log-likelihood with the smoothing counted as
        a prior ("em"); never falls.

    Notes
    -----
    Who abstains says nothing. Rules that each name a single class look like spammers here: this is a model of crowds. A row without votes
    gets the class prior. A source that knows the class and may name it in several ways (by a parent too) uses these as often as it does
    overall.

    Examples
    --------
    >>> from steelyard import Votes
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 3, 3000)
    >>> codes = np.where(rng.random((3000, 4)) < [0.9, 0.7, 0.5, 0.0], truth[:, None], rng.integers(0, 3, (3000, 4)))
    >>> MACE().fit(Votes(codes, classes=["a", "b", "c"])).competences_.round(1).tolist()
    [0.9, 0.7, 0.5, 0.0]
    """

    def __init__(
        self,
        method: Literal["vb", "em"] = "vb",
        competence_prior: tuple[float, float] = (0.5, 0.5),
        spam_prior: float = 10.0,
        class_prior: ArrayLike | None = None,
        restarts: int = 10,
        max_iter: int = 500,
        tol: float = 1e-6,
        seed: int = 0,
    ) -> None:
        self.method = method
        self.competence_prior = competence_prior
        self.spam_prior = spam_prior
        self.class_prior = class_prior
        self.restarts = restarts
        self.max_iter = max_iter
        self.tol = tol
        self.seed = seed

    def _fit(self, statistics: VoteStatistics) -> None:
        self._check_parameters()
        warn_without_three_votes(statistics, "MACE")
        n, k = statistics.n_rows, statistics.n_classes
        self.class_prior_, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        prior = self.voted_prior_ = np.full(k, 1 / k) if self.class_prior_source_ == "votes" else self.class_prior_
        em = PatternEM(statistics, prior)
        known = _said_when_known(statistics)
        rng = np.random.default_rng(self.seed)
        runs = [self._run(em, known, _random_start(statistics, rng)) for _ in range(self.restarts)]
        habits, objective, self.converged_ = max(runs, key=lambda run: run[1][-1])
        self.competences_, self.spam_distributions_ = habits.knows[:, 0], habits.spam
        self.n_iter_ = len(objective)
        self.objective_ = np.asarray(objective)
        rate = statistics.votes_for.sum(axis=1)[:, None, None] / n
        silence = np.broadcast_to(1 - rate, (*known.shape[:2], 1))
        self.confusions_ = np.concatenate([rate * _spoken(habits, known), silence], axis=2)
        self.log_likelihood_ = em.expect(np.log(np.maximum(self.confusions_, FLOOR)), np.log(np.maximum(prior, FLOOR)))[0] / n

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        posterior = log_posterior(votes, np.log(np.maximum(self.confusions_, FLOOR)), np.log(np.maximum(self.voted_prior_, FLOOR)))
        posterior[~votes.coverage] = self.class_prior_
        return posterior

    def _check_parameters(self) -> None:
        if self.method not in ("vb", "em"):
            raise LabelModelError(f"method must be 'vb' or 'em', got '{self.method}'")
        if len(self.competence_prior) != 2 or min(self.competence_prior) <= 0 or self.spam_prior <= 0:
            raise LabelModelError(
                f"competence_prior must be two positive numbers and spam_prior one, got {self.competence_prior} and {self.spam_prior}"
            )
        if self.restarts < 1 or self.max_iter < 1:
            raise LabelModelError(f"restarts and max_iter must be at least 1, got {self.restarts} and {self.max_iter}")

    def _run(self, em: PatternEM, known: Array, start: _Habits) -> tuple[_Habits, list[float], bool]:
        """From one start to convergence: habits, objective at each step, and whether it settled."""
        objective: list[float] = []
        converged = False
        _, counts = _expect(em, known, start)
        while len(objective) < self.max_iter and not converged:
            habits, weights, penalty = self._maximize(counts, len(em.class_prior))
            log_likelihood, counts = _expect(em, known, weights)
            objective.append((log_likelihood - penalty) / em.n_rows)
            converged = len(objective) > 1 and objective[-1] - objective[-2] < self.tol
        return habits, objective, converged

    def _maximize(self, counts: _Habits, k: int) -> tuple[_Habits, _Habits, float]:
        """Expected counts → habits, the weights that stand for them in the E-step, and what the objective pays for them."""
        if self.method == "em":
            smoothing = 0.01 / k
            habits = _Habits(mean(counts.knows + smoothing), mean(counts.spam + smoothing))
            return habits, habits, -smoothing * float(np.log(habits.knows).sum() + np.log(habits.spam).sum())
        knows_prior, spam_prior = np.array(self.competence_prior), np.full(counts.spam.shape[1], self.spam_prior)
        knows, spam = counts.knows + knows_prior, counts.spam + spam_prior
        penalty = divergence(knows, np.broadcast_to(knows_prior, knows.shape)) + divergence(spam, np.broadcast_to(spam_prior, spam.shape))
        return _Habits(mean(knows), mean(spam)), _Habits(np.exp(expected_log(knows)), np.exp(expected_log(spam))), penalty


def _expect(em: PatternEM, known: Array, weights: _Habits) -> tuple[float, _Habits]:
    """Log-likelihood, and the expected counts of what was known and what was spam."""
    spoken = _spoken(weights, known)
    tables = np.concatenate([np.log(spoken), np.zeros((*known.shape[:2], 1))], axis=2)
    log_likelihood, expected, _ = em.expect(tables, np.log(np.maximum(em.class_prior, FLOOR)))
    votes = expected[:, :, :-1]
    knew = votes * (weights.knows[:, :1, None] * known / spoken)
    spam = (votes - knew).sum(axis=1)
    return log_likelihood, _Habits(np.stack([knew.sum(axis=(1, 2)), spam.sum(axis=1)], axis=1), spam)


def _spoken(habits: _Habits, known: Array) -> Array:
    """(m, k, S) weight of every symbol, given the class and that the source votes: t [l names k] + (1 - t) ξ[l]."""
    return habits.knows[:, :1, None] * known + (habits.knows[:, 1:] * habits.spam)[:, None, :]


def _said_when_known(statistics: VoteStatistics) -> Array:
    """(m, k, S) how a source that knows the class names it: where parents allow a choice, as often as it uses each name overall."""
    named = statistics.support.T * np.maximum(statistics.votes_for, FLOOR)[:, None, :]
    return named / named.sum(axis=2, keepdims=True)


def _random_start(statistics: VoteStatistics, rng: np.random.Generator) -> _Habits:
    by_name = np.argsort(np.argsort(statistics.sources))
    knows, spam = (rng.uniform(1, 1.5, (statistics.n_sources, size))[by_name] for size in (2, statistics.n_symbols))
    return _Habits(mean(knows), mean(spam))
