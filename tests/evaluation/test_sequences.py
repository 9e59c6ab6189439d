"""Spans count only when start, end and label are right; word errors are the fewest edits."""

from __future__ import annotations

import random

import pytest

from steelyard.errors import DataError
from steelyard.evaluation import bio_scores, span_scores, spans_from_bio, word_error_rate


def test_partial_overlap_and_wrong_label_do_not_count():
    gold = [[(0, 2, "PER"), (3, 5, "ORG")], [(1, 2, "LOC")]]
    predicted = [[(0, 2, "PER"), (3, 4, "ORG")], [(1, 2, "ORG"), (4, 5, "LOC")]]
    scores = span_scores(gold, predicted)
    total = scores["all"]
    assert (total.matched, total.predicted, total.gold) == (1, 4, 3)
    assert (total.precision, total.recall) == (0.25, 1 / 3)
    assert total.f1 == pytest.approx(2 / 7)
    assert scores["PER"].f1 == 1.0
    assert scores["ORG"].f1 == 0.0


def test_a_span_in_another_document_is_another_span():
    assert span_scores([[(0, 1, "A")], []], [[], [(0, 1, "A")]])["all"].matched == 0


def test_nothing_to_find_and_nothing_found_is_zero_not_an_error():
    assert span_scores([[]], [[]])["all"].f1 == 0.0


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O O", []),
        ("B-X I-X O", [(0, 2, "X")]),
        ("B-X B-X", [(0, 1, "X"), (1, 2, "X")]),
        ("I-X I-Y", [(0, 1, "X"), (1, 2, "Y")]),
        ("O I-X I-X", [(1, 3, "X")]),
        ("B-a-b I-a-b", [(0, 2, "a-b")]),
    ],
)
def test_bio_is_read_as_the_conll_scorer_reads_it(tags: str, spans: list[tuple[int, int, str]]):
    assert spans_from_bio(tags.split()) == spans


def test_bio_scores_compare_spans():
    assert bio_scores([["B-X", "I-X", "O", "B-Y"]], [["B-X", "I-X", "O", "B-X"]])["all"].f1 == 0.5
    with pytest.raises(DataError, match="document 0 has 1 gold tags and 2"):
        bio_scores([["O"]], [["O", "O"]])
    with pytest.raises(DataError, match="'PER' at position 0"):
        spans_from_bio(["PER"])


def edits(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(edits(a[1:], b) + 1, edits(a, b[1:]) + 1, edits(a[1:], b[1:]) + (a[0] != b[0]))


def test_word_error_rate_is_the_recursive_definition():
    rng = random.Random(0)
    for _ in range(60):
        a, b = ("".join(rng.choices("abc", k=rng.randint(1, 6))) for _ in range(2))
        assert word_error_rate([list(a)], [list(b)]) * len(a) == pytest.approx(edits(a, b))


def test_word_error_rate_pools_documents_and_can_exceed_one():
    assert word_error_rate([["a"], ["b", "c", "d"]], [["x", "y"], ["b", "c", "d"]]) == 0.5
    assert word_error_rate([["a"]], [["x", "y", "z"]]) == 3.0
    with pytest.raises(DataError, match="no words"):
        word_error_rate([[]], [["a"]])
