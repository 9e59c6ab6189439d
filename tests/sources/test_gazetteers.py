"""Gazetteers against a plain search for the longest name at each token."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import SourceError
from steelyard.sources import Span, apply, gazetteer
from steelyard.sources.spans import spans_in


def found(entries: dict[str, list[str]], documents: list[list[str] | None], *, case_sensitive: bool = False) -> list[list[Span]]:
    table = pl.DataFrame({"tokens": documents}, schema={"tokens": pl.List(pl.String)})
    return spans_in(gazetteer(entries, case_sensitive=case_sensitive).vote(table))


def test_the_longest_name_wins_and_neighbours_both_count() -> None:
    entries = {"City": ["New York", "York"], "Paper": ["New York Times"]}
    assert found(entries, [["New", "York", "Times", "York", "new", "york"]]) == [
        [Span(0, 3, "Paper"), Span(3, 4, "City"), Span(4, 6, "City")]
    ]


def test_names_match_whole_tokens_only() -> None:
    assert found({"X": ["art"]}, [["artist", "art", "smart"], ["a", "rt"]]) == [[Span(1, 2, "X")], []]


def test_names_do_not_cross_documents_and_empty_ones_are_fine() -> None:
    assert found({"X": ["a b"]}, [["a"], [], None, ["b"], ["a", "b"]]) == [[], [], [], [], [Span(0, 2, "X")]]


def test_case_folds_as_unicode_does_unless_it_matters() -> None:
    documents: list[list[str] | None] = [["ÉCOLE", "Été", "ΟΔΟΣ"]]
    assert found({"X": ["école", "ÉTÉ", "οδος"]}, documents) == [[Span(0, 1, "X"), Span(1, 2, "X"), Span(2, 3, "X")]]
    assert found({"X": ["école", "Été"]}, documents, case_sensitive=True) == [[Span(1, 2, "X")]]


def test_names_match_however_the_text_was_split_at_punctuation() -> None:
    assert found({"Drug": ["beta-blocker"]}, [["beta-blocker"], ["beta", "-", "blocker"]]) == [[Span(0, 1, "Drug")], [Span(0, 3, "Drug")]]


def test_a_token_may_hold_any_character() -> None:
    assert found({"X": ["b"]}, [["a\x1e\x1f", "b", "😀", "b"]]) == [[Span(1, 2, "X"), Span(3, 4, "X")]]


WORDS = st.sampled_from(["a", "b", "ab", "é"])


@given(
    names=st.lists(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=4, unique=True),
    documents=st.lists(st.lists(WORDS, max_size=7), min_size=1, max_size=4),
)
def test_matches_are_leftmost_longest(names: list[str], documents: list[list[str] | None]) -> None:
    def scan(tokens: list[str]) -> list[Span]:
        spans, at = [], 0
        while at < len(tokens):
            ends = [end for end in range(len(tokens), at, -1) if " ".join(tokens[at:end]) in names]
            if ends:
                spans.append(Span(at, ends[0], "X"))
            at = ends[0] if ends else at + 1
        return spans

    assert found({"X": names}, documents) == [scan(tokens or []) for tokens in documents]


def test_on_texts_the_longest_whole_word_name_votes_for_the_row() -> None:
    source = gazetteer({"Animal": ["cat"], "Food": ["cat food", "foods"]}, on="text")
    votes = apply([source], ["The cat.", "cat-food? cat food!", "catfood", "FOODS for a cat", "", "nothing"])
    assert votes.classes == ("Animal", "Food")
    assert votes.codes[:, 0].tolist() == [0, 1, -1, 1, -1, -1]


def test_classes_are_tags_on_tokens_in_the_order_of_the_entries() -> None:
    votes = apply([gazetteer({"B": ["x"], "A": ["y"]}, outside="O")], {"tokens": [["x", "z"]]})
    assert votes.classes == ("O", "B-B", "I-B", "B-A", "I-A")
    assert votes.codes[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("entries", "says"),
    [({}, "lists no names"), ({"A": [" "]}, "empty name under 'A'"), ({"A": ["x"], "B": ["X"]}, "lists 'X' under both 'A' and 'B'")],
)
def test_lists_that_cannot_work_are_errors(entries: dict[str, list[str]], says: str) -> None:
    with pytest.raises(SourceError, match=says):
        gazetteer(entries)


def test_a_column_of_numbers_is_an_error() -> None:
    with pytest.raises(SourceError, match="needs texts or lists of tokens"):
        apply([gazetteer({"A": ["x"]}, on="n")], {"n": [1, 2]})


def test_names_seen_in_training_documents_find_mentions_in_test_documents(data_root: Path) -> None:
    """A dictionary of the training split's mentions on BC5CDR's test split: an exact-match baseline well above half the recall."""
    table = pl.read_parquet(data_root / "ner_ws_bc5cdr" / "data.parquet")
    entries: dict[str, set[str]] = {"Chemical": set(), "Disease": set()}
    for tokens, gold in table.filter(split="train").select("tokens", "gold").iter_rows():
        for span in gold:
            entries[span["type"]].add(" ".join(tokens[span["start"] : span["end"]]).lower())
    entries["Disease"] -= entries["Chemical"]
    test = table.filter(split="test")
    votes = gazetteer({label: sorted(names) for label, names in entries.items()}).vote(test)
    truth = {(i, s["start"], s["end"], s["type"]) for i, spans in enumerate(test["gold"].to_list()) for s in spans}
    predicted = {(i, *span) for i, spans in enumerate(spans_in(votes)) for span in spans}
    precision, recall = len(truth & predicted) / len(predicted), len(truth & predicted) / len(truth)
    assert precision > 0.6
    assert recall > 0.5


def test_a_single_name_is_a_list_of_one_and_a_list_without_labels_is_a_mistake() -> None:
    one, several = gazetteer({"Drug": "aspirin"}), gazetteer({"Drug": ["aspirin"]})
    tokens = pl.DataFrame({"tokens": [["Aspirin", "a"]]})
    assert one.vote(tokens).codes.tolist() == several.vote(tokens).codes.tolist() == [1, -1]
    with pytest.raises(SourceError, match="needs names by label"):
        gazetteer(["aspirin"])  # type: ignore[arg-type]
