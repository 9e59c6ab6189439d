"""Behaviour logs as weak labels: what was clicked after a query tells which of its words name an attribute, and which value they mean.

Zhang et al. 2021, "QUEACO: Borrowing Treasures from Weakly-labeled Behavior Data for Query Attribute Value Extraction". It does not
print its matching rule or its filters: they are reconstructed here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from steelyard.errors import SourceError

Span = tuple[int, int, str]
_WORD = re.compile(r"[^\W_]+|[^\w\s]")


@dataclass(frozen=True)
class WeakQuery:
    """A query's words, the spans (start, end, type) that its clicks support, and the support of each; all other words are unknown."""

    words: tuple[str, ...]
    spans: tuple[Span, ...]
    support: tuple[float, ...]

    def tags(self) -> list[str]:
        """BIO tags of the spans, "" = unknown where nothing matched: that no click names a word does not make it `O`.

        Examples
        --------
        >>> WeakQuery(("red", "nike", "shoes"), ((1, 2, "brand"),), (5.0,)).tags()
        ['', 'B-brand', '']
        """
        tags = [""] * len(self.words)
        for start, end, kind in self.spans:
            tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
        return tags


class BehaviourLog:
    """Queries with the products clicked after them, and the attributes of these products.

    Parameters
    ----------
    clicks : DataFrame
        Columns ``query``, ``product`` and ``count``; optionally ``position`` (shown place) and ``action`` (``click``, ``purchase`` …).
    products : DataFrame
        Columns ``product``, ``type`` and ``value``, one row per attribute; optionally ``category``.
    examination : mapping of position to probability in (0, 1], optional
        Chance that a place is looked at; counts are divided by it.
    action_weights : mapping of str to float, optional
        What an event of each kind counts; 1 for a click and 5 for a purchase when left out.

    Raises
    ------
    SourceError
        A column is missing, or a count is negative.

    Examples
    --------
    >>> clicks = pl.DataFrame({"query": ["red nike shoes"], "product": ["p"], "count": [4]})
    >>> products = pl.DataFrame({"product": ["p", "p"], "type": ["brand", "color"], "value": ["Nike", "crimson"]})
    >>> BehaviourLog(clicks, products).weak_queries(min_support=3)[0].spans
    ((1, 2, 'brand'),)
    """

    def __init__(
        self,
        clicks: pl.DataFrame,
        products: pl.DataFrame,
        examination: Mapping[int, float] | None = None,
        action_weights: Mapping[str, float] | None = None,
    ) -> None:
        for name, table, needed in (
            ("clicks", clicks, ("query", "product", "count")),
            ("products", products, ("product", "type", "value")),
        ):
            missing = [column for column in needed if column not in table.columns]
            if missing:
                raise SourceError(f"the table of {name} has no column '{missing[0]}'; it needs {', '.join(needed)}")
        if clicks.filter(pl.col("count") < 0).height:
            raise SourceError("the table of clicks has a negative count; counts are how often a product was chosen after a query")
        weight = pl.col("count").cast(pl.Float64)
        if examination is not None and "position" in clicks.columns:
            weight = weight / pl.col("position").replace_strict(
                dict(examination), default=min(examination.values()), return_dtype=pl.Float64
            )
        if "action" in clicks.columns:
            chosen = dict(action_weights or {"click": 1.0, "purchase": 5.0})
            weight = weight * pl.col("action").replace_strict(chosen, default=1.0, return_dtype=pl.Float64)
        category = pl.col("category") if "category" in products.columns else pl.lit("").alias("category")
        joined = clicks.select("query", "product", weight.alias("weight")).join(
            products.select("product", "type", "value", category), on="product"
        )
        self.queries = clicks["query"].unique(maintain_order=True).to_list()
        self.events = joined.group_by("query", "type", "value", "category", maintain_order=True).agg(pl.col("weight").sum())

    def weak_queries(self, min_support: float = 3.0, aliases: pl.DataFrame | None = None) -> list[WeakQuery]:
        """Every query with the spans that match a value of what was chosen after it, in the order of first appearance.

        Longer matches go first, then those with more support; spans do not overlap.

        Parameters
        ----------
        min_support : float
            Spans that fewer choices support are left out.
        aliases : DataFrame, optional
            Surface forms learned so far, as `value_table` gives them (columns surface, type, value): they match like the value itself,
            for another round of weak tags.
        """
        known: dict[tuple[str, str], list[str]] = defaultdict(list)
        for surface, kind, value in (
            () if aliases is None else aliases.select("surface", "type", "value").unique(maintain_order=True).iter_rows()
        ):
            known[kind, value].append(surface)
        by_query: dict[str, dict[tuple[str, str], float]] = defaultdict(lambda: defaultdict(float))
        for query, kind, value, _, weight in self.events.iter_rows():
            by_query[query][kind, value] += weight
        return [_weak_query(query, by_query[query], known, min_support) for query in self.queries]

    def value_table(
        self, spans: Iterable[tuple[str, str, str]] | None = None, min_count: float = 3.0, min_lift: float = 1.5
    ) -> pl.DataFrame:
        """How often each surface form of a type led to each value: columns surface, type, category, value, count.

        Parameters
        ----------
        spans : iterable of (query, surface, type), optional
            What a tagger found in the queries; the matched spans of `weak_queries` when left out.
        min_count : float
            Rarer pairs of surface and value are left out.
        min_lift : float
            Pairs with P(value | surface, type) / P(value | type) below it are left out: what is clicked after everything means nothing.
            A type with a single value keeps it.
        """
        found = (
            spans
            if spans is not None
            else (
                (" ".join(words.words), " ".join(words.words[s:e]), kind)
                for words in self.weak_queries(min_count)
                for s, e, kind in words.spans
            )
        )
        rows = pl.DataFrame(list(found), schema={"query": pl.String, "surface": pl.String, "type": pl.String}, orient="row").unique(
            maintain_order=True
        )
        events = self.events.with_columns(pl.col("query").map_elements(lambda q: " ".join(words_of(q)), return_dtype=pl.String))
        keys = ["surface", "type", "category", "value"]
        joined = rows.with_columns(pl.col("surface").str.to_lowercase()).join(events, on=["query", "type"], how="inner")
        table = joined.group_by(keys, maintain_order=True).agg(pl.col("weight").sum().alias("count"))
        pair = pl.col("count").sum().over("surface", "type", "value")
        lift = (
            pair
            / pl.col("count").sum().over("surface", "type")
            * pl.col("count").sum().over("type")
            / pl.col("count").sum().over("type", "value")
        )
        single = pl.col("value").n_unique().over("type") == 1
        return table.filter((pair >= min_count) & ((lift >= min_lift) | single))


def words_of(query: str) -> list[str]:
    """Split a query into lower-cased words and signs.

    Examples
    --------
    >>> words_of("Men's T-shirt, XL")
    ['men', "'", 's', 't', '-', 'shirt', ',', 'xl']
    """
    return _WORD.findall(query.lower())


def _stem(word: str) -> str:
    """Plural and singular alike; enough for catalogue values."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _weak_query(
    query: str, values: Mapping[tuple[str, str], float], aliases: Mapping[tuple[str, str], list[str]], min_support: float
) -> WeakQuery:
    words = words_of(query)
    stems = [_stem(word) for word in words]
    found: dict[Span, float] = defaultdict(float)
    for (kind, value), weight in values.items():
        names = {tuple(map(_stem, words_of(name))) for name in (value, *aliases.get((kind, value), ()))} - {()}
        for wanted in sorted(names):
            for start in range(len(stems) - len(wanted) + 1):
                if tuple(stems[start : start + len(wanted)]) == wanted:
                    found[start, start + len(wanted), kind] += weight
    kept: list[tuple[Span, float]] = []
    order: Any = sorted(found.items(), key=lambda item: (item[0][0] - item[0][1], -item[1], item[0]))
    for span, weight in order:
        if weight >= min_support and all(span[1] <= other[0] or other[1] <= span[0] for other, _ in kept):
            kept.append((span, weight))
    kept.sort()
    return WeakQuery(tuple(words), tuple(span for span, _ in kept), tuple(weight for _, weight in kept))
