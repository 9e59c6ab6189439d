"""A weak model as a source: any classifier with probabilities, its labels cross-fitted so that no row is labelled by a model that saw it.

Weak labels must be held out (Burns et al. 2023, "Weak-to-Strong Generalization"): a row with a gold label is labelled by the fold model
that was trained without it and without its duplicates, every other row by the model trained on all gold.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import PurePath
from typing import Any, Protocol, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import SourceError
from steelyard.sources.abstention import margins
from steelyard.sources.base import Source, SourceVotes, check_columns
from steelyard.sources.tables import as_table
from steelyard.sources.text_classifier import TextClassifier


class Classifier(Protocol):
    """What a weak model must offer; `fit` and `classes_` too where it is to be trained."""

    def predict_proba(self, X: Any, /) -> Any:
        """Class probabilities `(n, k)` of n inputs."""
        ...


Gold: TypeAlias = str | tuple[Sequence[str] | pl.DataFrame, Sequence[Any]]


class ModelSource(Source):
    """A source that votes for a model's most probable class; made by `model`.

    Attributes
    ----------
    model_ : Classifier
        Trained on all gold (or the pretrained model itself): labels the rows without gold.
    fold_models_ : list of Classifier
        The i-th was trained without fold i; empty for a pretrained model.
    fold_of_ : dict
        Input -> the fold that holds it.
    """

    def __init__(
        self,
        estimator: Classifier | None,
        *,
        on: str | Sequence[str],
        gold: Gold | None,
        labels: Sequence[str] | Mapping[str, str] | None,
        folds: int,
        threshold: float,
        encoder: Callable[[list[str]], ArrayLike] | None,
        seed: int,
        name: str,
    ) -> None:
        self.name = name
        self.on = (on,) if isinstance(on, str) else tuple(on)
        self.needs = self.on + ((gold,) if isinstance(gold, str) else ())
        if not (gold is None or isinstance(gold, str) or (isinstance(gold, tuple) and len(gold) == 2)):
            raise SourceError(
                f"source '{name}': gold is the name of a column, null where unknown, or a pair (inputs, labels), not {gold!r:.60}"
            )
        self.gold = gold
        self.renaming = {str(old): new for old, new in labels.items()} if isinstance(labels, Mapping) else {}
        names = tuple(dict.fromkeys(labels.values() if isinstance(labels, Mapping) else labels or ()))
        self.labels = names or None
        self.folds = folds
        self.threshold = threshold
        self.encoder = encoder
        self.seed = seed
        self.fold_models_: list[Classifier] = []
        self.fold_of_: dict[Any, int] = {}
        self.model_: Classifier | None = None
        self._estimator = _default_estimator(encoder is not None or len(self.on) > 1) if estimator is None else estimator
        if gold is None:
            self.model_ = self._estimator
        elif not hasattr(self._estimator, "fit"):
            raise SourceError(f"source '{name}': {type(self._estimator).__name__} has no fit; leave out gold for a pretrained model")

    def fit(self, data: pl.DataFrame) -> None:
        """Train on the gold rows: once on all of them and once without each fold. A pretrained model learns nothing."""
        if self.gold is None or (self.fold_models_ and not isinstance(self.gold, str)):
            return
        inputs, gold = self._gold_rows(data)
        found = tuple(dict.fromkeys(sorted(gold)))
        self.labels = self.labels or found
        if stray := [label for label in found if label not in self.labels]:
            raise SourceError(f"source '{self.name}': gold label '{stray[0]}' is not among its labels {', '.join(self.labels)}")
        if len(found) < 2:
            raise SourceError(f"source '{self.name}': gold holds {len(gold)} labels of {len(found)} class; a classifier needs two classes")
        keys = _keys(inputs)
        self.fold_of_ = assign_folds(keys, gold, self.folds, self.seed)
        folds = np.array([self.fold_of_[key] for key in keys])
        features, labels = self._features(inputs), np.array(gold)
        self.model_ = self._train(features, labels)
        self.fold_models_ = [self._train(features[folds != fold], labels[folds != fold]) for fold in range(max(folds) + 1)]

    def vote(self, batch: pl.DataFrame) -> SourceVotes:
        """Vote for the most probable class, its probability as confidence; abstain below the threshold, on a tie and on null inputs."""
        probabilities = self.predict_proba(batch).copy()
        if probabilities.shape[1] > 1:
            probabilities[margins(probabilities) <= 0] = np.nan
        assert self.labels is not None
        return SourceVotes.from_probabilities(probabilities, self.labels, self.threshold)

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Cross-fitted soft labels `(n, k)` over `labels`, rows summing to one; NaN where the input is null.

        Parameters
        ----------
        data : table or list of str
            Whatever `apply` reads.

        Raises
        ------
        SourceError
            The source is not fitted, or the model's classes are not its labels.
        """
        frame = as_table(data)
        check_columns(self.name, self.on, frame.columns)
        if self.model_ is None and not isinstance(self.gold, str):
            self.fit(frame)
        if self.model_ is None:
            raise SourceError(f"source '{self.name}' is not fitted; use apply, or call fit(data) on data with the column '{self.gold}'")
        self._name_classes()
        assert self.labels is not None
        known = ~frame.select(pl.any_horizontal(pl.col(self.on).is_null())).to_series().to_numpy()
        probabilities = np.full((frame.height, len(self.labels)), np.nan, dtype=np.float32)
        if not known.any():
            return probabilities
        inputs = self._inputs(frame.filter(pl.Series(known)))
        # -1: no model but the full one has to be avoided
        folds = np.array([self.fold_of_.get(key, -1) for key in _keys(inputs)]) if self.fold_of_ else np.full(int(known.sum()), -1)
        features = self._features(inputs)
        answers = np.empty((len(inputs), len(self.labels)), dtype=np.float32)
        for fold in np.unique(folds):
            judge = self.model_ if fold < 0 else self.fold_models_[fold]
            answers[folds == fold] = self._ask(judge, features[folds == fold])
        probabilities[known] = answers
        return probabilities

    def _gold_rows(self, data: pl.DataFrame) -> tuple[NDArray[Any], list[str]]:
        if isinstance(self.gold, str):
            frame, labels = data, data[self.gold].to_list()
        else:
            assert self.gold is not None
            rows, given = self.gold
            frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame({self.on[0]: list(rows)})
            labels = list(given)
            if len(labels) != frame.height:
                raise SourceError(f"source '{self.name}': gold has {frame.height} inputs but {len(labels)} labels")
        missing = frame.select(pl.any_horizontal(pl.col(self.on).is_null())).to_series().to_list()
        rows_used = [row for row, label in enumerate(labels) if label is not None and label != -1 and not missing[row]]
        if not rows_used:
            raise SourceError(f"source '{self.name}': no row has a gold label; give some, null for the other rows")
        return self._inputs(frame[rows_used]), [self._class_name(labels[row]) for row in rows_used]

    def _class_name(self, label: Any) -> str:
        if isinstance(label, Integral) and self.labels is not None and not self.renaming and str(label) not in self.labels:
            if not 0 <= int(label) < len(self.labels):
                raise SourceError(f"source '{self.name}': gold label {label} is no index into its {len(self.labels)} labels")
            return self.labels[int(label)]
        return self.renaming.get(str(label), str(label))

    def _inputs(self, frame: pl.DataFrame) -> NDArray[Any]:
        """One column gives its texts (or the rows of an array column), several give a numeric matrix."""
        if len(self.on) > 1:
            return frame.select(self.on).to_numpy().astype(np.float64)
        values = frame[self.on[0]].to_list()
        if values and isinstance(values[0], str):
            return np.array(values, dtype=object)
        matrix = np.array(values, dtype=np.float64)
        return matrix[:, None] if matrix.ndim == 1 else matrix

    def _features(self, inputs: NDArray[Any]) -> NDArray[Any]:
        return inputs if self.encoder is None else np.asarray(self.encoder(inputs.tolist()))

    def _train(self, inputs: NDArray[Any], labels: NDArray[np.str_]) -> Classifier:
        fresh = _fresh(self._estimator, self.seed)
        try:
            fresh.fit(inputs, labels)
        except ValueError as error:
            raise SourceError(f"source '{self.name}': its model cannot be trained on {len(labels)} gold rows ({error})") from error
        return fresh

    def _name_classes(self) -> None:
        """Name the classes of a pretrained model, which is not asked for them before it has to vote."""
        if self.labels is None:
            classes = getattr(self.model_, "classes_", None)
            if classes is None:
                raise SourceError(f"source '{self.name}': its model has no classes_; name its columns with labels=[…]")
            self.labels = tuple(str(label) for label in classes)

    def _ask(self, judge: Classifier, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Probabilities `(n, k)` with the columns in the order of `labels`; a class that a fold never saw gets zero."""
        assert self.labels is not None
        if not hasattr(judge, "predict_proba"):
            kind = type(judge).__name__
            raise SourceError(f"source '{self.name}': {kind} has no predict_proba; wrap it in sklearn's CalibratedClassifierCV")
        answer = np.asarray(judge.predict_proba(inputs), dtype=np.float32)
        classes = [str(label) for label in getattr(judge, "classes_", self.labels)]
        names = [self.renaming.get(label, label) for label in classes]
        if self.gold is None and not self.renaming and not set(names) <= set(self.labels) and len(names) == len(self.labels):
            names = list(self.labels)  # LABEL_0, LABEL_1, … or 0, 1, …: the labels were given in the model's order
        if answer.ndim != 2 or answer.shape[1] != len(names) or not set(names) <= set(self.labels):
            shape = "×".join(map(str, answer.shape))
            raise SourceError(
                f"source '{self.name}': its model answers {shape} for the classes {', '.join(names)}, "
                f"but its labels are {', '.join(self.labels)}; give labels={{model's class: label, …}}"
            )
        aligned = np.zeros((len(answer), len(self.labels)), dtype=np.float32)
        for column, label in enumerate(names):
            aligned[:, self.labels.index(label)] += answer[:, column]
        return aligned


def model(
    estimator: Classifier | str | None = None,
    *,
    on: str | Sequence[str] = "text",
    gold: Gold | None = None,
    labels: Sequence[str] | Mapping[str, str] | None = None,
    folds: int = 5,
    threshold: float = 0.0,
    encoder: Callable[[list[str]], ArrayLike] | str | None = None,
    seed: int = 0,
    name: str | None = None,
) -> ModelSource:
    """Let a weak model vote: trained here on a few gold labels, or pretrained.

    Parameters
    ----------
    estimator
        A scikit-learn classifier or pipeline, anything with `predict_proba`, or the name of a Hugging Face text-classification model.
        By default TF-IDF and logistic regression (logistic regression alone on an encoder's vectors or on numeric columns).
    on
        The column it reads: texts, numbers or vectors; or several numeric columns.
    gold
        A column with labels for some rows (null elsewhere), or `(inputs, labels)` from elsewhere. Leave it out for a pretrained model.
    labels
        Class names: in the model's order, or `{model's class: class name}`. By default those of gold or of the model.
    folds
        Number of fold models K; gold rows are labelled by the one that did not see them.
    threshold
        Abstain where the best probability is below.
    encoder
        `texts -> (n, d)` or the name of a text encoder, applied before the estimator.
    seed
        Decides the folds, and the estimator's `random_state` where it has none.
    name
        Name of the source.

    Returns
    -------
    ModelSource
        `vote` gives classes with confidences; `predict_proba(data)` the whole cross-fitted distribution (n, k).

    Raises
    ------
    SourceError
        Gold is missing, has one class or labels unknown to `labels`; the model has no probabilities or other classes.

    Examples
    --------
    >>> texts = ["win cash now", "call your mum", "cash prize to win", "mum says hello", "win a prize", "hello from mum", "lunch, mum?"]
    >>> data = pl.DataFrame({"text": texts, "gold": ["SPAM", "HAM", "SPAM", "HAM", "SPAM", "HAM", None]})
    >>> source = model(gold="gold", folds=3)
    >>> source.fit(data)
    >>> votes = source.vote(data)
    >>> votes.labels[votes.codes[-1]]
    'HAM'
    """
    if folds < 2:
        raise SourceError(f"model: folds must be at least 2, not {folds}; with one fold a model would label its own training rows")
    if isinstance(encoder, str):
        from steelyard.encoders import TextEncoder

        encoder = TextEncoder(encoder)
    if isinstance(estimator, str):
        name = name or PurePath(estimator).name
        estimator = TextClassifier(estimator)
    if estimator is None and gold is None:
        raise SourceError("model: the default model has to learn; give gold (a column, or inputs and labels) or a pretrained estimator")
    name = name or _telling_name(estimator)
    return ModelSource(estimator, on=on, gold=gold, labels=labels, folds=folds, threshold=threshold, encoder=encoder, seed=seed, name=name)


def assign_folds(keys: Sequence[Any], labels: Sequence[str], folds: int, seed: int) -> dict[Any, int]:
    """Deal distinct inputs to folds, class by class, in an order that depends on their content and the seed only.

    Equal inputs share a fold, so a duplicate never betrays a label; the order of the rows does not matter.

    Examples
    --------
    >>> folds = assign_folds(["a", "b", "c", "a"], ["X", "X", "Y", "X"], folds=2, seed=0)
    >>> sorted(folds), folds["a"] != folds["b"]
    (['a', 'b', 'c'], True)
    """
    label_of = dict(zip(keys, labels, strict=True))
    shuffled = sorted(label_of, key=lambda key: (label_of[key], hashlib.sha256(f"{seed}\0{key!r}".encode("utf-8", "replace")).digest()))
    return {key: position % min(folds, len(shuffled)) for position, key in enumerate(shuffled)}


def _keys(inputs: NDArray[Any]) -> list[Any]:
    # Of what was read, never of what an encoder made of it: vectors differ in their last bits from batch to batch.
    return [row if isinstance(row, str) else row.tobytes() for row in inputs]


def _default_estimator(numeric: bool) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = LogisticRegression(C=10.0, max_iter=1000)
    if numeric:
        return make_pipeline(StandardScaler(), classifier)
    return make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), classifier)


def _fresh(estimator: Any, seed: int) -> Any:
    if not hasattr(estimator, "get_params"):
        return copy.deepcopy(estimator)
    from sklearn.base import clone

    fresh = clone(estimator)
    unseeded = [key for key, value in fresh.get_params().items() if key.rsplit("__", 1)[-1] == "random_state" and value is None]
    return fresh.set_params(**dict.fromkeys(unseeded, seed))


def _telling_name(estimator: Any) -> str:
    if estimator is None:
        return "model"
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    return type(last).__name__
