"""A user's own rows, whatever they lie in: a table file, a Hugging Face data set on disk, or one of the hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from steelyard.datasets.hugging_face import HUB, hugging_face_tables, is_hugging_face
from steelyard.datasets.tables import SUFFIXES, TableFile
from steelyard.errors import DataError


@dataclass(frozen=True, eq=False)
class OwnTable:
    """All rows; the splits of a Hugging Face data set, where it has several, are the column ``split``."""

    source: str
    name: str
    rows: pl.DataFrame
    fingerprint: str

    def texts(self, columns: Sequence[str]) -> pl.DataFrame:
        """The rows with these columns as text.

        Raises
        ------
        DataError
            A column is missing, or a cell of them is empty.
        """
        for column in columns:
            if column not in self.rows.columns:
                raise DataError(f"data file '{self.source}' has no column '{column}'; its columns are {', '.join(self.rows.columns)}")
        table = self.rows.with_columns(pl.col(*columns).cast(pl.String))
        if nulls := sum(table.select(*columns).null_count().row(0)):
            named = f"{', '.join(columns[:-1])} or {columns[-1]}" if len(columns) > 1 else columns[0]
            raise DataError(f"data file '{self.source}' has {nulls} empty cells in {named}; fill them or leave the rows out")
        return table


def own_table(source: str | os.PathLike[str]) -> OwnTable:
    """Read a user's own table.

    Parameters
    ----------
    source
        A Parquet, CSV or JSON-lines file, a folder that Hugging Face's ``save_to_disk`` wrote, or ``hf:OWNER/NAME``.

    Raises
    ------
    DataError
        It is missing, malformed or has no rows.
    ConfigError
        The package `datasets` is needed and not installed.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "sums.jsonl"
    >>> _ = file.write_text('{"question": "1+1?", "answer": 2}\\n')
    >>> own_table(file).texts(["question", "answer"])["answer"].to_list()
    ['2']
    """
    place = os.fspath(source)
    if is_hugging_face(place):
        tables, fingerprint = hugging_face_tables(place)
        parts = tables.items()
        several = len(tables) > 1 and not any("split" in part.columns for part in tables.values())
        rows = pl.concat([part.with_columns(pl.lit(name).alias("split")) if several else part for name, part in parts])
        return OwnTable(place, Path(place.removeprefix(HUB)).name, rows, fingerprint)
    file = TableFile(place)
    return OwnTable(place, Path(place).stem, file.read(), file.fingerprint())


def is_own_table(source: str | os.PathLike[str]) -> bool:
    """Whether `own_table` reads this, rather than it being the name of a data set.

    Examples
    --------
    >>> is_own_table("pairs.parquet"), is_own_table("hf:owner/name"), is_own_table("gsm8k")
    (True, True, False)
    """
    return Path(source).suffix.lower() in SUFFIXES or is_hugging_face(os.fspath(source))
