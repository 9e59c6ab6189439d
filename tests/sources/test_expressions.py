"""Keywords, regular expressions and conditions against what plain Python says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import SourceError
from steelyard.sources import Source, apply, expr, keywords, regex


def hits(source: Source, texts: list[str | None]) -> list[bool]:
    return (source.vote(pl.DataFrame({"text": texts}, schema={"text": pl.String})).codes == 0).tolist()


def test_keywords_ignore_case_unless_told() -> None:
    texts = ["Check OUT", "check out", "checkout", None]
    assert hits(keywords("check out", label="SPAM"), texts) == [True, True, False, False]
    assert hits(keywords("check out", label="SPAM", case_sensitive=True), texts) == [False, True, False, False]


@pytest.mark.parametrize("whole_words", [False, True])
def test_case_is_ignored_outside_ascii_too(whole_words: bool) -> None:
    texts = ["Été", "ÉTÉ", "été", "ete", "ΟΔΟΣ", "οδος", "ПРИВЕТ"]
    assert hits(keywords("été", label="X", whole_words=whole_words), texts) == [True, True, True, False, False, False, False]
    assert hits(keywords("οδος", label="X", whole_words=whole_words), texts) == [False, False, False, False, True, True, False]
    assert hits(keywords(["ÉTÉ", "Привет"], label="X", whole_words=whole_words), texts) == [True, True, True, False, False, False, True]
    assert hits(keywords("été", label="X", case_sensitive=True, whole_words=whole_words), texts) == [False, False, True] + 4 * [False]


def test_whole_words_touch_no_letter_digit_or_underscore() -> None:
    texts = ["art", "an art.", "artist", "smart", "art_1", "artÉ", "(art)", "ART!"]
    assert hits(keywords("art", label="X", whole_words=True), texts) == [True, True, False, False, False, False, True, True]
    assert hits(keywords(["c++", "$$$"], label="X", whole_words=True), ["C++ now", "c++11", "for $$$", "a$$$", "c"]) == [
        True,
        False,
        True,
        False,
        False,
    ]


ALPHABET = st.text(alphabet="aAbBéÉß.+*(-[^$\\ _1", max_size=6)


@given(words=st.lists(ALPHABET.filter(bool), min_size=1, max_size=3), texts=st.lists(ALPHABET, min_size=1, max_size=8), whole=st.booleans())
def test_keywords_agree_with_python(words: list[str], texts: list[str], whole: bool) -> None:
    alternatives = "|".join(re.escape(word) for word in words)
    pattern = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)" if whole else alternatives, re.IGNORECASE)
    assert hits(keywords(words, label="X", whole_words=whole), texts) == [pattern.search(text) is not None for text in texts]


def test_regex_searches_anywhere() -> None:
    assert hits(regex(r"(?i)check\s+out", label="SPAM"), ["so CHECK  out", "checkout", None]) == [True, False, False]


def test_a_pattern_that_is_none_is_refused_when_it_is_written() -> None:
    with pytest.raises(SourceError, match="is not a regular expression"):
        regex("(", label="SPAM")


@pytest.mark.parametrize(
    "condition",
    [
        "len(text) < 5",
        "LEN( text ) < 5",
        "length(text) < 5 AND likes >= 0",
        "text <> 'len(text)' AND len(text) < 5",
        pl.col("text").str.len_chars() < 5,
    ],
)
def test_conditions_in_sql_or_polars(condition: str | pl.Expr) -> None:
    table = pl.DataFrame({"text": ["é" * 4, "é" * 5, None], "likes": [0, 1, 2]})
    assert expr(condition, label="HAM").vote(table).codes.tolist() == [0, -1, -1]


def test_a_condition_without_columns_holds_everywhere() -> None:
    assert expr("1 = 1", label="HAM").vote(pl.DataFrame({"text": ["a", "b"]})).codes.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("condition", "says"),
    [("len(text", "is not a condition"), ("frobnicate(text) > 1", "is not a condition"), ("len(text)", "not a condition")],
)
def test_what_is_no_condition_is_an_error(condition: str, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        expr(condition, label="HAM").vote(pl.DataFrame({"text": ["a"]}))


def test_a_missing_column_is_named_with_those_there_are() -> None:
    with pytest.raises(SourceError, match=r"source 'short' reads the column 'text', which the data lacks; its columns are body, id"):
        apply([expr("len(text) < 5", label="HAM", name="short")], {"body": ["a"], "id": [1]})


@pytest.mark.parametrize("words", [[], "", ["a", ""]])
def test_keywords_need_words(words: list[str] | str) -> None:
    with pytest.raises(SourceError, match="at least one word"):
        keywords(words, label="X")


def test_published_keyword_rules_are_reproduced_exactly(data_root: Path) -> None:
    """The keyword rules of the Snorkel spam tutorial, as WRENCH published their votes on YouTube comments."""
    table = pl.read_parquet(data_root / "ws_youtube_spam" / "data.parquet")
    published = table["votes"].list.to_array(10).to_numpy()[:, :5]
    rules = [
        keywords(["my"], label="SPAM"),
        keywords("subscribe", label="SPAM"),
        keywords("http", label="SPAM"),
        keywords(["please", "plz"], label="SPAM"),
    ]
    votes = apply([*rules, keywords("song", label="HAM")], table, classes=["HAM", "SPAM"])
    np.testing.assert_array_equal(votes.codes, published)


def test_conditions_evaluated_together_are_those_evaluated_alone() -> None:
    table = pl.DataFrame({"text": ["Free ÉTÉ", "été", "a song", "FREEDOM", None], "likes": [1, 5, None, 7, 2]})
    rules = [
        keywords(["free"], label="SPAM", name="free"),
        keywords(["free"], label="SPAM", name="free_word", whole_words=True),
        keywords(["Été"], label="HAM", name="summer"),
        expr("likes > 4", label="HAM", name="liked"),
        expr(pl.lit(True), label="HAM", name="always"),
    ]
    votes = apply(rules, table)
    for j, rule in enumerate(rules):
        alone = rule.vote(table).codes >= 0
        assert (votes.codes[:, j] >= 0).tolist() == alone.tolist()
    assert [(votes.codes[:, j] >= 0).sum() for j in range(5)] == [2, 1, 2, 2, 5]


def test_long_lists_of_keywords_find_the_same() -> None:
    many = [f"word{i}x" for i in range(500)]
    few, all_of_them = (keywords(words, label="HIT", name="k") for words in (many[:3], many))
    text = pl.DataFrame({"text": ["a Word2X here", "word400x", "word2 x"]})
    assert few.vote(text).codes.tolist() == [0, -1, -1]
    assert all_of_them.vote(text).codes.tolist() == [0, 0, -1]


@pytest.mark.parametrize("label", ["", None, 1])
def test_a_label_is_the_name_of_a_class(label: Any) -> None:
    with pytest.raises(SourceError, match="a label is the name of a class"):
        keywords("free", label=label)


def test_words_are_texts() -> None:
    with pytest.raises(SourceError, match="each must be a text"):
        keywords([1, 2], label="SPAM")  # type: ignore[list-item]
