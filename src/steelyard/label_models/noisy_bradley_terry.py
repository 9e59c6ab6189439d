"""NoisyBradleyTerry: strengths of items and reliabilities of the workers who compared them, estimated together.

A careless worker clicks by position (Bugakova et al., "Aggregation of pairwise comparisons with reduction of biases", 2019) or says the
reverse (Chen et al., "Pairwise ranking aggregation in a crowdsourced setting", WSDM 2013).
"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from steelyard.errors import LabelModelError
from steelyard.label_models.bradley_terry import check_connected, check_pairwise_parameters, most_likely_scores, with_average_item
from steelyard.label_models.comparisons import KNOWN, Comparisons, PairwiseModel
from steelyard.row_blocks import in_row_blocks

Floats = NDArray[np.float64]


class NoisyBradleyTerry(PairwiseModel):
    r"""Bradley–Terry as seen through workers of unequal care.

    Worker k attends with probability η_k and then follows the scores, P(i beats j) = σ(s_i - s_j). Otherwise he either clicks, on the
    left item with probability b_k whatever the items are, or says the reverse:

    P(left item i wins) = η_k σ(s_i - s_j) + (1 - η_k) b_k  ("clicks"),  η_k σ(s_i - s_j) + (1 - η_k) σ(s_j - s_i)  ("flips").

    The penalised likelihood is maximised over s, logit η and logit b by L-BFGS from the scores of plain `BradleyTerry`. With r the
    posterior probability that the worker attended, its gradients are r (1 - σ) in the winner's score (less (1 - r) σ for flips),
    r - η in logit η and (1 - r)([left won] - b) in logit b.

    Parameters
    ----------
    noise : {"clicks", "flips"}
        What inattentive workers do. Only "flips" can use those who are worse than chance.
    prior : float
        As in `BradleyTerry`.
    reliability_prior : (float, float)
        Pseudo-counts of comparisons each worker made with care and without, the mode of a Beta(1 + counts) prior.
    gold_weight : float
        A known comparison counts as so many made with full care.
    max_iter : int
    tol : float
        Stop when the penalised log-likelihood per comparison gains less (relative to its size), or its gradient vanishes.

    Attributes
    ----------
    items_, scores_, ranking_, converged_, n_iter_ : see `PairwiseModel`
    workers_ : tuple of str
    reliabilities_ : (m,) float64
        η_k in [0, 1].
    left_bias_ : (m,) float64
        b_k in [0, 1], for "clicks" only.

    Examples
    --------
    >>> names = ["tea", "milk", "mud"]
    >>> pairs = [(i, j) for i in names for j in names if i != j] * 4
    >>> best = [min(pair, key=names.index) for pair in pairs]
    >>> table = {
    ...     "left": [i for i, _ in pairs] * 3,
    ...     "right": [j for _, j in pairs] * 3,
    ...     "winner": best * 2 + [i for i, _ in pairs],
    ...     "worker": ["Ann"] * 24 + ["Bo"] * 24 + ["left-clicker"] * 24,
    ... }
    >>> model = NoisyBradleyTerry().fit(table)
    >>> model.ranking_, (model.reliabilities_ > 0.5).tolist()
    (('tea', 'milk', 'mud'), [True, True, False])
    """

    def __init__(
        self,
        noise: Literal["clicks", "flips"] = "clicks",
        prior: float = 0.5,
        reliability_prior: tuple[float, float] = (2.0, 1.0),
        gold_weight: float = 10.0,
        max_iter: int = 500,
        tol: float = 1e-9,
    ) -> None:
        self.noise = noise
        self.prior = prior
        self.reliability_prior = reliability_prior
        self.gold_weight = gold_weight
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, comparisons: Comparisons, n_gold: int) -> Floats:
        check_pairwise_parameters(self.prior, self.gold_weight, self.max_iter)
        if self.noise not in ("clicks", "flips"):
            raise LabelModelError(f"noise must be 'clicks' or 'flips', got '{self.noise}'")
        if len(self.reliability_prior) != 2 or min(self.reliability_prior) <= 0:
            raise LabelModelError(f"reliability_prior must be two positive pseudo-counts, got {self.reliability_prior}")
        if not comparisons.workers:
            raise LabelModelError("the comparisons do not say who made them; give a column of workers or use BradleyTerry")
        check_connected(comparisons, self.prior)
        problem = _PenalisedLikelihood(comparisons, self.noise == "flips", self.prior, self.reliability_prior, self.gold_weight)
        solution = minimize(
            problem, problem.start(), jac=True, method="L-BFGS-B", options={"maxiter": self.max_iter, "ftol": self.tol, "gtol": 1e-9}
        )
        self.converged_, self.n_iter_ = bool(solution.success), int(solution.nit)
        if not self.converged_:
            warnings.warn(f"NoisyBradleyTerry did not converge in {self.max_iter} steps; raise max_iter", stacklevel=3)
        scores, reliability, bias = problem.parts(solution.x)
        self.workers_ = comparisons.workers
        self.reliabilities_ = expit(reliability)
        if self.noise == "clicks":
            self.left_bias_ = expit(bias)
        return scores[: len(comparisons.items)]


class _PenalisedLikelihood:
    """Minus the penalised log-likelihood per comparison, and its gradient, in (scores, logit η, logit b)."""

    def __init__(self, comparisons: Comparisons, flips: bool, prior: float, reliability_prior: tuple[float, float], weight: float) -> None:
        by_worker = comparisons.worker != KNOWN
        self.winner, self.loser = comparisons.winners[by_worker], comparisons.losers[by_worker]
        self.left_won = comparisons.left_won[by_worker]
        self.worker = comparisons.worker[by_worker]
        self.m, self.flips, self.reliability_prior = len(comparisons.workers), flips, reliability_prior
        # Known comparisons and those with the imaginary average item are made with full care.
        known = ~by_worker
        self.sure = with_average_item(
            comparisons.winners[known], comparisons.losers[known], np.full(known.sum(), weight), len(comparisons.items), prior
        )
        self.n_scores = len(comparisons.items) + (prior > 0)

    def start(self) -> Floats:
        winners, losers, weights = self.sure
        every = np.concatenate([self.winner, winners]), np.concatenate([self.loser, losers])
        scores, _, _ = most_likely_scores(*every, np.concatenate([np.ones(len(self.winner)), weights]), 30, 1e-3)
        careful = np.log(4.0)
        return np.concatenate([scores, np.full(self.m, careful), np.zeros(self.m)])

    def parts(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        return x[: self.n_scores], x[self.n_scores : self.n_scores + self.m], x[self.n_scores + self.m :]

    def __call__(self, x: Floats) -> tuple[float, Floats]:
        s, reliability, bias = self.parts(x)
        eta, b = expit(reliability), expit(bias)
        blocks = in_row_blocks(lambda start, stop: self._block(s, eta, b, slice(start, stop)), len(self.winner))
        value, gradient = sum(block[0] for block in blocks), np.sum([block[1] for block in blocks], axis=0)
        in_s, in_eta, in_b = self.parts(gradient)

        winner, loser, weight = self.sure
        gap = s[winner] - s[loser]
        pull = weight * expit(-gap)
        in_s += np.bincount(winner, pull, len(s)) - np.bincount(loser, pull, len(s))

        right, wrong = self.reliability_prior
        in_eta += right - (right + wrong) * eta
        value += weight @ log_expit(gap) + right * log_expit(reliability).sum() + wrong * log_expit(-reliability).sum()
        if not self.flips:
            # One click on either side, so that a worker without clicks has no bias instead of an infinite one.
            in_b += 1 - 2 * b
            value += (log_expit(bias) + log_expit(-bias)).sum()
        n = len(self.winner) + weight.sum()
        return -float(value) / n, -gradient / n

    def _block(self, s: Floats, eta: Floats, b: Floats, rows: slice) -> tuple[float, Floats]:
        winner, loser, left_won, worker = self.winner[rows], self.loser[rows], self.left_won[rows], self.worker[rows]
        follows = expit(s[winner] - s[loser])
        careless = 1 - follows if self.flips else np.where(left_won, b[worker], 1 - b[worker])
        care = eta[worker]
        likelihood = np.maximum(care * follows + (1 - care) * careless, 1e-300)
        r = care * follows / likelihood
        pull = r * (1 - follows) - ((1 - r) * follows if self.flips else 0.0)
        in_s = np.bincount(winner, pull, len(s)) - np.bincount(loser, pull, len(s))
        in_eta = np.bincount(worker, r - care, self.m)
        in_b = np.zeros(self.m) if self.flips else np.bincount(worker, (1 - r) * (left_won - b[worker]), self.m)
        return float(np.log(likelihood).sum()), np.concatenate([in_s, in_eta, in_b])
