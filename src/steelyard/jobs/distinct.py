"""Each item once: duplicates go, and items that carry two different labels go altogether, counted. Done before anything is split."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Distinct:
    """The `rows` (r,) to keep, in order, and how many others there were: repetitions, and rows of items with conflicting labels."""

    rows: NDArray[np.int64]
    repeated: int
    conflicting_items: int
    conflicting_rows: int

    def counts(self) -> dict[str, int]:
        """The numbers, with how many rows are left."""
        return {"kept": len(self.rows), **{name: value for name, value in asdict(self).items() if name != "rows"}}


def distinct_rows(items: Sequence[Hashable], y: ArrayLike) -> Distinct:
    """Keep the first row of every item whose labels agree; -1 is no label and agrees with any.

    Parameters
    ----------
    items
        n texts, or other hashable things.
    y : (n,) int
        Labels, -1 = unknown. Of an item that is labelled somewhere, the first labelled row is kept.

    Warns
    -----
    UserWarning
        Items were left out for conflicting labels.

    Examples
    --------
    >>> found = distinct_rows(["a", "b", "a", "c", "b"], [0, 1, 0, -1, 1])
    >>> found.rows, found.repeated
    (array([0, 1, 3]), 2)
    """
    labels = np.asarray(y)
    rows_of: dict[Hashable, list[int]] = {}
    for row, item in enumerate(items):
        rows_of.setdefault(item, []).append(row)
    kept, repeated, conflicts = [], 0, []
    for rows in rows_of.values():
        known = [row for row in rows if labels[row] >= 0]
        if len({int(labels[row]) for row in known}) > 1:
            conflicts.append(len(rows))
            continue
        kept.append((known or rows)[0])
        repeated += len(rows) - 1
    if conflicts:
        warnings.warn(f"{len(conflicts)} items carry conflicting labels; their {sum(conflicts)} rows are left out", stacklevel=2)
    return Distinct(np.array(sorted(kept), dtype=np.int64), repeated, len(conflicts), sum(conflicts))
