"""VerifierEnsemble: weigh many imperfect scorers of candidate answers without labels, then pick one answer per query (Weaver).

Saad-Falcon et al. 2025, "Shrinking the Generation-Verification Gap with Weak Verifiers". Thresholds by the class-balance quantile, the
class balance from third moments in closed form and the guard against dependent verifiers are our own.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, Self, get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components
from sklearn.base import BaseEstimator

from steelyard.errors import LabelModelError
from steelyard.label_models.base import LabelModel
from steelyard.label_models.dawid_skene import DawidSkene
from steelyard.label_models.dependencies import learn_dependencies
from steelyard.label_models.metal import MeTaL
from steelyard.label_models.triplet import TripletModel
from steelyard.label_models.verifier_moments import class_balance_from_votes, linear_weights
from steelyard.score_scales import ScoreScale, balance_thresholds, scaled_within, votes_above
from steelyard.verifier_scores import MAJORITY, VerifierScores
from steelyard.votes import Votes

Floats = NDArray[np.float64]
Keep = Literal["adaptive", "all", "small", "large", "none"]
Model = Literal["dawid-skene", "metal", "triplet", "continuous"]
Strategy = Literal["dataset", "difficulty", "nearest"]

_CLASSES = ("wrong", "right")
_INFORMATIVE = 0.1
_LOWEST = 0.01


class DependentVerifiers(UserWarning):
    """Verifiers fire together for another reason than that a response is right."""


class GuardedEnsemble(UserWarning):
    """What the verifiers share is not correctness as far as anyone can tell: the ensemble does not use the fitted weights."""


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
    keep : {"adaptive", "all", "small", "large", "none"}
        Filter by the share μ of yes: .1 < μ < .9; μ > .5; μ < .5; no filter. Adaptive: "large" where responses are right on less than a
        fifth, "small" on more than four fifths, else "all".
    dependencies : {"drop", "model", "none"}
        One verifier of each group that `learn_dependencies` finds stays; all stay and `MeTaL` models the groups; or nothing is done.
    label_model : {"dawid-skene", "metal", "triplet", "continuous"}
        The last weighs scores instead of votes: w = Σ⁻¹ Cov(s, y).
    majority : bool
        Add answer frequency as a verifier, where there are answers.
    guard : bool
        Fall back where fewer than three verifiers tell right from wrong (TPR - FPR ≥ .1), or where the majority verifier, whose link to
        correctness is the one thing known beforehand, is not among them: a shared habit, such as length, was then taken for the class.
    strategy : {"dataset", "difficulty", "nearest"}
        One model for all queries, one per tercile of the number of distinct answers, or one per query from its `neighbours` nearest.
    missing : {"zero", "query-mean"}
        What stands for a missing score. A missing score never votes yes.
    neighbours : int
        Queries per model of "nearest", by the Euclidean distance of mean scaled scores.

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
        Why the fitted weights are not used; empty when they are. Then the majority decides, ties by the mean score of verifiers that have
        no part in the habit; without answers the mean.

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
        scale: Literal["range", "quantile", "winsorize", "query"] = "range",
        threshold: float | Literal["class-balance"] = "class-balance",
        keep: Keep = "adaptive",
        dependencies: Literal["drop", "model", "none"] = "drop",
        label_model: Model = "dawid-skene",
        majority: bool = True,
        guard: bool = True,
        strategy: Strategy = "dataset",
        missing: Literal["zero", "query-mean"] = "zero",
        neighbours: int = 200,
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
        self._check_options()
        prepared = self._prepared(scores, answers)
        named = prepared.names
        alive = np.array([len(np.unique(column[~np.isnan(column)])) > 1 for column in prepared.values.T])
        if not alive.any():
            raise LabelModelError(f"none of the verifiers {', '.join(named)} ever varies: constant scores choose nothing")
        why = np.where(alive, "", "never varies").astype(object)
        why[np.isnan(prepared.values).all(axis=0)] = "no scores"
        self._names, self._alive = named, alive
        seen = prepared.select(alive)
        self._scale = ScoreScale.of(seen.values, "range" if self.scale == "query" else self.scale)
        scaled = self._scaled(seen)
        # Queries on which no verifier says anything teach nothing.
        spoken = ~np.isnan(np.delete(seen.values, _position(seen.names, MAJORITY), axis=1)).all(axis=1)
        spoken = np.logical_or.reduceat(spoken, seen.offsets[:-1])[seen.query_of]
        self._balance(scaled[spoken], class_balance, y if y is not None else prepared.labels)
        self._thresholds = self._thresholds_at(scaled[spoken], self.class_balance_)
        votes = votes_above(scaled, self._thresholds)[spoken]
        yes = votes.mean(axis=0)
        kept = _filtered(yes, self._rule())
        pairs = self._dependent(votes, kept, seen.names)
        if self.dependencies == "drop" and len(pairs):
            stays = _representatives(votes, kept, pairs)
            why[np.flatnonzero(alive)[kept & ~stays]] = "depends on another"
            kept = stays
        why[np.flatnonzero(alive)[(why[alive] == "") & ~kept]] = f"share of yes ({self._rule()})"
        self._kept, self._pairs = kept, pairs if self.dependencies == "model" else np.empty((0, 2), np.int64)
        self._learn(votes[:, kept], scaled[spoken][:, kept])
        self._remember(why, yes)
        self._guard(seen.names)
        if self.strategy != "dataset" and not self.guard_:
            self._learn_locally(seen, scaled, spoken)
        return self

    def predict_proba(self, scores: VerifierScores | ArrayLike, answers: Any = None) -> Floats:
        """P(right) of every response, (n,) for `VerifierScores`, (Q, R) for an array."""
        prepared = self._fitted(scores, answers).select(self._alive)
        scaled = self._scaled(prepared)
        probability = self._posterior(prepared, scaled)
        return probability if isinstance(scores, VerifierScores) else probability.reshape(np.shape(scores)[:2])

    def select(self, scores: VerifierScores | ArrayLike, answers: Any = None) -> NDArray[np.int64]:
        """(Q,) the response taken, counted within its query: the most probable, then the highest mean score, then the first."""
        prepared = self._fitted(scores, answers).select(self._alive)
        scaled = self._scaled(prepared)
        mean = scaled[:, self._trusted].mean(axis=1) if self._trusted.any() else np.zeros(len(scaled))
        first = prepared.majority() if self.guard_ and prepared.answers is not None else self._posterior(prepared, scaled)
        order = np.lexsort((np.arange(len(mean)), -mean, -np.round(first, 9), prepared.query_of))
        return np.asarray(order[prepared.offsets[:-1]] - prepared.offsets[:-1], dtype=np.int64)

    # Steps of the fit

    def _prepared(self, scores: VerifierScores | ArrayLike, answers: Any) -> VerifierScores:
        if not isinstance(scores, VerifierScores):
            scores = VerifierScores.from_array(scores, answers)
        elif answers is not None:
            raise LabelModelError("VerifierScores bring their own answers; give `answers` to VerifierScores instead")
        return scores.with_majority() if self.majority and scores.answers is not None and MAJORITY not in scores.names else scores

    def _scaled(self, seen: VerifierScores) -> Floats:
        x = scaled_within(seen.values, seen.offsets) if self.scale == "query" else self._scale.apply(seen.values)
        if self.missing == "query-mean":
            given = ~np.isnan(x)
            total = np.add.reduceat(np.where(given, x, 0.0), seen.offsets[:-1], axis=0)
            count = np.add.reduceat(given, seen.offsets[:-1], axis=0, dtype=np.int64)
            x = np.where(given, x, (total / np.maximum(count, 1))[seen.query_of])
        return np.nan_to_num(x, nan=0.0)

    def _balance(self, scaled: Floats, class_balance: Any, labels: Any) -> None:
        self.labels_used_ = 0
        if isinstance(class_balance, str) and class_balance == "estimate":
            share, self.class_balance_source_ = 0.5, "estimate"
            # Thresholds need the balance and the balance votes: a few rounds from the medians on.
            for _ in range(10):
                share = class_balance_from_votes(votes_above(scaled, self._thresholds_at(scaled, share)))
        elif isinstance(class_balance, int | float) and not isinstance(class_balance, bool):
            if not 0 < class_balance < 1:
                raise LabelModelError(f"class_balance is {class_balance}; P(a response is right) must lie between 0 and 1")
            share, self.class_balance_source_ = float(class_balance), "given"
        elif class_balance == "labels" and labels is not None and (np.asarray(labels) >= 0).any():
            known = np.asarray(labels).ravel()
            known = known[known >= 0]
            self.labels_used_, self.class_balance_source_ = len(known), "labels"
            share = float(known.mean())
        else:
            raise LabelModelError(
                "the class balance is unknown: give class_balance as the chance that a response is right, as 'labels' together with a few "
                "labels `y`, or as 'estimate' to learn it from the votes"
            )
        self.class_balance_ = float(np.clip(share, _LOWEST, 1 - _LOWEST))

    def _thresholds_at(self, scaled: Floats, balance: float) -> Floats:
        if self.threshold == "class-balance":
            return balance_thresholds(scaled, balance)
        return np.full(scaled.shape[1], float(self.threshold))

    def _rule(self) -> str:
        if self.keep != "adaptive":
            return self.keep
        return "large" if self.class_balance_ < 0.2 else "small" if self.class_balance_ > 0.8 else "all"

    def _dependent(self, votes: NDArray[np.int8], kept: NDArray[np.bool_], names: tuple[str, ...]) -> NDArray[np.int64]:
        self.dependencies_ = []
        if self.dependencies == "none" or kept.sum() < 2:
            return np.empty((0, 2), np.int64)
        chosen = [name for name, stays in zip(names, kept, strict=True) if stays]
        self.dependencies_ = learn_dependencies(Votes(votes[:, kept], classes=_CLASSES, sources=chosen))
        if self.dependencies_:
            first = self.dependencies_[0]
            warnings.warn(
                f"{len(self.dependencies_)} pairs of verifiers depend on each other beyond correctness, most of all '{first.first}' and "
                f"'{first.second}' ({first.strength:.2f}); dependencies='{self.dependencies}' decides what is done about it",
                DependentVerifiers,
                stacklevel=4,
            )
        return np.array([[names.index(pair.first), names.index(pair.second)] for pair in self.dependencies_], np.int64).reshape(-1, 2)

    def _learn(self, votes: NDArray[np.int8], scaled: Floats) -> None:
        self._few = votes.shape[1] < 3
        self._linear: tuple[Floats, float] | None = None
        self._model: LabelModel | None = None
        self._tpr, self._fpr = np.full((2, votes.shape[1]), np.nan)
        if self._few:
            warnings.warn(
                f"only {votes.shape[1]} verifiers are left, and three are needed to learn from agreement; they are weighed equally",
                GuardedEnsemble,
                stacklevel=4,
            )
            return
        if self.label_model == "continuous":
            weights = linear_weights(scaled, self.class_balance_)
            self._linear = weights, float(self.class_balance_ - scaled.mean(axis=0) @ weights)
            right = np.clip(scaled @ weights + self._linear[1], 0, 1)
            self._tpr, self._fpr = (votes.T @ w / w.sum() for w in (right, 1 - right))
            return
        self._model = self._new_model(self.class_balance_).fit(Votes(votes, classes=_CLASSES))
        self._tpr, self._fpr = self._model.confusions_[:, 1, 1].copy(), self._model.confusions_[:, 0, 1].copy()
        # Most verifiers are better than chance: otherwise "right" is what the model calls wrong.
        self._flipped = bool((self._tpr - self._fpr).sum() < 0)
        if self._flipped:
            self._tpr, self._fpr = self._fpr, self._tpr

    def _new_model(self, balance: float) -> LabelModel:
        prior = [1 - balance, balance]
        if len(self._pairs):
            position = np.cumsum(self._kept) - 1
            return MeTaL(class_prior=prior, dependencies=position[self._pairs].tolist())
        return {"dawid-skene": DawidSkene, "metal": MeTaL, "triplet": TripletModel}[self.label_model](class_prior=prior)

    def _learn_locally(self, seen: VerifierScores, scaled: Floats, spoken: NDArray[np.bool_]) -> None:
        self._local: dict[int, LabelModel] = {}
        if self.label_model == "continuous" or self._few:
            raise LabelModelError(f"strategy '{self.strategy}' needs a label model of votes and three verifiers; use strategy='dataset'")
        self._train = (_means(scaled, seen), votes_above(scaled, self._thresholds)[:, self._kept], seen.offsets)
        if self.strategy == "difficulty":
            difficulty = seen.distinct_answers()
            self._cuts = np.unique(np.quantile(difficulty, [1 / 3, 2 / 3]))
            of_query = np.searchsorted(self._cuts, difficulty)
            for cluster in np.unique(of_query):
                rows = (of_query == cluster)[seen.query_of] & spoken
                if rows.sum() >= 10:
                    self._local[int(cluster)] = self._fit_part(self._train[1][rows])

    def _fit_part(self, votes: NDArray[np.int8]) -> LabelModel:
        """A model of some rows, whose class balance is what the model of all rows believes of them."""
        assert self._model is not None
        balance = np.clip(self._right(self._model, votes).mean(), _LOWEST, 1 - _LOWEST)
        return self._new_model(float(balance)).fit(Votes(votes, classes=_CLASSES))

    def _remember(self, why: NDArray[Any], yes: Floats) -> None:
        width = len(self._names)
        columns = {name: np.full(width, np.nan) for name in ("yes", "threshold", "tpr", "fpr", "weight")}
        alive = np.flatnonzero(self._alive)
        kept = alive[self._kept]
        columns["yes"][alive], columns["threshold"][alive] = yes, self._thresholds
        columns["tpr"][kept], columns["fpr"][kept] = self._tpr, self._fpr
        t, f = self._tpr.clip(_LOWEST, 1 - _LOWEST), self._fpr.clip(_LOWEST, 1 - _LOWEST)
        columns["weight"][kept] = np.log(t / (1 - t)) - np.log(f / (1 - f)) if self._linear is None else self._linear[0]
        self.verifiers_ = pl.DataFrame({"name": self._names, "kept": np.isin(np.arange(width), kept), "why": why.tolist(), **columns})

    def _guard(self, names: tuple[str, ...]) -> None:
        self.guard_ = "fewer than three verifiers" if self._few else ""
        self._trusted = np.ones(len(names), dtype=bool)
        if not self.guard or self._few:
            return
        kept = [name for name, stays in zip(names, self._kept, strict=True) if stays]
        tells = {name for name, gap in zip(kept, self._tpr - self._fpr, strict=True) if gap >= _INFORMATIVE}
        if len(tells) < 3:
            self.guard_ = f"only {len(tells)} verifiers tell right from wrong"
        elif MAJORITY in names and MAJORITY not in tells:
            self.guard_ = f"what {', '.join(sorted(tells)[:4])} share has nothing to do with how often an answer is given"
        if self.guard_ and MAJORITY in names and MAJORITY not in tells:
            # Not even ties are left to what may be a habit.
            linked = {name for pair in self.dependencies_ for name in pair[:2]}
            self._trusted = np.array([name not in tells | linked for name in names])
        if self.guard_:
            warnings.warn(
                f"{self.guard_}: " + ("the majority decides" if MAJORITY in names else "the mean score decides"),
                GuardedEnsemble,
                stacklevel=3,
            )

    # Prediction

    def _fitted(self, scores: VerifierScores | ArrayLike, answers: Any) -> VerifierScores:
        if not hasattr(self, "verifiers_"):
            raise LabelModelError("this VerifierEnsemble is not fitted yet; call `fit` first")
        prepared = self._prepared(scores, answers)
        if prepared.names != self._names:
            missing = [name for name in self._names if name not in prepared.names]
            raise LabelModelError(
                f"the ensemble was fitted on the verifiers {', '.join(self._names)}; these scores "
                + (f"lack '{missing[0]}'" if missing else "have others or another order")
            )
        return prepared

    def _posterior(self, seen: VerifierScores, scaled: Floats) -> Floats:
        if self.guard_:
            return seen.majority() if seen.answers is not None else np.asarray(scaled[:, self._kept].mean(axis=1))
        if self._linear is not None:
            return np.clip(scaled[:, self._kept] @ self._linear[0] + self._linear[1], 0, 1)
        assert self._model is not None
        votes = votes_above_learned(scaled, self._thresholds)[:, self._kept]
        probability = self._right(self._model, votes)
        if self.strategy == "difficulty":
            of_row = np.searchsorted(self._cuts, seen.distinct_answers())[seen.query_of]
            for cluster, model in self._local.items():
                probability[of_row == cluster] = self._right(model, votes[of_row == cluster])
        elif self.strategy == "nearest":
            means, learned, offsets = self._train
            distance = ((_means(scaled, seen)[:, None] - means) ** 2).sum(axis=2) if seen.n_queries * len(means) < 10**6 else None
            for q in range(seen.n_queries):
                own = ((_means(scaled, seen)[q] - means) ** 2).sum(axis=1) if distance is None else distance[q]
                near = np.argsort(own, kind="stable")[: self.neighbours]
                rows = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in near])
                part = slice(seen.offsets[q], seen.offsets[q + 1])
                probability[part] = self._right(self._fit_part(learned[rows]), votes[part])
        return probability

    def _right(self, model: LabelModel, votes: NDArray[np.int8]) -> Floats:
        right = model.predict_proba(Votes(votes, classes=_CLASSES))[:, 1].astype(np.float64)
        return 1 - right if self._flipped else right

    def _check_options(self) -> None:
        allowed = {
            "scale": ("range", "quantile", "winsorize", "query"),
            "keep": get_args(Keep),
            "dependencies": ("drop", "model", "none"),
            "label_model": get_args(Model),
            "strategy": get_args(Strategy),
            "missing": ("zero", "query-mean"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise LabelModelError(f"{name} must be one of {', '.join(values)}, got '{getattr(self, name)}'")
        if self.threshold != "class-balance" and not (isinstance(self.threshold, int | float) and 0 < self.threshold < 1):
            raise LabelModelError(f"threshold must be 'class-balance' or lie between 0 and 1, got {self.threshold!r}")


def votes_above_learned(scaled: Floats, thresholds: Floats) -> NDArray[np.int8]:
    """Votes on new rows: only the threshold counts, not whether these rows happen to lie above it."""
    return np.where(thresholds <= 0, scaled > 0, scaled >= thresholds).astype(np.int8)


def _filtered(yes: Floats, rule: str) -> NDArray[np.bool_]:
    varies = (yes > 0) & (yes < 1)
    kept = {"all": (yes > 0.1) & (yes < 0.9), "small": yes > 0.5, "large": yes < 0.5, "none": np.ones(len(yes), dtype=bool)}[rule] & varies
    return kept if kept.any() else varies


def _representatives(votes: NDArray[np.int8], kept: NDArray[np.bool_], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of each group of dependent verifiers the one that shares most with the verifiers outside of it; nobody's label is asked."""
    linked = np.zeros((len(kept), len(kept)), dtype=bool)
    linked[pairs[:, 0], pairs[:, 1]] = True
    group = connected_components(linked, directed=False)[1]
    shared = np.nan_to_num(np.corrcoef(votes.T.astype(np.float64)))
    outside = ((group[:, None] != group) & kept) * shared
    stays = kept.copy()
    for g in np.unique(group[pairs]):
        members = np.flatnonzero((group == g) & kept)
        stays[members] = False
        stays[members[outside[members].sum(axis=1).argmax()]] = True
    return stays


def _means(scaled: Floats, seen: VerifierScores) -> Floats:
    return np.asarray(np.add.reduceat(scaled, seen.offsets[:-1], axis=0) / np.diff(seen.offsets)[:, None])


def _position(names: tuple[str, ...], name: str) -> list[int]:
    return [names.index(name)] if name in names and len(names) > 1 else []
