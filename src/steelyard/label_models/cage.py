"""Cage: every source is a trigger for one class, with a guess of how precise it is and, where it gives one, a score.

Chatterjee, Ramakrishnan, Sarawagi (2020), "Robust Data Programming with Precision-guided Labeling Functions".
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import Bounds, minimize
from scipy.special import betaln, digamma, expit, log_expit, logsumexp, softmax

from steelyard.errors import LabelModelError
from steelyard.label_models.base import FLOOR, LabelModel, as_votes, starting_prior, vote_accuracies
from steelyard.label_models.pattern_em import PatternEM
from steelyard.label_models.posterior import log_posterior, map_scores, softmax_columns
from steelyard.label_models.score_symbols import SCORE_BINS, bin_scores, clipped, has_scores, plain_parents, scored_statistics
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
# Odds of e^±20, or a Beta worth e^20 votes, are as good as infinite; without an end the search would run on where no vote contradicts.
_WIDEST = 20.0


class Cage(LabelModel):
    r"""Log-linear model of triggers t_j ∈ {0, 1} and scores s_j ∈ [0, 1], held near what is believed about the sources' precision.

    A source that names several classes is split into one trigger per symbol it names. With π_y the class prior and k_j the class of
    trigger j,

        P(y, t, s) = π_y / Z · Π_j exp(θ_jy t_j) · Beta(s_j; r_jy ρ_jy, (1 - r_jy) ρ_jy)^{t_j},    Z = Σ_y π_y Π_j (1 + e^{θ_jy}),

    where r_jy, the mean score, is ``score_guides`` if y = k_j and 1 minus that otherwise. Silent triggers say nothing about a row. Fitted
    are θ and log ρ, both 1 at the start, by maximising

        (1/n) Σ_i log P(t_i, s_i)  +  Σ_j [ q_j log P(k_j | t_j = 1) + (1 - q_j) log (1 - P(k_j | t_j = 1)) ]

    with q the ``quality_guides``: a guide weighs as much as all rows together. Rows with a gold label count with log P(y_i, t_i, s_i).

    Parameters
    ----------
    quality_guides : float, (m,) or (m, S) array in [0, 1]
        Believed chance that a trigger is right when it fires: one for all, one per source, or one per source and symbol.
    score_guides : float, (m,) or (m, S) array in (0, 1)
        Believed mean score of a trigger that is right.
    class_prior : (k,) float array, optional
        π, the class probabilities of a row without votes. Otherwise from gold labels (ten per class at least), else from how often
        sources name each class. The publication takes it as uniform.
    max_iter : int
    tol : float
        Stop when no derivative of the objective exceeds it, or an iteration gains less than a thousandth of it, relatively.

    Attributes
    ----------
    triggers_ : (m, S, k) float64
        θ; -inf where the source never names the symbol.
    score_means_, score_strengths_ : (m, S, k) float64
        r and ρ; NaN where the source gives no scores.
    class_marginal_ : (k,) float64
        P(y) over all rows, covered or not, as the model sees it. `accuracies_`, which `quality_guides` speak about, go by it.
    objective_ : float

    Notes
    -----
    Confidences of the votes are the scores. A source has scores where some of its confidences are below 1. In fitting, a score counts as
    the middle of its bin (`with_score_symbols`), so that rows with the same votes and bins are one pattern; in prediction it counts as
    it is. Votes without confidences are judged by their triggers alone.

    The objective is the publication's; in place of 100 steps of Adam at rate 0.01, which move no parameter by more than about 1 and stop
    far from the optimum, it is maximised by L-BFGS with exact derivatives. These are expected counts minus the model's own, both
    summed over distinct patterns: the cost does not grow with the rows. It has several optima when there are many classes.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 5000)
    >>> codes = np.where(rng.random((5000, 4)) < [0.9, 0.8, 0.7, 0.6], truth[:, None], 1 - truth[:, None])
    >>> Cage(quality_guides=[0.9, 0.8, 0.7, 0.6]).fit(Votes(codes, classes=["HAM", "SPAM"])).accuracies_.round(1).tolist()
    [0.9, 0.8, 0.7, 0.6]
    """

    def __init__(
        self,
        quality_guides: ArrayLike = 0.9,
        score_guides: ArrayLike = 0.85,
        class_prior: ArrayLike | None = None,
        max_iter: int = 2000,
        tol: float = 1e-5,
    ) -> None:
        self.quality_guides = quality_guides
        self.score_guides = score_guides
        self.class_prior = class_prior
        self.max_iter = max_iter
        self.tol = tol

    def partial_fit(self, votes: Votes | VoteStatistics | ArrayLike, y: ArrayLike | None = None) -> Self:
        """Add more rows to those already seen and fit again; either all parts have confidences, or none."""
        new = self._summarize(votes, y)
        seen: VoteStatistics | None = getattr(self, "statistics_", None)
        if seen is not None and has_scores(seen) != has_scores(new):
            raise LabelModelError("Cage saw votes with confidences and votes without; give confidences to all parts or to none")
        return self._refit(new if seen is None else seen + new)

    def _summarize(self, votes: Votes | VoteStatistics | ArrayLike, y: ArrayLike | None) -> VoteStatistics:
        if isinstance(votes, VoteStatistics):
            return super()._summarize(votes, y)
        held = as_votes(votes)
        return VoteStatistics.from_votes(held, y) if held.confidences is None else scored_statistics(held, y)

    def _refit(self, statistics: VoteStatistics) -> Self:
        super()._refit(statistics)
        self.accuracies_ = vote_accuracies(self.confusions_, self.class_marginal_, self.support_)
        return self

    def _fit(self, statistics: VoteStatistics) -> None:
        if self.max_iter < 1:
            raise LabelModelError(f"max_iter must be at least 1, got {self.max_iter}")
        self.parents_ = plain_parents(statistics)
        m, s = statistics.n_sources, statistics.n_classes + len(self.parents_)
        self.support_ = statistics.support[:s]
        self.class_prior_, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        fires, scored = _named(statistics, s)
        right = self._guides("score_guides", m, s)[:, :, None]
        self.score_means_ = np.where(scored[:, :, None], np.where(self.support_, right, 1 - right), np.nan)
        objective = _Objective(
            statistics, fires, scored, self.support_, self.score_means_, self._guides("quality_guides", m, s), self.class_prior_
        )
        x = np.ones(objective.n_parameters)
        if len(x):
            found = minimize(
                objective.negative,
                x,
                jac=True,
                method="L-BFGS-B",
                bounds=Bounds(np.full(len(x), -_WIDEST), np.full(len(x), _WIDEST)),
                options={"maxiter": self.max_iter, "maxfun": 10 * self.max_iter, "gtol": self.tol, "ftol": 1e-3 * self.tol, "maxcor": 20},
            )
            x, self.n_iter_, self.converged_ = found.x, int(found.nit), bool(found.success)
        theta, log_strength = objective.unpack(x)
        self.triggers_ = np.where(fires[:, :, None], theta, -np.inf)
        self.score_strengths_ = np.where(scored[:, :, None], np.exp(log_strength), np.nan)
        self.class_marginal_, _ = objective.marginal(theta)
        self.objective_, self.log_likelihood_ = -objective.negative(x)[0], objective.log_likelihood(x)
        # Triggers of one source cannot fire together, which the model does not know: together they fire at most once a row.
        rates = expit(self.triggers_).transpose(0, 2, 1)
        rates /= np.maximum(rates.sum(axis=2, keepdims=True), 1)
        self.confusions_ = np.concatenate([rates, 1 - rates.sum(axis=2, keepdims=True)], axis=2)

    def _guides(self, name: str, m: int, s: int) -> Array:
        """(m, S) guides from one number, one per source, or one per source and symbol."""
        given = np.asarray(getattr(self, name), dtype=np.float64)
        closed = name == "quality_guides"
        inside = (given >= 0) & (given <= 1) if closed else (given > 0) & (given < 1)
        if given.shape not in ((), (m,), (m, s)) or not inside.all():
            raise LabelModelError(
                f"{name} must be one number, {m} numbers (one per source) or {m} × {s} (per source and symbol), "
                f"all in {'[0, 1]' if closed else '(0, 1)'}, got {given.tolist()}"
            )
        return np.broadcast_to(given[:, None] if given.ndim == 1 else given, (m, s))

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        theta = np.where(np.isfinite(self.triggers_), self.triggers_, 0.0)
        log_prior = np.log(np.maximum(self.class_prior_, FLOOR))
        if votes.confidences is None:
            return log_posterior(votes, _with_silence(theta), log_prior)
        first, second, constant = _beta_terms(self.score_means_, self.score_strengths_)
        posterior = np.empty((votes.n_classes, votes.n_rows), dtype=np.float32).T

        def finish(start: int, stop: int, scores: Array) -> None:
            scores += log_prior[:, None] + _score_evidence(votes[start:stop], first, second)
            softmax_columns(scores)
            posterior[start:stop] = scores.T

        map_scores(votes, _with_silence(theta + constant), finish)
        return posterior


class _Objective:
    """What `Cage` maximises, as a function of one vector: θ of every trigger and class, then log ρ of every trigger with scores.

    Parameters
    ----------
    statistics : VoteStatistics
    fires, scored : (m, S) bool
        Which symbols each source names, and which of these come with scores.
    support : (S, k) bool
    score_means : (m, S, k) float array
    guides : (m, S) float array
    class_prior : (k,) float array
    """

    def __init__(
        self, statistics: VoteStatistics, fires: Mask, scored: Mask, support: Mask, score_means: Array, guides: Array, class_prior: Array
    ) -> None:
        self.n_rows, self.binned = statistics.n_rows, has_scores(statistics)
        self.fires, self.scored, self.score_means = fires, scored, score_means
        self.support, self.guides = support, guides
        # A symbol that stands for every class is always right: there is nothing to guide.
        self.guided = fires & ~support.all(axis=1)
        self.log_prior = np.log(np.maximum(class_prior, FLOOR))
        self.em = PatternEM(statistics, class_prior)
        self.n_triggers = int(fires.sum()) * len(class_prior)
        self.n_parameters = self.n_triggers + int(scored.sum()) * len(class_prior)

    def unpack(self, x: Array) -> tuple[Array, Array]:
        """θ and log ρ, both (m, S, k), 0 where there is none."""
        theta, log_strength = np.zeros((2, *self.fires.shape, len(self.log_prior)))
        theta[self.fires] = x[: self.n_triggers].reshape(-1, len(self.log_prior))
        log_strength[self.scored] = x[self.n_triggers :].reshape(-1, len(self.log_prior))
        return theta, log_strength

    def marginal(self, theta: Array) -> tuple[Array, float]:
        """P(y) = π_y Π_j (1 + e^{θ_jy}) / Z, and log Z."""
        mass = self.log_prior + np.logaddexp(0, theta[self.fires]).sum(axis=0)
        log_z = float(logsumexp(mass))
        return np.exp(mass - log_z), log_z

    def negative(self, x: Array) -> tuple[float, Array]:
        """Minus the objective, and minus its gradient."""
        theta, log_strength = self.unpack(x)
        marginal, log_z = self.marginal(theta)
        log_joint, expected, _ = self.em.expect(self._tables(theta, log_strength), self.log_prior)
        guide, guide_slope = self._guide(theta, marginal)
        fired, score_slope = self._by_trigger(expected, log_strength)
        theta_slope = fired / self.n_rows - marginal * expit(theta) + guide_slope
        slope = np.concatenate([theta_slope[self.fires].ravel(), score_slope[self.scored].ravel() / self.n_rows])
        return -(log_joint / self.n_rows - log_z + guide), -slope

    def log_likelihood(self, x: Array) -> float:
        """Mean over rows."""
        theta, log_strength = self.unpack(x)
        return self.em.expect(self._tables(theta, log_strength), self.log_prior)[0] / self.n_rows - self.marginal(theta)[1]

    def _tables(self, theta: Array, log_strength: Array) -> Array:
        """(m, k, symbols + 1) what each symbol adds to the log-score of each class; the bin of a score is part of a symbol."""
        plain = _with_silence(theta)
        if not self.binned:
            return plain
        first, second, constant = (term[..., None] for term in _beta_terms(self.score_means, np.exp(log_strength)))
        score = bin_scores()
        fine = theta[..., None] + first * np.log(score) + second * np.log1p(-score) + constant
        fine = fine.transpose(0, 2, 1, 3).reshape(*plain.shape[:2], -1)
        return np.concatenate([plain[:, :, :-1], fine, plain[:, :, -1:]], axis=2)

    def _by_trigger(self, expected: Array, log_strength: Array) -> tuple[Array, Array]:
        """How often each trigger is expected to fire in each class, and the slope of the scores' log-density in log ρ; both (m, S, k)."""
        m, s = self.fires.shape
        if not self.binned:
            return expected[:, :, :-1].transpose(0, 2, 1), np.zeros((m, s, len(self.log_prior)))
        by_bin = expected[:, :, s:-1].reshape(m, -1, s, SCORE_BINS).transpose(0, 2, 1, 3)
        fired, score, strength = by_bin.sum(axis=3), bin_scores(), np.exp(log_strength)
        a, b = self.score_means * strength, (1 - self.score_means) * strength
        slope = a * (by_bin @ np.log(score) - fired * digamma(a))
        slope += b * (by_bin @ np.log1p(-score) - fired * digamma(b))
        return fired, slope + strength * fired * digamma(strength)

    def _guide(self, theta: Array, marginal: Array) -> tuple[float, Array]:
        """Σ_j [ q log R_j + (1 - q) log (1 - R_j) ] with R_j = P(k_j | t_j = 1), and its slope (m, S, k) in θ."""
        # P(y | t_j = 1) ∝ P(y) σ(θ_jy), and log P(y) rises with every θ_iy at the rate σ(θ_iy).
        share = softmax(np.log(np.maximum(marginal, FLOOR)) + log_expit(theta), axis=2)
        right = np.clip((share * self.support).sum(axis=2), FLOOR, 1 - FLOOR)
        q = self.guides
        value = (q * np.log(right) + (1 - q) * np.log1p(-right))[self.guided].sum()
        pull = np.where(self.support, (q / right)[:, :, None], ((1 - q) / (1 - right))[:, :, None]) - 1
        pull *= share * self.guided[:, :, None]
        return float(value), pull * expit(-theta) + expit(theta) * pull.sum(axis=(0, 1))


def _named(statistics: VoteStatistics, n_plain: int) -> tuple[Mask, Mask]:
    """(m, S) which symbols each source names, and for which of these it gives scores below 1."""
    counts = statistics.votes_for
    if not has_scores(statistics):
        return counts > 0, np.zeros(counts.shape, dtype=bool)
    by_bin = counts[:, n_plain:].reshape(len(counts), n_plain, SCORE_BINS)
    return np.any(by_bin > 0, axis=2), np.any(by_bin[:, :, :-1] > 0, axis=2)


def _with_silence(tables: Array) -> Array:
    """(m, S, k) → (m, k, S + 1): silence adds nothing."""
    return np.concatenate([tables.transpose(0, 2, 1), np.zeros((len(tables), tables.shape[2], 1))], axis=2)


def _beta_terms(means: Array, strengths: Array) -> tuple[Array, Array, Array]:
    """log Beta(s; r ρ, (1 - r) ρ) = first · log s + second · log (1 - s) + constant; all 0 where there are no scores."""
    a, b = means * strengths, (1 - means) * strengths
    first, second, constant = (np.where(np.isnan(means), 0.0, term) for term in (a - 1, b - 1, -betaln(a, b)))
    return first, second, constant


def _score_evidence(votes: Votes, first: Array, second: Array) -> Array:
    """(k, n) what the scores themselves, beside the constants of their densities, add to the log-score of each class."""
    matrix, (m, s, k) = votes.csr, first.shape
    columns = matrix.indices.astype(np.int64) * s + matrix.data - 1
    score = clipped(votes.stored_confidences)

    def summed(values: Array, terms: Array) -> Array:
        return sparse.csr_array((values, columns, matrix.indptr), shape=(votes.n_rows, m * s)) @ terms.reshape(m * s, k)

    return np.ascontiguousarray((summed(np.log(score), first) + summed(np.log1p(-score), second)).T)
