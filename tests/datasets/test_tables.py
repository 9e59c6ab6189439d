"""Table files: the three formats agree, and each way of being broken gets its own sentence."""

from pathlib import Path

import polars as pl
import pytest

from steelyard.datasets import TableFile, from_table
from steelyard.errors import DataError

TABLE = pl.DataFrame({"id": [1, 2, 3], "text": ["plain", 'quoted, "twice"', "two\nlines"], "label": ["A", None, "B"]})


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_formats_read_alike_whole_and_by_slice(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    match suffix:
        case ".parquet":
            TABLE.write_parquet(file)
        case ".jsonl":
            TABLE.write_ndjson(file)
        case _:
            TABLE.write_csv(file, separator="\t" if suffix == ".tsv" else ",")
    table = TableFile(file)
    assert table.n_rows == 3
    assert table.read().equals(TABLE)
    assert table.slice(1, 1).equals(TABLE[1:2])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "a,b\n1,2\n1,2,3\n", "3 fields in the record that ends on line 3, but 2 in its header"),
        ("a.csv", "a,b\n1,2\n1\n", "1 fields in the record that ends on line 3"),
        ("a.csv", "a,b\n", "has no rows"),
        ("a.csv", "", "is empty"),
        ("a.jsonl", '{"a": 1}\n{"a":\n', "every line must be one JSON object"),
        ("a.parquet", "not parquet at all", "cannot be read as Parquet"),
        ("a.xlsx", "x", "unknown kind"),
    ],
)
def test_broken_files_are_named_with_the_reason(tmp_path: Path, name: str, content: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        TableFile(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_parquet(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pl.DataFrame({"a": range(1000)}).write_parquet(file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="may be truncated"):
        TableFile(file)


def test_latin1_csv_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("text\nnaïve\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        TableFile(file)


def test_a_table_without_split_column_keeps_equal_texts_together(tmp_path: Path) -> None:
    file = tmp_path / "mail.parquet"
    texts = [f"mail number {i % 50}" for i in range(200)]
    pl.DataFrame({"text": texts, "label": ["A", "B"] * 100}).write_parquet(file)
    data = from_table(file)
    assert set(data.splits) == {"train", "test"}
    assert not set(data["train"]["text"]) & set(data["test"]["text"])


def test_a_table_without_labels_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mail.csv"
    file.write_text("text\nhello\n")
    with pytest.raises(DataError, match="has no column 'label'; its columns are text"):
        from_table(file)
