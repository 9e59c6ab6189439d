"""Completions: texts that a model wrote as answers to prompts.

Generators make them; extraction and answer votes, selection and supervised fine-tuning consume them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from steelyard.columns import column, row_numbers, set_field, strings
from steelyard.errors import DataError
from steelyard.storage import atomic_path, read_parquet

_KEY = b"steelyard.completions"


@dataclass(frozen=True, eq=False, repr=False)
class Completions:
    """n prompts, each with one text that answers it.

    Parameters
    ----------
    prompts : sequence of str, length n
        One per text: a prompt that was answered three times stands here three times.
    texts : sequence of str, length n
    rows : (n,) int array, optional
        Which question each text answers, as an index into the caller's questions; ``0 … n-1`` when left out.
    answers : sequence of str, length n, optional
        What was extracted from each text; ``""`` where there is no answer.
    logprobs : (n,) float array, optional
        log p(text | prompt) under the model that wrote it, summed over the tokens; at most 0 (NaN where unknown).
    finished : (n,) bool array, optional
        False where the length limit stopped the text.

    Raises
    ------
    DataError
        A column has another length than the prompts, or a cell of another kind.

    Examples
    --------
    >>> drawn = Completions(["1+1=", "1+1=", "2+3="], ["2", "3", "5"], rows=[0, 0, 1])
    >>> drawn.take(drawn.rows == 0).texts
    ('2', '3')
    >>> Completions.concat([drawn, drawn]).with_answers([text.strip() for text in drawn.texts * 2])
    Completions(6 texts for 2 questions, 6 with an answer)
    """

    prompts: Sequence[str]
    texts: Sequence[str]
    _: KW_ONLY
    rows: NDArray[np.int64] = None  # type: ignore[assignment]
    answers: Sequence[str] | None = None
    logprobs: NDArray[np.float32] | None = None
    finished: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        prompts = strings(self.prompts, "prompts", "completions")
        n = len(prompts)
        set_field(self, "prompts", prompts)
        set_field(self, "texts", strings(self.texts, "texts", "completions", n))
        set_field(self, "rows", row_numbers(self.rows, n, "completions"))
        if self.answers is not None:
            set_field(self, "answers", strings(self.answers, "answers", "completions", n))
        if self.logprobs is not None:
            logprobs = column(self.logprobs, np.float32, n, "logprobs", "completions")
            if (logprobs > 1e-3).any():
                row = int(np.flatnonzero(logprobs > 1e-3)[0])
                raise DataError(f"completions: logprobs[{row}] is {logprobs[row]:g}; a log-probability is at most 0")
            set_field(self, "logprobs", logprobs)
        if self.finished is not None:
            set_field(self, "finished", column(self.finished, np.bool_, n, "finished", "completions"))

    def with_answers(self, answers: Sequence[str]) -> Completions:
        """The same texts with these extracted answers (n); ``""`` means none."""
        return replace(self, answers=answers)

    def take(self, index: Any) -> Completions:
        """Some of the texts, by position or mask."""
        kept = np.arange(len(self))[index]
        return Completions(
            [self.prompts[i] for i in kept],
            [self.texts[i] for i in kept],
            rows=self.rows[kept],
            answers=None if self.answers is None else [self.answers[i] for i in kept],
            logprobs=None if self.logprobs is None else self.logprobs[kept],
            finished=None if self.finished is None else self.finished[kept],
        )

    @staticmethod
    def concat(parts: Iterable[Completions]) -> Completions:
        """All parts one after the other, rows as they are; a column that some part lacks is left out.

        Raises
        ------
        DataError
            There is no part.
        """
        parts = list(parts)
        if not parts:
            raise DataError("completions: concat needs at least one part")
        columns: dict[str, Any] = {}
        for name in ("rows", "answers", "logprobs", "finished"):
            own = [getattr(part, name) for part in parts]
            if all(values is not None for values in own):
                columns[name] = [text for part in own for text in part] if name == "answers" else np.concatenate(own)
        return Completions(
            [prompt for part in parts for prompt in part.prompts], [text for part in parts for text in part.texts], **columns
        )

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write columns ``row``, ``prompt``, ``text`` and, where known, ``answer``, ``logprob``, ``finished``, atomically."""
        columns: dict[str, Any] = {
            "row": self.rows,
            "prompt": pa.array(self.prompts, pa.string()),
            "text": pa.array(self.texts, pa.string()),
        }
        if self.answers is not None:
            columns["answer"] = pa.array(self.answers, pa.string())
        columns |= {name: values for name, values in (("logprob", self.logprobs), ("finished", self.finished)) if values is not None}
        with atomic_path(path) as temporary:
            pq.write_table(pa.table(columns).replace_schema_metadata({_KEY: b"1"}), temporary, compression="zstd")

    @staticmethod
    def from_parquet(path: str | os.PathLike[str]) -> Completions:
        """Read completions written by `to_parquet`; another file raises `DataError`."""
        table = read_parquet(path)
        if _KEY not in (table.schema.metadata or {}):
            raise DataError(f"file '{path}' does not hold completions; write them with `Completions.to_parquet`")
        known = set(table.column_names)
        return Completions(
            table["prompt"].to_pylist(),
            table["text"].to_pylist(),
            rows=table["row"].to_numpy(),
            answers=table["answer"].to_pylist() if "answer" in known else None,
            logprobs=table["logprob"].to_numpy() if "logprob" in known else None,
            finished=table["finished"].to_numpy() if "finished" in known else None,
        )

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        answered = "" if self.answers is None else f", {sum(map(bool, self.answers)):,} with an answer"
        stopped = "" if self.finished is None else f", {int((~self.finished).sum()):,} stopped by length"
        return f"Completions({len(self):,} texts for {len(np.unique(self.rows)):,} questions{answered}{stopped})"
