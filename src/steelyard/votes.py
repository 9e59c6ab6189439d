"""Votes: what every source said about every item, the one structure that the whole library shares.

Sources produce it, label models weigh it, diagnostics look at it. A cell is a class index, or ``ABSTAIN`` (-1). Dense and CSR behave alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from steelyard.errors import VotesError
from steelyard.vote_checks import (
    Codes,
    checked_groups,
    class_support,
    dense_codes,
    listed,
    smallest_signed,
    sparse_codes,
    unique_names,
    unit_interval,
)
from steelyard.vote_statistics import VoteStatistics

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["ABSTAIN", "VoteStatistics", "Votes"]

ABSTAIN = -1


class Votes:
    """The votes of m sources on n items.

    Parameters
    ----------
    codes : (n, m) signed integer array, or scipy sparse
        Class indices, ``-1`` = abstain. Kept without a copy when it already has the smallest fitting signed type; column-major
        (Fortran) order is the fastest. A sparse matrix stores ``code + 1``, so that what is not stored abstains.
    classes : sequence of str, length k
        Names of the classes; a cell ``c`` votes for ``classes[c]``.
    sources : sequence of str, length m, optional
        Unique names of the sources; ``source_0`` … when left out.
    confidences : (n, m) float array in [0, 1], optional
        How sure each vote is; NaN counts as 1. Sparse votes take a sparse matrix with the same cells.
    groups : (g + 1,) int array, optional
        Offsets of consecutive rows that belong together: tokens of a document, instances of a bag, candidates of a query.
    hierarchy : mapping of parent name to child names, optional
        A vote may name a parent instead of a class: code ``k + i`` stands for ``parents[i]`` and counts for each class below it.
    metadata : mapping, optional
        Anything JSON can hold; it travels with the votes through Parquet.

    Raises
    ------
    VotesError
        Where names, shapes, codes or offsets do not fit together.

    Examples
    --------
    >>> votes = Votes([[0, -1], [1, 1], [-1, -1]], classes=["HAM", "SPAM"], sources=["short", "link"])
    >>> votes
    Votes(3 rows × 2 sources, classes HAM, SPAM, coverage 67%)
    >>> votes.summary()["coverage"].to_list()
    [0.6666666666666666, 0.3333333333333333]
    """

    def __init__(
        self,
        codes: ArrayLike | sparse.sparray | sparse.spmatrix,
        *,
        classes: Sequence[str],
        sources: Sequence[str] | None = None,
        confidences: ArrayLike | sparse.sparray | sparse.spmatrix | None = None,
        groups: ArrayLike | None = None,
        hierarchy: Mapping[str, Sequence[str]] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.classes = unique_names(classes, "class")
        self.hierarchy = {parent: tuple(children) for parent, children in (hierarchy or {}).items()}
        self.parents = tuple(self.hierarchy)
        self.support = class_support(self.classes, self.hierarchy)
        self._dense: Codes | None = None
        self._sparse: sparse.csr_array | None = None
        if sparse.issparse(codes):
            self._sparse = sparse_codes(codes)
            self._check_range(self._sparse.data.astype(np.int64, copy=False) - 1, stored=True)
            self._sparse = _with_data(self._sparse, self._sparse.data.astype(smallest_signed(len(self.support) + 1), copy=False))
        else:
            dense = dense_codes(codes)
            self._check_range(dense)
            # A view, so that freezing it leaves the caller's own array as it was.
            self._dense = dense.astype(smallest_signed(len(self.support)), copy=False, order="K").view()
            self._dense.flags.writeable = False
        self.shape: tuple[int, int] = self._held.shape
        default = [f"source_{j}" for j in range(self.n_sources)]
        self.sources = unique_names(default if sources is None else sources, "source")
        if len(self.sources) != self.n_sources:
            raise VotesError(f"{len(self.sources)} source names for {self.n_sources} columns of votes; give one name per column")
        self.confidences = None if confidences is None else self._checked_confidences(confidences)
        self.groups = None if groups is None else checked_groups(groups, self.n_rows)
        self.metadata: dict[str, Any] = dict(metadata or {})

    # What it is

    @property
    def n_rows(self) -> int:
        """Number of items n."""
        return self.shape[0]

    @property
    def n_sources(self) -> int:
        """Number of sources m."""
        return self.shape[1]

    @property
    def n_classes(self) -> int:
        """Number of classes k, parents not counted."""
        return len(self.classes)

    @property
    def symbols(self) -> tuple[str, ...]:
        """What a vote can name: the classes, then the parents."""
        return self.classes + self.parents

    @property
    def is_sparse(self) -> bool:
        """Whether the votes are held as CSR."""
        return self._sparse is not None

    @cached_property
    def codes(self) -> Codes:
        """(n, m) class indices with -1 = abstain; made on first use when the votes are sparse."""
        if self._dense is not None:
            return self._dense
        assert self._sparse is not None
        return np.asarray(self._sparse.toarray() - 1, dtype=smallest_signed(len(self.support)))

    @cached_property
    def csr(self) -> sparse.csr_array:
        """(n, m) CSR matrix of ``code + 1``; made on first use when the votes are dense."""
        if self._sparse is not None:
            return self._sparse
        assert self._dense is not None
        return sparse.csr_array(self._dense.astype(smallest_signed(len(self.support) + 1)) + np.int8(1))

    @cached_property
    def coverage(self) -> NDArray[np.bool_]:
        """(n,) whether any source voted on the row."""
        if self._sparse is not None:
            return np.asarray(np.diff(self._sparse.indptr) > 0)
        covered = np.zeros(self.n_rows, dtype=bool)
        for j in range(self.n_sources):
            covered |= self.codes[:, j] >= 0
        return covered

    @property
    def stored_confidences(self) -> NDArray[np.float32]:
        """(number of votes,) confidence of every vote that `csr` stores, in its order; 1 where none was given."""
        if self.confidences is None:
            return np.ones(self.csr.nnz, np.float32)
        return self.confidences.data if self.is_sparse else self.confidences[self.codes >= 0]

    def column(self, source: int | str) -> Codes:
        """(n,) codes of one source, by position or name."""
        j = self._position(source)
        if self._sparse is not None:
            return np.asarray(self._sparse[:, [j]].toarray()[:, 0] - 1)
        return self.codes[:, j]

    def summary(self, y: ArrayLike | None = None) -> pl.DataFrame:
        """The per-source table: coverage, overlap, conflict, polarity; with labels `y` (-1 = unknown) also empirical accuracy.

        Overlap and conflict are shares of all rows: where the source votes and another does too, and where another contradicts it.
        """
        from steelyard.vote_summary import summarize

        return summarize(self, y)

    # Parts and unions

    def take(self, rows: Any) -> Votes:
        """The votes on some rows (indices, mask or slice); groups are dropped."""
        held = self._held[rows]
        if held.ndim != 2:
            raise VotesError(f"rows must be a slice, a mask or a list of indices, got {rows!r}")
        part = object.__new__(Votes)
        # Rows of valid votes are valid: names are shared and nothing is checked again; what was computed for all rows is left behind.
        part.__dict__ = {name: value for name, value in vars(self).items() if name not in ("codes", "csr", "coverage")}
        part._dense, part._sparse = (None, held) if self.is_sparse else (held, None)
        if part._dense is not None:
            part._dense.flags.writeable = False
        part.shape = held.shape
        part.confidences = None if self.confidences is None else self.confidences[rows]
        part.groups = None
        part.metadata = dict(self.metadata)
        return part

    def __getitem__(self, rows: Any) -> Votes:
        return self.take(rows)

    def select(self, sources: Iterable[int | str]) -> Votes:
        """The votes of some sources, by name or position, in the order given."""
        columns = [self._position(source) for source in sources]
        names = [self.sources[j] for j in columns]
        confidences = None if self.confidences is None else self.confidences[:, columns]
        return self._like(self._held[:, columns], sources=names, confidences=confidences, groups=self.groups)

    def with_sources(self, other: Votes) -> Votes:
        """The same rows with the sources of `other` to the right."""
        if self.classes != other.classes or self.hierarchy != other.hierarchy:
            raise VotesError(
                f"cannot join votes on classes {listed(self.classes)} with votes on {listed(other.classes)}; use the same classes"
            )
        if self.n_rows != other.n_rows:
            raise VotesError(f"cannot join votes on {self.n_rows} rows with votes on {other.n_rows}; both must be about the same items")
        sparsely = self.is_sparse and other.is_sparse
        held = sparse.hstack([self.csr, other.csr], format="csr") if sparsely else np.hstack([self.codes, other.codes])
        confidences = None
        if self.confidences is not None or other.confidences is not None:
            both = [v._confidences_or_ones(sparsely) for v in (self, other)]
            confidences = sparse.hstack(both, format="csr") if sparsely else np.hstack(both)
        return self._like(held, sources=[*self.sources, *other.sources], confidences=confidences, groups=self.groups)

    @staticmethod
    def concat(parts: Sequence[Votes]) -> Votes:
        """Stack votes of the same sources on different rows."""
        if not parts:
            raise VotesError("no votes to concatenate; give at least one part")
        first = parts[0]
        for i, part in enumerate(parts):
            if part.sources != first.sources or part.symbols != first.symbols:
                raise VotesError(f"part {i} has other sources or classes than part 0; votes are stacked only when both are the same")
        sparsely = any(p.is_sparse for p in parts)
        held = sparse.vstack([p.csr for p in parts], format="csr") if sparsely else np.vstack([np.asfortranarray(p.codes) for p in parts])
        confidences = None
        if any(p.confidences is not None for p in parts):
            rows = [p._confidences_or_ones(sparsely) for p in parts]
            confidences = sparse.vstack(rows, format="csr") if sparsely else np.vstack(rows)
        offsets = [p.groups for p in parts if p.groups is not None]
        groups = None
        if len(offsets) == len(parts):
            starts = np.cumsum([0] + [p.n_rows for p in parts[:-1]])
            groups = np.concatenate([np.zeros(1, np.int64), *(o[1:] + s for o, s in zip(offsets, starts, strict=True))])
        return first._like(held, confidences=confidences, groups=groups)

    # To and from other forms

    def to_arrow(self) -> pa.Table:
        """An Arrow table with one column per source; columns of column-major votes are not copied."""
        from steelyard.vote_formats import to_arrow

        return to_arrow(self)

    @staticmethod
    def from_arrow(table: pa.Table) -> Votes:
        """Votes from the table that `to_arrow` gave."""
        from steelyard.vote_formats import from_arrow

        return from_arrow(table)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the votes and all their names to a Parquet file, atomically."""
        from steelyard.vote_formats import to_parquet

        to_parquet(self, path)

    @staticmethod
    def from_parquet(path: str | os.PathLike[str]) -> Votes:
        """Read votes written by `to_parquet`."""
        from steelyard.vote_formats import from_parquet

        return from_parquet(path)

    def to_polars(self) -> pl.DataFrame:
        """A polars frame of codes, one column per source."""
        return pl.DataFrame({name: self.column(j) for j, name in enumerate(self.sources)})

    def to_pandas(self) -> pd.DataFrame:
        """A pandas frame of codes over the same memory."""
        import pandas as pd

        return pd.DataFrame(self.codes, columns=list(self.sources), copy=False)

    @staticmethod
    def from_snorkel(matrix: ArrayLike, *, classes: Sequence[str], sources: Sequence[str] | None = None) -> Votes:
        """Votes from a Snorkel label matrix (n, m) with -1 = abstain."""
        return Votes(matrix, classes=classes, sources=sources)

    @staticmethod
    def from_wrench(path: str | os.PathLike[str], *, classes: Sequence[str] | None = None) -> tuple[Votes, NDArray[np.int64]]:
        """Votes and gold labels (n,) from a WRENCH split (``train.json``, with ``label.json`` beside it unless `classes` is given)."""
        from steelyard.vote_formats import from_wrench

        return from_wrench(path, classes=classes)

    @staticmethod
    def from_long(
        table: Any, *, task: str = "task", worker: str = "worker", label: str = "label", classes: Sequence[str] | None = None
    ) -> tuple[Votes, pl.Series]:
        """Votes (one source per worker) and the tasks in row order, from a long crowd table with one answer per line."""
        from steelyard.vote_formats import from_long

        return from_long(table, task=task, worker=worker, label=label, classes=classes)

    # Python's protocols

    def __len__(self) -> int:
        return self.n_rows

    def __repr__(self) -> str:
        share = f"{self.coverage.mean():.0%}" if self.n_rows else "none"
        form = ", sparse" if self.is_sparse else ""
        return f"Votes({self.n_rows:,} rows × {self.n_sources} sources, classes {listed(self.classes)}, coverage {share}{form})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Votes):
            return NotImplemented
        same_names = (self.classes, self.sources, self.hierarchy) == (other.classes, other.sources, other.hierarchy)
        if not same_names or self.shape != other.shape or not np.array_equal(self.codes, other.codes):
            return False
        ours, theirs = (None if v.confidences is None else _dense_confidences(v.confidences) for v in (self, other))
        return _same(ours, theirs) and _same(self.groups, other.groups)

    __hash__ = None  # type: ignore[assignment]

    # Checks

    @property
    def _held(self) -> Any:
        return self._sparse if self._sparse is not None else self._dense

    def _like(self, held: Any, *, sources: Sequence[str] | None = None, confidences: Any = None, groups: Any = None) -> Votes:
        return Votes(
            held,
            classes=self.classes,
            sources=self.sources if sources is None else sources,
            confidences=confidences,
            groups=groups,
            hierarchy=self.hierarchy,
            metadata=self.metadata,
        )

    def _position(self, source: int | str) -> int:
        if isinstance(source, str):
            if source not in self.sources:
                raise VotesError(f"no source named '{source}'; sources are {listed(self.sources)}")
            return self.sources.index(source)
        if not -self.n_sources <= source < self.n_sources:
            raise VotesError(f"no source {source}; there are {self.n_sources}, counted from 0")
        return int(source)

    def _check_range(self, codes: NDArray[Any], stored: bool = False) -> None:
        lowest = 0 if stored else ABSTAIN
        if codes.size and (codes.min() < lowest or codes.max() >= len(self.support)):
            where = np.argwhere((codes < lowest) | (codes >= len(self.support)))[0]
            place = "in the sparse matrix (which stores code + 1)" if stored else f"at row {where[0]}, column {where[1]}"
            allowed = f"codes go from {ABSTAIN} (abstain) to {len(self.support) - 1} ({self.symbols[-1]})"
            raise VotesError(f"code {codes[tuple(where)]} {place} is out of range; {allowed}")

    def _checked_confidences(self, confidences: Any) -> Any:
        if sparse.issparse(confidences) != self.is_sparse:
            raise VotesError("confidences must be sparse exactly when the votes are")
        if confidences.shape != self.shape if hasattr(confidences, "shape") else np.shape(confidences) != self.shape:
            raise VotesError(f"confidences have shape {np.shape(confidences)}, votes have {self.shape}; give one confidence per vote")
        if self._sparse is not None:
            matrix = sparse.csr_array(confidences)
            matrix.sort_indices()
            if not (np.array_equal(matrix.indptr, self._sparse.indptr) and np.array_equal(matrix.indices, self._sparse.indices)):
                raise VotesError("sparse confidences must be stored in exactly the cells that hold votes")
            return _with_data(matrix, unit_interval(matrix.data))
        return unit_interval(np.asarray(confidences))

    def _confidences_or_ones(self, sparsely: bool) -> Any:
        if sparsely:
            return _with_data(self.csr, self.stored_confidences)
        return np.ones(self.shape, np.float32) if self.confidences is None else _dense_confidences(self.confidences)


def _with_data(matrix: sparse.csr_array, data: NDArray[Any]) -> sparse.csr_array:
    return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _same(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


def _dense_confidences(confidences: Any) -> NDArray[np.float32]:
    return np.asarray(confidences.toarray() if isinstance(confidences, sparse.csr_array) else confidences)
