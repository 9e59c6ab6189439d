"""Weak tags and value counts from behaviour logs."""

from __future__ import annotations

import polars as pl
import pytest

from steelyard.errors import SourceError
from steelyard.sources.logs import BehaviourLog

PRODUCTS = pl.DataFrame(
    {
        "product": ["p1", "p1", "p2", "p2", "p3"],
        "type": ["brand", "color", "brand", "item", "item"],
        "value": ["North Face", "red", "North", "jacket", "jackets"],
        "category": ["outdoor", "outdoor", "home", "home", "outdoor"],
    }
)


def clicks(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=["query", "product", "count"], orient="row")


def test_longest_match_wins_and_unmatched_words_stay_unknown() -> None:
    log = BehaviourLog(clicks(("The north face RED jackets", "p1", 5), ("The north face RED jackets", "p2", 50)), PRODUCTS)
    (query,) = log.weak_queries()
    assert query.tags() == ["", "B-brand", "I-brand", "B-color", "B-item"]
    assert query.support == (5.0, 5.0, 50.0)


def test_support_adds_up_over_products_and_rare_matches_are_dropped() -> None:
    rows = (("jacket red", "p2", 2), ("jacket red", "p3", 2), ("jacket red", "p1", 2))
    assert BehaviourLog(clicks(*rows), PRODUCTS).weak_queries(min_support=3)[0].tags() == ["B-item", ""]
    assert BehaviourLog(clicks(*rows), PRODUCTS).weak_queries(min_support=5)[0].tags() == ["", ""]


def test_clicks_far_down_and_purchases_count_more() -> None:
    table = clicks(("red", "p1", 1), ("red", "p1", 1)).with_columns(position=pl.Series([1, 10]), action=pl.Series(["click", "purchase"]))
    (query,) = BehaviourLog(table, PRODUCTS, examination={1: 1.0, 10: 0.25}).weak_queries(min_support=0)
    assert query.support == (1 + 5 / 0.25,)


def test_value_table_counts_surfaces_by_category_and_drops_what_is_clicked_after_everything() -> None:
    products = pl.DataFrame(
        {"product": ["n", "a", "x"], "type": ["brand"] * 3, "value": ["Nike", "Adidas", "Generic"], "category": ["c"] * 3}
    )
    log = BehaviourLog(clicks(("nikee", "n", 10), ("addidas", "a", 10), ("nikee", "x", 4), ("addidas", "x", 4)), products)
    spans = [("nikee", "nikee", "brand"), ("addidas", "addidas", "brand")]
    table = log.value_table(spans)
    assert table.select("surface", "category", "value", "count").rows() == [("nikee", "c", "Nike", 10.0), ("addidas", "c", "Adidas", 10.0)]
    assert log.value_table(spans, min_lift=0).height == 4
    assert log.value_table(spans, min_count=5, min_lift=0).height == 2


def test_learned_surfaces_make_new_weak_tags() -> None:
    log = BehaviourLog(clicks(("nrth face bag", "p1", 9)), PRODUCTS)
    assert log.weak_queries()[0].spans == ()
    learned = log.value_table([("nrth face bag", "nrth face", "brand")])
    assert log.weak_queries(aliases=learned)[0].spans == ((0, 2, "brand"),)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (clicks(("a", "p1", 1)).drop("count"), "no column 'count'"),
        (clicks(("a", "p1", -1)), "negative count"),
    ],
)
def test_bad_tables_are_named(table: pl.DataFrame, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        BehaviourLog(table, PRODUCTS)
