"""GLAD: every source has an ability and every row a difficulty, and a vote is right with a chance that depends on both.

Whitehill, Ruvolo, Wu, Bergsma, Movellan, "Whose Vote Should Count More: Optimal Integration of Labels from Labelers of Unknown Expertise",
NIPS (2009).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import expit

from steelyard.errors import LabelModelError
from steelyard.label_models.base import FLOOR, LabelModel, starting_prior
from steelyard.label_models.one_coin import not_below_chance
from steelyard.label_models.pattern_em import EM_BLOCK, rule_out_other_classes, warn_without_three_votes
from steelyard.label_models.posterior import softmax_columns
from steelyard.row_blocks import in_row_blocks
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

Array = NDArray[np.float64]
_MOST_CELLS_AT_ONCE = 1 << 24
_MOST_STEPS = 200
_SMALLEST_STEP = 1e-6


class GLAD(LabelModel):
    r"""Abilities α_j of sources and difficulties 1/β of rows, by EM; P(vote of j is right) = σ(α_j β), with log β ~ N(1, 1), α_j ~ N(1, 1).

    σ(x) = 1 / (1 + e^{-x}): on a hopeless row (β → 0) every source flips a coin, on an easy one the able are all right; a source with
    α < 0 is worse than a coin. Wrong votes fall evenly on the symbols that do not name the class, right ones on those that do. Rows with
    the same votes have the same objective, hence the same β: there are as many as distinct vote patterns u, with counts c_u.

    E-step: q_uk ∝ p_k Π_j σ(α_j β_u)^{[L_uj = k]} ((1 - σ(α_j β_u)) / (K - 1))^{[L_uj ≠ k]};  rows with a gold label keep it.
    M-step: with r_uj = P(vote right) under q, a Newton step in every b_u = log β_u and every α_j along the gradients
    Σ_j (r_uj - σ_uj) α_j β_u - (b_u - 1)  and  Σ_u c_u (r_uj - σ_uj) β_u - (α_j - 1), cut short where it would overshoot. (These are the
    gradients of the likelihood itself, too; b_u takes its curvature from there.)

    Parameters
    ----------
    class_prior : (k,) float array, optional
        Otherwise from gold labels (at least ten per class), else from how often sources name each class.
    max_iter : int
    tol : float
        Stop when the penalised log-likelihood per row gains less.

    Attributes
    ----------
    abilities_ : (m,) float64
        α_j.
    voted_prior_ : (k,) float64
        p, the prior of rows with votes: `class_prior_` where it is given or from gold labels, else uniform as published.
    objective_ : (n_iter_,) float64
        Penalised log-likelihood per row before each M-step; never falls.

    Notes
    -----
    Who abstains says nothing; a row without votes gets the class prior. A source that only ever names one class keeps α_j ≥ 0,
    unless gold labels on its own votes tell otherwise. `confusions_` hold each source's mean chance of being right on the
    rows it voted on. A row not seen in fitting gets the difficulty that suits its votes best, given the abilities. Since every row brings
    its own β, abilities keep a bias that only more votes per row remove, not more rows; their order is what to rely on.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 2000)
    >>> codes = np.where(rng.random((2000, 4)) < [0.95, 0.8, 0.6, 0.4], truth[:, None], 1 - truth[:, None])
    >>> model = GLAD().fit(Votes(codes, classes=["no", "yes"]))
    >>> np.argsort(-model.abilities_).tolist()
    [0, 1, 2, 3]
    >>> model.difficulties([[0, 0, 0, 1], [0, 1, 0, 1]]).round(2).tolist()
    [0.2, 0.72]
    """

    def __init__(self, class_prior: ArrayLike | None = None, max_iter: int = 500, tol: float = 1e-6) -> None:
        self.class_prior = class_prior
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, statistics: VoteStatistics) -> None:
        if self.max_iter < 1:
            raise LabelModelError(f"max_iter must be at least 1, got {self.max_iter}")
        warn_without_three_votes(statistics, "GLAD")
        self.class_prior_, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        k = statistics.n_classes
        prior = self.voted_prior_ = np.full(k, 1 / k) if self.class_prior_source_ == "votes" else self.class_prior_
        patterns, counts = statistics.as_votes(), statistics.counts
        assert counts is not None
        cuts = [slice(start, start + EM_BLOCK) for start in range(0, patterns.n_rows, EM_BLOCK)]
        blocks = [(_Rows(patterns.take(cut), statistics.gold[cut]), counts[cut].astype(np.float64)) for cut in cuts]
        abilities = np.ones(statistics.n_sources)
        lowest = np.where(not_below_chance(statistics), 0.0, -np.inf)
        objective: list[float] = []
        self.converged_ = False
        while len(objective) < self.max_iter and not self.converged_:
            log_likelihood, log_density = 0.0, -float(((abilities - 1) ** 2).sum()) / 2
            slope, curvature, steepest = 1 - abilities, np.ones(len(abilities)), 0.0
            for rows, count in blocks:
                rows.move_easiness(abilities, prior)
                evidence, posterior, _ = rows.expect(abilities, prior, rows.log_easiness)
                log_likelihood += float(count @ evidence)
                log_density -= float(count @ (rows.log_easiness - 1) ** 2) / 2
                first, second, largest = rows.ability_slope(abilities, posterior, count)
                slope, curvature, steepest = slope + first, curvature + second, max(steepest, largest)
            objective.append((log_likelihood + log_density) / statistics.n_rows)
            self.converged_ = len(objective) > 1 and objective[-1] - objective[-2] < self.tol
            if not self.converged_:
                abilities = np.maximum(abilities + _short_of_overshooting(slope / curvature, steepest), lowest)
        self.abilities_ = abilities
        self.n_iter_ = len(objective)
        self.objective_ = np.asarray(objective)
        self.log_likelihood_ = log_likelihood / statistics.n_rows
        self.confusions_ = _confusions(statistics, np.sum([rows.sureness(abilities, count) for rows, count in blocks], axis=0))

    def difficulties(self, votes: Votes | ArrayLike) -> Array:
        """1 / β (n,) of rows, seen in fitting or not; where nobody votes it is the prior's, e⁻¹."""
        return np.exp(-self._settle(self._checked(votes))[1])

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        posterior = self._settle(votes)[0]
        posterior[~votes.coverage] = self.class_prior_
        return posterior

    def _settle(self, votes: Votes) -> tuple[NDArray[np.float32], Array]:
        """Posterior (n, k) and log β (n,) of rows with abilities held fixed, on the distinct rows of each block."""
        posterior = np.empty((votes.n_classes, votes.n_rows), dtype=np.float32).T
        log_easiness = np.empty(votes.n_rows)

        def settle(start: int, stop: int) -> None:
            part = votes.take(slice(start, stop))
            first, of_row = _distinct(part.codes, len(votes.support))
            rows = _Rows(part.take(first))
            by_pattern = rows.settle(self.abilities_, self.voted_prior_)
            posterior[start:stop] = by_pattern.T[of_row]
            log_easiness[start:stop] = rows.log_easiness[of_row]

        in_row_blocks(settle, votes.n_rows, size=max(1, min(EM_BLOCK, _MOST_CELLS_AT_ONCE // votes.n_sources)))
        return posterior, log_easiness


class _Rows:
    """Distinct rows of votes, one entry per vote, with b = log β of each row."""

    def __init__(self, votes: Votes, gold: NDArray[np.signedinteger[Any]] | None = None) -> None:
        matrix = votes.csr
        self.n_rows, self.n_sources = votes.shape
        self.gold = np.full(self.n_rows, -1) if gold is None else gold
        self.log_easiness = np.ones(self.n_rows)
        self.row = np.repeat(np.arange(self.n_rows), np.diff(matrix.indptr))
        self.source = matrix.indices
        self.cell = (matrix.data.astype(np.intp) - 1) * self.n_rows + self.row
        # Sparse not for size: a dense product would wake BLAS threads at every step.
        self.names = sparse.csr_array(votes.support.T.astype(np.float64))
        right, wrong = votes.support.sum(axis=0), (~votes.support).sum(axis=0)
        said = self._by_symbol(np.ones(len(self.row)))
        # A right vote may be any symbol that names the class, a wrong one any other.
        said_for = self.names @ said
        self.spread = -np.log(right)[:, None] * said_for - np.log(np.maximum(wrong, 1))[:, None] * (said.sum(axis=0) - said_for)

    def expect(self, abilities: Array, prior: Array, log_easiness: Array) -> tuple[Array, Array, Array]:
        """Log-likelihood (n,), posterior (k, n), and the log-odds that speak for each class (k, n)."""
        odds = self._log_odds(abilities, log_easiness)
        # log σ(x) = x + log(1 - σ(x)): a right vote adds its log-odds to the classes it names.
        named = np.asarray(self.names @ self._by_symbol(odds))
        scores = np.log(np.maximum(prior, FLOOR))[:, None] + self.spread + named
        rule_out_other_classes(scores[:, None], self.gold)
        return softmax_columns(scores) - self._by_row(np.logaddexp(0, odds)), scores, named

    def move_easiness(self, abilities: Array, prior: Array) -> float:
        """One Newton step in every b, halved as long as it would lose; returns the largest."""
        b = self.log_easiness
        odds = self._log_odds(abilities, b)
        sure = expit(odds)
        evidence, posterior, named = self.expect(abilities, prior, b)
        expected = (posterior * named).sum(axis=0)
        slope = expected - self._by_row(sure * odds) - (b - 1)
        # -d slope / db, in which the posterior moves with b by its variance.
        curvature = self._by_row(sure * odds * (1 + (1 - sure) * odds)) - expected - ((named - expected) ** 2 * posterior).sum(axis=0) + 1
        step = np.clip(slope / np.maximum(curvature, 0.1), -1, 1)
        before = evidence - (b - 1) ** 2 / 2
        while (worse := self.expect(abilities, prior, b + step)[0] - (b + step - 1) ** 2 / 2 < before).any():
            step[worse] = np.where(np.abs(step[worse]) > _SMALLEST_STEP, step[worse] / 2, 0)
        self.log_easiness = b + step
        return float(np.abs(step).max(initial=0))

    def ability_slope(self, abilities: Array, posterior: Array, count: Array) -> tuple[Array, Array, float]:
        """First derivative and curvature (m,) of the expected log-likelihood in every ability, and the largest β."""
        easiness = np.exp(self.log_easiness)
        sure = expit(self._log_odds(abilities, self.log_easiness))
        right = np.asarray(self.names.T @ posterior).ravel()[self.cell]
        weight = (count * easiness)[self.row]
        slope = self._by_source(weight * (right - sure))
        curvature = self._by_source(weight * easiness[self.row] * sure * (1 - sure))
        return slope, curvature, float(easiness.max(initial=0))

    def settle(self, abilities: Array, prior: Array) -> Array:
        """The posterior (k, n) at the difficulties that suit these rows best."""
        for _ in range(_MOST_STEPS):
            if self.move_easiness(abilities, prior) < _SMALLEST_STEP:
                break
        return self.expect(abilities, prior, self.log_easiness)[1]

    def sureness(self, abilities: Array, count: Array) -> Array:
        """(m,) how many votes of each source are expected to be right."""
        sure = expit(self._log_odds(abilities, self.log_easiness))
        return self._by_source(count[self.row] * sure)

    def _log_odds(self, abilities: Array, log_easiness: Array) -> Array:
        return np.asarray(abilities[self.source] * np.exp(log_easiness)[self.row])

    def _by_row(self, values: Array) -> Array:
        return _sums(self.row, values, self.n_rows)

    def _by_source(self, values: Array) -> Array:
        return _sums(self.source, values, self.n_sources)

    def _by_symbol(self, values: Array) -> Array:
        return _sums(self.cell, values, self.n_rows * self.names.shape[1]).reshape(-1, self.n_rows)


def _sums(index: NDArray[Any], values: Array, size: int) -> Array:
    return np.asarray(np.bincount(index, values, size), dtype=np.float64)


def _short_of_overshooting(newton: Array, steepest: float) -> Array:
    """Steps that cannot pass the maximum.

    The curvature of Σ log σ(±α β) changes by a factor of at most exp(β_max |Δα|) over a step Δα, so that a Newton step s may go
    log(1 + β_max |s|) / β_max far; near the maximum that is s itself.
    """
    return np.asarray(np.sign(newton) * np.log1p(steepest * np.abs(newton)) / steepest)


def _confusions(statistics: VoteStatistics, right: Array) -> Array:
    """(m, k, S + 1) when this many votes of each source are right, on average over difficulties."""
    said = statistics.votes_for.sum(axis=1)
    accuracy = np.divide(right, said, out=np.full(len(said), 0.5), where=said > 0)[:, None, None]
    names = statistics.support.T / statistics.support.T.sum(axis=1, keepdims=True)
    others = ~statistics.support.T / np.maximum((~statistics.support.T).sum(axis=1, keepdims=True), 1)
    spoken = accuracy * names + (1 - accuracy) * others
    spoken /= spoken.sum(axis=2, keepdims=True)
    rate = (said / statistics.n_rows)[:, None, None]
    return np.concatenate([rate * spoken, np.broadcast_to(1 - rate, (*spoken.shape[:2], 1))], axis=2)


def _distinct(codes: NDArray[np.signedinteger[Any]], n_symbols: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where each distinct row of codes (n, m) stands first, and which of these every row equals (n,)."""
    number, most = np.zeros(len(codes), dtype=np.int64), 1
    for column in codes.T:
        if most > np.iinfo(np.int64).max // (n_symbols + 1):
            number, most = np.unique(number, return_inverse=True)[1], len(codes)
        number = number * (n_symbols + 1) + column + 1
        most *= n_symbols + 1
    _, first, of_row = np.unique(number, return_index=True, return_inverse=True)
    return first, of_row
