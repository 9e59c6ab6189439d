"""VerifierScores: what imperfect scorers said about the candidate responses of many queries, the structure of best-of-n selection.

Flat: one row per (query, response), the responses of a query in consecutive rows, so that queries may have any number of responses.
Saad-Falcon et al. 2025, "Shrinking the Generation-Verification Gap with Weak Verifiers".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from steelyard.columns import set_field, strings
from steelyard.errors import DataError

Floats = NDArray[np.float64]
MAJORITY = "majority"
"""Name of the verifier that answer frequency makes."""

_TEXTS = ("query", "answer", "label", "prompt", "response")


@dataclass(frozen=True, eq=False)
class VerifierScores:
    """Scores of V verifiers for n responses to Q queries.

    Parameters
    ----------
    values : (n, V) float
        Scores on any scale, binary or continuous; NaN where a verifier gave none.
    offsets : (Q + 1,) int
        Responses of query q are the rows ``offsets[q] … offsets[q + 1] - 1``; every query has at least one.
    names : sequence of str, length V
        Names of the verifiers, unique.
    answers : sequence of str, length n, optional
        Extracted final answers, "" = none; they make the majority verifier and tell how difficult a query is.
    labels : (n,) int, optional
        1 the response is right, 0 wrong, -1 unknown.
    prompts, responses : sequences of str, length n, optional
        Texts, which only distillation reads.

    Raises
    ------
    DataError
        Shapes, names or offsets do not fit together; a score is infinite.

    Examples
    --------
    >>> scores = VerifierScores.from_array([[[0.9, 1], [0.2, 0]], [[0.4, 1], [0.6, 1]]], answers=[["7", "8"], ["3", "3"]])
    >>> scores
    VerifierScores(2 queries, 4 responses, 2 verifiers)
    >>> scores.with_majority().values[:, -1].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    values: Floats
    offsets: NDArray[np.int64]
    names: tuple[str, ...]
    answers: tuple[str, ...] | None = None
    labels: NDArray[np.int64] | None = None
    prompts: tuple[str, ...] | None = None
    responses: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check that everything is about the same responses."""
        values = np.asarray(self.values, dtype=np.float64)
        offsets = np.asarray(self.offsets, dtype=np.int64)
        if values.ndim != 2 or not len(values):
            raise DataError(f"verifier scores have shape {values.shape}; give one row per response and one column per verifier")
        if np.isinf(values).any():
            row, column = np.argwhere(np.isinf(values))[0]
            raise DataError(f"verifier '{self.names[column]}' gave response {row} an infinite score; use NaN for a missing one")
        if offsets.ndim != 1 or offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 1).any():
            raise DataError(f"offsets must rise from 0 to {len(values)}, the number of responses, with at least one response per query")
        names = strings(self.names, "names", "verifier scores")
        if len(names) != values.shape[1] or len(set(names)) < len(names):
            raise DataError(f"{values.shape[1]} verifiers need as many different names, got {', '.join(names)}")
        set_field(self, "values", values)
        set_field(self, "offsets", offsets)
        set_field(self, "names", names)
        for field in ("answers", "prompts", "responses"):
            if (given := getattr(self, field)) is not None:
                checked = strings(given, field, "verifier scores")
                if len(checked) != len(values):
                    raise DataError(f"{len(values)} responses but {len(checked)} {field}; give one per response")
                set_field(self, field, checked)
        if self.labels is not None:
            labels = np.asarray(self.labels)
            if labels.shape != (len(values),) or not np.isin(labels, (-1, 0, 1)).all():
                raise DataError(f"labels must be 1 (right), 0 (wrong) or -1 (unknown) for each of {len(values)} responses")
            set_field(self, "labels", labels.astype(np.int64))

    @staticmethod
    def from_array(
        scores: ArrayLike, answers: Any = None, *, names: Sequence[str] | None = None, labels: ArrayLike | None = None
    ) -> VerifierScores:
        """Scores (Q, R, V) of equally many responses per query, with answers and labels (Q, R)."""
        cube = np.asarray(scores, dtype=np.float64)
        if cube.ndim != 3 or 0 in cube.shape:
            raise DataError(f"scores have shape {cube.shape}; give (queries, responses, verifiers)")
        q, r, v = cube.shape
        flat = None if answers is None else np.asarray(answers)
        if flat is not None and flat.shape != (q, r):
            raise DataError(f"answers have shape {flat.shape}, scores are of {q} queries with {r} responses; give one answer each")
        return VerifierScores(
            cube.reshape(q * r, v),
            np.arange(q + 1) * r,
            tuple(names) if names is not None else tuple(f"verifier_{j}" for j in range(v)),
            None if flat is None else tuple(map(str, flat.ravel())),
            None if labels is None else np.asarray(labels).reshape(-1),
        )

    @staticmethod
    def from_table(table: pl.DataFrame) -> VerifierScores:
        """Scores from a table with one row per response.

        The column ``query`` says which query a response answers; ``answer``, ``label`` (1 right, 0 wrong, empty unknown), ``prompt`` and
        ``response`` may be there; every other column must be numeric and is a verifier. Empty cells are missing scores.
        """
        if "query" not in table.columns:
            raise DataError(f"the table of scores has no column 'query'; its columns are {', '.join(table.columns)}")
        verifiers = [name for name in table.columns if name not in _TEXTS]
        odd = [name for name in verifiers if not (table.schema[name].is_numeric() or table.schema[name] == pl.Boolean)]
        if odd or not verifiers:
            raise DataError(
                f"column '{odd[0]}' holds {table.schema[odd[0]]}, but every column beside {', '.join(_TEXTS)} is a verifier's scores: "
                "make it numeric or leave it out"
                if odd
                else f"the table of scores has no verifier: add numeric columns beside {', '.join(_TEXTS)}"
            )
        # Rows of a query may lie anywhere in the file; queries keep the order in which they first occur.
        ordered = table.with_columns(pl.col("query").rank("dense").alias("__rank"), pl.int_range(pl.len()).alias("__row"))
        ordered = ordered.with_columns(pl.col("__row").min().over("query").alias("__first")).sort("__first", "__row")
        starts = ordered["__first"].to_numpy()
        offsets = np.flatnonzero(np.r_[True, starts[1:] != starts[:-1], True])
        columns = [ordered[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in verifiers]
        labels = ordered["label"].cast(pl.Int64).fill_null(-1).to_numpy() if "label" in table.columns else None
        texts: dict[str, Any] = {
            field: tuple(ordered[column].cast(pl.String).fill_null(""))
            for field, column in (("answers", "answer"), ("prompts", "prompt"), ("responses", "response"))
            if column in table.columns
        }
        return VerifierScores(np.column_stack(columns), offsets, tuple(verifiers), labels=labels, **texts)

    @property
    def n_queries(self) -> int:
        """Number of queries Q."""
        return len(self.offsets) - 1

    @cached_property
    def query_of(self) -> NDArray[np.int64]:
        """(n,) the query of each response."""
        return np.repeat(np.arange(self.n_queries), np.diff(self.offsets))

    @cached_property
    def answer_codes(self) -> NDArray[np.int64] | None:
        """(n,) a number per distinct answer of a query, equal in two rows exactly if query and answer are; None without answers."""
        if self.answers is None:
            return None
        texts = np.unique(np.asarray(self.answers, dtype=object).astype(str), return_inverse=True)[1]
        return np.asarray(np.unique(self.query_of * (texts.max() + 1) + texts, return_inverse=True)[1], dtype=np.int64)

    def distinct_answers(self) -> NDArray[np.int64]:
        """(Q,) number of different answers, the difficulty of a query."""
        if self.answer_codes is None:
            raise DataError("difficulty is the number of different answers, and these scores have no answers; give `answers`")
        found = np.unique(np.column_stack([self.query_of, self.answer_codes]), axis=0)
        return np.bincount(found[:, 0], minlength=self.n_queries)

    def take(self, queries: ArrayLike) -> VerifierScores:
        """The responses of some queries (indices or a mask), in the order given."""
        chosen = np.arange(self.n_queries)[np.asarray(queries)]
        sizes = np.diff(self.offsets)[chosen]
        offsets = np.r_[0, sizes.cumsum()]
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], sizes)
        kept: dict[str, Any] = {
            name: tuple(column[i] for i in rows)
            for name in ("answers", "prompts", "responses")
            if (column := getattr(self, name)) is not None
        }
        return replace(self, values=self.values[rows], offsets=offsets, labels=None if self.labels is None else self.labels[rows], **kept)

    def with_verifier(self, name: str, values: ArrayLike) -> VerifierScores:
        """The same responses with one more verifier."""
        return replace(self, values=np.column_stack([self.values, np.asarray(values, dtype=np.float64)]), names=(*self.names, name))

    def select(self, verifiers: ArrayLike) -> VerifierScores:
        """The scores of some verifiers, by position."""
        columns = np.arange(len(self.names))[np.asarray(verifiers)]
        return replace(self, values=self.values[:, columns], names=tuple(self.names[j] for j in columns))

    def majority(self) -> Floats:
        """(n,) the share of a query's responses that give the same answer; no answer ("") has the share 0."""
        if self.answers is None or self.answer_codes is None:
            raise DataError("the majority verifier counts answers, and these scores have none; give `answers`")
        given = np.asarray([bool(answer) for answer in self.answers])
        return np.where(given, np.bincount(self.answer_codes)[self.answer_codes] / np.diff(self.offsets)[self.query_of], 0.0)

    def with_majority(self) -> VerifierScores:
        """With answer frequency as one more verifier, scaled within each query to [0, 1]; where all are equal it is 1."""
        share = self.majority()
        low, high = (f.reduceat(share, self.offsets[:-1])[self.query_of] for f in (np.minimum, np.maximum))
        spread = high - low
        return self.with_verifier(MAJORITY, np.where(spread > 0, (share - low) / np.where(spread > 0, spread, 1.0), 1.0))

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"VerifierScores({self.n_queries} queries, {len(self)} responses, {len(self.names)} verifiers)"
