"""A zero-shot classifier as a source: a row votes for the class whose description lies nearest in embedding space, or abstains.

Prompt ensembles average templates × descriptions in embedding space (Radford et al. 2021, "Learning Transferable Visual Models From
Natural Language Supervision") or in probability space (Saha et al. 2024, "Improved Zero-Shot Classification by Adapting VLMs with Text
Descriptions"). Nothing here asks what the encoder encodes: with a dual encoder the rows may be images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from steelyard.errors import SourceError
from steelyard.sources.abstention import margin_for_coverage, margin_for_precision, margins
from steelyard.sources.base import Source, SourceVotes, check_columns
from steelyard.sources.tables import as_table
from steelyard.votes import ABSTAIN

Encode: TypeAlias = Callable[[Any], ArrayLike]
"""From n texts (or images, …) to `(n, d)` vectors."""

_ROWS_AT_ONCE = 8192  # bounds the (rows × sentences) matrix of the probability pool


class PromptEnsemble:
    """Classes described by sentences, scored against embeddings.

    With sentence vectors t of unit length and an item x, class c scores

        embedding pool     cos(x, mean of its t)                       p = softmax(score / temperature)
        probability pool   mean over its t of softmax(cos(x, t) / temperature over all sentences)

    Parameters
    ----------
    descriptions
        One or several sentences per class, or just class names (underscores read as spaces).
    templates
        Every description is put into every template: `{}` is the description, `{label}` the class name.
    pool
        `"embedding"` (CLIP) or `"probability"`, which lets a single fitting sentence count and suits long, unequal lists.
    temperature
        Divides the cosines; 0.01 for CLIP, about 0.05 for sentence encoders.

    Attributes
    ----------
    labels : tuple of str
        The classes (k).
    sentences : list of str
        All filled templates (s).
    embeddings_ : (s, d) float32
        Their unit vectors.
    prototypes_ : (k, d) float32
        The unit vector of each class.

    Examples
    --------
    >>> colours = {"red": [1.0, 0.0], "blue": [0.0, 1.0]}
    >>> ensemble = PromptEnsemble(["red", "blue"]).fit(lambda texts: [colours[text] for text in texts])
    >>> ensemble.scores(np.array([[0.6, 0.8]]))
    array([[0.6, 0.8]], dtype=float32)
    """

    def __init__(
        self,
        descriptions: Mapping[str, str | Sequence[str]] | Sequence[str],
        *,
        templates: str | Sequence[str] = ("{}",),
        pool: Literal["embedding", "probability"] = "embedding",
        temperature: float = 0.05,
    ) -> None:
        if pool not in ("embedding", "probability"):
            raise SourceError(f"prompt ensemble: pool '{pool}' is unknown; use 'embedding' or 'probability'")
        if not temperature > 0:
            raise SourceError(f"prompt ensemble: temperature must be positive, not {temperature}")
        by_label = _descriptions_by_label(descriptions)
        self.templates = (templates,) if isinstance(templates, str) else tuple(templates)
        self.pool = pool
        self.temperature = temperature
        self.labels = tuple(by_label)
        self.sentences: list[str] = []
        owners: list[int] = []
        for code, (label, texts) in enumerate(by_label.items()):
            for template in self.templates:
                self.sentences += [_fill(template, text, label) for text in texts]
                owners += [code] * len(texts)
        self.owners = np.array(owners, dtype=np.int64)  # (s,) class of each sentence

    def fit(self, encode: Encode) -> Self:
        """Embed the sentences with `encode`: texts (s) -> (s, d), of any length per vector."""
        self.embeddings_ = _unit(encode(self.sentences))
        sums = np.zeros((len(self.labels), self.embeddings_.shape[1]), dtype=np.float32)
        np.add.at(sums, self.owners, self.embeddings_)
        self.prototypes_ = _unit(sums)
        return self

    def scores(self, embeddings: ArrayLike) -> NDArray[np.float32]:
        """Score `(n, d)` embeddings: `(n, k)` cosines (embedding pool) or probabilities (probability pool)."""
        rows = _unit(embeddings)
        if self.pool == "embedding":
            return np.asarray(rows @ self.prototypes_.T, dtype=np.float32)
        owned = np.eye(len(self.labels), dtype=np.float32)[self.owners]  # (s, k)
        owned /= owned.sum(axis=0)  # classes have lists of different lengths: the mean, not the sum
        scores = np.empty((len(rows), len(self.labels)), dtype=np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            scores[part] = softmax(rows[part] @ self.embeddings_.T / self.temperature, axis=1) @ owned
        return scores / scores.sum(axis=1, keepdims=True)

    def predict_proba(self, embeddings: ArrayLike) -> NDArray[np.float32]:
        """Class probabilities `(n, k)` of `(n, d)` embeddings."""
        return self._probabilities(self.scores(embeddings))

    def _probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        return scores if self.pool == "probability" else np.asarray(softmax(scores / self.temperature, axis=1), dtype=np.float32)


class PrototypeSource(Source):
    """A source that votes for the nearest of a few class prototypes; made by `zero_shot` and `centroid`.

    Attributes
    ----------
    margin_ : float
        Rows whose best score exceeds the second best by less abstain. Zero until calibrated, and a tie always abstains.
    """

    def __init__(
        self,
        name: str,
        ensemble: PromptEnsemble,
        *,
        on: str,
        encoder: Encode | str | None,
        item_encoder: Encode | None,
        coverage: float | None,
        precision: float | None,
        gold: str | None,
    ) -> None:
        if coverage is not None and precision is not None:
            raise SourceError(f"source '{name}': give coverage or precision, not both")
        if (precision is None) != (gold is None):
            raise SourceError(f"source '{name}': a precision is calibrated on a gold column; give both or neither")
        self.name = name
        self.labels: tuple[str, ...] = ensemble.labels
        if len(self.labels) < 2:
            raise SourceError(f"source '{name}': every text is nearest to {self.labels[0]!r}, the only class; give at least two")
        self.needs = (on,) if gold is None else (on, gold)
        self.on = on
        self.coverage = coverage
        self.precision = precision
        self.gold = gold
        self.ensemble = ensemble
        self.margin_ = 0.0
        self._encode = encoder
        self._encode_items = item_encoder
        self._calibrated = coverage is None and precision is None

    def fit(self, data: pl.DataFrame) -> None:
        """Choose the margin below which to abstain: from the margins of `data` (coverage) or from its gold column (precision)."""
        if self.coverage is not None:
            self.margin_ = margin_for_coverage(margins(self._scores(data)), self.coverage)
        elif self.precision is not None and self.gold is not None:
            labelled = data.filter(pl.col(self.gold).is_not_null() & pl.col(self.on).is_not_null())
            scores = self._scores(labelled)
            right = np.array(self.labels)[scores.argmax(axis=1)] == labelled[self.gold].cast(pl.String).to_numpy()
            try:
                self.margin_ = margin_for_precision(margins(scores), right, self.precision)
            except SourceError as error:
                raise SourceError(f"source '{self.name}': {error}") from None
        self._calibrated = True

    def vote(self, batch: pl.DataFrame) -> SourceVotes:
        """Vote for the nearest class with its probability as confidence; abstain below the margin and where the row is null."""
        if not self._calibrated:
            raise SourceError(f"source '{self.name}' has not chosen its margin yet; use apply, or call fit(data) first")
        scores = self._scores(batch)
        probabilities = self.ensemble._probabilities(scores)
        best = scores.argmax(axis=1)
        margin = margins(scores)
        silent = (margin <= 0) | (margin < self.margin_) | batch[self.on].is_null().to_numpy()
        codes = np.where(silent, ABSTAIN, best).astype(np.int16)
        return SourceVotes(codes, self.labels, probabilities[np.arange(len(best)), best])

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Probabilities `(n, k)` over `labels` for whatever table or list of texts `apply` reads, without abstaining."""
        return self.ensemble._probabilities(self._scores(as_table(data)))

    def _scores(self, frame: pl.DataFrame) -> NDArray[np.float32]:
        check_columns(self.name, (self.on,), frame.columns)
        encode = self._encoder()
        if not hasattr(self.ensemble, "embeddings_"):
            self.ensemble.fit(encode)
        if frame.height == 0:
            return np.zeros((0, len(self.labels)), dtype=np.float32)
        column = frame[self.on]
        items = (column.fill_null("") if column.dtype == pl.String else column).to_list()
        return self.ensemble.scores((self._encode_items or encode)(items))

    def _encoder(self) -> Encode:
        if self._encode is None or isinstance(self._encode, str):
            from steelyard.encoders import TextEncoder, offline_encoder

            self._encode = offline_encoder() if self._encode is None else TextEncoder(self._encode)
        return self._encode


def zero_shot(
    descriptions: Mapping[str, str | Sequence[str]] | Sequence[str],
    *,
    on: str = "text",
    encoder: Encode | str | None = None,
    item_encoder: Encode | None = None,
    templates: str | Sequence[str] = ("{}",),
    pool: Literal["embedding", "probability"] = "embedding",
    temperature: float = 0.05,
    coverage: float | None = None,
    precision: float | None = None,
    gold: str | None = None,
    name: str = "zero_shot",
) -> PrototypeSource:
    """Classify rows by the nearest class description, with no training.

    Parameters
    ----------
    descriptions
        Class -> one or several descriptions, or just the class names.
    on
        Column to embed.
    encoder
        `texts -> (n, d)`, a Hugging Face name, or nothing for the packaged MiniLM.
    item_encoder
        Embeds the column when it does not hold texts (a dual encoder's image side); `encoder` then embeds the descriptions only.
    templates, pool, temperature
        As in `PromptEnsemble`.
    coverage
        Vote on this share of the rows, those with the widest margins; the threshold is a quantile of the data's own margins, so no
        label is needed.
    precision, gold
        Vote only where the margin promises this share of right votes, judged on the few rows whose `gold` column is not null.
    name
        Name of the source.

    Returns
    -------
    PrototypeSource
        Confidences are `softmax(cosine / temperature)` of the voted class.

    Raises
    ------
    SourceError
        No or empty descriptions, contradictory options, or a precision that no margin reaches.

    Examples
    --------
    >>> source = zero_shot({"SPORTS": "football and tennis", "MONEY": "banks and shares"})
    >>> votes = source.vote(pl.DataFrame({"text": ["The striker scored twice", "Stocks fell again"]}))
    >>> [votes.labels[code] for code in votes.codes]
    ['SPORTS', 'MONEY']
    """
    ensemble = PromptEnsemble(descriptions, templates=templates, pool=pool, temperature=temperature)
    return PrototypeSource(
        name, ensemble, on=on, encoder=encoder, item_encoder=item_encoder, coverage=coverage, precision=precision, gold=gold
    )


def _descriptions_by_label(descriptions: Mapping[str, str | Sequence[str]] | Sequence[str]) -> dict[str, list[str]]:
    if isinstance(descriptions, str) or len(descriptions) == 0:
        raise SourceError("prompt ensemble: give a description for each class, as {'SPAM': 'unwanted advertising', …}")
    if not isinstance(descriptions, Mapping):
        return {label: [label.replace("_", " ")] for label in descriptions}
    by_label = {label: [texts] if isinstance(texts, str) else list(texts) for label, texts in descriptions.items()}
    for label, texts in by_label.items():
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise SourceError(f"prompt ensemble: class '{label}' has no description or an empty one; give it at least one sentence")
    return by_label


def _fill(template: str, description: str, label: str) -> str:
    try:
        return template.format(description, label=label)
    except (KeyError, IndexError, ValueError) as error:
        raise SourceError(f"prompt ensemble: template '{template}' cannot be filled ({error}); use {{}} and {{label}} only") from None


def _unit(vectors: ArrayLike) -> NDArray[np.float32]:
    rows = np.asarray(vectors, dtype=np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
