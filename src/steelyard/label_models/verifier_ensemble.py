"""VerifierEnsemble: weigh many imperfect scorers of candidate answers without labels, then pick one answer per query (Weaver).

Saad-Falcon et al. 2025, "Shrinking the Generation-Verification Gap with Weak Verifiers". Thresholds by the class-balance quantile, the
class balance from third moments in closed form and the guard against dependent verifiers are our own.
"""

from __future__ import annotations

import os
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from steelyard.errors import LabelModelError
from steelyard.label_models import verifier_steps as steps
from steelyard.label_models.dependencies import Dependency
from steelyard.label_models.verifier_clusters import NeighbourRates, QueryClusters, query_means
from steelyard.label_models.verifier_habits import (
    NEAR_COPY,
    DependentVerifiers,
    GuardedEnsemble,
    dependent_verifiers,
    doubt,
    representatives,
    warn_guarded,
)
from steelyard.label_models.verifier_options import Dependencies, Keep, Missing, Model, Per, Scale, Strategy, check_options
from steelyard.label_models.verifier_rates import VerifierRates
from steelyard.label_models.verifier_steps import LOWEST
from steelyard.score_scales import ScoreScale, scaled_within, votes_above, votes_within
from steelyard.verifier_scores import MAJORITY, VerifierScores

__all__ = ["DependentVerifiers", "GuardedEnsemble", "VerifierEnsemble"]

Floats = NDArray[np.float64]
_LEAST_ROWS = 10


class VerifierEnsemble(BaseEstimator):
    """P(a response is right | what the verifiers say), learned from their agreement.

    Steps, in this order: scores are brought to [0, 1] per verifier, thresholded to votes, verifiers filtered by how often they say yes,
    dependent ones found, and a label model with one rate per class, TPR = P(yes | right) and FPR = P(yes | wrong), fitted to all (query,
    response) rows; log P(right | v) = log p + Σ_j log P(v_j | right) - log Σ_y p_y Π_j P(v_j | y). One response is taken per query.

    Parameters
    ----------
    scale : {"range", "quantile", "winsorize", "query"}
        As in `ScoreScale`, or by the range within each query. Scores in [0, 1] are left alone by "range".
    threshold : "class-balance" or float in (0, 1)
        Every continuous verifier says yes as often as responses are right, or one threshold for all.
    per : {"dataset", "cluster", "query"}
        Whose scores the quantile is taken of: all, those of each cluster of the strategy, or those of each query.
    keep : {"adaptive", "all", "small", "large", "none"}
        Filter by the share μ of yes: .1 < μ < .9; μ > .5; μ < .5; no filter. Adaptive: "large" where responses are right on less than a
        fifth, "small" on more than four fifths, else "all".
    dependencies : {"drop", "model", "none"}
        What is done about the pairs that `learn_dependencies` finds: of near-copies (residual correlation of `NEAR_COPY` or more) one
        stays; all stay and `MeTaL` models the pairs; or nothing, not even looking.
    label_model : {"dawid-skene", "metal", "triplet", "continuous"}
        The last weighs scores instead of votes: w = Σ⁻¹ Cov(s, y).
    majority : bool
        Add answer frequency as a verifier, where there are answers.
    guard : bool
        Fall back where fewer than three verifiers tell right from wrong (TPR - FPR ≥ .1), or where the majority verifier, whose link to
        correctness is the one thing known beforehand, is not among them: a shared habit, such as length, was then taken for the class.
    strategy : {"dataset", "difficulty", "embedding", "random", "nearest"}
        One model for all queries, one per cluster as in `QueryClusters`, or one per query from its `neighbours` nearest.
    missing : {"zero", "query-mean"}
        What stands for a missing score. A missing score never votes yes.
    neighbours : int
        Queries per model of "nearest", by the Euclidean distance of mean scaled scores.
    clusters, encoder, seed
        As in `QueryClusters`.
    soft : bool
        Among responses with equal votes the weighted mean score decides, in `predict_proba` too; else the plain mean, in `select` only.

    Attributes
    ----------
    verifiers_ : polars.DataFrame
        One row per verifier: name, kept, why (it was left out), yes (share), threshold, tpr, fpr, weight (log odds ratio of a yes).
    class_balance_, class_balance_source_ : float, str
        P(a response is right) and where it comes from: given, labels or estimate.
    labels_used_ : int
        Labels that the fit looked at.
    dependencies_ : list of Dependency
    guard_ : str
        Why the fitted weights are not used; empty when they are. Then the majority decides and, where a habit was found, the first of
        equals, so that the choice is that of a plain majority vote; without answers the mean decides.

    Raises
    ------
    LabelModelError
        From `fit`: the class balance is unknown, or no verifier ever varies.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> right = rng.random((500, 4)) < 0.4
    >>> noise = np.array([0.5, 0.7, 0.9, 1.1, 9.0])
    >>> scores = right[:, :, None] + noise * rng.normal(size=(500, 4, 5))
    >>> weaver = VerifierEnsemble().fit(scores, class_balance=0.4)
    >>> weights = weaver.verifiers_["weight"].to_list()
    >>> weights[0] > weights[1] > weights[2] > weights[3] > weights[4]
    True
    >>> best = weaver.select(scores)
    >>> bool(right[np.arange(500), best].mean() > 0.75)
    True
    """

    def __init__(
        self,
        scale: Scale = "range",
        threshold: float | Literal["class-balance"] = "class-balance",
        keep: Keep = "adaptive",
        dependencies: Dependencies = "drop",
        label_model: Model = "dawid-skene",
        majority: bool = True,
        guard: bool = True,
        strategy: Strategy = "dataset",
        missing: Missing = "zero",
        neighbours: int = 200,
        per: Per = "dataset",
        clusters: int = 3,
        encoder: Any = None,
        seed: int = 0,
        soft: bool = False,
    ) -> None:
        self.scale = scale
        self.threshold = threshold
        self.keep = keep
        self.dependencies = dependencies
        self.label_model = label_model
        self.majority = majority
        self.guard = guard
        self.strategy = strategy
        self.missing = missing
        self.neighbours = neighbours
        self.per = per
        self.clusters = clusters
        self.encoder = encoder
        self.seed = seed
        self.soft = soft

    def fit(
        self,
        scores: VerifierScores | ArrayLike,
        answers: Any = None,
        *,
        class_balance: float | Literal["estimate", "labels"] | None = None,
        y: ArrayLike | None = None,
    ) -> Self:
        """Learn the weights.

        Parameters
        ----------
        scores : VerifierScores or (Q, R, V) float array
        answers : (Q, R) str, optional
            For an array of scores; `VerifierScores` bring theirs.
        class_balance : float, "estimate" or "labels"
            P(a response is right), from the votes alone, or the share among the labels.
        y : (n,) or (Q, R) int, optional
            1 right, 0 wrong, -1 unknown; read for the class balance only. `scores.labels` are never read unless "labels" asks for them.
        """
        check_options(self.get_params(deep=False))
        prepared = steps.with_answers(scores, answers, self.majority)
        self._names = prepared.names
        self._alive, why = steps.silent_verifiers(prepared)
        seen = prepared.select(self._alive)
        self._scale = ScoreScale.of(seen.values, "range" if self.scale == "query" else self.scale)
        spoken = steps.spoken_rows(seen)
        scaled = self._scaled(seen)
        sizes = np.bincount(seen.query_of[spoken]) if self.per == "query" else None
        given = steps.learned_balance(
            class_balance,
            y if y is not None else prepared.labels,
            scaled[spoken],
            self.threshold,
            None if sizes is None else sizes[sizes > 0],
        )
        self.class_balance_, self.class_balance_source_, self.labels_used_ = given
        self._clusters = None
        if self.strategy not in ("dataset", "nearest"):
            self._clusters = QueryClusters(self.strategy, self.clusters, self.encoder, self.seed).fit(seen)  # type: ignore[arg-type]
        of_row = np.zeros(len(seen), dtype=np.int64) if self._clusters is None else self._clusters.of(seen)[seen.query_of]
        votes = self._learn_thresholds(seen, scaled, spoken, of_row)
        rule = steps.filter_rule(self.keep, self.class_balance_)
        yes = votes[spoken].mean(axis=0)
        kept = steps.filtered(yes, rule)
        named = [name for name, stays in zip(seen.names, kept, strict=True) if stays]
        self.dependencies_: list[Dependency] = []
        if self.dependencies != "none" and len(named) > 1:
            self.dependencies_ = dependent_verifiers(votes[spoken][:, kept], named, self.dependencies)
        if self.dependencies == "drop" and (copies := [pair for pair in self.dependencies_ if pair.strength >= NEAR_COPY]):
            stays = representatives(votes[spoken], kept, _positions(copies, list(seen.names)))
            why[np.flatnonzero(self._alive)[kept & ~stays]] = "depends on another"
            kept = stays
        why[np.flatnonzero(self._alive)[(why[self._alive] == "") & ~kept]] = f"share of yes ({rule})"
        self._kept = kept
        self._modelled = _positions(self.dependencies_, named).tolist() if self.dependencies == "model" else []
        self._learn(votes[spoken][:, kept], scaled[spoken][:, kept])
        self._remember(why, yes)
        self._doubt()
        self._local: dict[int, VerifierRates] = {}
        self._near: NeighbourRates | None = None
        if self.strategy != "dataset" and not self.guard_:
            self._learn_locally(seen, scaled, votes[:, kept], spoken, of_row)
        return self

    def predict_proba(self, scores: VerifierScores | ArrayLike, answers: Any = None) -> Floats:
        """P(right) of every response, (n,) for `VerifierScores`, (Q, R) for an array."""
        prepared = self._fitted(scores, answers)
        probability = self._posterior(prepared, self._scaled(prepared))
        return probability if isinstance(scores, VerifierScores) else probability.reshape(np.shape(scores)[:2])

    def select(self, scores: VerifierScores | ArrayLike, answers: Any = None) -> NDArray[np.int64]:
        """(Q,) the response taken, counted within its query: the most probable, then the highest mean score, then the first."""
        prepared = self._fitted(scores, answers)
        scaled = self._scaled(prepared)
        mean = scaled[:, self._trusted].mean(axis=1) if self._trusted.any() else np.zeros(len(scaled))
        order = np.lexsort((np.arange(len(mean)), -mean, -np.round(self._posterior(prepared, scaled), 9), prepared.query_of))
        return np.asarray(order[prepared.offsets[:-1]] - prepared.offsets[:-1], dtype=np.int64)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write everything learned into `folder`: arrays in safetensors, the rest as JSON in their header, one file per label model.

        Raises
        ------
        LabelModelError
            It is not fitted, or its encoder is an object, which no file can hold: give the name of one.
        """
        from steelyard.label_models.verifier_files import save_ensemble

        save_ensemble(self, folder)

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> VerifierEnsemble:
        """Read an ensemble written by `save`; it predicts and selects as before."""
        from steelyard.label_models.verifier_files import load_ensemble

        return load_ensemble(folder)

    # Steps of the fit

    def _scaled(self, seen: VerifierScores) -> Floats:
        x = scaled_within(seen.values, seen.offsets) if self.scale == "query" else self._scale.apply(seen.values)
        return steps.fill_missing(x, seen, self.missing)

    def _learn_thresholds(
        self, seen: VerifierScores, scaled: Floats, spoken: NDArray[np.bool_], of_row: NDArray[np.int64]
    ) -> NDArray[np.int8]:
        whole = steps.thresholds_at(scaled[spoken], self.threshold, self.class_balance_)
        self._thresholds = whole[None]
        if self.per == "query":
            return votes_within(scaled, seen.offsets, self.class_balance_)
        if self.per == "dataset":
            return votes_above(scaled, whole)
        self._thresholds = np.tile(whole, (of_row.max() + 1, 1))
        for cluster in np.unique(of_row[spoken]):
            self._thresholds[cluster] = steps.thresholds_at(scaled[spoken & (of_row == cluster)], self.threshold, self.class_balance_)
        return steps.votes_by_group(scaled, self._thresholds, of_row)

    def _learn(self, votes: NDArray[np.int8], scaled: Floats) -> None:
        self._few = votes.shape[1] < 3
        unknown = np.full(votes.shape[1], np.nan)
        self._rates = VerifierRates(unknown, unknown, unknown, None)
        if self._few:
            warn_guarded(
                f"only {votes.shape[1]} verifiers are left, and three are needed to learn from agreement; they are weighed equally"
            )
        else:
            self._rates = VerifierRates.learn(votes, scaled, self.label_model, self.class_balance_, self._modelled)

    def _learn_locally(
        self, seen: VerifierScores, scaled: Floats, votes: NDArray[np.int8], spoken: NDArray[np.bool_], of_row: NDArray[np.int64]
    ) -> None:
        if self.strategy == "nearest":
            self._near = NeighbourRates(query_means(scaled, seen), votes, seen.offsets, self.neighbours)
            return
        for cluster in np.unique(of_row):
            rows = (of_row == cluster) & spoken
            if rows.sum() >= _LEAST_ROWS:
                self._local[int(cluster)] = self._part(votes[rows])

    def _part(self, votes: NDArray[np.int8]) -> VerifierRates:
        """Rates on some rows, whose class balance is what the rates on all rows believe of them."""
        balance = float(np.clip(self._rates.right(votes, votes).mean(), LOWEST, 1 - LOWEST))
        return VerifierRates.learn(votes, votes, self.label_model, balance, self._modelled, self._rates.flipped)

    def _remember(self, why: NDArray[Any], yes: Floats) -> None:
        alive = np.flatnonzero(self._alive)
        kept = alive[self._kept]
        columns = {name: np.full(len(self._names), np.nan) for name in ("yes", "threshold", "tpr", "fpr", "weight")}
        columns["yes"][alive] = yes
        if len(self._thresholds) == 1 and self.per != "query":
            columns["threshold"][alive] = self._thresholds[0]
        columns["tpr"][kept], columns["fpr"][kept], columns["weight"][kept] = self._rates.tpr, self._rates.fpr, self._rates.weights
        table = {"name": self._names, "kept": np.isin(np.arange(len(self._names)), kept), "why": why.tolist(), **columns}
        self.verifiers_ = pl.DataFrame(table)

    def _doubt(self) -> None:
        names = [name for name, lives in zip(self._names, self._alive, strict=True) if lives]
        kept = [name for name, stays in zip(names, self._kept, strict=True) if stays]
        self.guard_ = "fewer than three verifiers" if self._few else ""
        self._trusted = np.ones(len(names), dtype=bool)
        if not self.guard or self._few:
            return
        self.guard_, telling = doubt(kept, self._rates.tpr, self._rates.fpr, MAJORITY in names)
        if self.guard_ and MAJORITY in names:
            # Not even ties are left to what may be a habit: only to those that side with how often an answer is given.
            self._trusted = np.array([name in telling and MAJORITY in telling for name in names])
        if self.guard_:
            warn_guarded(f"{self.guard_}: " + ("the majority decides" if MAJORITY in names else "the mean score decides"))

    # Prediction

    def _fitted(self, scores: VerifierScores | ArrayLike, answers: Any) -> VerifierScores:
        if not hasattr(self, "verifiers_"):
            raise LabelModelError("this VerifierEnsemble is not fitted yet; call `fit` first")
        prepared = steps.with_answers(scores, answers, self.majority)
        if prepared.names != self._names:
            missing = [name for name in self._names if name not in prepared.names]
            raise LabelModelError(
                f"the ensemble was fitted on the verifiers {', '.join(self._names)}; these scores "
                + (f"lack '{missing[0]}'" if missing else "have others or another order")
            )
        return prepared.select(self._alive)

    def _posterior(self, seen: VerifierScores, scaled: Floats) -> Floats:
        if self.guard_:
            return seen.majority() if seen.answers is not None else np.asarray(scaled[:, self._kept].mean(axis=1))
        of_row = np.zeros(len(seen), dtype=np.int64) if self._clusters is None else self._clusters.of(seen)[seen.query_of]
        if self.per == "query":
            votes = votes_within(scaled, seen.offsets, self.class_balance_)[:, self._kept]
        else:
            votes = steps.votes_by_group(scaled, self._thresholds, of_row if self.per == "cluster" else 0 * of_row)[:, self._kept]
        told = scaled[:, self._kept]
        probability = self._rates.right(votes, told)
        for cluster, rates in self._local.items():
            probability[of_row == cluster] = rates.right(votes[of_row == cluster], told[of_row == cluster])
        if self._near is not None:
            probability = self._near.right(query_means(scaled, seen), votes, seen.offsets, self._part)
        return self._rates.softened(probability, told) if self.soft else probability


def _positions(pairs: list[Dependency], names: list[str]) -> NDArray[np.int64]:
    return np.array([[names.index(pair.first), names.index(pair.second)] for pair in pairs], np.int64).reshape(-1, 2)
