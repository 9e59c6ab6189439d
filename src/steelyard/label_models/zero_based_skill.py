"""ZeroBasedSkill: weigh sources by how often they agree with the weighted vote, and repeat until the weights stand still.

Ustalov, Pavlichenko, Tseitlin (2024), "Learning from Crowds with Crowd-Kit".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from steelyard.errors import LabelModelError
from steelyard.label_models.base import starting_prior
from steelyard.label_models.wawa import Consensus, Wawa
from steelyard.vote_statistics import VoteStatistics


class ZeroBasedSkill(Wawa):
    """Majority vote whose weights agree with itself: w_j ← w_j + rate · (a_j - w_j), where a_j is the share of source j's votes that agree
    with the vote weighted by w.

    That is gradient descent on Σ_j (a_j - w_j)² from equal weights, hence from the majority vote; `Wawa` is its first step.

    Parameters
    ----------
    class_prior : (k,) float array, optional
        For all-abstain rows and ties, as in `MajorityVote`.
    learning_rate : float in (0, 1]
    halve_every : int
        Steps after which the rate is halved, so that votes which flip back and forth come to rest.
    max_iter : int
    tol : float
        Stop when no weight moves by more.

    Attributes
    ----------
    weights_ : (m,) float64
        In [0, 1]; 0 for a source that never votes.

    Examples
    --------
    >>> from steelyard import Votes
    >>> votes = Votes([[0, 0, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1]], classes=["no", "yes"])
    >>> Wawa().fit(votes).weights_.tolist()
    [0.6, 0.8, 0.8, 0.4]
    >>> ZeroBasedSkill().fit(votes).weights_.round(2).tolist()
    [0.8, 1.0, 0.6, 0.2]
    """

    def __init__(
        self,
        class_prior: ArrayLike | None = None,
        learning_rate: float = 1.0,
        halve_every: int = 20,
        max_iter: int = 100,
        tol: float = 1e-5,
    ) -> None:
        self.class_prior = class_prior
        self.learning_rate = learning_rate
        self.halve_every = halve_every
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, statistics: VoteStatistics) -> None:
        if not 0 < self.learning_rate <= 1 or self.halve_every < 1 or self.max_iter < 1:
            raise LabelModelError(
                "learning_rate must lie in (0, 1], halve_every and max_iter be at least 1, "
                f"got {self.learning_rate}, {self.halve_every} and {self.max_iter}"
            )
        self.class_prior_, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        consensus = Consensus(statistics, self.class_prior_)
        self.weights_, self.converged_ = np.full(statistics.n_sources, 1 / statistics.n_classes), False
        while self.n_iter_ < self.max_iter and not self.converged_:
            step = consensus.agreement(self.weights_) - self.weights_
            self.weights_ += self.learning_rate * 0.5 ** (self.n_iter_ // self.halve_every) * step
            self.n_iter_ += 1
            self.converged_ = bool(np.abs(step).max() < self.tol)
        self.confusions_ = consensus.confusions(self.weights_)
