"""Traces unfit to learn from: cut off by the length limit, stuck in a loop, or without an answer; how many there are of each.

A filter between a teacher's samples and fine-tuning. Learned tails without an end make a student run on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steelyard.completions import Completions
from steelyard.errors import DataError


@dataclass(frozen=True)
class Degenerate:
    """Which of n traces are degenerate and why; a trace may have several faults.

    Parameters
    ----------
    truncated, looping, no_answer : (n,) bool arrays
    """

    truncated: NDArray[np.bool_]
    looping: NDArray[np.bool_]
    no_answer: NDArray[np.bool_]

    @property
    def sound(self) -> NDArray[np.bool_]:
        """(n,) True where a trace has no fault."""
        return ~(self.truncated | self.looping | self.no_answer)

    def counts(self) -> dict[str, int]:
        """Traces in all, with each fault, and without any."""
        faults = {name: int(getattr(self, name).sum()) for name in ("truncated", "looping", "no_answer")}
        return {"traces": len(self.truncated), **faults, "sound": int(self.sound.sum())}


def degenerate(completions: Completions) -> Degenerate:
    """Find the degenerate ones among n traces.

    Parameters
    ----------
    completions
        With `answers` ("" = none). `finished` says which the length limit stopped; without it none counts as truncated.

    Examples
    --------
    >>> drawn = Completions(["q"] * 3, ["2 + 2 = 4", "well, " * 20, "2 + 2"], answers=["4", "", "2"], finished=[True, True, False])
    >>> degenerate(drawn).counts()
    {'traces': 3, 'truncated': 1, 'looping': 1, 'no_answer': 1, 'sound': 1}
    """
    if completions.answers is None:
        raise DataError("degenerate: these completions have no answers; use with_extracted(completions, style) first")
    truncated = np.zeros(len(completions), np.bool_) if completions.finished is None else ~completions.finished
    looping = np.array([is_looping(text) for text in completions.texts], dtype=np.bool_)
    return Degenerate(truncated, looping, np.array([not answer for answer in completions.answers], dtype=np.bool_))


def is_looping(text: str, *, repeats: int = 4, characters: int = 40, window: int = 2000) -> bool:
    """Say whether a text ends in the same passage over and over.

    Parameters
    ----------
    repeats
        How often the passage must stand at the end, without anything between.
    characters
        How long the repetitions must be together.
    window
        How many characters from the end are looked at.

    Examples
    --------
    >>> is_looping("10 / 5.5 = 1." + "81" * 50), is_looping("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16")
    (True, False)
    """
    tail = text.rstrip()[-window:]
    if len(tail) < characters:
        return False
    codes = np.frombuffer(tail.encode("utf-32-le"), dtype=np.uint32)[::-1]
    # A period p at the end means that the reversed text agrees with itself shifted by p; rstripped text may end within a passage.
    for p in (np.flatnonzero(codes[1 : len(codes) // repeats + 1] == codes[0]) + 1).tolist():
        differ = codes[p:] != codes[:-p]
        run = int(differ.argmax()) if differ.any() else len(differ)
        if run + p >= max(characters, repeats * p) and any(char.isalnum() for char in tail[-p:]):
            return True
    return False
