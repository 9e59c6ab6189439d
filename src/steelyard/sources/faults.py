"""How often a source failed on the rows it looked at, and its first failure in full: a fault is an abstention, counted and reported."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Faults:
    """How often a source failed, and its first failure in full.

    Examples
    --------
    >>> early, late = Faults(1, 3, "KeyError: 'x'", "…"), Faults(4, 7, "ValueError: y", "…")
    >>> (late + early.shifted(100)).first_row, (late + early).count
    (7, 5)
    """

    count: int
    first_row: int
    message: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException, row: int, count: int = 1) -> Faults:
        """Describe ``error``, which struck first at ``row`` and cost ``count`` votes."""
        text = "".join(traceback.format_exception(error))
        # Some libraries add pages of explanation; the traceback has them.
        said = str(error).strip().partition("\n")[0]
        return cls(count, row, f"{type(error).__name__}: {said}", text)

    @staticmethod
    def total(parts: Iterable[Faults | None]) -> Faults | None:
        """Add up faults, ``None`` standing for none."""
        faults = [part for part in parts if part is not None]
        return sum(faults[1:], start=faults[0]) if faults else None

    def shifted(self, rows: int) -> Faults:
        """Return the same faults, counted from a table that begins ``rows`` rows earlier."""
        return replace(self, first_row=self.first_row + rows)

    def __add__(self, other: Faults) -> Faults:
        first = self if self.first_row <= other.first_row else other
        return replace(first, count=self.count + other.count)
