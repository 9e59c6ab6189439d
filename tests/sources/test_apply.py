"""``apply``: sources times rows into Votes, whatever runs where and whatever fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.errors import ConfigError, DataError, SourceError, VotesError
from steelyard.sources import Source, SourceVotes, apply, apply_batches, expr, keywords, labeling_function
from steelyard.votes import Votes

TEXTS = ["free money", "nice song", "FREE song", "", "http://a.b", "lovely"] * 40


def rule(name: str, function: Callable[[Any], Any], **options: Any) -> Source:
    return labeling_function(name=name, **options)(function)


def rules() -> list[Source]:
    return [
        rule("free", lambda row: "SPAM" if "free" in row.text.lower() else None),
        keywords("song", label="HAM"),
        rule("sure", lambda row: ("HAM", 0.75) if row.text == "lovely" else None),
        expr("len(text) < 7", label="HAM", name="short"),
        rule("link", lambda row: "SPAM" if "http" in row.text else "PASS", abstain="PASS"),
    ]


def test_votes_are_what_the_rules_say() -> None:
    votes = apply(rules(), TEXTS[:6], classes=["HAM", "SPAM"])
    assert votes.sources == ("free", "keywords_song", "sure", "short", "link")
    assert votes.codes.tolist() == [
        [1, -1, -1, -1, -1],
        [-1, 0, -1, -1, -1],
        [1, 0, -1, -1, -1],
        [-1, -1, -1, 0, -1],
        [-1, -1, -1, -1, 1],
        [-1, -1, 0, 0, -1],
    ]
    assert votes.metadata == {}
    assert np.argwhere(votes.confidences != 1).tolist() == [[5, 2]], "what a source does not say counts as certain"


def test_codes_are_small_and_column_major() -> None:
    votes = apply(rules(), TEXTS)
    assert votes.codes.dtype == np.int8
    assert votes.codes.flags.f_contiguous


def test_many_classes_take_a_wider_code() -> None:
    votes = apply([rule("each", lambda row: row.text)], [f"class {i:03d}" for i in range(300)])
    assert votes.codes.dtype == np.int16
    assert votes.codes[:, 0].tolist() == list(range(300))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    assert apply(rules(), TEXTS, workers=workers) == apply(rules(), TEXTS)


@given(order=st.permutations(range(5)))
@settings(max_examples=20, deadline=None)
def test_permuting_sources_permutes_columns(order: list[int]) -> None:
    sources, votes = rules(), apply(rules(), TEXTS, classes=["HAM", "SPAM"])
    assert apply([sources[j] for j in order], TEXTS, classes=["HAM", "SPAM"]) == votes.select(order)


@given(order=st.permutations(range(12)))
@settings(max_examples=20, deadline=None)
def test_permuting_rows_permutes_votes(order: list[int]) -> None:
    votes = apply(rules(), TEXTS[:12], classes=["HAM", "SPAM"])
    assert apply(rules(), [TEXTS[i] for i in order], classes=["HAM", "SPAM"]) == votes.take(np.array(order))


def test_classes_are_declared_ones_in_source_order_then_observed_ones_sorted() -> None:
    sources = [rule("a", lambda row: row.text), rule("b", lambda row: None, labels=["Z", "Y"]), keywords("k", label="K")]
    assert apply(sources, ["q", "Z", "b", "q"]).classes == ("Z", "Y", "K", "b", "q")


def test_without_any_vote_classes_must_be_named() -> None:
    with pytest.raises(VotesError, match="name them with classes="):
        apply([rule("silent", lambda row: None)], ["a"])
    assert not apply([rule("silent", lambda row: None)], ["a"], classes=["X"]).coverage.any()


def test_one_string_is_no_list_of_classes() -> None:
    with pytest.raises(VotesError, match="must be a list of names, got the single string 'HAM'"):
        apply([rule("ham", lambda row: "HAM")], ["a"], classes="HAM")


def test_a_parent_of_the_hierarchy_can_be_voted_for() -> None:
    source = rule("pets", lambda row: row.text)
    votes = apply([source], ["cat", "animal", "car"], classes=["cat", "dog", "car"], hierarchy={"animal": ["cat", "dog"]})
    assert votes.codes[:, 0].tolist() == [0, 3, 2]
    assert votes.support[3].tolist() == [True, True, False]


# Faults


def divides(row: Any) -> str:
    return "HAM" if 1 / len(row.text) else "SPAM"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_source_that_raises_on_a_row_abstains_there_and_is_counted(workers: int) -> None:
    votes = apply([rule("divides", divides), *rules()], TEXTS, workers=workers)
    empty = [i for i, text in enumerate(TEXTS) if not text]
    assert np.flatnonzero(votes.column("divides") == -1).tolist() == empty
    fault = votes.metadata["faults"]["divides"]
    assert (fault["count"], fault["first_row"], fault["message"]) == (len(empty), 3, "ZeroDivisionError: division by zero")
    assert "1 / len(row.text)" in fault["traceback"]
    assert list(votes.metadata["faults"]) == ["divides"]
    assert json.loads(json.dumps(votes.metadata)) == votes.metadata


@pytest.mark.parametrize("options", [{"strict": True}, {"on_error": "raise"}])
@pytest.mark.parametrize("workers", [1, 2])
def test_strict_raises_naming_source_and_row(options: dict[str, Any], workers: int) -> None:
    later = rule("later", lambda row: int("x") if row.text == "lovely" else None)
    with pytest.raises(SourceError, match=r"source 'divides' failed on row 3: ZeroDivisionError: division by zero") as caught:
        apply([later, rule("divides", divides)], TEXTS, workers=workers, **options)
    assert any("1 / len(row.text)" in note for note in caught.value.__notes__)


def test_a_vectorised_source_that_raises_abstains_everywhere() -> None:
    broken = labeling_function(batch=True, name="broken", labels=["HAM"])(lambda table: 1 / 0)
    votes = apply([broken, keywords("song", label="HAM")], TEXTS)
    assert (votes.column("broken") == -1).all()
    assert votes.metadata["faults"]["broken"]["count"] == len(TEXTS)
    with pytest.raises(SourceError, match="source 'broken' failed: ZeroDivisionError"):
        apply([broken], TEXTS, strict=True)


@pytest.mark.parametrize("on_error", ["abstain", "raise"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_label_that_is_no_class_is_always_an_error(on_error: Any, workers: int) -> None:
    has_link = rule("has_link", lambda row: "SPAN" if row.text == "row 17" else "SPAM")
    with pytest.raises(VotesError) as caught:
        apply([has_link], [f"row {i}" for i in range(60)], classes=["SPAM", "HAM"], on_error=on_error, workers=workers)
    assert str(caught.value) == "source 'has_link' returned 'SPAN' for row 17; classes are SPAM, HAM"


def test_a_label_that_was_not_declared_is_always_an_error() -> None:
    with pytest.raises(VotesError, match=r"source 's' returned 'C' for row 1; its labels are A, B"):
        apply([rule("s", lambda row: row.text, labels=["A", "B"])], ["A", "C"])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_value_that_is_no_label_is_an_error_also_from_another_process(workers: int) -> None:
    with pytest.raises(VotesError, match=r"source 'ones' returned 1 \(int\) for row 90"):
        apply([rule("ones", lambda row: 1 if row.text == "90" else None)], [str(i) for i in range(100)], workers=workers)


@pytest.mark.parametrize("on_error", ["abstain", "raise"])
def test_a_column_that_does_not_exist_is_never_swallowed(on_error: Any) -> None:
    with pytest.raises(SourceError, match=r"source 'typo': the data has no column 'txt'; its columns are text"):
        apply([rule("typo", lambda row: row.txt)], TEXTS, on_error=on_error)


# What cannot be applied


def test_duplicate_names_are_an_error() -> None:
    with pytest.raises(SourceError, match="two sources are named 'keywords_a'; give one of them another name"):
        apply([keywords("a", label="X"), keywords("a", label="Y")], TEXTS)


def test_no_sources_is_an_error() -> None:
    with pytest.raises(SourceError, match="there are no sources"):
        apply([], TEXTS)


def test_a_plain_function_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(SourceError, match="put @labeling_function above"):
        apply([lambda row: "SPAM"], TEXTS)  # type: ignore[list-item]


def test_no_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="no rows"):
        apply(rules(), [])


def test_unknown_options_are_errors() -> None:
    with pytest.raises(SourceError, match="on_error is 'abstain' or 'raise', not 'ignore'"):
        apply(rules(), TEXTS, on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no engine 'abacus'"):
        apply(rules(), TEXTS, engine="abacus")


# Sources of one's own, and streams


class Longest(Source):
    """A source that learns: the most frequent text."""

    name, labels, needs = "mode", ("HAM",), ("text",)

    def __init__(self) -> None:
        self.fitted = 0

    def fit(self, data: pl.DataFrame) -> None:
        self.fitted += 1
        self.mode = data["text"].mode()[0]

    def vote(self, batch: pl.DataFrame) -> SourceVotes:
        return SourceVotes.where(batch["text"] == self.mode, "HAM")


def test_a_source_that_learns_sees_the_whole_data_once() -> None:
    source = Longest()
    assert apply([source], ["a", "b", "b"]).codes[:, 0].tolist() == [-1, 0, 0]
    assert source.fitted == 1


def test_a_source_must_vote_once_per_row() -> None:
    class Short(Source):
        name = "short"

        def vote(self, batch: pl.DataFrame) -> SourceVotes:
            return SourceVotes.from_names(["HAM"])

    with pytest.raises(VotesError, match="source 'short' gave 1 votes for 3 rows"):
        apply([Short()], ["a", "b", "c"])


@given(cuts=st.lists(st.integers(1, 59), unique=True, max_size=5))
@settings(max_examples=20, deadline=None)
def test_a_stream_gives_the_votes_of_the_whole(cuts: list[int]) -> None:
    whole = TEXTS[:60]
    bounds = [0, *sorted(cuts), 60]
    parts = apply_batches(rules(), (whole[a:b] for a, b in pairwise(bounds)), classes=["HAM", "SPAM"])
    joined = Votes.concat(list(parts))
    np.testing.assert_array_equal(joined.codes, apply(rules(), whole, classes=["HAM", "SPAM"]).codes)
