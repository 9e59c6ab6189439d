"""A harmonizer: one small network that agrees with rules, knowledge bases and a language model at once; where it doubts them, they err.

Zhao, Wei, Preston, Poon 2023, "Pareto Optimal Learning for Estimating Large Language Model Errors". Beside the label models, because it
reads features: it also labels rows on which no source votes. PyTorch is needed to fit it, not to use it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from steelyard.errors import DataError, LabelModelError
from steelyard.label_models.harmonizer_network import NetworkTask, fit_network, forward
from steelyard.label_models.source_weights import source_weights
from steelyard.scalarizers import Scalarizer, checked_scalarizer
from steelyard.storage import atomic_path
from steelyard.targets import Targets
from steelyard.vote_statistics import checked_gold
from steelyard.votes import Votes

Floats = NDArray[np.float64]


class ParetoHarmonizer(BaseEstimator):
    r"""A network h(x) on frozen features, fitted to every source at once.

    With l_ij = −log h(x_i)[vote of source j], the mean over rows of G(w_1 l_i1, …, w_m l_im) is minimised, where sources that abstain are
    left out of G and rows without any vote out of the mean. G is linear (the sum), quadratic (its square), euclidean (root of the sum of
    squares) or chebyshev (the largest); a language model is one more source. 1 − h(x_i)[answer] estimates the probability that an answer
    is wrong: h cannot follow a source where others, whose errors are independent of it, say something else of similar rows.

    Parameters
    ----------
    encoder : object, optional
        Anything with ``encode(texts) -> (n, d)``; the packaged MiniLM when left out. Rows of features bypass it.
    hidden : int, optional
        Width of the hidden layer (ReLU); `None` for a linear network.
    aggregation : str or callable
        ``linear``, ``quadratic``, ``euclidean``, ``chebyshev``, or a function of losses and weights, see `steelyard.scalarizers`.
    weights : str or (m,) float array
        ``equal`` (1/m each); ``max_eig`` or ``min_var`` to fit once, weigh as `source_weights` does, and fit again; or numbers of your own:
        give little to a source that votes for one class whatever the row.
    epochs, batch_size, learning_rate, weight_decay
        AdamW at a constant rate.
    held_out : float
        Share of the rows that only judge: the network of the epoch with the lowest loss on them is kept. 0 trains on all rows to the end.
    patience : int
        Epochs without a lower loss after which to stop.
    seed : int
        Draws held-out rows, first weights and order.
    on : str
        Column of the texts where data is a table.

    Attributes
    ----------
    classes_, sources_ : tuple of str
    layers_ : list of (W (in, out), b (out,)) float32
    weights_ : (m,) float64
    history_ : list of dict
        By epoch: the loss on the rows learned from and on those held out.
    best_epoch_ : int
        Counted from 1.
    gold_used_ : bool
        Whether gold labels chose the epoch. Nothing else ever reads them.

    Notes
    -----
    Distilling one noisy labeller alone smooths the truth: h[answer] tends to its share of right answers wherever errors do not depend on
    the features, and to the labeller itself wherever they do. So with m = 1 the score is badly calibrated; other sources are what makes
    it good. Nothing makes h surer than its sources agree: where features tell the class and sources are noisy, it ranks answers well and
    is too careful.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(600, 2)).astype(np.float32)
    >>> y = (x[:, 0] > 0).astype(int)
    >>> codes = np.where(rng.random((600, 4)) < 0.8, y[:, None], 1 - y[:, None])
    >>> votes = Votes(codes, classes=["no", "yes"], sources=["a", "b", "c", "llm"])
    >>> model = ParetoHarmonizer(hidden=None, learning_rate=0.02, epochs=20).fit(x, votes)
    >>> bool((model.predict(x) == y).mean() > 0.95)
    True
    >>> wrong = codes[:, 3] != y
    >>> risk = model.risk(x, votes.column("llm"))
    >>> bool(risk[wrong].mean() > 0.6 > 0.4 > risk[~wrong].mean())
    True
    """

    def __init__(
        self,
        encoder: Any = None,
        *,
        hidden: int | None = 128,
        aggregation: str | Scalarizer = "quadratic",
        weights: Literal["equal", "max_eig", "min_var"] | ArrayLike = "equal",
        epochs: int = 100,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        held_out: float = 0.1,
        patience: int = 5,
        seed: int = 0,
        on: str = "text",
    ) -> None:
        self.encoder = encoder
        self.hidden = hidden
        self.aggregation = aggregation
        self.weights = weights
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.held_out = held_out
        self.patience = patience
        self.seed = seed
        self.on = on

    def fit(self, data: Any, votes: Votes, y: ArrayLike | None = None) -> Self:
        """Fit to all sources at once.

        Parameters
        ----------
        data : list of n texts, table with a column of texts, or (n, d) array of features
        votes : Votes
            n rows, m sources; a language model is one of them.
        y : (n,) int array, optional
            Gold labels, -1 = unknown. Known rows, at most the share `held_out` of all, are then held out and choose the epoch by log
            loss; they teach nothing. Without them the scalarized loss on held-out rows chooses: no label is needed.

        Raises
        ------
        ConfigError
            The aggregation is unknown or no Pareto scalarizer.
        LabelModelError
            No row has a vote, shapes do not fit, an option is out of range, training diverged or collapsed.
        """
        scalarize = checked_scalarizer(self.aggregation)
        if self.epochs < 1 or self.batch_size < 1 or self.patience < 1 or not 0 <= self.held_out < 1:
            given = f"epochs={self.epochs}, batch_size={self.batch_size}, patience={self.patience}, held_out={self.held_out}"
            raise LabelModelError(f"ParetoHarmonizer: {given}: held_out must be in [0, 1), the others at least 1")
        features = self._features(data)
        if not isinstance(votes, Votes) or votes.parents or votes.n_classes < 2:
            raise LabelModelError("ParetoHarmonizer needs Votes on two classes or more, without a hierarchy; see `apply`")
        if votes.n_rows != len(features):
            raise LabelModelError(f"{len(features)} rows of data but {votes.n_rows} rows of votes; give the data that was voted on")
        gold = checked_gold(y, votes.n_rows, votes.n_classes)
        learned, judged = self._divide(votes, gold)
        rule = self.weights if isinstance(self.weights, str) else None
        weights = np.full(votes.n_sources, 1 / votes.n_sources) if rule is not None else self._own_weights(votes.n_sources)
        if rule not in (None, "equal", "max_eig", "min_var"):
            raise LabelModelError(f"weights must be 'equal', 'max_eig', 'min_var' or one number per source, got '{rule}'")
        self.classes_, self.sources_, self.gold_used_ = votes.classes, votes.sources, bool((gold >= 0).any() and self.held_out)
        task = NetworkTask(features, votes, weights, learned, judged, gold if self.gold_used_ else None)
        layers, history, best = fit_network(task, self, scalarize)
        if rule in ("max_eig", "min_var"):
            weights = source_weights(votes.take(learned), forward(layers, features[learned]), cast(Literal["max_eig", "min_var"], rule))
            layers, history, best = fit_network(replace(task, weights=weights), self, scalarize)
        self.layers_, self.history_, self.best_epoch_, self.weights_ = layers, history, best, weights
        return self

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Class probabilities (n, k) of rows, whether or not any source votes on them."""
        self._check_fitted()
        features = self._features(data)
        if features.shape[1] != len(self.layers_[0][0]):
            raise LabelModelError(f"rows have {features.shape[1]} features, the harmonizer was fitted on {len(self.layers_[0][0])}")
        return forward(self.layers_, features)

    def predict(self, data: Any) -> NDArray[np.int64]:
        """Most probable class (n,); the first of equals."""
        return np.asarray(self.predict_proba(data).argmax(axis=1), dtype=np.int64)

    def targets(self, data: Any) -> Targets:
        """Probabilistic labels for a student."""
        return Targets(self.predict_proba(data), classes=self.classes_)

    def risk(self, data: Any, answers: ArrayLike | Votes) -> Floats:
        """Estimated probability that an answer is wrong, 1 − h(x)[answer], in [0, 1].

        Parameters
        ----------
        data : n rows
        answers : (n,) or (n, m) int array, or Votes
            Class indices, -1 = no answer: the score of one source, or of several side by side.

        Returns
        -------
        array of the same shape
            NaN where there is no answer; `uncertainty` says how unsure h itself is there.
        """
        return answer_risk(self.predict_proba(data), answers)

    def uncertainty(self, data: Any) -> Floats:
        """Entropy of h (n,), divided by log k: 0 sure, 1 all classes alike. Ranks rows on which a source gives no answer."""
        h = self.predict_proba(data).astype(np.float64)
        return np.asarray(-(h * np.log(np.maximum(h, 1e-300))).sum(axis=1) / np.log(h.shape[1]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, atomically; the encoder, and an aggregation of one's own, are not in it."""
        from safetensors.numpy import save_file

        self._check_fitted()
        arrays = {
            f"{name}{i}": np.ascontiguousarray(part) for i, layer in enumerate(self.layers_) for name, part in zip("Wb", layer, strict=True)
        }
        parameters = {
            name: value for name, value in self.get_params(deep=False).items() if name not in ("encoder", "aggregation", "weights")
        }
        parameters |= {"aggregation": self.aggregation} if isinstance(self.aggregation, str) else {}
        fitted = {name: getattr(self, name) for name in ("classes_", "sources_", "history_", "best_epoch_", "gold_used_")}
        header = {"model": "ParetoHarmonizer", "parameters": parameters, "fitted": fitted}
        with atomic_path(path) as temporary:
            save_file({**arrays, "weights": self.weights_}, temporary, metadata={"steelyard": json.dumps(header, sort_keys=True)})

    @classmethod
    def load(cls, path: str | os.PathLike[str], encoder: Any = None) -> Self:
        """Read what `save` wrote; give the encoder it was fitted with, unless that was the packaged one.

        Raises
        ------
        DataError
            The file is missing, truncated, or holds something else.
        """
        from safetensors import SafetensorError, safe_open

        if not Path(path).exists():
            raise DataError(f"file '{path}' does not exist; check the path")
        try:
            with safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {}).get("steelyard", "{}"))
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise DataError(f"file '{path}' is not a readable harmonizer ({error}); it may be truncated: save it again") from None
        if header.get("model") != "ParetoHarmonizer":
            raise DataError(f"file '{path}' does not hold a harmonizer; write one with `ParetoHarmonizer.save`")
        model = cls(encoder, **header["parameters"])
        for name, value in header["fitted"].items():
            setattr(model, name, tuple(value) if name in ("classes_", "sources_") else value)
        model.weights_ = arrays["weights"]
        model.layers_ = [(arrays[f"W{i}"], arrays[f"b{i}"]) for i in range(len(arrays) // 2)]
        return model

    def _divide(self, votes: Votes, gold: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to learn from and rows to judge by: with gold labels some known rows judge, without them some rows with votes."""
        rows, n = np.flatnonzero(votes.coverage), round(self.held_out * votes.n_rows)
        if not len(rows):
            raise LabelModelError("ParetoHarmonizer cannot be fitted: no source votes on any row")
        known = np.flatnonzero(gold >= 0)
        drawn = np.random.default_rng(self.seed).permutation(known if len(known) and self.held_out else rows)
        judged = drawn[: min(n, len(drawn))]
        learned = np.setdiff1d(rows, judged)
        if not len(learned) or (self.held_out and not len(judged)):
            raise LabelModelError(f"held_out={self.held_out} of {votes.n_rows} rows leaves nothing to learn from or to judge by; change it")
        return learned, np.sort(judged)

    def _own_weights(self, m: int) -> Floats:
        weights = np.asarray(self.weights, dtype=np.float64)
        if weights.shape != (m,) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
            raise LabelModelError(f"weights must be {m} numbers, one per source, not negative and not all 0, got {weights.tolist()}")
        return weights / weights.sum()

    def _features(self, data: Any) -> NDArray[np.float32]:
        if isinstance(data, np.ndarray) and data.ndim == 2:
            features = data
        else:
            features = (self.encoder or _packaged_encoder()).encode(self._texts(data))
        features = np.ascontiguousarray(features, dtype=np.float32)
        if not np.isfinite(features).all():
            first = int((~np.isfinite(features)).any(axis=1).argmax())
            raise LabelModelError(f"row {first} of the features is not finite; fill or drop missing values")
        return features

    def _texts(self, data: Any) -> list[str]:
        if isinstance(data, pl.DataFrame):
            if self.on not in data.columns:
                raise LabelModelError(f"data has no column '{self.on}'; its columns are {', '.join(data.columns)}: name one with on=")
            data = data[self.on]
        texts = list(data)
        stranger = next((row for row, text in enumerate(texts) if not isinstance(text, str)), None)
        if stranger is not None:
            raise LabelModelError(f"row {stranger} holds {type(texts[stranger]).__name__}, not text; give texts or an (n, d) array")
        return texts

    def _check_fitted(self) -> None:
        if not hasattr(self, "layers_"):
            raise LabelModelError("this ParetoHarmonizer is not fitted yet; call `fit` first")


def answer_risk(probabilities: ArrayLike, answers: ArrayLike | Votes) -> Floats:
    """1 − h_i[answer] for probabilities h (n, k) and answers (n,) or (n, m), -1 = none; NaN there.

    Raises
    ------
    LabelModelError
        Rows do not match, or an answer is no class.

    Examples
    --------
    >>> answer_risk([[0.9, 0.1], [0.25, 0.75], [0.5, 0.5]], [0, 0, -1]).round(2).tolist()
    [0.1, 0.75, nan]
    """
    h = np.asarray(probabilities, dtype=np.float64)
    codes = np.asarray(answers.codes if isinstance(answers, Votes) else answers)
    if codes.ndim not in (1, 2) or len(codes) != len(h) or codes.dtype.kind not in "iu" or (codes.size and codes.max() >= h.shape[1]):
        raise LabelModelError(f"answers must be ({len(h)},) or ({len(h)}, m) class indices below {h.shape[1]}, got shape {codes.shape}")
    table = (codes if codes.ndim == 2 else codes[:, None]).astype(np.int64)
    said = np.take_along_axis(h, np.maximum(table, 0), axis=1)
    risk = np.where(table >= 0, np.clip(1 - said, 0.0, 1.0), np.nan)
    return np.asarray(risk if codes.ndim == 2 else risk[:, 0])


def _packaged_encoder() -> Any:
    from steelyard.encoders import offline_encoder

    return offline_encoder()
