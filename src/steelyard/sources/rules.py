"""Rules that a machine writes: decision stumps and logistic functions of one or two features, fitted to a few labels, all at once.

The base sources of Varma and Ré 2018, "Snuba: Automating Weak Supervision to Label Training Data", as automated in Roberts et al. 2022,
"AutoWS-Bench-101". `Snuba` and `InteractiveWS` choose among them. A rule votes for its most probable class if that is probable enough.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from steelyard.errors import SourceError
from steelyard.votes import ABSTAIN

Floats = NDArray[np.float64]
_CELLS = 1 << 22  # bounds (rows × rules) held at once
_NEWTON_STEPS = 8


@dataclass(frozen=True)
class Rules:
    """p rules over d features and K classes.

    A stump reads the first of its columns: P(class) is ``leaves[j, 0]`` up to the threshold and ``leaves[j, 1]`` above it. A logistic rule
    has one logistic function per class against the rest, normalised to sum to one. Either votes argmax P if max P >= confidence.

    Parameters
    ----------
    columns : (p, D) int64
        Features a rule reads; -1 pads.
    is_stump : (p,) bool
    thresholds : (p,) float64
    leaves : (p, 2, K) float64
    weights, intercepts : (p, D, K), (p, K) float64
    confidences : (p,) float64
        Probability from which a rule votes.
    classes : tuple of str

    Examples
    --------
    >>> rules = Rules.fit(np.array([[1.0], [2.0], [8.0], [9.0]]), np.array([0, 0, 1, 1]), ("low", "high"), np.array([[0]]))
    >>> rules.votes(np.array([[0.0], [7.0]])).tolist()
    [[0, 0], [1, 1]]
    >>> rules.describe()[0]
    'feature 0 > 5 → high, else low'
    """

    columns: NDArray[np.int64]
    is_stump: NDArray[np.bool_]
    thresholds: Floats
    leaves: Floats
    weights: Floats
    intercepts: Floats
    confidences: Floats
    classes: tuple[str, ...]

    @classmethod
    def fit(cls, X: NDArray[np.floating], y: NDArray[np.integer], classes: tuple[str, ...], subsets: NDArray[np.int64]) -> Self:
        """Fit one stump and one logistic rule to each subset of the features.

        Parameters
        ----------
        X : (n, d) float
        y : (n,) int
            Classes 0 … K - 1; they need not all occur.
        classes : tuple of K str
        subsets : (s, D) int
            Columns, -1 pads.

        Returns
        -------
        Rules
            2s of them, stumps first; all vote whenever one class is more probable than the others.
        """
        k, (s, width) = len(classes), subsets.shape
        rows, used = np.asarray(X, dtype=np.float64), subsets >= 0
        threshold, leaf, gain = _stumps(rows, y, k)
        # A stump on two features is the better of the two stumps on one.
        best = np.where(used, gain[subsets], -np.inf).argmax(axis=1)
        column = subsets[np.arange(s), best]
        weights, intercepts = _logistic(rows, y, k, subsets)
        first = np.full((s, width), -1, dtype=np.int64)
        first[:, 0] = column
        return cls(
            columns=np.concatenate([first, subsets]),
            is_stump=np.arange(2 * s) < s,
            thresholds=np.concatenate([threshold[column], np.zeros(s)]),
            leaves=np.concatenate([leaf[column], np.zeros((s, 2, k))]),
            weights=np.concatenate([np.zeros((s, width, k)), weights]),
            intercepts=np.concatenate([np.zeros((s, k)), intercepts]),
            confidences=np.full(2 * s, 1 / k),
            classes=classes,
        )

    def __len__(self) -> int:
        return len(self.columns)

    def take(self, index: NDArray[np.int64] | Sequence[int]) -> Self:
        """The rules at these places, in this order."""
        at = np.asarray(index, dtype=np.int64)
        arrays = {name: getattr(self, name)[at] for name in _ARRAYS}
        return replace(self, **arrays)

    def with_confidences(self, confidences: Floats) -> Self:
        """The same rules that vote from these (p,) probabilities."""
        return replace(self, confidences=np.asarray(confidences, dtype=np.float64))

    @classmethod
    def concat(cls, parts: Sequence[Rules]) -> Self:
        """Rules one after another; all must have the same classes and width."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}, classes=parts[0].classes)

    def best(self, X: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Most probable class (n, p) and its probability (n, p) on rows (n, d), whatever the confidence."""
        n, p = len(X), len(self)
        label, probability = np.empty((n, p), dtype=np.int8), np.empty((n, p), dtype=np.float32)
        at = np.flatnonzero(self.is_stump)
        above = X[:, self.columns[at, 0]] > self.thresholds[at]
        # What a leaf says is the same for every row in it.
        said, sure = self.leaves[at].argmax(axis=2).astype(np.int8), self.leaves[at].max(axis=2).astype(np.float32)
        label[:, at] = np.where(above, said[:, 1], said[:, 0])
        probability[:, at] = np.where(above, sure[:, 1], sure[:, 0])
        at_once = max(1, _CELLS // max(1, n))
        logistic = np.flatnonzero(~self.is_stump)
        for start in range(0, len(logistic), at_once):
            at = logistic[start : start + at_once]
            label[:, at], probability[:, at] = self._best_logistic(X, at)
        return label, probability

    def votes(self, X: NDArray[np.floating]) -> NDArray[np.int8]:
        """Votes (n, p) on rows (n, d): classes, -1 where a rule abstains."""
        label, probability = self.best(X)
        return np.where(speaks(probability, self.confidences), label, np.int8(ABSTAIN))

    def describe(self, names: Sequence[str] | None = None, only: int | None = None) -> list[str]:
        """Say each rule in words.

        Parameters
        ----------
        names : d names of the features, optional
        only : int, optional
            Leave out what a rule says about other classes than this one.
        """
        return [self._sentence(j, names, only) for j in range(len(self))]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types."""
        return {"classes": list(self.classes), **{name: getattr(self, name).tolist() for name in _ARRAYS}}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read what `to_dict` made.

        Raises
        ------
        SourceError
            An entry is missing.
        """
        missing = [name for name in ("classes", *_ARRAYS) if name not in content]
        if missing:
            raise SourceError(f"these are no rules: '{missing[0]}' is missing; write them with Rules.to_dict")
        arrays: dict[str, Any] = {name: np.asarray(content[name], dtype=kind) for name, kind in _ARRAYS.items()}
        return cls(**arrays, classes=tuple(content["classes"]))

    def _best_logistic(self, X: NDArray[np.floating], at: NDArray[np.int64]) -> tuple[NDArray[np.int8], Floats]:
        """Most probable class and its probability for some logistic rules, class after class."""
        columns = [X[:, self.columns[at, i]] for i in range(self.columns.shape[1])]
        label = np.zeros((len(X), len(at)), dtype=np.int8)
        largest, total = np.full(label.shape, -1.0), np.zeros(label.shape)
        for c in range(len(self.classes)):
            logits = np.broadcast_to(self.intercepts[at, c], label.shape)
            for i, column in enumerate(columns):  # a padded column has weight zero
                logits = logits + column * self.weights[at, i, c]
            share = expit(logits)
            label[share > largest] = c
            np.maximum(largest, share, out=largest)
            total += share
        return label, largest / np.maximum(total, 1e-300)

    def _sentence(self, j: int, names: Sequence[str] | None, only: int | None) -> str:
        called = [names[c] if names is not None else f"feature {c}" for c in self.columns[j] if c >= 0]
        if self.is_stump[j]:
            below, above = (self._said(leaf, self.confidences[j], only) for leaf in self.leaves[j])
            if above and below:
                return f"{called[0]} > {self.thresholds[j]:.4g} → {above}" + (f", else {below}" if above != below else ", and else too")
            if above or below:
                return f"{called[0]} {'>' if above else '≤'} {self.thresholds[j]:.4g} → {above or below}"
            return f"{called[0]}: silent" + ("" if only is None else f" on {self.classes[only]}")
        k = 1 if only is None and len(self.classes) == 2 else only
        if k is None:
            return f"logistic function of {' and '.join(called)}, from P = {self.confidences[j]:.2f}"
        terms = " ".join(f"{w:+.3g}·{name}" for w, name in zip(self.weights[j, :, k], called, strict=False))
        said = f"P({self.classes[k]}) = σ({terms} {self.intercepts[j, k]:+.3g}) ≥ {self.confidences[j]:.2f} → {self.classes[k]}"
        return said if only is not None else f"{said}, ≤ {1 - self.confidences[j]:.2f} → {self.classes[1 - k]}"

    def _said(self, leaf: Floats, confidence: float, only: int | None) -> str:
        best = int(leaf.argmax())
        speaking = bool(speaks(leaf[best], confidence)) and only in (None, best)
        return self.classes[best] if speaking else ""


_ARRAYS: dict[str, type] = {
    "columns": np.int64,
    "is_stump": np.bool_,
    "thresholds": np.float64,
    "leaves": np.float64,
    "weights": np.float64,
    "intercepts": np.float64,
    "confidences": np.float64,
}


def speaks(probability: Any, confidence: Any) -> Any:
    """Whether a rule votes; rounding to float32 does not silence a rule that is exactly sure enough."""
    return probability >= confidence - 1e-6


def feature_subsets(d: int, cardinality: int = 1, most: int = 1000, seed: int = 0) -> NDArray[np.int64]:
    """Subsets of d features of size 1 … `cardinality`: all of them, or a random sample that slightly favours larger ones.

    Returns
    -------
    (s, cardinality) int64
        Column numbers, padded with -1; s <= most.

    Examples
    --------
    >>> feature_subsets(3, cardinality=2).tolist()
    [[0, -1], [1, -1], [2, -1], [0, 1], [0, 2], [1, 2]]
    """
    sizes = range(1, min(cardinality, d) + 1)
    counts = [math.comb(d, size) for size in sizes]
    if sum(counts) <= most:
        chosen = [list(subset) for size in sizes for subset in itertools.combinations(range(d), size)]
    else:
        rng = np.random.default_rng(seed)
        shares = np.array([count * size for size, count in zip(sizes, counts, strict=True)], dtype=np.float64)
        wanted = np.minimum(np.floor(most * np.sqrt(shares) / np.sqrt(shares).sum()), counts).astype(int)
        found: dict[tuple[int, ...], None] = {}
        for size, number in zip(sizes, wanted, strict=True):
            goal = len(found) + number
            while len(found) < goal:
                found[tuple(sorted(rng.choice(d, size, replace=False).tolist()))] = None
        chosen = [list(subset) for subset in found]
    return np.array([subset + [-1] * (cardinality - len(subset)) for subset in chosen], dtype=np.int64).reshape(-1, cardinality)


def _stumps(X: Floats, y: NDArray[np.integer], k: int) -> tuple[Floats, Floats, Floats]:
    """Best Gini split of every feature from one sort: thresholds (d,), leaves (d, 2, K), gains (d,)."""
    n, d = X.shape
    order = X.argsort(axis=0, kind="stable")
    x = np.take_along_axis(X, order, axis=0)
    left = np.eye(k)[y][order].cumsum(axis=0)  # (n, d, K) rows of each class up to and with this one
    total = left[-1]
    size = np.arange(1, n + 1)[:, None]
    right = total - left
    # Σ n_leaf (1 - Σ p²) falls as Σ_leaf Σ_k count² / n_leaf rises
    purity = (left**2).sum(axis=2) / size + (right**2).sum(axis=2) / np.maximum(n - size, 1)
    splits = np.vstack([x[1:] > x[:-1], np.zeros((1, d), dtype=bool)])
    purity = np.where(splits, purity, -np.inf)
    at, columns = purity.argmax(axis=0), np.arange(d)
    split = splits[at, columns]
    threshold = np.where(split, (x[at, columns] + x[np.minimum(at + 1, n - 1), columns]) / 2, np.inf)
    base = total / n
    below = np.where(split[:, None], left[at, columns] / size[at], base)
    above = np.where(split[:, None], right[at, columns] / np.maximum(n - size[at], 1), base)
    return threshold, np.stack([below, above], axis=1), np.where(split, purity[at, columns], -1.0)


def _logistic(X: Floats, y: NDArray[np.integer], k: int, subsets: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Logistic regression (L2 penalty 1/2 on standardised features) of every class against the rest on every subset, by Newton's method."""
    s, width = subsets.shape
    mean, std = X.mean(axis=0), X.std(axis=0)
    std = np.where(std > 1e-12, std, 1.0)
    used = subsets >= 0
    z = np.where(used, ((X - mean) / std)[:, subsets], 0.0).transpose(1, 0, 2)  # (s, n, D)
    z = np.concatenate([z, np.ones((s, len(X), 1))], axis=2)
    penalty = np.diag([1.0] * width + [1e-6])
    several = k > 2
    theta = np.zeros((s, width + 1, k))
    for c in range(k) if several else (1,):
        positive = (y == c).astype(np.float64)
        share = (positive.sum() + 0.5) / (len(y) + 1)
        beta = np.zeros((s, width + 1))
        beta[:, -1] = np.log(share / (1 - share))
        for _ in range(_NEWTON_STEPS):
            p = expit(np.einsum("snd,sd->sn", z, beta))
            gradient = ((p - positive)[:, None, :] @ z)[:, 0] + beta @ penalty
            hessian = (z * (p * (1 - p))[:, :, None]).transpose(0, 2, 1) @ z + penalty
            step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
            beta -= np.clip(step, -2.0, 2.0)  # a full step from far away can overshoot
        theta[:, :, c] = beta
    if not several:
        theta[:, :, 0] = -theta[:, :, 1]
    weights = np.where(used[:, :, None], theta[:, :width] / std[subsets][:, :, None], 0.0)
    return weights, theta[:, width] - np.einsum("sdk,sd->sk", weights, np.where(used, mean[subsets], 0.0))
