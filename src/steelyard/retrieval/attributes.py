"""Attributes of queries: which words name one, and which canonical value they mean, learned from what people chose.

Zhang et al. 2021, "QUEACO: Borrowing Treasures from Weakly-labeled Behavior Data for Query Attribute Value Extraction". The two parts stand
apart: a tagger (`FeedbackTagger`) and a `ValueNormalizer`. The back-off of counts is reconstructed; the publication does not print it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard.errors import ConfigError, DataError
from steelyard.evaluation.sequences import SpanScores

Encode = Callable[[Sequence[str]], Any]


class Reason(NamedTuple):
    """Why a value was chosen: counts in the category, counts over all categories, and the similar surface forms that were asked."""

    in_category: float
    of_surface: float
    neighbours: tuple[str, ...]


class Value(NamedTuple):
    """A canonical value, its probability, and why; `value` is None where the probability is below the threshold."""

    value: str | None
    probability: float
    reason: Reason


class Tagger(Protocol):
    """Anything that finds spans (start, end, type) in lists of words."""

    def predict_spans(self, documents: Sequence[Sequence[str]]) -> list[list[tuple[int, int, str]]]:
        """Spans of every document."""


@dataclass(frozen=True)
class Attribute:
    """One attribute of a query."""

    start: int
    end: int
    type: str
    surface: str
    value: str | None
    score: float


class ValueNormalizer:
    r"""Canonical values of surface forms from counts, each level backing off to the next.

        P(v | s, a, c) = (N(s, a, c, v) + μ P(v | s, a)) / (N(s, a, c) + μ)
        P(v | s, a)    = (N(s, a, v) + μ P_0(v | s, a)) / (N(s, a) + μ)

    for surface s, type a and category c. P_0 asks the surfaces of that type that look like s: the mean of their N(s', a, v) / N(s', a),
    weighed by softmax(similarity / t). A value's own name counts as a surface, so that values nobody chose can still be found.

    Parameters
    ----------
    strength : float
        μ.
    neighbours : int
        Surfaces asked for P_0; 0 leaves it out, so that unseen surfaces get no value.
    temperature : float
        t.
    threshold : float in [0, 1]
        Values less probable than this are not given.
    encode : callable, optional
        Turns a list of strings into unit vectors (n, d); character n-grams weighed by their rarity when left out.

    Examples
    --------
    >>> log = pl.DataFrame({"surface": ["nike", "nikee", "addidas"], "type": ["brand"] * 3, "value": ["Nike", "Nike", "Adidas"]})
    >>> normalizer = ValueNormalizer().fit(log)
    >>> normalizer("adidas", "brand").value, normalizer("nike", "brand").reason.of_surface
    ('Adidas', 1.0)
    """

    def __init__(
        self, strength: float = 5.0, neighbours: int = 10, temperature: float = 0.1, threshold: float = 0.0, encode: Encode | None = None
    ) -> None:
        if strength <= 0 or neighbours < 0 or temperature <= 0 or not 0 <= threshold <= 1:
            raise ConfigError("strength and temperature must be above 0, neighbours at least 0, and threshold between 0 and 1")
        self.strength = strength
        self.neighbours = neighbours
        self.temperature = temperature
        self.threshold = threshold
        self.encode = encode

    def fit(self, log: pl.DataFrame) -> Self:
        """Count a table with the columns ``surface``, ``type``, ``value`` and optionally ``category`` and ``count`` (1 when left out).

        Raises
        ------
        DataError
            A column is missing, or there are no rows.
        """
        for column in ("surface", "type", "value"):
            if column not in log.columns:
                raise DataError(f"the log has no column '{column}'; it needs surface, type and value, and may have category and count")
        if not len(log):
            raise DataError("the log has no rows, so no surface form has a value; lower min_count or give more clicks")
        category = pl.col("category").cast(pl.String) if "category" in log.columns else pl.lit("")
        count = pl.col("count").cast(pl.Float64) if "count" in log.columns else pl.lit(1.0)
        rows = log.select(pl.col("surface").str.to_lowercase(), "type", "value", category.alias("category"), count.alias("count"))
        self.types_: dict[str, _Names] = {}
        for (kind,), part in rows.partition_by("type", as_dict=True, maintain_order=True).items():
            self.types_[str(kind)] = _Names(part, self.encode)
        return self

    def __call__(self, surface: str, type: str, category: str = "") -> Value:
        """The most probable value of one surface form."""
        return self.normalize([surface], type, [category])[0]

    def normalize(self, surfaces: Sequence[str], type: str, categories: Sequence[str] | None = None) -> list[Value]:
        """The most probable value of each surface form of one type; ties go to the value that came first in the log."""
        if not hasattr(self, "types_"):
            raise DataError("this ValueNormalizer is not fitted yet; call `fit` with a log first")
        names = self.types_.get(type)
        if names is None:
            raise DataError(f"the log has no values of type '{type}'; its types are {', '.join(self.types_)}")
        lowered = [surface.lower() for surface in surfaces]
        near = names.nearest(lowered, self.neighbours) if self.neighbours else None
        found = []
        for i, (surface, category) in enumerate(zip(lowered, categories or [""] * len(lowered), strict=True)):
            p, asked = np.zeros(len(names.values)), tuple[str, ...]()
            if near is not None:
                who, likeness = near[0][i], near[1][i]
                share = np.exp((likeness - likeness.max()) / self.temperature)
                share[likeness <= 0] = 0.0
                if share.sum() > 0:
                    p = share / share.sum() @ names.given_surface[who]
                    asked = tuple(names.surfaces[j] for j in who[share > 0])
            of_surface, in_category = names.counts.get(surface), names.counts_in.get((surface, category))
            for counts in (of_surface, in_category):
                if counts is not None:
                    p = (counts + self.strength * p) / (counts.sum() + self.strength)
            # Without similar surfaces the back-off holds no probability at all: what is seen then has all of it.
            total = p.sum()
            best = int(p.argmax())
            probability = float(p[best] / total) if total > 0 else 0.0
            value = names.values[best] if total > 0 and probability >= self.threshold else None
            seen_in, seen = (0.0 if counts is None else float(counts[best]) for counts in (in_category, of_surface))
            reason = Reason(seen_in, seen, asked)
            found.append(Value(value, probability, reason))
        return found


class AttributeExtractor:
    """A tagger and a normalizer at work together: spans with their values.

    Parameters
    ----------
    tagger : Tagger
    normalizer : ValueNormalizer
    veto : float in [0, 1]
        Spans whose best value is less probable than this are dropped; 0 drops none.

    Examples
    --------
    >>> class Second:
    ...     def predict_spans(self, documents):
    ...         return [[(1, 2, "brand")] for _ in documents]
    >>> log = pl.DataFrame({"surface": ["nikee"], "type": ["brand"], "value": ["Nike"]})
    >>> AttributeExtractor(Second(), ValueNormalizer().fit(log))([["red", "nikee", "bag"]])[0][0].value
    'Nike'
    """

    def __init__(self, tagger: Tagger, normalizer: ValueNormalizer, veto: float = 0.0) -> None:
        self.tagger = tagger
        self.normalizer = normalizer
        self.veto = veto

    def __call__(self, queries: Sequence[Sequence[str]], categories: Sequence[str] | None = None) -> list[list[Attribute]]:
        """Attributes of every query, given as words."""
        chosen = [""] * len(queries) if categories is None else categories
        found: list[list[Attribute]] = [[] for _ in queries]
        spans = [(q, *span) for q, each in enumerate(self.tagger.predict_spans(queries)) for span in each]
        for kind in sorted({span[3] for span in spans}):
            mine = [span for span in spans if span[3] == kind]
            surfaces = [" ".join(queries[q][start:end]) for q, start, end, _ in mine]
            known = kind in self.normalizer.types_
            values = self.normalizer.normalize(surfaces, kind, [chosen[q] for q, *_ in mine]) if known else [None] * len(mine)
            for (q, start, end, _), surface, value in zip(mine, surfaces, values, strict=True):
                score = value.probability if value is not None else 0.0
                if score >= self.veto:
                    found[q].append(Attribute(start, end, kind, surface, None if value is None else value.value, score))
        return [sorted(each, key=lambda attribute: attribute.start) for each in found]


def value_scores(gold: Sequence[set[tuple[str, str]]], predicted: Sequence[Sequence[Attribute]]) -> SpanScores:
    """End-to-end scores on the set of (type, canonical value) of every query.

    Examples
    --------
    >>> value_scores([{("brand", "Nike")}], [[Attribute(0, 1, "brand", "nikee", "Nike", 0.9)]]).f1
    1.0
    """
    if len(gold) != len(predicted):
        raise DataError(f"gold has {len(gold)} queries and prediction {len(predicted)}; they must match")
    said = [{(a.type, a.value) for a in each if a.value is not None} for each in predicted]
    return SpanScores(sum(len(g & s) for g, s in zip(gold, said, strict=True)), sum(map(len, said)), sum(map(len, gold)))


class _Names:
    """Surfaces and values of one type with their counts."""

    def __init__(self, log: pl.DataFrame, encode: Encode | None) -> None:
        self.values = log["value"].unique(maintain_order=True).to_list()
        place = {value: i for i, value in enumerate(self.values)}
        self.counts: dict[str, NDArray[np.float64]] = {}
        self.counts_in: dict[tuple[str, str], NDArray[np.float64]] = {}
        for surface, value, category, count in log.select("surface", "value", "category", "count").iter_rows():
            self.counts.setdefault(surface, np.zeros(len(self.values)))[place[value]] += count
            if category:
                self.counts_in.setdefault((surface, category), np.zeros(len(self.values)))[place[value]] += count
        own = {value.lower(): i for value, i in place.items() if value.lower() not in self.counts}
        self.surfaces = [*self.counts, *own]
        shares = [counts / counts.sum() for counts in self.counts.values()]
        self.given_surface = np.vstack([*shares, np.eye(len(self.values))[list(own.values())]])
        self._encode = encode if encode is not None else _character_grams(self.surfaces)
        self._vectors = self._encode(self.surfaces)

    def nearest(self, surfaces: Sequence[str], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(n, k) positions of the most similar surfaces and their similarities."""
        likeness = self._encode(surfaces) @ self._vectors.T
        dense = likeness.toarray() if hasattr(likeness, "toarray") else np.asarray(likeness)
        order = np.argsort(-dense, axis=1, kind="stable")[:, :k]
        return order, np.take_along_axis(dense, order, axis=1)


def _character_grams(surfaces: Sequence[str]) -> Encode:
    from sklearn.feature_extraction.text import TfidfVectorizer

    encode: Encode = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True).fit(surfaces).transform
    return encode
