"""Tables on disk: Parquet, CSV and JSON lines behind one small face that gives slices, so that Parquet never has to fit in memory."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import polars as pl

from steelyard.datasets.resolve import sha256_of
from steelyard.errors import DataError
from steelyard.storage import config_hash

SUFFIXES = {".parquet": "Parquet", ".pq": "Parquet", ".csv": "CSV", ".tsv": "CSV", ".jsonl": "JSON lines", ".ndjson": "JSON lines"}
# Characters of one CSV field; the default of Python's reader, 131,072, is shorter than some documents.
_LONGEST_FIELD = 1 << 30


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
        if not self.files and any((self.path / name).is_file() for name in ("dataset_dict.json", "state.json")):
            raise DataError(
                f"folder '{path}' is a Hugging Face data set; write the split you mean as a file with its to_parquet, and name that"
            )
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
            raise self._unreadable(error) from None
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
            raise self._unreadable(error) from None

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
            table = pl.read_csv(self.path, separator=separator, infer_schema_length=None, truncate_ragged_lines=False)
            table = table.with_columns(_numbers_with_nan(table))
        else:
            table = pl.read_ndjson(self.path, infer_schema_length=None)
        # Whole numbers beyond 64 bits name things: no file format keeps them as numbers, and nobody counts with them.
        return table.with_columns(pl.col(pl.Int128).cast(pl.String)).lazy()

    def _unreadable(self, error: Exception) -> DataError:
        said = f"data file '{self.path}' cannot be read as {self.kind}: {_first_line(error)}"
        if self.kind == "Parquet" and len(self.files) > 1:
            return DataError(f"{said}; all files of the folder need the same columns, and none may be truncated")
        if self.kind == "Parquet":
            return DataError(f"{said}; it may be truncated: write or copy it again")
        if line := _line_not_utf8(self.path):
            return DataError(f"data file '{self.path}', line {line} is not UTF-8; save it as UTF-8 text")
        if self.kind == "JSON lines" and (line := _line_without_object(self.path)):
            return DataError(f"data file '{self.path}', line {line} is broken; every line must be one JSON object")
        return DataError(f"{said}; every line needs as many fields as the header, with texts that contain commas in quotes")


def read_table(path: str | os.PathLike[str]) -> pl.DataFrame:
    """Read a whole table file; see `TableFile` for kinds and errors."""
    return TableFile(path).read()


def _check_rectangular(path: Path, separator: str) -> None:
    """Raise for names that repeat and for the first line with too many or too few fields: filling gaps with nulls hides a broken file."""
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, delimiter=separator)
            header = next(reader, [])
            width = len(header)
            if twice := next((name for name in header if header.count(name) > 1), None):
                raise DataError(f"data file '{path}' has two columns named '{twice}'; give each column a name of its own")
            for record in reader:
                if record and len(record) != width:
                    raise DataError(
                        f"data file '{path}' has {len(record)} fields in the record that ends on line {reader.line_num}, but {width} in "
                        "its header; every line needs as many fields as the header, with texts that contain commas in quotes"
                    )
    except UnicodeDecodeError:
        raise DataError(f"data file '{path}', line {_line_not_utf8(path)} is not UTF-8; save it as UTF-8 text") from None
    except csv.Error as error:
        raise DataError(f"data file '{path}' cannot be read as CSV: {_first_line(error)}; write it again with texts in quotes") from None
    finally:
        csv.field_size_limit(limit)


def _numbers_with_nan(table: pl.DataFrame) -> list[pl.Series]:
    """Columns of numbers that were read as text because some cells say ``nan`` or ``inf``, as numbers."""
    found = []
    for column in table.select(pl.col(pl.String)):
        numbers = column.cast(pl.Float64, strict=False)
        finite = numbers.is_finite().sum()
        if numbers.null_count() == column.null_count() and 0 < finite < len(numbers) - numbers.null_count():
            found.append(numbers)
    return found


def _line_not_utf8(path: Path) -> int:
    """Number of the first line that is not UTF-8; 0 where all are."""
    with path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0


def _line_without_object(path: Path) -> int:
    """Number of the first line that is not empty and not a JSON object; 0 where there is none."""
    with path.open(encoding="utf-8") as handle:
        for number, line in enumerate(handle, start=1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return number
            except ValueError:
                return number
    return 0


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["unreadable"])[0].rstrip(".")
