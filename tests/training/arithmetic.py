"""Sums, a model that has never seen one, and encoders without weights: shared by the tests of the policies."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from steelyard.completions import Completions
from steelyard.language.tiny_lm import TinyLM, tiny_lm


@lru_cache(maxsize=1)
def counting_lm() -> TinyLM:
    """A model of 131,000 weights that has read pairs of digits and never a sum."""
    lines = [f"{a} {b}" for a in range(10) for b in range(10)]
    return tiny_lm(lines, size="micro", tokens=258, context=32, steps=20, seed=0)


def sums(top: int = 10) -> Completions:
    """All questions like "3+4=" with their answers."""
    pairs = [(a, b) for a in range(top) for b in range(top)]
    return Completions([f"{a}+{b}=" for a, b in pairs], [str(a + b) for a, b in pairs])


class LetterEncoder:
    """Counts of letters as unit vectors: features that need no model."""

    def encode(self, texts: list[str]) -> np.ndarray:
        counts = np.array([[text.count(letter) for letter in "abcdefgh"] for text in texts], dtype=np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-6)
