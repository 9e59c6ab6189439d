"""IBCC: Dawid and Skene's model with a Dirichlet belief about every confusion matrix, instead of one best guess.

Kim and Ghahramani, "Bayesian Classifier Combination", AISTATS (2012); variational inference as in Simpson et al. (2013).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from steelyard.errors import LabelModelError
from steelyard.label_models.base import FLOOR, LabelModel, starting_prior
from steelyard.label_models.pattern_em import PatternEM, warn_without_three_votes
from steelyard.label_models.variational import prior_belief, silence_speaks, variational_bayes
from steelyard.vote_statistics import VoteStatistics


class IBCC(LabelModel):
    r"""Independent Bayesian classifier combination by variational Bayes.

    The model: class prior p ~ Dirichlet(1), confusions θ_j[k, ·] ~ Dirichlet(A_k ·); a row's class is drawn from p, and source j says
    symbol l with probability θ_j[k, l], independently of the others.

    Labels: q_uk ∝ exp(E log p_k + Σ_j E log θ_j[k, L_uj]);  rows with a gold label keep it.
    Parameters: p ~ Dirichlet(1 + Σ_u c_u q_uk),  θ_j[k, ·] ~ Dirichlet(A_kl + Σ_u c_u q_uk [L_uj = l]),
    with E log p_k = ψ(count of k) − ψ(all counts), over the distinct vote patterns u with their counts c_u.

    A source with few votes stays near the prior, one with many speaks for itself: on small crowds this is steadier than `DawidSkene`.

    Parameters
    ----------
    prior : (float, float)
        Dirichlet parameters A_kl > 0 of votes that are compatible with the class and of those that are not.
    abstain : {"auto", "ignore", "model"}
        Whether abstaining says nothing about the class ("ignore"), or is one more symbol a source can say ("model"). "auto" models
        the silence of sources that never name some class, as `DawidSkene` does.
    class_prior : (k,) float array, optional
        Fixed p; learned when left out.
    max_iter : int
    tol : float
        Stop when the bound per row gains less.

    Attributes
    ----------
    objective_ : (n_iter_,) float64
        Lower bound on the log evidence (ELBO) per row after each step; never falls.

    Notes
    -----
    `confusions_` and `class_prior_` are posterior means, and rows, seen or not, are scored by them: that is their predictive distribution.

    Examples
    --------
    >>> from steelyard import Votes
    >>> votes = Votes([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]] * 5, classes=["no", "yes"])
    >>> IBCC().fit(votes).predict(votes[:4]).tolist()
    [0, 1, 0, 1]
    """

    def __init__(
        self,
        prior: tuple[float, float] = (4.0, 1.0),
        abstain: Literal["auto", "ignore", "model"] = "auto",
        class_prior: ArrayLike | None = None,
        max_iter: int = 500,
        tol: float = 1e-6,
    ) -> None:
        self.prior = prior
        self.abstain = abstain
        self.class_prior = class_prior
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, statistics: VoteStatistics) -> None:
        check_belief_parameters(self.prior, self.abstain, self.max_iter)
        warn_without_three_votes(statistics, "IBCC")
        start, source = starting_prior(self.class_prior, statistics)
        known_prior = start if source == "given" else None
        em = PatternEM(statistics, start)
        subtypes = np.ones((statistics.n_classes, 1))
        prior = prior_belief(statistics, self.prior, subtypes, silence_speaks(statistics, self.abstain), known_prior)
        belief, bounds, self.converged_ = variational_bayes(em, prior, *em.start(), self.max_iter, self.tol)
        self.confusions_, self.class_prior_, _ = belief.means()
        self.class_prior_source_ = source if known_prior is not None else "estimated"
        self.n_iter_ = len(bounds)
        self.objective_ = np.asarray(bounds)
        tables, log_prior = np.log(np.maximum(self.confusions_, FLOOR)), np.log(np.maximum(self.class_prior_, FLOOR))
        self.log_likelihood_ = em.expect(tables, log_prior)[0] / statistics.n_rows


def check_belief_parameters(prior: tuple[float, float], abstain: str, max_iter: int) -> None:
    """What `IBCC` and `EBCC` ask of their parameters."""
    if len(prior) != 2 or min(prior) <= 0:
        raise LabelModelError(f"prior must be two positive pseudo-counts (compatible, incompatible), got {prior}")
    if abstain not in ("auto", "ignore", "model"):
        raise LabelModelError(f"abstain must be 'auto', 'ignore' or 'model', got '{abstain}'")
    if max_iter < 1:
        raise LabelModelError(f"max_iter must be at least 1, got {max_iter}")
