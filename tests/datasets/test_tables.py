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
        ("a.csv", "a,b,a\n1,2,3\n", "has two columns named 'a'; give each column a name of its own"),
        ("a.jsonl", '{"a": 1}\n{"a":\n', "line 2 is broken; every line must be one JSON object"),
        ("a.jsonl", '{"a": 1}\n\n[1]\n', "line 3 is broken; every line must be one JSON object"),
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


def test_a_folder_of_another_kind_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no .parquet file; name a table file or a folder of Parquet files"):
        TableFile(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match="is a Hugging Face data set; write the split you mean as a file with its to_parquet"):
        TableFile(tmp_path)


def test_files_of_a_folder_need_the_same_columns(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"a": [1], "b": [1]}).write_parquet(tmp_path / "2.parquet")
    with pytest.raises(DataError, match="all files of the folder need the same columns"):
        TableFile(tmp_path).read()


@pytest.mark.parametrize(("name", "row"), [("a.csv", "id,text\n{id},yes\n"), ("a.jsonl", '{{"id": {id}, "text": "yes"}}\n')])
def test_numbers_beyond_64_bits_are_kept_as_text_to_the_last_digit(tmp_path: Path, name: str, row: str) -> None:
    file = tmp_path / name
    file.write_text(row.format(id=10**30 + 1))
    table = TableFile(file).read()
    assert table["id"].to_list() == [str(10**30 + 1)]
    table.write_parquet(tmp_path / "a.parquet")
    assert TableFile(tmp_path / "a.parquet").read().equals(table)


def test_nan_among_numbers_is_a_number_and_a_name_among_names_is_not(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("height,name\n1.5,Nan\nnan,Inf\n-inf,Ann\n,\n")
    table = TableFile(file).read()
    assert table["height"].to_list()[0] == 1.5
    assert table["height"].is_nan().to_list() == [False, True, False, None]
    assert table["name"].to_list() == ["Nan", "Inf", "Ann", None]


def test_a_field_may_be_as_long_as_a_document(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label\n" + "long " * 50_000 + ",HAM\n")
    assert TableFile(file).read()["text"].str.len_chars().to_list() == [250_000]


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
