"""The bundled text set: masked, without duplicates, split by file, the same every time."""

import re

import polars as pl
import pytest

from steelyard import datasets
from steelyard.datasets import docstrings


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return docstrings.build(("numpy", "polars"))


def test_no_package_name_is_left(table: pl.DataFrame) -> None:
    named = re.compile(r"\b(matplotlib|pyplot|plt|numpy|np|polars|pl|scipy|sklearn|scikit-learn)\b", re.IGNORECASE)
    assert not [text for text in table["text"] if named.search(text)]


def test_a_file_lies_in_one_split_and_no_text_in_two_rows(table: pl.DataFrame) -> None:
    assert table.group_by("label", "module").agg(pl.col("split").n_unique())["split"].max() == 1
    assert table["text"].n_unique() == len(table)


def test_building_twice_gives_the_same_table(table: pl.DataFrame) -> None:
    assert docstrings.build(("numpy", "polars")).equals(table)


def test_every_class_is_in_every_split_and_the_second_load_comes_from_the_cache() -> None:
    first = datasets.load("docstrings")
    for split in ("train", "valid", "test"):
        assert set(first.labels(split)) == set(range(5))
    assert datasets.load("docstrings")["test"].equals(first["test"])
    assert first.checksum


def test_texts_carry_signal_but_are_not_trivial() -> None:
    """A bag of words beats guessing by far and is far from perfect: names are masked, style and subject are not."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    data = datasets.load("docstrings")
    words = TfidfVectorizer(min_df=2)
    model = LogisticRegression(max_iter=200).fit(words.fit_transform(data["train"]["text"]), data.labels("train"))
    accuracy = model.score(words.transform(data["test"]["text"]), data.labels("test"))
    assert 0.6 < accuracy < 0.95
