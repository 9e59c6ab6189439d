"""Augmentation: which copies come out, and that a seed decides them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import SourceError
from steelyard.sources import ApplyAll, ApplyOne, MeanFieldPolicy, RandomPolicy, augment, transformation_function

TABLE = pl.DataFrame({"text": ["one", "two"], "label": [0, 1]})


@transformation_function
def add_a(row: Any) -> dict[str, str]:
    return {"text": row.text + "a"}


@transformation_function
def add_b(row: Any) -> dict[str, str]:
    return {"text": row["text"] + "b"}


@transformation_function(name="shuffle letters")
def shuffle(row: Any, rng: np.random.Generator) -> dict[str, str]:
    return {"text": "".join(rng.permutation(list(row.text)))}


def test_all_functions_apply_in_order_and_other_columns_stay() -> None:
    out = augment(TABLE, [add_a, add_b], ApplyAll())
    assert out.rows() == [("one", 0), ("oneab", 0), ("two", 1), ("twoab", 1)]
    assert out.schema == TABLE.schema


def test_originals_can_be_left_out_and_copies_be_many() -> None:
    assert augment(TABLE, [add_a], n_per_original=2, keep_original=False)["text"].to_list() == ["onea", "onea", "twoa", "twoa"]


def test_a_function_that_does_not_apply_drops_the_copy() -> None:
    only_one = transformation_function(lambda row: {"text": "1"} if row.text == "one" else None)
    assert augment(TABLE, [only_one, add_a])["text"].to_list() == ["one", "1a", "two"]


@given(seed=st.integers(0, 2**32 - 1))
def test_the_seed_decides_everything(seed: int) -> None:
    first, second = (augment(TABLE, [add_a, shuffle], RandomPolicy(3), n_per_original=2, seed=seed) for _ in range(2))
    assert first.equals(second)


def test_mean_field_draws_by_its_probabilities() -> None:
    out = augment({"text": [""] * 2000}, [add_a, add_b], MeanFieldPolicy([0.8, 0.2], sequence_length=3), keep_original=False)["text"]
    assert (out.str.len_chars() == 3).all()
    assert out.str.count_matches("a").sum() / 6000 == pytest.approx(0.8, abs=0.02)


def test_one_function_is_applied_per_copy() -> None:
    out = augment({"text": [""] * 200}, [add_a, add_b], ApplyOne(), keep_original=False)["text"]
    assert set(out) == {"a", "b"}


def test_mistakes_are_named() -> None:
    with pytest.raises(SourceError, match="at least one"):
        augment(TABLE, [])
    with pytest.raises(SourceError, match=r"transformation 'typo' returned .* among text, label"):
        augment(TABLE, [transformation_function(name="typo")(lambda row: {"txt": "x"})])
    with pytest.raises(SourceError, match="sum to 1"):
        MeanFieldPolicy([0.5, 0.6])
    with pytest.raises(SourceError, match="2 probabilities for 1 functions"):
        augment(TABLE, [add_a], MeanFieldPolicy([0.5, 0.5]))
