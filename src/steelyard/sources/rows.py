"""One row at a time, cheaply: a single view that moves over the columns instead of an object per row.

A column becomes a Python list the first time a function touches it, so a wide table costs only what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import polars as pl

from steelyard.errors import SourceError


class MissingColumn(SourceError, AttributeError, KeyError):
    """A function asked its row for a column that the data lacks."""

    def __str__(self) -> str:
        return str(self.args[0])


class Row(Mapping[str, Any]):
    """One row of a table, with attribute and item access; valid only during the call that received it.

    Examples
    --------
    >>> rows = RowBatch.of(pl.DataFrame({"text": ["one", "two"], "likes": [3, 0]}))
    >>> row = rows.view()
    >>> row.text, row["likes"], dict(row)
    ('one', 3, {'text': 'one', 'likes': 3})
    >>> getattr(row, "txt", "no such column")
    'no such column'
    """

    __slots__ = ("_at", "_columns")

    _at: int
    _columns: Columns

    def __getitem__(self, name: str) -> Any:
        try:
            return self._columns[name][self._at]
        except KeyError:
            raise self._missing(name) from None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks for optional protocols this way; columns are never meant
            raise AttributeError(name)
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._columns.names

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns.names)

    def __len__(self) -> int:
        return len(self._columns.names)

    def __repr__(self) -> str:
        return f"Row({dict(self)!r})"

    def _missing(self, name: str) -> MissingColumn:
        return MissingColumn(f"the data has no column {name!r}; its columns are {', '.join(self._columns.names)}")


class Columns(dict[str, list[Any]]):
    """Columns as lists, each fetched when first touched."""

    def __init__(self, names: tuple[str, ...], fetch: Callable[[str], list[Any]]) -> None:
        super().__init__()
        self.names = names
        self._fetch = fetch

    def __missing__(self, name: str) -> list[Any]:
        if name not in self.names:
            raise KeyError(name)
        values = self[name] = self._fetch(name)
        return values


class RowBatch:
    """Consecutive rows of a table that functions visit one by one.

    Parameters
    ----------
    columns : Columns
        The values, lazily.
    height : int
        Number of rows.
    first_row : int
        Number of the first row within the whole table, for messages.
    """

    def __init__(self, columns: Columns, height: int, first_row: int = 0) -> None:
        self.columns, self.height, self.first_row = columns, height, first_row

    @classmethod
    def of(cls, frame: pl.DataFrame) -> RowBatch:
        """Wrap a polars table without copying it.

        Examples
        --------
        >>> RowBatch.of(pl.DataFrame({"text": ["one", "two"]})).height
        2
        """
        return cls(Columns(tuple(frame.columns), lambda name: frame[name].to_list()), frame.height)

    def slice(self, rows: range) -> RowBatch:
        """Return some of the rows; lists that were fetched for the whole are shared by all slices."""
        columns = Columns(self.columns.names, lambda name: self.columns[name][rows.start : rows.stop])
        return RowBatch(columns, len(rows), self.first_row + rows.start)

    def with_columns(self, added: Mapping[str, list[Any]]) -> RowBatch:
        """Return the same rows with further columns."""
        columns = Columns((*self.columns.names, *added), self.columns.__getitem__)
        columns.update(added)
        return RowBatch(columns, self.height, self.first_row)

    def view(self) -> Row:
        """Return a view on the first row; ``visit`` moves it."""
        row = _row_class(self.columns)()
        row._at, row._columns = 0, self.columns
        return row

    def visit(self, skip: frozenset[int] = frozenset()) -> Iterator[tuple[int, Row]]:
        """Yield ``(position, view)`` for each row whose position is not in ``skip``; the view is the same object every time."""
        row = self.view()
        for position in range(self.height):
            if position not in skip:
                row._at = position
                yield position, row


def _row_class(columns: Columns) -> type[Row]:
    """Give each column a property: several times faster than ``__getattr__``, which Python tries last."""

    def getter(name: str) -> property:
        return property(lambda row: columns[name][row._at])

    readable = {name: getter(name) for name in columns.names if name.isidentifier() and not name.startswith("_")}
    return cast(type[Row], type("Row", (Row,), {"__slots__": (), **readable}))
