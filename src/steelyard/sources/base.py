"""What a source of votes is: something with a name that looks at a table and votes for some of its rows.

``apply`` runs many sources over the data and lays their ``SourceVotes`` side by side as one ``Votes``. Everything else in this
room (functions, keywords, models, prompts, crowds …) is a ``Source``; write one yourself by subclassing it and giving it ``vote``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard.errors import SourceError
from steelyard.sources.faults import Faults
from steelyard.sources.preprocessors import Preprocessor
from steelyard.sources.rows import RowBatch
from steelyard.votes import ABSTAIN


@dataclass(frozen=True)
class SourceVotes:
    """The votes of one source for the rows of one batch.

    Parameters
    ----------
    codes : (n,) signed integers
        Index into ``labels``; ``-1`` where the source abstains.
    labels : tuple of str
        Names that ``codes`` refer to; a class or a parent of the hierarchy.
    confidences : (n,) float32 in [0, 1], optional
        The source's own confidence in each vote.
    groups : (g + 1,) int64, optional
        Offsets of documents when the source votes once per token of a row instead of once per row.
    faults : Faults, optional
        Rows on which the source failed and therefore abstained.

    Examples
    --------
    >>> SourceVotes.from_names(["SPAM", None, "HAM"]).codes
    array([ 0, -1,  1], dtype=int32)
    """

    codes: NDArray[np.signedinteger]
    labels: tuple[str, ...]
    confidences: NDArray[np.float32] | None = None
    groups: NDArray[np.int64] | None = None
    faults: Faults | None = None

    @classmethod
    def from_names(
        cls, names: Sequence[str | None], labels: Sequence[str] = (), confidences: NDArray[np.float32] | None = None
    ) -> SourceVotes:
        """Build votes from label names, ``None`` where the source abstains; ``labels`` fixes the first codes."""
        index: dict[str | None, int] = {None: ABSTAIN} | {label: code for code, label in enumerate(labels)}
        codes = np.fromiter((index.setdefault(name, len(index) - 1) for name in names), dtype=np.int32, count=len(names))
        return cls(codes, tuple(name for name in index if name is not None), confidences)

    @classmethod
    def where(cls, mask: pl.Series | NDArray[np.bool_], label: str) -> SourceVotes:
        """Vote ``label`` where the mask is true and abstain elsewhere, also where the mask is null."""
        hit = mask.fill_null(False).to_numpy() if isinstance(mask, pl.Series) else mask
        return cls(hit.astype(np.int8) - np.int8(1), (label,))

    @classmethod
    def from_probabilities(cls, probabilities: NDArray[np.floating], labels: Sequence[str], threshold: float = 0.0) -> SourceVotes:
        """Vote for the most probable class of each row of ``(n, k)`` probabilities, abstaining below ``threshold``.

        The probability becomes the confidence of the vote. A row with a NaN abstains.
        """
        known = ~np.isnan(probabilities).any(axis=1)
        best = np.where(known[:, None], probabilities, 0.0)
        codes = best.argmax(axis=1)
        confidences = np.where(known, best[np.arange(len(best)), codes], np.nan).astype(np.float32)
        codes = np.where(known & (confidences >= threshold), codes, ABSTAIN)
        return cls(codes.astype(np.int32), tuple(labels), confidences)

    def __len__(self) -> int:
        return len(self.codes)


class Source(ABC):
    """One voter.

    Attributes
    ----------
    name : str
        How tables, reports and error messages call the source; unique within one ``apply``.
    labels : tuple of str or None
        Labels the source can emit, when they are known before it votes.
    needs : tuple of str
        Columns it reads; ``apply`` checks that they exist. Empty when unknown.
    preprocessors : tuple of Preprocessor
        Columns to compute beforehand, once for all sources that ask for them.

    Examples
    --------
    >>> class Short(Source):
    ...     name, labels, needs = "short", ("HAM",), ("text",)
    ...     def vote(self, batch):
    ...         return SourceVotes.where(batch["text"].str.len_chars() < 20, "HAM")
    >>> Short().vote(pl.DataFrame({"text": ["Nice!", "Please check out my new channel"]})).codes
    array([ 0, -1], dtype=int8)
    """

    name: str
    labels: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()
    preprocessors: tuple[Preprocessor, ...] = ()
    #: Whether the name was made up from the source's arguments; a sources file then calls it by its variable.
    named_by_default: bool = False

    def fit(self, data: pl.DataFrame) -> None:  # noqa: B027 - learning is optional, most sources have nothing to learn
        """Learn from the whole data before voting; ``apply`` calls it once. Most sources learn nothing."""

    @abstractmethod
    def vote(self, batch: pl.DataFrame) -> SourceVotes:
        """Vote for every row of ``batch``."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class RowSource(Source):
    """A source that visits rows one by one in Python, so that ``apply`` spreads its rows over the cores.

    Examples
    --------
    >>> class Long(RowSource):
    ...     name = "long"
    ...     def vote_rows(self, rows, skip=frozenset()):
    ...         return SourceVotes.from_names(["SPAM" if len(row.text) > 20 else None for _, row in rows.visit()])
    >>> Long().vote(pl.DataFrame({"text": ["Nice!", "Please check out my new channel"]})).codes
    array([-1,  0], dtype=int32)
    """

    def vote(self, batch: pl.DataFrame) -> SourceVotes:
        """Vote for every row of ``batch``."""
        return self.vote_rows(RowBatch.of(batch))

    @abstractmethod
    def vote_rows(self, rows: RowBatch, skip: frozenset[int] = frozenset()) -> SourceVotes:
        """Vote for every row whose position is not in ``skip``, abstaining on the others; messages count from ``rows.first_row``."""


def label_names(name: str, labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels that source ``name`` is said to emit; one string is a mistake, not a list of letters.

    Examples
    --------
    >>> label_names("asks", ["SPAM", "HAM"])
    ('SPAM', 'HAM')
    """
    if isinstance(labels, str):
        raise SourceError(f"source {name!r}: labels is the single string {labels!r}; give a list, as in labels=[{labels!r}]")
    names = tuple(labels)
    for label in names:
        if not isinstance(label, str) or not label:
            raise SourceError(f"source {name!r} has the label {label!r}; a label is the name of a class")
    return names


def check_columns(name: str, needs: Sequence[str], columns: Sequence[str]) -> None:
    """Raise SourceError when the table lacks a column that source ``name`` reads.

    Examples
    --------
    >>> check_columns("short", ["body"], ["id", "text"])
    Traceback (most recent call last):
    steelyard.errors.SourceError: source 'short' reads the column 'body', which the data lacks; its columns are id, text
    """
    for column in needs:
        if column not in columns:
            raise SourceError(f"source {name!r} reads the column {column!r}, which the data lacks; its columns are {', '.join(columns)}")
