"""Preprocessors: columns that several sources share and that are computed once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

import polars as pl

from steelyard.errors import SourceError
from steelyard.sources.faults import Faults
from steelyard.sources.rows import MissingColumn, RowBatch

Function = Callable[[Any], Any]
Failures = dict[int, Faults]


@overload
def preprocessor(function: Function, /) -> Preprocessor: ...
@overload
def preprocessor(*, name: str | None = None, batch: bool = False) -> Callable[[Function], Preprocessor]: ...
def preprocessor(function: Function | None = None, /, *, name: str | None = None, batch: bool = False) -> Any:
    """Make a function a column, or several, that sources share.

    The function of a row returns a ``dict`` of columns, or one value for the column that carries the preprocessor's name. With
    ``batch=True`` it gets the polars table and returns a table, a dict of columns, or one series. However many sources name it in
    ``preprocessors=``, it runs once per row. A row on which it raises counts as a fault of each of them.

    Examples
    --------
    >>> @preprocessor
    ... def lowered(row):
    ...     return row.text.lower()
    >>> from steelyard.sources import apply, labeling_function
    >>> @labeling_function(preprocessors=[lowered])
    ... def asks(row):
    ...     return "SPAM" if "subscribe" in row.lowered else None
    >>> apply([asks], ["SUBSCRIBE now", "nice"]).codes.tolist()
    [[0], [-1]]
    """

    def decorate(function: Function) -> Preprocessor:
        return Preprocessor(function, name=name, batch=batch)

    return decorate if function is None else decorate(function)


class Preprocessor:
    """Columns computed before sources vote; made by ``preprocessor``."""

    def __init__(self, function: Function, *, name: str | None = None, batch: bool = False) -> None:
        self.function = function
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.batch = batch

    def __call__(self, row: Any) -> Any:
        """Call the function itself."""
        return self.function(row)

    def __repr__(self) -> str:
        return f"<Preprocessor {self.name!r}>"

    def add_rows(self, rows: RowBatch) -> tuple[RowBatch, Failures]:
        """Compute the columns of some rows one by one; a row on which the function raises holds ``None`` and is reported."""
        made: list[dict[str, Any]] = []
        failures: Failures = {}
        first: Faults | None = None
        for position, row in rows.visit():
            try:
                value = self.function(row)
            except MissingColumn as error:
                raise SourceError(f"preprocessor {self.name!r}: {error}") from error
            except Exception as error:
                row_number = rows.first_row + position
                first = failures[position] = replace(first, first_row=row_number) if first else Faults.of(error, row_number)
                value = {}
            made.append(value if isinstance(value, dict) else {self.name: value})
        names = dict.fromkeys(name for columns in made for name in columns) or {self.name: None}
        self._check_new(names, rows.columns.names)
        return rows.with_columns({name: [columns.get(name) for columns in made] for name in names}), failures

    def add_batch(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, Failures]:
        """Compute the columns of a whole table."""
        if not self.batch:
            rows, failures = self.add_rows(RowBatch.of(frame))
            return frame.with_columns(_series(name, rows.columns[name]) for name in rows.columns.names[frame.width :]), failures
        value = self.function(frame)
        columns: Mapping[str, Any] = value if isinstance(value, Mapping) else {self.name: value}
        if isinstance(value, pl.DataFrame):  # often the table itself with columns added: those that it had do not count
            columns = {name: value[name] for name in value.columns if name not in frame.columns or not value[name].equals(frame[name])}
        self._check_new(columns, frame.columns)
        for name, values in columns.items():
            if len(values) != frame.height:
                raise SourceError(
                    f"preprocessor {self.name!r} gave {len(values)} values of {name!r} for {frame.height} rows; give one per row"
                )
        return frame.with_columns(_series(name, values) for name, values in columns.items()), {}

    def _check_new(self, names: Iterable[str], existing: Sequence[str]) -> None:
        for name in names:
            if name in existing:
                raise SourceError(f"preprocessor {self.name!r} would overwrite the column {name!r}; give it another name")


def _series(name: str, values: Any) -> pl.Series:
    try:
        return pl.Series(name, values)
    except (TypeError, pl.exceptions.PolarsError):  # parsed documents and the like
        return pl.Series(name, values, dtype=pl.Object)
