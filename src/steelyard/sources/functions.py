"""Labelling functions: a plain Python function of one row, or of a whole table, that names a label or abstains.

The vocabulary is that of data programming (Ratner et al., 2016, "Data Programming: Creating Large Training Sets, Quickly").
A preprocessor is a column that several functions share and that is computed once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, overload

import numpy as np
import polars as pl

from steelyard.errors import SourceError, VotesError
from steelyard.sources.base import Faults, RowSource, Source, SourceVotes
from steelyard.sources.rows import MissingColumn, RowBatch
from steelyard.votes import ABSTAIN

Function = Callable[[Any], Any]


@overload
def labeling_function(function: Function, /) -> LabelingFunction: ...
@overload
def labeling_function(
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    abstain: str | None = None,
    preprocessors: Sequence[Preprocessor] = (),
) -> Callable[[Function], LabelingFunction]: ...
@overload
def labeling_function(
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    abstain: str | None = None,
    preprocessors: Sequence[Preprocessor] = (),
    batch: bool,
) -> Callable[[Function], Source]: ...
def labeling_function(
    function: Function | None = None,
    /,
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    abstain: str | None = None,
    preprocessors: Sequence[Preprocessor] = (),
    batch: bool = False,
) -> Any:
    """Make a function a source of votes.

    The function returns the name of a label, ``None`` (or ``abstain``) to abstain, or ``(label, confidence)``. It gets one row, whose
    columns are attributes and items (``row.text``, ``row["text"]``); the row is a view that is only valid during the call. With
    ``batch=True`` it gets the whole polars table and returns a series, list or array of label names, or a pair of those and confidences.

    Parameters
    ----------
    name : str, optional
        Name of the source; the function's own name by default.
    labels : sequence of str, optional
        Labels that the function can return; any other is then an error, and the order of the classes is known beforehand.
    abstain : str, optional
        A return value that means "no vote", besides ``None``.
    preprocessors : sequence of Preprocessor
        Columns to compute before the function runs.
    batch : bool
        Whether the function takes the whole table.

    Returns
    -------
    A source; it can still be called like the function.

    Examples
    --------
    >>> @labeling_function(abstain="UNSURE")
    ... def mentions_offer(row):
    ...     return "SPAM" if "free" in row.text else "UNSURE"
    >>> mentions_offer.vote(pl.DataFrame({"text": ["free money", "nice song"]})).codes
    array([ 0, -1], dtype=int32)
    """

    def decorate(function: Function) -> Source:
        kind = BatchFunction if batch else LabelingFunction
        return kind(function, name=name, labels=labels, abstain=abstain, preprocessors=preprocessors)

    return decorate if function is None else decorate(function)


class _Function(Source):
    """What both kinds of labelling function store."""

    def __init__(
        self,
        function: Function,
        *,
        name: str | None = None,
        labels: Sequence[str] | None = None,
        abstain: str | None = None,
        preprocessors: Sequence[Preprocessor] = (),
    ) -> None:
        self.function = function
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.labels = None if labels is None else tuple(labels)
        self.abstain = abstain
        self.preprocessors = tuple(preprocessors)
        if abstain is not None and abstain in (self.labels or ()):
            raise SourceError(
                f"source {self.name!r} declares {abstain!r} both as a label and as its abstain value; remove it from one of them"
            )

    def __call__(self, row: Any) -> Any:
        """Call the function itself."""
        return self.function(row)


class LabelingFunction(_Function, RowSource):
    """A function of one row as a source; made by ``labeling_function``.

    Examples
    --------
    >>> short = LabelingFunction(lambda row: ("HAM", 0.8) if len(row.text) < 10 else None, name="short")
    >>> short.vote(pl.DataFrame({"text": ["nice", "a longer comment"]})).confidences
    array([0.8, nan], dtype=float32)
    """

    def vote_rows(self, rows: RowBatch, skip: frozenset[int] = frozenset()) -> SourceVotes:
        """Call the function on each row; a row on which it raises is a fault and an abstention."""
        function = self.function
        known: dict[Any, int] = {label: code for code, label in enumerate(self.labels or ())}
        names = dict(known)
        known |= {None: ABSTAIN, self.abstain: ABSTAIN}
        codes = np.full(rows.height, ABSTAIN, dtype=np.int32)
        confidences: dict[int, float] = {}
        faults: Faults | None = None
        for position, row in rows.visit(skip):
            try:
                value = function(row)
            except MissingColumn as error:
                raise SourceError(f"source {self.name!r}: {error}") from error
            except Exception as error:
                # Only the first failure is described in full: a traceback costs more than many calls.
                faults = replace(faults, count=faults.count + 1) if faults else Faults.of(error, rows.first_row + position)
                continue
            if type(value) is tuple:
                value, confidences[position] = self._pair(value, rows.first_row + position)
            try:
                codes[position] = known[value]
            except (KeyError, TypeError):  # a label not met before, or not a label at all
                label = self._label(value, rows.first_row + position)
                known[value] = codes[position] = names.setdefault(label, len(names))
        weights = None
        if confidences:
            weights = np.full(rows.height, np.nan, dtype=np.float32)
            weights[list(confidences)] = list(confidences.values())
        return SourceVotes(codes, tuple(names), weights, faults=faults)

    def _pair(self, value: tuple[Any, ...], row: int) -> tuple[Any, float]:
        try:
            label, confidence = value
            confidence = float(confidence)
        except (TypeError, ValueError):
            raise VotesError(f"source {self.name!r} returned {value!r} for row {row}; a pair is (label, confidence)") from None
        if not 0 <= confidence <= 1:
            raise VotesError(f"source {self.name!r} returned the confidence {confidence:g} for row {row}; confidences lie between 0 and 1")
        return label, confidence

    def _label(self, value: Any, row: int) -> str:
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, str):
            return str(value)
        raise VotesError(
            f"source {self.name!r} returned {value!r} ({type(value).__name__}) for row {row}; return the name of a class, None to abstain, "
            "or (name, confidence)"
        )


class BatchFunction(_Function):
    """A function of a whole polars table as a source; made by ``labeling_function(batch=True)``.

    Examples
    --------
    >>> loud = BatchFunction(lambda table: ["SPAM" if text.isupper() else None for text in table["text"]], name="loud")
    >>> loud.vote(pl.DataFrame({"text": ["FREE", "nice"]})).codes
    array([ 0, -1], dtype=int32)
    """

    def vote(self, batch: pl.DataFrame) -> SourceVotes:
        """Call the function once on the table."""
        value, confidences = self.function(batch), None
        if type(value) is tuple and len(value) == 2:
            value, confidences = value[0], np.asarray(value[1], dtype=np.float32)
        try:
            names = pl.Series(values=value, dtype=pl.String, strict=True)
        except (TypeError, pl.exceptions.PolarsError) as error:
            raise VotesError(f"source {self.name!r} must return label names, one or null per row, but returned {value!r:.60}") from error
        if len(names) != batch.height or (confidences is not None and len(confidences) != batch.height):
            raise VotesError(f"source {self.name!r} returned {len(names)} votes for {batch.height} rows; return one per row")
        observed = names.unique(maintain_order=True).drop_nulls().to_list()
        labels = tuple(dict.fromkeys([*(self.labels or ()), *(label for label in observed if label != self.abstain)]))
        codes = names.replace_strict(labels, range(len(labels)), default=ABSTAIN, return_dtype=pl.Int32).to_numpy()
        return SourceVotes(codes, labels, confidences)


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
    >>> @labeling_function(preprocessors=[lowered])
    ... def asks(row):
    ...     return "SPAM" if "subscribe" in row.lowered else None
    >>> from steelyard.sources.apply import apply
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


Failures = dict[int, Faults]


def _series(name: str, values: Any) -> pl.Series:
    try:
        return pl.Series(name, values)
    except (TypeError, pl.exceptions.PolarsError):  # parsed documents and the like
        return pl.Series(name, values, dtype=pl.Object)
