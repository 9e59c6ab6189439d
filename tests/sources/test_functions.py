"""Labelling functions and preprocessors, one at a time; ``test_apply`` runs many."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import polars as pl
import pytest

from steelyard.errors import SourceError, VotesError
from steelyard.sources import apply, keywords, labeling_function, preprocessor

TEXTS = pl.DataFrame({"text": ["FREE money", "nice song", "free"]})


def names(source: Any, frame: pl.DataFrame = TEXTS) -> list[str | None]:
    votes = source.vote(frame)
    return [votes.labels[code] if code >= 0 else None for code in votes.codes]


def test_a_bare_decorator_takes_the_functions_name() -> None:
    @labeling_function
    def free(row: Any) -> str | None:
        return "SPAM" if "free" in row.text.lower() else None

    assert free.name == "free"
    assert free.labels is None
    assert names(free) == ["SPAM", None, "SPAM"]


def test_the_declared_abstain_value_abstains_like_none() -> None:
    @labeling_function(abstain="UNSURE", name="verdict")
    def function(row: Any) -> str | None:
        return {"FREE money": "SPAM", "nice song": "UNSURE"}.get(row.text)

    assert function.name == "verdict"
    assert names(function) == ["SPAM", None, None]


def test_the_function_can_still_be_called() -> None:
    free = labeling_function(lambda row: row["text"][:4])
    assert free({"text": "FREE money"}) == "FREE"


def test_a_pair_carries_a_confidence() -> None:
    votes = labeling_function(lambda row: ("SPAM", 0.25) if row.text == "free" else "HAM").vote(TEXTS)
    np.testing.assert_array_equal(votes.confidences, np.array([np.nan, np.nan, 0.25], dtype=np.float32))


def test_members_of_an_enumeration_are_labels_by_their_value() -> None:
    class Label(str, enum.Enum):  # noqa: UP042 - the old way of writing it must work too
        SPAM = "spam"

    class Strict(enum.StrEnum):
        HAM = "ham"

    assert names(labeling_function(lambda row: Label.SPAM if row.text == "free" else Strict.HAM)) == ["ham", "ham", "spam"]


@pytest.mark.parametrize("value", [1, True, 0.5, ["SPAM"], {"SPAM": 1}, np.int64(0)])
def test_anything_but_a_name_is_an_error(value: object) -> None:
    with pytest.raises(VotesError, match=r"source 'odd' returned .* for row 2; return the name of a class"):
        labeling_function(name="odd")(lambda row: value if row.text == "free" else None).vote(TEXTS)


@pytest.mark.parametrize(
    ("value", "says"), [(("SPAM", 1.5), "confidence 1.5 for row 0"), (("SPAM", "high"), "a pair is"), ((1, 2, 3), "a pair is")]
)
def test_a_malformed_pair_is_an_error(value: object, says: str) -> None:
    with pytest.raises(VotesError, match=says):
        labeling_function(lambda row: value).vote(TEXTS)


def test_an_exception_is_an_abstention_with_a_traceback() -> None:
    @labeling_function(labels=["SPAM"])
    def third_word(row: Any) -> str:
        return "SPAM" if row.text.split()[1] else "HAM"

    votes = third_word.vote(TEXTS)
    assert votes.codes.tolist() == [0, 0, -1]
    assert votes.faults is not None
    assert (votes.faults.count, votes.faults.first_row, votes.faults.message) == (1, 2, "IndexError: list index out of range")
    assert "row.text.split()[1]" in votes.faults.traceback


def test_a_label_cannot_mean_abstain_as_well() -> None:
    with pytest.raises(SourceError, match="both as a label and as its abstain value"):
        labeling_function(labels=["SPAM", "UNSURE"], abstain="UNSURE")(lambda row: None)


@pytest.mark.parametrize("kind", [list, np.array, pl.Series])
def test_a_batch_function_returns_names_in_any_container(kind: Any) -> None:
    @labeling_function(batch=True, abstain="UNSURE")
    def shouts(table: pl.DataFrame) -> Any:
        return kind(["SPAM" if text.isupper() else "UNSURE" if text == "free" else "HAM" for text in table["text"]])

    assert names(shouts, pl.DataFrame({"text": ["FREE", "nice", "free"]})) == ["SPAM", "HAM", None]


def test_a_batch_function_may_add_confidences() -> None:
    votes = labeling_function(batch=True)(lambda table: (["SPAM", None, "HAM"], [0.5, 0.1, 1.0])).vote(TEXTS)
    assert votes.confidences is not None
    assert votes.confidences.dtype == np.float32


@pytest.mark.parametrize(
    ("result", "says"), [(["SPAM"], "1 votes for 3 rows"), ([1, 2, 3], "must return label names"), (7, "must return label names")]
)
def test_a_batch_function_must_name_a_label_per_row(result: object, says: str) -> None:
    with pytest.raises(VotesError, match=says):
        labeling_function(batch=True, name="odd")(lambda table: result).vote(TEXTS)


def test_a_preprocessor_runs_once_per_row_however_many_sources_use_it() -> None:
    calls: list[str] = []

    @preprocessor
    def lowered(row: Any) -> str:
        calls.append(row.text)
        return str(row.text.lower())

    @labeling_function(preprocessors=[lowered])
    def free(row: Any) -> str | None:
        return "SPAM" if "free" in row.lowered else None

    @labeling_function(preprocessors=[lowered])
    def song(row: Any) -> str | None:
        return "HAM" if "song" in row.lowered else None

    @labeling_function(preprocessors=[lowered], batch=True)
    def money(table: pl.DataFrame) -> pl.Series:
        return table.select(pl.when(pl.col("lowered").str.contains("money")).then(pl.lit("SPAM"))).to_series()

    by_row = apply([free, song], TEXTS, classes=["HAM", "SPAM"])
    assert calls == TEXTS["text"].to_list()
    calls.clear()
    mixed = apply([free, song, money], TEXTS, classes=["HAM", "SPAM"])
    assert calls == TEXTS["text"].to_list()
    np.testing.assert_array_equal(by_row.codes, [[1, -1], [-1, 0], [1, -1]])
    np.testing.assert_array_equal(mixed.codes, [[1, -1, 1], [-1, 0, -1], [1, -1, -1]])


def test_preprocessors_build_on_each_other_and_may_add_several_columns() -> None:
    @preprocessor(batch=True)
    def words(table: pl.DataFrame) -> pl.DataFrame:
        return table.with_columns(words=pl.col("text").str.split(" "))

    @preprocessor
    def shape(row: Any) -> dict[str, int]:
        return {"n_words": len(row.words), "n_letters": len(row.text)}

    @labeling_function(preprocessors=[words, shape])
    def short(row: Any) -> str | None:
        return "HAM" if row.n_words == 2 and row.n_letters == 9 else None

    assert apply([short], TEXTS).codes[:, 0].tolist() == [-1, 0, -1]


@pytest.mark.parametrize("batch_user", [False, True])
def test_a_row_that_fails_in_a_preprocessor_is_a_fault_of_its_users_only(batch_user: bool) -> None:
    @preprocessor
    def second(row: Any) -> str:
        return str(row.text.split()[1])

    @labeling_function(preprocessors=[second], labels=["HAM"])
    def always(row: Any) -> str:
        return "HAM"

    @labeling_function(preprocessors=[second], labels=["HAM"], batch=True)
    def always_at_once(table: pl.DataFrame) -> list[str]:
        return ["HAM"] * table.height

    other = keywords("free", label="SPAM")
    votes = apply([always_at_once if batch_user else always, other], TEXTS)
    assert votes.codes.tolist() == [[0, 1], [0, -1], [-1, 1]]
    [(name, fault)] = votes.metadata["faults"].items()
    assert name == votes.sources[0]
    assert (fault["count"], fault["first_row"]) == (1, 2)


def test_a_preprocessor_may_not_overwrite_a_column() -> None:
    user = labeling_function(preprocessors=[preprocessor(name="text")(lambda row: row.text.lower())])(lambda row: None)
    with pytest.raises(SourceError, match="would overwrite the column 'text'"):
        apply([user], TEXTS, classes=["HAM"])


def test_a_preprocessor_may_hold_any_object() -> None:
    class Parsed:
        def __init__(self, text: str) -> None:
            self.text = text

    @preprocessor
    def parsed(row: Any) -> Parsed:
        return Parsed(row.text)

    by_row = labeling_function(preprocessors=[parsed], name="rows")(lambda row: "HAM" if row.parsed.text == "free" else None)
    at_once = labeling_function(preprocessors=[parsed], name="table", batch=True)(
        lambda table: ["HAM" if each.text == "free" else None for each in table["parsed"]]
    )
    assert apply([by_row, at_once], TEXTS).codes.tolist() == [[-1, -1], [-1, -1], [0, 0]]


def test_one_string_is_no_list_of_labels() -> None:
    with pytest.raises(SourceError, match=r"labels is the single string 'SPAM'; give a list, as in labels=\['SPAM'\]"):
        labeling_function(labels="SPAM")(lambda row: "SPAM")
