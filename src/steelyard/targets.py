"""Targets: probabilistic labels with weights, what a student is trained on. Label models make them, training consumes them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import TargetsError
from steelyard.storage import atomic_path, read_parquet

_KEY = b"steelyard.targets"


class Targets:
    """Class probabilities of n items, with a weight each.

    Parameters
    ----------
    probabilities : (n, k) float array
        Rows are non-negative and sum to 1 (within 1e-3; stored as float32, normalised).
    classes : sequence of str, length k
    weights : (n,) float array, optional
        Non-negative training weights; 1 when left out.
    rows : (n,) int array, optional
        Which rows of the data the targets belong to; ``0 … n-1`` when left out.

    Examples
    --------
    >>> targets = Targets([[0.9, 0.1], [0.5, 0.5]], classes=["HAM", "SPAM"])
    >>> targets.filter(confidence=0.8).rows.tolist()
    [0]
    >>> targets.harden().tolist()
    [0, 0]
    """

    def __init__(
        self, probabilities: ArrayLike, *, classes: Sequence[str], weights: ArrayLike | None = None, rows: ArrayLike | None = None
    ) -> None:
        self.classes = tuple(str(name) for name in classes)
        self.probabilities = _checked_probabilities(probabilities, len(self.classes))
        n = len(self.probabilities)
        self.weights: NDArray[np.float32] = np.ones(n, np.float32) if weights is None else np.asarray(weights, dtype=np.float32)
        self.rows: NDArray[np.int64] = np.arange(n) if rows is None else np.asarray(rows, dtype=np.int64)
        if self.weights.shape != (n,) or self.rows.shape != (n,):
            raise TargetsError(f"{n} targets need {n} weights and rows, got shapes {self.weights.shape} and {self.rows.shape}")
        if not np.isfinite(self.weights).all() or (self.weights < 0).any():
            raise TargetsError("weights must be finite and not negative; use 0 to leave a row out")

    @staticmethod
    def from_labels(y: ArrayLike, classes: Sequence[str]) -> Targets:
        """Hard labels (n,) as one-hot targets; rows labelled -1 are left out."""
        labels = np.asarray(y)
        if labels.size and labels.dtype.kind not in "iu":
            raise TargetsError(f"labels must be integers (class index, -1 = unknown), got {labels.dtype}; map names to indices")
        rows = np.flatnonzero(labels >= 0)
        if labels.size and labels.max() >= len(classes):
            raise TargetsError(f"label {labels.max()} is out of range; there are {len(classes)} classes")
        return Targets(np.eye(len(classes), dtype=np.float32)[labels[rows].astype(np.int64)], classes=classes, rows=rows)

    @property
    def n_classes(self) -> int:
        """Number of classes k."""
        return len(self.classes)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(n,) probability of the most probable class."""
        return self.probabilities.max(axis=1, initial=0)

    def harden(self) -> NDArray[np.int64]:
        """(n,) most probable class; a tie goes to the class that is more probable over all targets."""
        share = self.probabilities.sum(axis=0, dtype=np.float64)
        tied = self.probabilities >= self.confidence[:, None] - 1e-6
        return np.where(tied, share, -1.0).argmax(axis=1)

    def filter(self, confidence: float) -> Targets:
        """The targets whose most probable class has at least this probability (0 to 1); `rows` says which they are."""
        if not 0 <= confidence <= 1:
            raise TargetsError(f"confidence is a probability between 0 and 1, got {confidence}")
        return self.take(np.flatnonzero(self.confidence >= np.float32(confidence)))

    def take(self, index: Any) -> Targets:
        """Some of the targets, by position or mask."""
        return Targets(self.probabilities[index], classes=self.classes, weights=self.weights[index], rows=self.rows[index])

    def with_weights(self, weights: ArrayLike) -> Targets:
        """The same targets with other weights (n,)."""
        return Targets(self.probabilities, classes=self.classes, weights=weights, rows=self.rows)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write columns ``row``, ``weight`` and one probability per class, atomically."""
        columns: dict[str, Any] = {"row": self.rows, "weight": self.weights}
        columns |= {f"p_{name}": np.ascontiguousarray(self.probabilities[:, i]) for i, name in enumerate(self.classes)}
        table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(self.classes).encode()})
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @staticmethod
    def from_parquet(path: str | os.PathLike[str]) -> Targets:
        """Read targets written by `to_parquet`."""
        table = read_parquet(path)
        kept = (table.schema.metadata or {}).get(_KEY)
        if kept is None:
            raise TargetsError(f"file '{path}' does not hold targets; write them with `Targets.to_parquet`")
        classes = json.loads(kept)
        probabilities = np.column_stack([table[f"p_{name}"].to_numpy() for name in classes])
        return Targets(probabilities, classes=classes, weights=table["weight"].to_numpy(), rows=table["row"].to_numpy())

    def __len__(self) -> int:
        return len(self.probabilities)

    def __repr__(self) -> str:
        mean = f"{self.confidence.mean():.2f}" if len(self) else "none"
        return f"Targets({len(self):,} rows, classes {', '.join(self.classes)}, mean confidence {mean})"


def _checked_probabilities(probabilities: ArrayLike, k: int) -> NDArray[np.float32]:
    array = np.asarray(probabilities, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != k:
        raise TargetsError(f"probabilities must have shape (n, {k}) for {k} classes, got {array.shape}")
    bad = ~np.isfinite(array).all(axis=1) | (array < 0).any(axis=1)
    total = array.sum(axis=1)
    bad |= np.abs(total - 1) > 1e-3
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        shown = ", ".join(f"{p:.6g}" for p in array[row])
        raise TargetsError(f"row {row} is not a probability distribution: [{shown}]; rows must be non-negative and sum to 1")
    return array / total[:, None] if len(array) else array
