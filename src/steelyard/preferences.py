"""Preferences: pairs of texts for a prompt, with the probability that the first is better.

Weak supervisors and majority votes make them; DPO, SimPO, ORPO, KTO and pairwise reward models consume them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from steelyard.columns import column, row_numbers, set_field, strings
from steelyard.errors import DataError
from steelyard.storage import atomic_path, read_parquet

_KEY = b"steelyard.preferences"


@dataclass(frozen=True, eq=False, repr=False)
class Preferences:
    """n prompts, each with a chosen and a rejected text.

    Parameters
    ----------
    prompts, chosen, rejected : sequences of str, length n
    probabilities : (n,) float array, optional
        P(chosen is better), in [0, 1]; 1 when left out.
    rows : (n,) int array, optional
        Which question each pair belongs to; ``0 … n-1`` when left out.

    Raises
    ------
    DataError
        A column has another length than the prompts, a cell of another kind, or a probability lies outside [0, 1].

    Examples
    --------
    >>> pairs = Preferences(["Q", "R"], ["good", "bad"], ["bad", "good"], probabilities=[0.9, 0.2])
    >>> pairs.harden().chosen
    ('good', 'good')
    >>> pairs.take(pairs.confidence >= 0.85).rows
    array([0])
    """

    prompts: Sequence[str]
    chosen: Sequence[str]
    rejected: Sequence[str]
    _: KW_ONLY
    probabilities: NDArray[np.float32] = None  # type: ignore[assignment]
    rows: NDArray[np.int64] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        prompts = strings(self.prompts, "prompts", "preferences")
        n = len(prompts)
        set_field(self, "prompts", prompts)
        set_field(self, "chosen", strings(self.chosen, "chosen texts", "preferences", n))
        set_field(self, "rejected", strings(self.rejected, "rejected texts", "preferences", n))
        set_field(self, "rows", row_numbers(self.rows, n, "preferences"))
        given = np.ones(n) if self.probabilities is None else self.probabilities
        probabilities = column(given, np.float32, n, "probabilities", "preferences")
        bad = ~((probabilities >= 0) & (probabilities <= 1))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(f"preferences: probabilities[{row}] is {probabilities[row]:g}; P(chosen is better) lies in [0, 1]")
        set_field(self, "probabilities", probabilities)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(n,) probability of the more probable order, in [0.5, 1]."""
        return np.maximum(self.probabilities, 1 - self.probabilities)

    def harden(self) -> Preferences:
        """The hard order: pairs with a probability below 1/2 change roles, and every probability becomes 1."""
        flip = (self.probabilities < 0.5).tolist()
        pairs = list(zip(flip, self.chosen, self.rejected, strict=True))
        chosen = [rejected if flipped else chosen for flipped, chosen, rejected in pairs]
        rejected = [chosen if flipped else rejected for flipped, chosen, rejected in pairs]
        return Preferences(self.prompts, chosen, rejected, rows=self.rows)

    def take(self, index: Any) -> Preferences:
        """Some of the pairs, by position or mask."""
        kept = np.arange(len(self))[index]
        texts = ([column[i] for i in kept] for column in (self.prompts, self.chosen, self.rejected))
        return Preferences(*texts, probabilities=self.probabilities[kept], rows=self.rows[kept])

    @staticmethod
    def concat(parts: Iterable[Preferences]) -> Preferences:
        """All parts one after the other, rows as they are.

        Raises
        ------
        DataError
            There is no part.
        """
        parts = list(parts)
        if not parts:
            raise DataError("preferences: concat needs at least one part")
        texts = ([text for part in parts for text in getattr(part, name)] for name in ("prompts", "chosen", "rejected"))
        probabilities, rows = (np.concatenate([getattr(part, name) for part in parts]) for name in ("probabilities", "rows"))
        return Preferences(*texts, probabilities=probabilities, rows=rows)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write columns ``row``, ``prompt``, ``chosen``, ``rejected`` and ``probability``, atomically."""
        texts = {name: pa.array(values, pa.string()) for name, values in (("chosen", self.chosen), ("rejected", self.rejected))}
        table = pa.table({"row": self.rows, "prompt": pa.array(self.prompts, pa.string()), **texts, "probability": self.probabilities})
        with atomic_path(path) as temporary:
            pq.write_table(table.replace_schema_metadata({_KEY: b"1"}), temporary, compression="zstd")

    @staticmethod
    def from_parquet(path: str | os.PathLike[str]) -> Preferences:
        """Read preferences written by `to_parquet`; another file raises `DataError`."""
        table = read_parquet(path)
        if _KEY not in (table.schema.metadata or {}):
            raise DataError(f"file '{path}' does not hold preferences; write them with `Preferences.to_parquet`")
        texts = (table[name].to_pylist() for name in ("prompt", "chosen", "rejected"))
        return Preferences(*texts, probabilities=table["probability"].to_numpy(), rows=table["row"].to_numpy())

    def __len__(self) -> int:
        return len(self.prompts)

    def __repr__(self) -> str:
        mean = f"{self.confidence.mean():.2f}" if len(self) else "none"
        return f"Preferences({len(self):,} pairs, mean confidence {mean})"
