"""DawidSkene: each source has a confusion matrix, learned together with the labels by expectation–maximisation.

Dawid and Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm", Applied Statistics 28 (1979).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import LabelModelError
from steelyard.label_models.alphabet import Alphabet
from steelyard.label_models.base import FLOOR, LabelModel, starting_prior
from steelyard.label_models.pattern_em import PatternEM, warn_without_three_votes
from steelyard.vote_statistics import VoteStatistics


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
        Pseudo-counts A_kl of votes that are compatible with the class and of those that are not, the mode of a Dirichlet(1 + A) prior;
        where silence is modelled, one row of the source's usual silence per class comes with them. None is plain maximum likelihood.
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
        warn_without_three_votes(statistics, "DawidSkene")
        class_prior, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        estimate_prior = self.class_prior_source_ != "given"
        letters = Alphabet(statistics)
        em = PatternEM(statistics, class_prior, letters)
        expected, class_mass = em.start()
        silence_rate = expected[:, :, -1].sum(axis=1) / statistics.n_rows
        silence_speaks = self._silence_speaks(statistics)
        objective: list[float] = []
        self.converged_ = False
        while len(objective) < self.max_iter and not self.converged_:
            confusions = self._maximize(expected, silence_rate, silence_speaks, letters)
            if estimate_prior:
                class_prior, self.class_prior_source_ = class_mass / class_mass.sum(), "estimated"
            penalty = self._log_prior_density(confusions, silence_rate, silence_speaks, letters)
            # Nobody says the unsaid: the rows need the tables of real letters and of silence only.
            tables = np.log(np.maximum(np.delete(confusions, [-3, -2], axis=2), FLOOR))
            log_likelihood, expected, class_mass = em.expect(tables, np.log(np.maximum(class_prior, FLOOR)))
            objective.append((log_likelihood + penalty) / statistics.n_rows)
            self.converged_ = len(objective) > 1 and objective[-1] - objective[-2] < self.tol
        self.n_iter_ = len(objective)
        self.objective_ = np.asarray(objective)
        self.log_likelihood_ = log_likelihood / statistics.n_rows
        self.confusions_, self.class_prior_ = letters.widen(confusions), class_prior

    def _check_parameters(self) -> None:
        if self.kind not in ("full", "one-coin"):
            raise LabelModelError(f"kind must be 'full' or 'one-coin', got '{self.kind}'")
        if self.abstain not in ("auto", "ignore", "model"):
            raise LabelModelError(f"abstain must be 'auto', 'ignore' or 'model', got '{self.abstain}'")
        if self.prior is not None and (len(self.prior) != 2 or min(self.prior) < 0):
            raise LabelModelError(f"prior must be two non-negative pseudo-counts (compatible, incompatible) or None, got {self.prior}")
        if self.max_iter < 1:
            raise LabelModelError(f"max_iter must be at least 1, got {self.max_iter}")

    def _pseudo_counts(self, letters: Alphabet) -> NDArray[np.float64]:
        """(m, k, L + 2) Dirichlet pseudo-counts of votes for each letter."""
        right, wrong = self.prior if self.prior is not None else (0.0, 0.0)
        return letters.size * np.where(letters.support, right, wrong)

    def _silence_belief(self) -> float:
        """One row's worth of the source's overall silence, so that a rare source does not prove a class by keeping quiet."""
        return FLOOR if self.prior is None else 1.0

    def _silence_speaks(self, statistics: VoteStatistics) -> NDArray[np.bool_]:
        """(m,) whether abstaining is modelled as a symbol of the source."""
        if self.abstain != "auto":
            return np.full(statistics.n_sources, self.abstain == "model")
        named = (statistics.votes_for > 0) @ statistics.support
        return np.asarray(~named.all(axis=1))

    def _maximize(
        self, expected: NDArray[np.float64], silence_rate: NDArray[np.float64], silence_speaks: NDArray[np.bool_], letters: Alphabet
    ) -> NDArray[np.float64]:
        """(m, k, L + 1) expected counts → confusions (m, k, L + 3) that maximise the penalised likelihood."""
        votes = self._pseudo_counts(letters)
        votes[:, :, :-2] += expected[:, :, :-1]
        if self.kind == "one-coin":
            # One accuracy per source; a wrong vote falls evenly on the symbols that do not name the class, a right one on those that do.
            accuracy = (votes * letters.support).sum(axis=(1, 2)) / np.maximum(votes.sum(axis=(1, 2)), FLOOR)
            right, wrong = letters.size * letters.support, letters.size * ~letters.support
            right /= np.maximum(right.sum(axis=2, keepdims=True), 1)
            wrong /= np.maximum(wrong.sum(axis=2, keepdims=True), 1)
            spoken = accuracy[:, None, None] * right + (1 - accuracy[:, None, None]) * wrong
        else:
            total = votes.sum(axis=2, keepdims=True)
            # A class under which the source never spoke tells nothing: it keeps the source's overall habits.
            overall = votes.sum(axis=1, keepdims=True) / np.maximum(votes.sum(axis=(1, 2), keepdims=True), FLOOR)
            spoken = np.where(total > FLOOR, votes / np.maximum(total, FLOOR), overall)
        silence = np.broadcast_to(silence_rate[:, None, None], (*spoken.shape[:2], 1))
        believed = self._silence_belief()
        modelled = (expected[:, :, -1:] + believed * silence) / (expected.sum(axis=2, keepdims=True) + believed)
        silence = np.where(silence_speaks[:, None, None], modelled, silence)
        return np.concatenate([(1 - silence) * spoken, silence], axis=2)

    def _log_prior_density(
        self, confusions: NDArray[np.float64], silence_rate: NDArray[np.float64], silence_speaks: NDArray[np.bool_], letters: Alphabet
    ) -> float:
        spoken = confusions[:, :, :-1] / np.maximum(1 - confusions[:, :, -1:], FLOOR)
        # Unsaid symbols share their letter's probability evenly.
        one = spoken / np.maximum(letters.size, 1)
        density = float((self._pseudo_counts(letters) * np.log(np.maximum(one, FLOOR))).sum())
        silence, rate = confusions[silence_speaks, :, -1], silence_rate[silence_speaks, None]
        usual = float((rate * np.log(np.maximum(silence, FLOOR)) + (1 - rate) * np.log(np.maximum(1 - silence, FLOOR))).sum())
        return density + self._silence_belief() * usual
