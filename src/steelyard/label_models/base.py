"""LabelModel: the one interface of every way to weigh votes, fitted from `VoteStatistics`, giving each row a distribution over classes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from steelyard.errors import DataError, LabelModelError
from steelyard.label_models.posterior import log_posterior
from steelyard.row_blocks import BLOCK, in_row_blocks
from steelyard.storage import atomic_path
from steelyard.targets import Targets
from steelyard.vote_statistics import Keep, VoteStatistics
from steelyard.votes import Votes

Tie = Literal["prior", "abstain", "random", "lowest"]

# Below every probability a model may learn from data, above what a double loses in a product.
FLOOR = 1e-10
TIED = np.float32(1e-6)


class LabelModel(BaseEstimator):
    """Base of all label models.

    A subclass sets `keep` (the statistic it needs) and writes ``_fit(statistics)``, which must set the fitted attributes below. A model
    whose rows are not scored by ``class_prior_ · Π confusions_`` overrides ``_posterior(votes)`` too.

    Attributes
    ----------
    classes_ : tuple of str
    sources_ : tuple of str
    confusions_ : (m, k, S + 1) float64
        P(source j says symbol l | class k); symbols are the k classes, then any parents; the last column is abstaining. Rows sum to 1.
    class_prior_ : (k,) float64
        P(class); what an all-abstain row gets.
    class_prior_source_ : str
        Where the prior comes from: "given", "gold", "estimated", "votes" or "uniform".
    accuracies_ : (m,) float64
        Chance that a vote of source j is compatible with the true class; NaN for a source that never votes.
    converged_ : bool
    n_iter_ : int
    log_likelihood_ : float
        Mean log-likelihood per row where the model has one, else NaN.
    """

    keep: ClassVar[Keep] = "patterns"

    # Fitting

    def fit(self, votes: Votes | VoteStatistics | ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit from votes (or their statistics).

        Parameters
        ----------
        votes : Votes, VoteStatistics or (n, m) int array
            An array's classes are taken as ``0 … max``.
        y : (n,) int array, optional
            Gold labels, -1 = unknown. Statistics already hold theirs.

        Raises
        ------
        LabelModelError
            When there are no rows or no sources, or `y` comes with statistics.
        """
        return self._refit(self._summarize(votes, y))

    def partial_fit(self, votes: Votes | VoteStatistics | ArrayLike, y: ArrayLike | None = None) -> Self:
        """Add more rows to those already seen and fit again; the cost does not depend on the rows seen before."""
        new = self._summarize(votes, y)
        seen: VoteStatistics | None = getattr(self, "statistics_", None)
        return self._refit(new if seen is None else seen + new)

    def _summarize(self, votes: Votes | VoteStatistics | ArrayLike, y: ArrayLike | None) -> VoteStatistics:
        if isinstance(votes, VoteStatistics):
            if y is not None:
                raise LabelModelError("statistics already hold their gold labels; give `y` to VoteStatistics.from_votes instead")
            return votes
        return VoteStatistics.from_votes(as_votes(votes), y, keep=self.keep)

    def _refit(self, statistics: VoteStatistics) -> Self:
        if statistics.n_rows == 0:
            raise LabelModelError(f"{type(self).__name__} cannot be fitted: there are no rows of votes")
        if statistics.n_sources == 0:
            raise LabelModelError(f"{type(self).__name__} cannot be fitted: there are no sources; give at least one")
        self.statistics_ = statistics
        self.classes_, self.sources_, self.parents_ = statistics.classes, statistics.sources, statistics.parents
        self.support_ = statistics.support
        self.converged_, self.n_iter_, self.log_likelihood_ = True, 0, float("nan")
        self._fit(statistics)
        self.accuracies_ = vote_accuracies(self.confusions_, self.class_prior_, self.support_)
        return self

    def _fit(self, statistics: VoteStatistics) -> None:
        raise LabelModelError(f"{type(self).__name__} does not say how it is fitted")

    # Prediction

    def predict_proba(self, votes: Votes | ArrayLike) -> NDArray[np.float32]:
        """Class probabilities (n, k), float32; rows on which every source abstains get the class prior."""
        return self._posterior(self._checked(votes))

    def predict(self, votes: Votes | ArrayLike, tie: Tie = "prior", seed: int = 0) -> NDArray[np.int64]:
        """Most probable class (n,).

        Parameters
        ----------
        votes : Votes or (n, m) int array
        tie : {"prior", "abstain", "random", "lowest"}
            Among equally probable classes draw one by the class prior, take -1, draw one evenly, or take the lowest index.
            A draw depends on `seed` and the row's votes only, never on the order or number of rows.
        seed : int
        """
        if tie not in ("prior", "abstain", "random", "lowest"):
            raise LabelModelError(f"tie must be 'prior', 'abstain', 'random' or 'lowest', got '{tie}'")
        checked = self._checked(votes)
        probabilities = self._posterior(checked)
        best, tied = most_probable(probabilities)
        if tie == "lowest":
            return best
        if tie == "abstain":
            best[tied] = -1
            return best
        among = probabilities[tied] >= probabilities[tied, best[tied]][:, None] - TIED
        weight = among * (np.maximum(self.class_prior_, FLOOR) if tie == "prior" else 1.0)
        mark = _row_draws(checked.take(tied).codes, seed)[:, None] * weight.sum(axis=1, keepdims=True)
        best[tied] = (weight.cumsum(axis=1) > mark).argmax(axis=1)
        return best

    def score(self, votes: Votes | ArrayLike, y: ArrayLike) -> float:
        """Accuracy of `predict` on rows whose label is known (-1 = unknown)."""
        gold = np.asarray(y)
        known = gold >= 0
        if not known.any():
            raise LabelModelError("no known labels to score against; give at least one label that is not -1")
        return float((self.predict(votes)[known] == gold[known]).mean())

    def targets(self, votes: Votes | ArrayLike, covered_only: bool = True) -> Targets:
        """Probabilistic labels for a student; rows without any vote carry only the prior and are left out unless `covered_only=False`."""
        checked = self._checked(votes)
        targets = Targets(self._posterior(checked), classes=self.classes_)
        return targets.take(np.flatnonzero(checked.coverage)) if covered_only else targets

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        tables = np.log(np.maximum(self.confusions_, FLOOR))
        return log_posterior(votes, tables, np.log(np.maximum(self.class_prior_, FLOOR)))

    def _checked(self, votes: Votes | ArrayLike) -> Votes:
        if not hasattr(self, "class_prior_"):
            raise LabelModelError(f"this {type(self).__name__} is not fitted yet; call `fit` first")
        if not isinstance(votes, Votes):
            votes = Votes(votes, classes=self.classes_, sources=self.sources_, hierarchy=self._hierarchy())
        if votes.sources != self.sources_ or votes.symbols != self.classes_ + self.parents_:
            missing = [name for name in self.sources_ if name not in votes.sources]
            if missing and votes.symbols == self.classes_ + self.parents_:
                raise LabelModelError(
                    f"votes do not match the model: it was fitted with source '{missing[0]}', which they lack; "
                    f"their sources are {', '.join(votes.sources)}"
                )
            raise LabelModelError(
                f"votes of {votes.n_sources} sources on classes {', '.join(votes.symbols)} do not match the {len(self.sources_)} sources "
                f"and classes {', '.join(self.classes_ + self.parents_)} the model was fitted on"
            )
        return votes

    def _hierarchy(self) -> dict[str, list[str]]:
        k = len(self.classes_)
        return {p: [self.classes_[c] for c in np.flatnonzero(self.support_[k + i])] for i, p in enumerate(self.parents_)}

    # To and from disk

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters and fitted attributes to one safetensors file (arrays) with a JSON header (the rest), atomically."""
        from safetensors.numpy import save_file

        self._checked(np.empty((0, len(getattr(self, "sources_", ()))), np.int8))
        fitted = {name: value for name, value in vars(self).items() if name.endswith("_") and name != "statistics_"}
        arrays = {name: np.ascontiguousarray(value) for name, value in fitted.items() if isinstance(value, np.ndarray)}
        plain = {name: _plain(value) for name, value in fitted.items() if name not in arrays}
        header = {"model": type(self).__name__, "parameters": _plain(self.get_params(deep=False)), "fitted": plain}
        with atomic_path(path) as temporary:
            save_file(arrays, temporary, metadata={"steelyard": json.dumps(header, sort_keys=True)})

    @staticmethod
    def load(path: str | os.PathLike[str]) -> LabelModel:
        """Read a model written by `save`; it predicts as before, but `partial_fit` starts anew, since the votes are not in the file."""
        from safetensors import SafetensorError, safe_open

        from steelyard import label_models

        if not Path(path).exists():
            raise DataError(f"file '{path}' does not exist; check the path")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise DataError(f"file '{path}' is not a readable label model ({error}); it may be truncated: save it again") from None
        header = json.loads(metadata.get("steelyard", "{}"))
        kind = getattr(label_models, header["model"]) if header.get("model") in label_models.__all__ else None
        if not (isinstance(kind, type) and issubclass(kind, LabelModel)):
            raise DataError(f"file '{path}' does not hold a label model; write one with `LabelModel.save`")
        model = kind(**header["parameters"])
        for name, value in header["fitted"].items():
            setattr(model, name, tuple(value) if isinstance(value, list) else value)
        for name, value in arrays.items():
            setattr(model, name, value)
        return model


def as_votes(votes: Votes | ArrayLike) -> Votes:
    """A plain (n, m) matrix as `Votes` with classes ``"0"`` … its largest code."""
    if isinstance(votes, Votes):
        return votes
    try:
        matrix = np.asarray(votes)
    except ValueError:
        return Votes(votes, classes=["0"])
    highest = int(matrix.max()) if matrix.size and matrix.dtype.kind in "iu" else 1
    return Votes(matrix, classes=[str(c) for c in range(max(highest, 1) + 1)])


def checked_prior(class_prior: ArrayLike | None, k: int) -> NDArray[np.float64] | None:
    """A user's class prior as a (k,) distribution, or None."""
    if class_prior is None:
        return None
    prior = np.asarray(class_prior, dtype=np.float64)
    if prior.shape != (k,) or not np.isfinite(prior).all() or (prior < 0).any() or abs(prior.sum() - 1) > 1e-3:
        raise LabelModelError(f"class_prior must be {k} non-negative numbers that sum to 1, got {np.asarray(class_prior).tolist()}")
    return prior / prior.sum()


def starting_prior(class_prior: ArrayLike | None, statistics: VoteStatistics) -> tuple[NDArray[np.float64], str]:
    """The class prior before any model is fitted, and where it comes from: given, else gold labels, else the votes.

    From votes, a class is as probable as the sources that ever name it do so on average: ten rules for SPAM and one for HAM tell
    which rules were written, not how common SPAM is. Counts are smoothed, so that no class is impossible because few rows named it.
    Gold labels with as many rows of every class are taken for a sample drawn per class and leave the prior to the votes.
    """
    k, n = statistics.n_classes, statistics.n_rows
    given = checked_prior(class_prior, k)
    if given is not None:
        return given, "given"
    # A handful of gold rows says little about the prior; ten per class is where its error falls under that of biased votes.
    # As many of each class were drawn class by class, and tell how many somebody asked for.
    gold = statistics.gold_counts
    if gold.sum() >= 10 * k and (gold.min() < gold.max() or gold.sum() == n):
        return (gold + 1.0) / (gold + 1.0).sum(), "gold"
    one_class = statistics.support.sum(axis=1) == 1
    named = statistics.votes_for[:, one_class] @ statistics.support[one_class]
    if not named.any():
        return np.full(k, 1 / k), "uniform"
    rate = named.sum(axis=0) / np.maximum((named > 0).sum(axis=0), 1) + 1.0 / n
    return rate / rate.sum(), "votes"


def vote_accuracies(confusions: NDArray[np.float64], prior: NDArray[np.float64], support: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(m,) P(vote compatible with the class | the source votes)."""
    votes = (1 - confusions[:, :, -1]) @ prior
    correct = np.einsum("jks,sk->j", confusions[:, :, :-1], support * prior)
    return np.divide(correct, votes, out=np.full(len(votes), np.nan), where=votes > 1e-12)


def most_probable(probabilities: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) first most probable class of each row, and the indices of rows in which it is not alone."""
    n, k = probabilities.shape
    best, shared = np.empty(n, dtype=np.int64), np.empty(n, dtype=bool)

    def work(start: int, stop: int) -> None:
        # Class after class over all rows of a block: a reduction along so short an axis is many times slower.
        columns = np.ascontiguousarray(probabilities[start:stop].T)
        top = columns.max(axis=0)
        close = columns >= top - TIED
        shared[start:stop] = close.sum(axis=0, dtype=np.int32) > 1
        chosen = best[start:stop]
        chosen[:] = 0
        for c in range(k - 1, -1, -1):
            chosen[columns[c] == top] = c

    in_row_blocks(work, n, size=max(1, BLOCK // max(1, k // 16)))
    return best, np.flatnonzero(shared)


def _row_draws(codes: NDArray[Any], seed: int) -> NDArray[np.float64]:
    """(n,) numbers in [0, 1) that look random and depend on the row's codes and the seed alone."""
    with np.errstate(over="ignore"):
        mixed = np.full(len(codes), np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15))
        for j in range(codes.shape[1]):
            mixed ^= codes[:, j].astype(np.int64).view(np.uint64) + np.uint64(j + 2)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            mixed ^= mixed >> np.uint64(29)
    return np.asarray(mixed >> np.uint64(11)) * 2.0**-53


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return value
