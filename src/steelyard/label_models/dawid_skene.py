"""DawidSkene: each source has a confusion matrix, learned together with the labels by expectation–maximisation.

Dawid and Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm", Applied Statistics 28 (1979).
"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import LabelModelError
from steelyard.label_models.base import FLOOR, LabelModel, starting_prior
from steelyard.label_models.posterior import VoteLookup, softmax_columns
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

_EM_BLOCK = 1 << 16


class DawidSkene(LabelModel):
    r"""Confusion matrices by EM, with a Dirichlet prior (MAP), gold labels and abstentions.

    The model: a row's class is drawn from ``p``; source j then says symbol l with probability ``θ_j[k, l]``, independently of the others.

    E-step: q_uk ∝ p_k Π_j θ_j[k, L_uj];  rows with a gold label keep it.
    M-step: p_k ∝ Σ_u c_u q_uk,  θ_j[k, l] ∝ Σ_u c_u q_uk [L_uj = l] + A_kl,
    over the distinct vote patterns u with their counts c_u, so an iteration costs the same for a thousand rows and a billion.

    Parameters
    ----------
    kind : {"full", "one-coin"}
        One confusion matrix per source, or a single accuracy per source with errors spread evenly.
    abstain : {"auto", "ignore", "model"}
        Whether abstaining says nothing about the class ("ignore"), or is one more symbol a source can say ("model"). "auto" models
        the silence of sources that never name some class: a keyword rule for SPAM speaks by firing or not, and with its silence
        ignored nothing is left to learn about it. A source that names every class is taken to be silent at random, as a crowd worker is.
    prior : (float, float) or None
        Pseudo-counts A_kl of votes that are compatible with the class and of those that are not, the mode of a Dirichlet(1 + A) prior.
        None is plain maximum likelihood.
    class_prior : (k,) float array, optional
        Fixed p; estimated when left out.
    max_iter : int
    tol : float
        Stop when the penalised log-likelihood per row gains less.

    Attributes
    ----------
    objective_ : (n_iter_,) float64
        Penalised log-likelihood per row before each M-step; never falls.

    Examples
    --------
    >>> from steelyard import Votes
    >>> votes = Votes([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]] * 5, classes=["no", "yes"])
    >>> DawidSkene().fit(votes).predict(votes[:4]).tolist()
    [0, 1, 0, 1]
    """

    def __init__(
        self,
        kind: Literal["full", "one-coin"] = "full",
        abstain: Literal["auto", "ignore", "model"] = "auto",
        prior: tuple[float, float] | None = (1.0, 0.0),
        class_prior: ArrayLike | None = None,
        max_iter: int = 200,
        tol: float = 1e-6,
    ) -> None:
        self.kind = kind
        self.abstain = abstain
        self.prior = prior
        self.class_prior = class_prior
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, statistics: VoteStatistics) -> None:
        self._check_parameters()
        patterns, counts = statistics.as_votes(), statistics.counts
        assert counts is not None
        if np.diff(patterns[:_EM_BLOCK].csr.indptr).max(initial=0) < 3 and np.diff(patterns.csr.indptr).max(initial=0) < 3:
            warnings.warn(
                "fewer than 3 sources vote on any row, so their confusions are not identified beyond the prior; prefer MajorityVote",
                stacklevel=4,
            )
        class_prior, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        estimate_prior = self.class_prior_source_ != "given"
        em = _PatternEM(patterns, counts, statistics.gold, class_prior)
        expected, class_mass = em.start()
        silence_rate = expected[:, :, -1].sum(axis=1) / statistics.n_rows
        silence_speaks = self._silence_speaks(expected, statistics.support)
        objective: list[float] = []
        self.converged_ = False
        while len(objective) < self.max_iter and not self.converged_:
            confusions = self._maximize(expected, silence_rate, silence_speaks, statistics.support)
            if estimate_prior:
                class_prior, self.class_prior_source_ = class_mass / class_mass.sum(), "estimated"
            penalty = self._log_prior_density(confusions, silence_rate, silence_speaks, statistics.support)
            log_likelihood, expected, class_mass = em.expect(np.log(np.maximum(confusions, FLOOR)), np.log(np.maximum(class_prior, FLOOR)))
            objective.append((log_likelihood + penalty) / statistics.n_rows)
            self.converged_ = len(objective) > 1 and objective[-1] - objective[-2] < self.tol
        self.n_iter_ = len(objective)
        self.objective_ = np.asarray(objective)
        self.log_likelihood_ = log_likelihood / statistics.n_rows
        self.confusions_, self.class_prior_ = confusions, class_prior

    def _check_parameters(self) -> None:
        if self.kind not in ("full", "one-coin"):
            raise LabelModelError(f"kind must be 'full' or 'one-coin', got '{self.kind}'")
        if self.abstain not in ("auto", "ignore", "model"):
            raise LabelModelError(f"abstain must be 'auto', 'ignore' or 'model', got '{self.abstain}'")
        if self.prior is not None and (len(self.prior) != 2 or min(self.prior) < 0):
            raise LabelModelError(f"prior must be two non-negative pseudo-counts (compatible, incompatible) or None, got {self.prior}")
        if self.max_iter < 1:
            raise LabelModelError(f"max_iter must be at least 1, got {self.max_iter}")

    def _pseudo_counts(self, support: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(k, S) Dirichlet pseudo-counts of votes for each symbol."""
        right, wrong = self.prior if self.prior is not None else (0.0, 0.0)
        return np.where(support.T, right, wrong)

    def _silence_speaks(self, expected: NDArray[np.float64], support: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(m,) whether abstaining is modelled as a symbol of the source."""
        if self.abstain != "auto":
            return np.full(len(expected), self.abstain == "model")
        named = (expected[:, :, :-1].sum(axis=1) > 0) @ support
        return ~named.all(axis=1)

    def _maximize(
        self,
        expected: NDArray[np.float64],
        silence_rate: NDArray[np.float64],
        silence_speaks: NDArray[np.bool_],
        support: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """(m, k, S + 1) expected counts → confusions that maximise the penalised likelihood."""
        votes = expected[:, :, :-1] + self._pseudo_counts(support)
        if self.kind == "one-coin":
            # One accuracy per source; a wrong vote falls evenly on the symbols that do not name the class, a right one on those that do.
            accuracy = (votes * support.T).sum(axis=(1, 2)) / np.maximum(votes.sum(axis=(1, 2)), FLOOR)
            right = support.T / np.maximum(support.T.sum(axis=1, keepdims=True), 1)
            wrong = ~support.T / np.maximum((~support.T).sum(axis=1, keepdims=True), 1)
            spoken = accuracy[:, None, None] * right + (1 - accuracy[:, None, None]) * wrong
        else:
            total = votes.sum(axis=2, keepdims=True)
            # A class under which the source never spoke tells nothing: it keeps the source's overall habits.
            overall = votes.sum(axis=1, keepdims=True) / np.maximum(votes.sum(axis=(1, 2), keepdims=True), FLOOR)
            spoken = np.where(total > FLOOR, votes / np.maximum(total, FLOOR), overall)
        silence = np.broadcast_to(silence_rate[:, None, None], (*spoken.shape[:2], 1))
        # One row's worth of the source's overall silence, so that a rare source does not prove a class by keeping quiet.
        modelled = (expected[:, :, -1:] + silence) / (expected.sum(axis=2, keepdims=True) + 1)
        silence = np.where(silence_speaks[:, None, None], modelled, silence)
        return np.concatenate([(1 - silence) * spoken, silence], axis=2)

    def _log_prior_density(
        self,
        confusions: NDArray[np.float64],
        silence_rate: NDArray[np.float64],
        silence_speaks: NDArray[np.bool_],
        support: NDArray[np.bool_],
    ) -> float:
        spoken = confusions[:, :, :-1] / np.maximum(1 - confusions[:, :, -1:], FLOOR)
        density = float((self._pseudo_counts(support) * np.log(np.maximum(spoken, FLOOR))).sum())
        silence, rate = confusions[silence_speaks, :, -1], silence_rate[silence_speaks, None]
        return density + float((rate * np.log(np.maximum(silence, FLOOR)) + (1 - rate) * np.log(np.maximum(1 - silence, FLOOR))).sum())


class _PatternEM:
    """Both steps of EM over the distinct patterns, a block at a time."""

    def __init__(self, patterns: Votes, counts: NDArray[np.int64], gold: NDArray[np.int64], class_prior: NDArray[np.float64]) -> None:
        self.start_prior = class_prior
        self.support = patterns.support
        cuts = [slice(start, start + _EM_BLOCK) for start in range(0, patterns.n_rows, _EM_BLOCK)]
        self.blocks = [(VoteLookup(patterns[cut]), counts[cut], gold[cut]) for cut in cuts]

    def start(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expected counts (m, k, S + 1) and class masses (k,) when the labels are the soft majority vote."""
        first, _, _ = self.blocks[0]
        tables = np.zeros((first.n_sources, len(self.start_prior), first.n_symbols + 1))
        tables[:, :, :-1] = self.support.T
        expected, masses = np.zeros_like(tables), np.zeros(len(self.start_prior))
        for lookup, counts, gold in self.blocks:
            share = lookup.scores(tables)
            total = share.sum(axis=0)
            share = _clamp(np.where(total > 0, share / np.maximum(total, 1), self.start_prior[:, None]), gold) * counts
            expected += lookup.counts(share)
            masses += share.sum(axis=1)
        return expected, masses

    def expect(self, tables: NDArray[np.float64], log_prior: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Log-likelihood, expected counts (m, k, S + 1) and class masses (k,) under the current parameters."""
        log_likelihood, expected, masses = 0.0, np.zeros_like(tables), np.zeros(len(log_prior))
        for lookup, counts, gold in self.blocks:
            scores = lookup.scores(tables)
            scores += log_prior[:, None]
            known = np.flatnonzero(gold >= 0)
            at_gold = scores[gold[known], known]
            evidence = softmax_columns(scores)
            evidence[known] = at_gold
            posterior = _clamp(scores, gold)
            posterior *= counts
            log_likelihood += float((counts * evidence).sum())
            expected += lookup.counts(posterior)
            masses += posterior.sum(axis=1)
        return log_likelihood, expected, masses


def _clamp(posterior: NDArray[np.float64], gold: NDArray[np.int64]) -> NDArray[np.float64]:
    known = np.flatnonzero(gold >= 0)
    if len(known):
        posterior[:, known] = 0.0
        posterior[gold[known], known] = 1.0
    return posterior
