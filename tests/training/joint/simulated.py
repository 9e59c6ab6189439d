"""Votes and features with known truth: sources that are experts in one region of the features and toss a coin elsewhere."""

from __future__ import annotations

import numpy as np

from steelyard.votes import ABSTAIN, Votes

M, REGIONS = 6, 3


def experts(n: int, seed: int = 0, *, outside: float = 0.5) -> tuple[np.ndarray, np.ndarray, Votes]:
    """Features (n, 10), truth (n,) and six sources, right with 0.95 in their own third and with `outside` elsewhere."""
    rng = np.random.default_rng(seed)
    y, region = rng.integers(0, 2, n), rng.integers(0, REGIONS, n)
    x = rng.normal(size=(n, 10)).astype(np.float32)
    x[:, 0] += 2 * (2 * y - 1)
    x[np.arange(n), 1 + region] += 4
    right = rng.random((n, M)) < np.where(region[:, None] == np.arange(M) % REGIONS, 0.95, outside)
    codes = np.where(right, y[:, None], 1 - y[:, None])
    codes[rng.random((n, M)) < 0.2] = ABSTAIN
    return x, y, Votes(codes, classes=["a", "b"])


def some(y: np.ndarray, count: int) -> np.ndarray:
    """Gold labels of the first rows only."""
    return np.where(np.arange(len(y)) < count, y, -1)
