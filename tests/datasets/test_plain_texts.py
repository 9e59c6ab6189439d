"""Plain text by name, from tables and text files, and what is held out of it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from steelyard.datasets.plain_texts import load_plain_text
from steelyard.errors import DataError


def test_the_named_texts(data_root: Path) -> None:
    plays, books = load_plain_text("tiny_shakespeare"), load_plain_text("books_plain_text")
    assert plays.characters + len(plays.test[0]) == 1_115_394
    assert len(plays.test[0]) == round(0.1 * 1_115_394)
    assert (len(books.train), len(books.test)) == (55, 5)
    assert books.licence.startswith("public domain")


def test_own_tables_with_and_without_splits(tmp_path: Path) -> None:
    table = pl.DataFrame({"body": [f"text {i}" for i in range(20)], "split": ["train"] * 15 + ["valid"] * 5})
    table.write_parquet(tmp_path / "mine.parquet")
    assert load_plain_text(tmp_path / "mine.parquet", text="body").test == tuple(f"text {i}" for i in range(15, 20))
    table.select("body").write_ndjson(tmp_path / "mine.jsonl")
    assert load_plain_text(str(tmp_path / "mine.jsonl"), text="body").test == ("text 18", "text 19")


def test_own_text_file(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("0123456789" * 3)
    plain = load_plain_text(tmp_path / "mine.txt")
    assert (plain.train, plain.test) == (("012345678901234567890123456",), ("789",))


def test_refusals(tmp_path: Path) -> None:
    pl.DataFrame({"text": [1, 2]}).write_parquet(tmp_path / "numbers.parquet")
    pl.DataFrame({"text": ["", "a"]}).write_parquet(tmp_path / "empty.parquet")
    with pytest.raises(DataError, match="no plain text named 'novels'; known are tiny_shakespeare, books_plain_text"):
        load_plain_text("novels")
    with pytest.raises(DataError, match="has no column 'body'"):
        load_plain_text(tmp_path / "empty.parquet", text="body")
    with pytest.raises(DataError, match="holds Int64, not text"):
        load_plain_text(tmp_path / "numbers.parquet")
    with pytest.raises(DataError, match="leaves nothing to learn from or to measure on"):
        load_plain_text(tmp_path / "empty.parquet")
    with pytest.raises(DataError, match="cannot be read"):
        load_plain_text(tmp_path / "missing.txt")
