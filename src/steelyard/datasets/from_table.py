"""A user's own table as a `Dataset`: which column is read, which holds gold labels, how it is split."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import polars as pl

from steelyard.datasets.dataset import Dataset
from steelyard.datasets.tables import TableFile
from steelyard.errors import DataError


def from_table(
    path: str | os.PathLike[str],
    *,
    on: str | None = None,
    label: str = "label",
    split: str = "split",
    classes: tuple[str, ...] | None = None,
) -> Dataset:
    """Read a table file with gold labels as a data set.

    Parameters
    ----------
    path : path
        Parquet, CSV or JSON lines.
    on : str, optional
        The text column; left out: ``text`` if there is one, else the longest of the string columns.
    label : str
        The column of class names (null where unknown).
    split : str
        The column that names each row's split. Without such a column, a row goes to ``test`` with probability 0.3 by the hash of its text,
        so that equal texts never lie on both sides.
    classes : tuple of str, optional
        Class names in order; left out: the distinct labels, sorted.

    Raises
    ------
    DataError
        The file is unreadable, a column is missing, or there is no label at all.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "mail.csv"
    >>> _ = file.write_text("text,label,split\\nfree money,SPAM,train\\nsee you,HAM,test\\n")
    >>> from_table(file).classes
    ('HAM', 'SPAM')
    """
    file = TableFile(path)
    file.require(label, *([on] if on else []))
    table = file.read().with_columns(pl.col(label).cast(pl.String))
    found = tuple(sorted(table[label].drop_nulls().unique()))
    if not found:
        raise DataError(f"column '{label}' of data file '{path}' holds no label; name the column of class names")
    text = on or text_column(table, without=(label, split), where=f"data file '{path}'")
    if split not in table.columns:
        table = table.with_columns(_split_by_text(table[text]).alias(split))
    splits = {str(key[0]): part for key, part in table.partition_by(split, as_dict=True, maintain_order=True).items()}
    return Dataset(
        Path(path).stem, splits, classes or found, text, label, description=f"table '{Path(path).name}'", checksum=file.fingerprint()
    )


def input_columns(table: pl.DataFrame, *, without: tuple[str, ...], where: str) -> str | tuple[str, ...]:
    """What a student reads when nothing is named: the text column if there is one, else every numeric column.

    Raises
    ------
    DataError
        The table has neither text nor numbers besides the columns in `without`.

    Examples
    --------
    >>> input_columns(pl.DataFrame({"age": [30], "income": [1.5], "label": [0]}), without=("label",), where="the table")
    ('age', 'income')
    """
    if any(kind == pl.String and name not in without for name, kind in table.schema.items()):
        return text_column(table, without=without, where=where)
    numbers = tuple(name for name, kind in table.schema.items() if kind.is_numeric() and name not in without)
    if not numbers:
        raise DataError(f"{where} has neither a text nor a numeric column to learn from; its columns are {', '.join(table.columns)}")
    return numbers


def text_column(table: pl.DataFrame, *, without: tuple[str, ...], where: str) -> str:
    """The column to read when none is named: ``text``, else the string column with the longest texts.

    Raises
    ------
    DataError
        There is no string column besides those in `without`.

    Examples
    --------
    >>> text_column(pl.DataFrame({"id": ["a"], "body": ["a longer text"]}), without=(), where="the table")
    'body'
    """
    if "text" in table.columns:
        return "text"
    strings = [name for name, kind in table.schema.items() if kind == pl.String and name not in without]
    if not strings:
        raise DataError(f"{where} has no text column; its columns are {', '.join(table.columns)}")
    return max(strings, key=lambda name: float(table[name].str.len_chars().mean() or 0))  # type: ignore[arg-type]


def _split_by_text(texts: pl.Series) -> pl.Series:
    buckets = [hashlib.sha256(str(text).encode()).digest()[0] for text in texts.cast(pl.String)]
    return pl.Series(["test" if bucket < 0.3 * 256 else "train" for bucket in buckets])
