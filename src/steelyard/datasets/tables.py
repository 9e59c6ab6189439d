"""Tables on disk: Parquet, CSV and JSON lines behind one small face that gives slices, so that Parquet never has to fit in memory."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import polars as pl

from steelyard.datasets.resolve import sha256_of
from steelyard.errors import DataError
from steelyard.storage import config_hash

SUFFIXES = {".parquet": "Parquet", ".pq": "Parquet", ".csv": "CSV", ".tsv": "CSV", ".jsonl": "JSON lines", ".ndjson": "JSON lines"}


class TableFile:
    """A readable table file: its columns, its number of rows, and any slice of it.

    Parameters
    ----------
    path : path
        A ``.parquet``, ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson`` file, or a folder of Parquet files, which are read in the order of
        their names as one table. Parquet is read by slices, text formats are parsed once.

    Raises
    ------
    DataError
        The file is missing, of another kind, malformed (truncated Parquet, ragged CSV, broken JSON) or has no rows.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.csv"; _ = file.write_text("text,label\\nhello,HAM\\nbuy now,SPAM\\n")
    >>> table = TableFile(file)
    >>> table.n_rows, table.columns, table.slice(1, 1)["text"].to_list()
    (2, ['text', 'label'], ['buy now'])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.files = sorted(self.path.glob("*.parquet")) if self.path.is_dir() else [self.path]
        if not self.files:
            raise DataError(f"folder '{path}' holds no .parquet file; name a table file or a folder of Parquet files")
        if not self.files[0].is_file():
            raise DataError(f"data file '{path}' does not exist; check the path")
        self.kind = SUFFIXES.get(self.files[0].suffix.lower())
        if self.kind is None:
            raise DataError(f"data file '{path}' is of an unknown kind; use one of {', '.join(SUFFIXES)}")
        for file in self.files:
            if file.stat().st_size == 0:
                raise DataError(f"data file '{file}' is empty; it needs a header and at least one row")
        try:
            self._lazy = self._open()
            self.schema = self._lazy.collect_schema()
            self.n_rows = int(self._lazy.select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"data file '{path}' cannot be read as {self.kind}: {_first_line(error)}; {self._advice()}") from None
        if self.n_rows == 0:
            raise DataError(f"data file '{path}' has no rows; there is nothing to label or to learn from")

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return self.schema.names()

    def slice(self, offset: int, length: int | None = None) -> pl.DataFrame:
        """Rows ``offset`` to ``offset + length`` as a table."""
        try:
            return self._lazy.slice(offset, length).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"data file '{self.path}' cannot be read as {self.kind}: {_first_line(error)}; {self._advice()}") from None

    def read(self) -> pl.DataFrame:
        """All rows."""
        return self.slice(0)

    def require(self, *columns: str) -> None:
        """Raise `DataError` if a column is missing, naming those there are."""
        for column in columns:
            if column not in self.schema:
                raise DataError(f"data file '{self.path}' has no column '{column}'; its columns are {', '.join(self.columns)}")

    def fingerprint(self) -> str:
        """SHA-256 of the bytes: the same data has the same fingerprint wherever it lies and whenever it was copied."""
        return sha256_of(self.path) if self.files == [self.path] else config_hash([sha256_of(file) for file in self.files])

    def _open(self) -> pl.LazyFrame:
        if self.kind == "Parquet":
            return pl.scan_parquet(self.files)
        if self.kind == "CSV":
            separator = "\t" if self.path.suffix.lower() == ".tsv" else ","
            # The whole file decides the types: a column that is numeric for 100 rows and text later is text.
            _check_rectangular(self.path, separator)
            return pl.read_csv(self.path, separator=separator, infer_schema_length=None, truncate_ragged_lines=False).lazy()
        return pl.read_ndjson(self.path, infer_schema_length=None).lazy()

    def _advice(self) -> str:
        return {
            "Parquet": "it may be truncated: write or copy it again",
            "CSV": "every line needs as many fields as the header, with texts that contain commas in quotes",
            "JSON lines": "every line must be one JSON object",
        }[self.kind or ""]


def read_table(path: str | os.PathLike[str]) -> pl.DataFrame:
    """Read a whole table file; see `TableFile` for kinds and errors."""
    return TableFile(path).read()


def _check_rectangular(path: Path, separator: str) -> None:
    """Raise for the first line with too many or too few fields: a parser that fills the gap with nulls hides a broken file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, delimiter=separator)
            width = len(next(reader, []))
            for record in reader:
                if record and len(record) != width:
                    raise DataError(
                        f"data file '{path}' has {len(record)} fields in the record that ends on line {reader.line_num}, but {width} in "
                        "its header; every line needs as many fields as the header, with texts that contain commas in quotes"
                    )
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data file '{path}' cannot be read as CSV: {_first_line(error)}; save it as UTF-8 text") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["unreadable"])[0].rstrip(".")
