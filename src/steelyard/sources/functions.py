"""Labelling functions: a plain Python function of one row, or of a whole table, that names a label or abstains.

The vocabulary is that of data programming (Ratner et al., 2016, "Data Programming: Creating Large Training Sets, Quickly").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, overload

import numpy as np
import polars as pl

from steelyard.errors import SourceError, VotesError
from steelyard.sources.base import RowSource, Source, SourceVotes, label_names
from steelyard.sources.faults import Faults
from steelyard.sources.preprocessors import Preprocessor
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
        self.labels = None if labels is None else label_names(self.name, labels)
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
