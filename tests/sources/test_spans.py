"""Spans of tokens as BIO votes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import SourceError, VotesError
from steelyard.sources import Span, apply, bio_tags, decode_bio, document_consistency, encode_bio, keywords, span_source
from steelyard.sources.spans import spans_in, spans_without_overlap

DOCUMENTS = pl.DataFrame({"tokens": [["took", "acetyl", "acid", "daily"], [], ["no", "pain"], ["acetyl", "acid"]]})


@st.composite
def documents(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Disjoint spans that may touch, and the number of tokens."""
    lengths = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(["A", "B"])), max_size=6))
    spans, at = [], 0
    for gap, length, label in lengths:
        spans.append(Span(at + gap, at + gap + length, label))
        at += gap + length
    return spans, at + draw(st.integers(0, 2))


@given(documents())
def test_decoding_undoes_encoding(document: tuple[list[Span], int]) -> None:
    spans, n_tokens = document
    assert decode_bio(encode_bio(spans, n_tokens)) == spans


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), max_size=8))
def test_decoding_any_tags_gives_disjoint_spans_over_all_that_is_not_outside(tags: list[str]) -> None:
    covered = [token for span in decode_bio(tags) for token in range(span.start, span.end)]
    assert covered == [i for i, tag in enumerate(tags) if tag != "O"]


def test_the_longest_of_overlapping_spans_counts_then_the_leftmost() -> None:
    assert spans_without_overlap([(2, 4, "B"), (0, 3, "A"), (3, 5, "A"), (1, 2, "B")]) == [Span(0, 3, "A"), Span(3, 5, "A")]


@pytest.mark.parametrize("span", [(0, 5, "A"), (2, 2, "A"), (-1, 1, "A")])
def test_spans_beyond_the_document_are_errors(span: tuple[int, int, str]) -> None:
    with pytest.raises(VotesError, match="does not fit a document of 4 tokens"):
        encode_bio([span], 4)


def acids(row: Any) -> list[tuple[int, int, str]]:
    return [(i - 1, i + 1, "Drug") for i, token in enumerate(row.tokens) if token == "acid"]


@pytest.mark.parametrize(("outside", "o"), [("abstain", -1), ("O", 0)])
def test_outside_is_silence_or_a_vote_also_in_documents_without_spans(outside: Any, o: int) -> None:
    votes = apply([span_source(labels=["Drug"], outside=outside)(acids)], DOCUMENTS)
    assert votes.classes == ("O", "B-Drug", "I-Drug")
    assert votes.groups is not None
    assert votes.groups.tolist() == [0, 4, 4, 6, 8]
    assert votes.codes[:, 0].tolist() == [o, 1, 2, o, o, o, 1, 2]


def test_a_document_that_fails_is_one_fault_and_abstains_throughout() -> None:
    @span_source(labels=["Drug"], outside="O")
    def second(row: Any) -> list[tuple[int, int, str]]:
        return [(0, 1, "Drug")] if row.tokens[1] == "pain" else []

    votes = apply([second], DOCUMENTS)
    assert votes.codes[:, 0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0]
    assert votes.metadata["faults"]["second"]["first_row"] == 1
    assert votes.metadata["faults"]["second"]["count"] == 1
    failing = span_source(labels=["Drug"], outside="O", name="failing")(lambda row: [(0, 1, "Drug")] if row.tokens[0] == "no" else 1 // 0)
    assert apply([failing], DOCUMENTS).codes[:, 0].tolist() == [-1, -1, -1, -1, 1, 0, -1, -1]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    many = pl.concat([DOCUMENTS] * 50)
    sources = [span_source()(acids), span_source(name="other", outside="O")(lambda row: [(0, 1, "Word")] if row.tokens else [])]
    assert apply(sources, many, workers=workers) == apply(sources, many)


def test_bad_spans_name_source_and_row() -> None:
    with pytest.raises(VotesError, match=r"source 'long' returned the span \(0, 9\) for row 0, which has 4 tokens"):
        apply([span_source(name="long")(lambda row: [(0, 9, "Drug")])], DOCUMENTS)
    with pytest.raises(VotesError, match=r"source 'odd' returned 'Food' for row 2; its labels are Drug"):
        apply([span_source(name="odd", labels=["Drug"])(lambda row: [(0, 1, "Food")] if row.tokens[:1] == ["no"] else [])], DOCUMENTS)


def test_token_votes_and_row_votes_do_not_mix() -> None:
    table = DOCUMENTS.with_columns(text=pl.lit("acid"))
    with pytest.raises(SourceError, match="source 'acids' votes once per token but 'keywords_acid' once per row"):
        apply([keywords("acid", label="Drug"), span_source()(acids)], table)


def test_sources_must_read_the_same_tokens() -> None:
    table = DOCUMENTS.with_columns(words=pl.Series([["a"], ["b"], ["c"], ["d"]]))
    with pytest.raises(SourceError, match="token columns of different lengths"):
        apply([span_source()(acids), span_source(on="words", name="w")(lambda row: [])], table, classes=bio_tags(["Drug"]))


def test_outside_has_two_values() -> None:
    with pytest.raises(SourceError, match="outside is 'abstain' or 'O', not 'none'"):
        span_source(outside="none")(acids)  # type: ignore[arg-type]


def consistent(tokens: str, *mentions: tuple[int, int, str]) -> list[Span]:
    table = pl.DataFrame({"tokens": [tokens.split(), ["x", "y"]]})
    first = span_source(name="given")(lambda row: list(mentions) if row.tokens[0] != "x" else [])
    return spans_in(document_consistency([first]).vote(table))[0]


def test_words_seen_as_a_span_vote_at_their_other_places_in_the_document() -> None:
    assert consistent("big pain then big pain or pain", (0, 2, "Disease")) == [Span(3, 5, "Disease")]


def test_a_mention_seen_once_gives_itself_no_vote() -> None:
    assert consistent("big pain", (0, 2, "Disease")) == []


def test_two_mentions_support_each_other() -> None:
    assert consistent("pain or pain", (0, 1, "Disease"), (2, 3, "Disease")) == [Span(0, 1, "Disease"), Span(2, 3, "Disease")]


def test_the_majority_elsewhere_decides_and_a_tie_is_silent() -> None:
    assert consistent("x1 x1 x1", (0, 1, "A"), (1, 2, "B")) == [Span(0, 1, "B"), Span(1, 2, "A")]
    assert Span(3, 4, "A") in consistent("x1 x1 x1 x1", (0, 1, "A"), (1, 2, "A"), (2, 3, "B"))


def test_spans_do_not_spread_to_other_documents() -> None:
    table = pl.DataFrame({"tokens": [["pain", "pain"], ["pain"]]})
    first = span_source(labels=["Disease"])(lambda row: [(0, 1, "Disease")] if len(row.tokens) == 2 else [])
    votes = apply([document_consistency([first])], table)
    assert votes.classes == bio_tags(["Disease"])
    assert votes.codes[:, 0].tolist() == [-1, 1, -1]


def test_published_span_votes_survive_the_way_to_tags_and_back(data_root: Path) -> None:
    """Gold mentions of BC5CDR, as a source: encoding and decoding loses none of the non-overlapping ones."""
    table = pl.read_parquet(data_root / "ner_ws_bc5cdr" / "data.parquet").head(200)
    gold = span_source(labels=["Chemical", "Disease"], name="gold")(lambda row: [(s["start"], s["end"], s["type"]) for s in row.gold])
    votes = apply([gold], table)
    assert votes.n_rows == table["tokens"].list.len().sum()
    decoded = spans_in(gold.vote(table))
    expected = [spans_without_overlap((s["start"], s["end"], s["type"]) for s in spans) for spans in table["gold"].to_list()]
    assert decoded == expected
    assert np.isin(votes.codes, [-1, 1, 2, 3, 4]).all()
