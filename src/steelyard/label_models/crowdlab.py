"""CrowdLab: annotators and a classifier weighed together, with a quality score for every label and every annotator.

Goh, Tkachenko and Mueller, "CROWDLAB: Supervised learning to infer consensus labels and quality scores for data with multiple
annotators", 2022. Beside the label models, because it needs more than votes: the out-of-sample probabilities of any classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from steelyard.errors import LabelModelError
from steelyard.label_models.base import as_votes
from steelyard.targets import Targets
from steelyard.vote_statistics import checked_gold
from steelyard.votes import Votes

Floats = NDArray[np.float64]

_LEAST = 1e-6


class CrowdLab(BaseEstimator):
    r"""Weighted mean of what the classifier and each annotator say about a row.

    P(k | row i) = [w_M p_M(k | x_i) + Σ_j w_j (P if L_ij = k else (1 - P) / (K - 1))] / [w_M + Σ_j w_j], summed over those who
    voted on row i, with

    - P the mean share of annotators who agree with the consensus, over rows with more than one vote;
    - w_j = 1 - (1 - A_j) / E, where A_j is how often annotator j agrees with another annotator of the same row (if he never
      meets one, the mean of the others);
    - w_M = [1 - (1 - A_M) / E] · √(mean votes per row), where A_M is the accuracy of the classifier against the consensus;
    - E the error of always naming the most common class, against the consensus; weights are at least 1e-6.

    The consensus starts as the majority vote (ties go to the class that the classifier prefers, then to the class named less often,
    then to the lowest index), is replaced once by the most probable class under the formula, and everything is computed again.

    Attributes
    ----------
    classes_, sources_ : tuple of str
    consensus_ : (n,) int64
        Best label of every row fitted on.
    probabilities_ : (n, K) float64
        P(k | row i) under the last weights, rows sum to 1; on a few rows its maximum is no longer the consensus it was computed from.
    quality_ : (n,) float64
        Probability of the consensus label, in [0, 1]: the rows to look at are those where it is lowest.
    vote_quality_ : (number of votes,) float64
        Probability of the label that each single vote gave, in the order of ``votes.csr``.
    weights_ : (m,) float64
        w_j.
    model_weight_ : float
        w_M.
    consensus_rate_ : float
        P.
    annotator_quality_ : (m,) float64
        v q_j + (1 - v) a_j: q_j the mean quality of the labels j gave, a_j its agreement with the consensus on rows with more than one
        vote, v = w_M / (w_M + mean votes per row · mean w_j). NaN for an annotator without any such row.

    Examples
    --------
    >>> votes = Votes([[0, 0, 1], [1, 1, -1], [0, 1, -1], [1, 1, 1]], classes=["cat", "dog"], sources=["Ann", "Bo", "Cy"])
    >>> classifier = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9]]
    >>> model = CrowdLab().fit(votes, classifier)
    >>> model.consensus_.tolist(), int(model.quality_.argmin())
    ([0, 1, 0, 1], 2)
    """

    def fit(self, votes: Votes | ArrayLike, pred_probs: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Weigh annotators and classifier.

        Parameters
        ----------
        votes : Votes or (n, m) int array
            -1 = no label. Rows without any vote get the classifier's probabilities and tell nothing about weights.
        pred_probs : (n, K) float array
            The classifier's probabilities, each row predicted by a model that was not trained on it.
        y : (n,) int array, optional
            Gold labels, -1 = unknown. A known row has its gold label as consensus, with quality 1, and there the gold label counts as
            one more annotator to agree with.

        Raises
        ------
        LabelModelError
            When shapes do not fit, there are fewer than two classes, votes name parents, or no row has two votes.
        """
        checked = as_votes(votes)
        _check(checked)
        model = checked_probabilities(pred_probs, checked.n_rows, checked.n_classes)
        gold = checked_gold(y, checked.n_rows, checked.n_classes)
        cells = _Cells.of(checked)
        several = cells.per_row > 1
        if not several.any():
            raise LabelModelError("no row has two votes, so nothing shows how annotators agree; with one label per row use `label_issues`")
        agreement = _agreement_with_others(cells, gold, checked.n_sources)
        majority = _majority_vote(cells, model)
        self.classes_, self.sources_ = checked.classes, checked.sources

        consensus = np.where(gold >= 0, gold, majority)
        self._weigh(cells, model, consensus, agreement, several)
        posterior = self._posterior(cells, model)
        best = posterior.argmax(axis=1)
        alone = (posterior == posterior.max(axis=1, keepdims=True)).sum(axis=1) == 1
        self.consensus_ = np.where(gold >= 0, gold, np.where(alone, best, majority))

        self._weigh(cells, model, self.consensus_, agreement, several)
        self.probabilities_ = self._posterior(cells, model)
        self.probabilities_[gold >= 0] = np.eye(checked.n_classes)[gold[gold >= 0]]
        self.quality_ = self.probabilities_[np.arange(checked.n_rows), self.consensus_]
        self.vote_quality_ = self.probabilities_[cells.row, cells.label]
        self.annotator_quality_ = self._annotator_quality(cells, several)
        self._votes_given = np.bincount(cells.source, minlength=checked.n_sources)
        self._agreement_with_consensus = _mean_by(cells.source, cells.label == self.consensus_[cells.row], checked.n_sources)
        return self

    def predict_proba(self, votes: Votes | ArrayLike, pred_probs: ArrayLike) -> NDArray[np.float32]:
        """P(k | row), (n, K) float32, for votes of the same annotators on any rows, with the weights that were fitted."""
        if not hasattr(self, "weights_"):
            raise LabelModelError("this CrowdLab is not fitted yet; call `fit` first")
        checked = votes if isinstance(votes, Votes) else Votes(votes, classes=self.classes_, sources=self.sources_)
        if (checked.sources, checked.symbols) != (self.sources_, self.classes_):
            raise LabelModelError("votes do not match the annotators and classes that CrowdLab was fitted on")
        model = checked_probabilities(pred_probs, checked.n_rows, checked.n_classes)
        return self._posterior(_Cells.of(checked), model).astype(np.float32)

    def targets(self) -> Targets:
        """The rows fitted on as probabilistic labels for a student."""
        return Targets(self.probabilities_, classes=self.classes_)

    def annotators(self) -> pl.DataFrame:
        """One row per annotator, worst first: ``annotator``, ``quality``, ``agreement`` (with the consensus), ``weight``, ``labels``."""
        table = pl.DataFrame(
            {
                "annotator": self.sources_,
                "quality": self.annotator_quality_,
                "agreement": self._agreement_with_consensus,
                "weight": self.weights_,
                "labels": self._votes_given,
            }
        )
        return table.with_columns(pl.col("quality", "agreement").fill_nan(None)).sort("quality", "agreement", nulls_last=True)

    def _weigh(self, cells: _Cells, model: Floats, consensus: NDArray[np.int64], agreement: Floats, several: NDArray[np.bool_]) -> None:
        counted = consensus[several]
        error_of_guessing = max(float((counted != np.bincount(counted).argmax()).mean()), _LEAST)
        error_of_model = float((model[several].argmax(axis=1) != counted).mean())
        self.consensus_rate_ = float((cells.counts[several, counted] / cells.per_row[several]).mean())
        self.weights_ = np.maximum(1 - (1 - agreement) / error_of_guessing, _LEAST)
        self._votes_per_row = float(cells.per_row[cells.per_row > 0].mean())
        self.model_weight_ = max(1 - error_of_model / error_of_guessing, _LEAST) * float(np.sqrt(self._votes_per_row))

    def _posterior(self, cells: _Cells, model: Floats) -> Floats:
        n, k = model.shape
        right, wrong = self.consensus_rate_, (1 - self.consensus_rate_) / (k - 1)
        weight = self.weights_[cells.source]
        named = np.bincount(cells.row * k + cells.label, weight, n * k).reshape(n, k)
        total = named.sum(axis=1, keepdims=True)
        return np.asarray((self.model_weight_ * model + wrong * total + (right - wrong) * named) / (self.model_weight_ + total))

    def _annotator_quality(self, cells: _Cells, several: NDArray[np.bool_]) -> Floats:
        m = len(self.weights_)
        shared = several[cells.row]
        agrees = (cells.label == self.consensus_[cells.row])[shared]
        share = self.model_weight_ / (self.model_weight_ + self._votes_per_row * self.weights_.mean())
        return share * _mean_by(cells.source, self.vote_quality_, m) + (1 - share) * _mean_by(cells.source[shared], agrees, m)


@dataclass(frozen=True)
class _Cells:
    """The votes one by one: (row, source, label), how many votes each row has (n,) and how many name each class (n, K)."""

    row: NDArray[np.int64]
    source: NDArray[np.int64]
    label: NDArray[np.int64]
    per_row: NDArray[np.int64]
    counts: NDArray[np.int64]

    @staticmethod
    def of(votes: Votes) -> _Cells:
        n, k, matrix = votes.n_rows, votes.n_classes, votes.csr
        per_row = np.diff(matrix.indptr).astype(np.int64)
        row, label = np.repeat(np.arange(n), per_row), matrix.data.astype(np.int64) - 1
        return _Cells(row, matrix.indices.astype(np.int64), label, per_row, np.bincount(row * k + label, minlength=n * k).reshape(n, k))


def _agreement_with_others(cells: _Cells, gold: NDArray[np.int64], m: int) -> Floats:
    """(m,) how often a vote agrees with another vote, or a gold label, on the same row."""
    known = gold[cells.row]
    same = cells.counts[cells.row, cells.label] - 1 + (known == cells.label)
    others = cells.per_row[cells.row] - 1 + (known >= 0)
    met = np.bincount(cells.source, others, m)
    agreement = np.bincount(cells.source, same, m) / np.where(met > 0, met, np.nan)
    return np.where(met > 0, agreement, np.nanmean(agreement))


def _majority_vote(cells: _Cells, model: Floats) -> NDArray[np.int64]:
    candidates = cells.counts == cells.counts.max(axis=1, keepdims=True)
    preferred = np.where(candidates, model, -1.0)
    candidates &= preferred == preferred.max(axis=1, keepdims=True)
    return np.where(candidates, cells.counts.sum(axis=0), np.inf).argmin(axis=1)


def _mean_by(group: NDArray[np.int64], values: NDArray[np.float64] | NDArray[np.bool_], n_groups: int) -> Floats:
    size = np.bincount(group, minlength=n_groups)
    return np.asarray(np.bincount(group, values, n_groups) / np.where(size > 0, size, np.nan))


def _check(votes: Votes) -> None:
    if votes.parents:
        raise LabelModelError(f"votes for the parent '{votes.parents[0]}' have no place in CrowdLab; use classes of one level only")
    if votes.n_classes < 2:
        raise LabelModelError("CrowdLab needs at least two classes")


def checked_probabilities(pred_probs: ArrayLike, n: int, k: int) -> Floats:
    """A classifier's probabilities (n, k) as float64 rows that sum to 1, else `LabelModelError`."""
    probabilities = np.asarray(pred_probs, dtype=np.float64)
    if probabilities.shape != (n, k):
        raise LabelModelError(f"pred_probs has shape {probabilities.shape}; give one probability per row and class, ({n}, {k})")
    bad = ~np.isfinite(probabilities).all(axis=1) | (probabilities < 0).any(axis=1) | (np.abs(probabilities.sum(axis=1) - 1) > 1e-3)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise LabelModelError(f"row {row} of pred_probs is no distribution: {probabilities[row].tolist()}; rows must sum to 1")
    return probabilities
