"""EBCC: every class has subtypes, each with its own confusions, so that sources which err together on the same kind of row are seen to.

Li, Rubinstein, Cohn, "Exploiting Worker Correlation for Label Aggregation in Crowdsourcing", ICML (2019).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import LabelModelError
from steelyard.label_models.base import FLOOR, LabelModel, starting_prior
from steelyard.label_models.ibcc import check_belief_parameters
from steelyard.label_models.pattern_em import PatternEM, warn_without_three_votes
from steelyard.label_models.posterior import map_scores, softmax_columns
from steelyard.label_models.variational import prior_belief, silence_speaks, variational_bayes
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

Array = NDArray[np.float64]


class EBCC(LabelModel):
    r"""Enhanced Bayesian classifier combination: `IBCC` with subtypes of classes, by variational Bayes from several starts.

    The model: class k ~ p, subtype z ~ π_k; source j then says symbol l with probability θ_j[k, z, l]. Given the class alone, votes are a
    mixture and so depend on each other: an easy kind of row that all get right, a hard kind on which many fall for the same mistake.

    Labels: q_ukz ∝ exp(E log p_k + E log π_kz + Σ_j E log θ_j[k, z, L_uj]);  a row's posterior is Σ_z q_ukz.
    Parameters: p ~ Dirichlet(1 + …), π_k ~ Dirichlet(a / M + …), θ_j[k, z, ·] ~ Dirichlet(A_k · + …), expected counts in place of dots,
    over the distinct vote patterns u. The small a lets subtypes that are not needed die out.

    Parameters
    ----------
    n_subtypes : int
        M; with 1 this is `IBCC`.
    subtype_prior : float
        a > 0, the Dirichlet pseudo-count that the subtypes of a class share.
    prior : (float, float)
        Dirichlet parameters A_kl > 0 of votes that are compatible with the class and of those that are not.
    abstain : {"auto", "ignore", "model"}
        As for `IBCC`.
    class_prior : (k,) float array, optional
        Fixed p; learned when left out.
    restarts : int
        Each divides every pattern's soft majority vote among the subtypes at random; the run with the best bound is kept.
    max_iter : int
    tol : float
        Stop when the bound per row gains less.
    seed : int
        Draws depend on it and on the names of the sources, not on their order.

    Attributes
    ----------
    subtype_weights_ : (k, M) float64
        E π; rows sum to 1.
    subtype_confusions_ : (m, k, M, S + 1) float64
        E θ; `confusions_` is its average over subtypes.
    objective_ : (n_iter_,) float64
        Lower bound on the log evidence (ELBO) per row after each step of the best run; never falls.

    Examples
    --------
    >>> from steelyard import Votes
    >>> votes = Votes([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]] * 5, classes=["no", "yes"])
    >>> EBCC(n_subtypes=3).fit(votes).predict(votes[:4]).tolist()
    [0, 1, 0, 1]
    """

    def __init__(
        self,
        n_subtypes: int = 10,
        subtype_prior: float = 0.1,
        prior: tuple[float, float] = (4.0, 1.0),
        abstain: Literal["auto", "ignore", "model"] = "auto",
        class_prior: ArrayLike | None = None,
        restarts: int = 5,
        max_iter: int = 500,
        tol: float = 1e-6,
        seed: int = 0,
    ) -> None:
        self.n_subtypes = n_subtypes
        self.subtype_prior = subtype_prior
        self.prior = prior
        self.abstain = abstain
        self.class_prior = class_prior
        self.restarts = restarts
        self.max_iter = max_iter
        self.tol = tol
        self.seed = seed

    def _fit(self, statistics: VoteStatistics) -> None:
        self._check_parameters()
        warn_without_three_votes(statistics, "EBCC")
        start, source = starting_prior(self.class_prior, statistics)
        known_prior = start if source == "given" else None
        em = PatternEM(statistics, start)
        subtypes = np.full((statistics.n_classes, self.n_subtypes), self.subtype_prior / self.n_subtypes)
        prior = prior_belief(statistics, self.prior, subtypes, silence_speaks(statistics, self.abstain), known_prior)
        by_name = _order_of_patterns(statistics)
        rng = np.random.default_rng(self.seed)
        runs = []
        for _ in range(self.restarts):
            division = np.empty((len(by_name), self.n_subtypes))
            division[by_name] = rng.dirichlet(np.ones(self.n_subtypes), len(by_name))
            runs.append(variational_bayes(em, prior, *em.start(division), self.max_iter, self.tol))
        belief, bounds, self.converged_ = max(runs, key=lambda run: run[1][-1])
        confusions, self.class_prior_, self.subtype_weights_ = belief.means()
        self.class_prior_source_ = source if known_prior is not None else "estimated"
        self.subtype_confusions_ = confusions.reshape(len(confusions), statistics.n_classes, self.n_subtypes, -1)
        self.confusions_ = np.einsum("kz,jkzs->jks", self.subtype_weights_, self.subtype_confusions_)
        self.n_iter_ = len(bounds)
        self.objective_ = np.asarray(bounds)
        self.log_likelihood_ = em.expect(*self._log_tables())[0] / statistics.n_rows

    def _check_parameters(self) -> None:
        check_belief_parameters(self.prior, self.abstain, self.max_iter)
        if self.n_subtypes < 1 or self.restarts < 1:
            raise LabelModelError(f"n_subtypes and restarts must be at least 1, got {self.n_subtypes} and {self.restarts}")
        if self.subtype_prior <= 0:
            raise LabelModelError(f"subtype_prior must be positive, got {self.subtype_prior}")

    def _log_tables(self) -> tuple[Array, Array]:
        """(m, k · M, S + 1) and (k · M,) what a row is scored by."""
        m, k, n_subtypes, symbols = self.subtype_confusions_.shape
        weights = self.class_prior_[:, None] * self.subtype_weights_
        tables = self.subtype_confusions_.reshape(m, k * n_subtypes, symbols)
        return np.log(np.maximum(tables, FLOOR)), np.log(np.maximum(weights, FLOOR)).ravel()

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        tables, log_weights = self._log_tables()
        posterior = np.empty((votes.n_classes, votes.n_rows), dtype=np.float32).T

        def finish(start: int, stop: int, block: Array) -> None:
            block += log_weights[:, None]
            softmax_columns(block)
            posterior[start:stop] = block.reshape(votes.n_classes, -1, stop - start).sum(axis=1).T

        map_scores(votes, tables, finish)
        posterior[~votes.coverage] = self.class_prior_
        return posterior


def _order_of_patterns(statistics: VoteStatistics) -> NDArray[np.intp]:
    """The distinct patterns, sorted with the sources in the order of their names: the same whatever order the sources come in."""
    by_name = np.argsort(statistics.sources)
    return np.lexsort([statistics.gold, *statistics.patterns[:, by_name].T])
