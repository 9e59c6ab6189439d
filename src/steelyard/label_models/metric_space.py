"""A label space with a metric: what the labels of a tree, a graph, a scale or an embedding say about each other, without an N × N table.

Distances are computed for the blocks that are asked for. Each metric finds Fréchet means in its own way: `argmin_y sum_i p_i d(y, i)²`,
the rule of Roberts et al. 2023, "Geometry-Aware Adaptation for Pretrained Models" (Loki). Trees and graphs: `graph_metric.py`.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Own = Callable[[Ints, Ints], Floats]

BLOCK = 1 << 22
"""Entries of a temporary block of distances or energies, 32 MB."""
TIE = 1e-9
"""Energies that differ by less than this share count as equal."""


class LabelMetric(ABC):
    """N labels and the distance between any two.

    Attributes
    ----------
    labels
        N distinct names (strings, numbers), in the order of their indices 0 … N−1.
    is_tree
        Whether distances are paths in a tree: then some questions have exact answers.
    """

    labels: tuple[Hashable, ...]
    is_tree: bool = False

    @abstractmethod
    def distances(self, rows: ArrayLike, columns: ArrayLike | None = None) -> Floats:
        """Return (r, c) distances between labels `rows` and `columns`, given as indices; all N columns when left out."""

    def frechet_means(self, weights: Floats, observed: Ints, candidates: Ints | None = None) -> Ints:
        """Return the (n,) labels `argmin_y sum_j weights[i, j] d(y, observed[j])²`.

        Of equal labels the one with the larger weight is taken, then the one nearer to the observed labels on the whole, then the first.

        Parameters
        ----------
        weights
            (n, K) non-negative, rows sum to 1.
        observed
            (K,) distinct indices of the labels that the weights belong to.
        candidates
            (c,) distinct indices of the labels that may be answered; all N when left out.
        """
        nodes = np.arange(len(self)) if candidates is None else np.sort(candidates)
        n, own = len(weights), weight_of(weights, observed, len(self))
        best, lowest, all_rows = np.full(n, nodes[0]), np.full(n, np.inf), np.arange(n)
        width = max(1, BLOCK // max(len(observed), n, 1))
        for start in range(0, len(nodes), width):
            block = nodes[start : start + width]
            distances = self.distances(observed, block)
            energies, spread = weights @ distances**2, distances.sum(0)
            column = break_ties(energies, lambda i, j, block=block: own(i, block[j]), lambda i, j, spread=spread: spread[j])  # type: ignore[misc]
            nodes_pair = np.column_stack([best, block[column]])
            energy_pair = np.column_stack([lowest, energies[all_rows, column]])
            take = self.take_best(nodes_pair, energy_pair, own, observed)
            best, lowest = nodes_pair[all_rows, take], energy_pair[all_rows, take]
        return best

    def take_best(self, nodes: Ints, energies: Floats, own: Own, observed: Ints) -> Ints:
        """Return (n,) the column of the best of a few nodes (n, c) with energies (n, c), ties broken as in `frechet_means`."""

        def spread(i: Ints, j: Ints) -> Floats:
            distinct, inverse = np.unique(nodes[i, j], return_inverse=True)
            return np.asarray(self.distances(distinct, observed).sum(1)[inverse])

        return break_ties(energies, lambda i, j: own(i, nodes[i, j]), spread)

    def index(self, labels: Sequence[Hashable] | NDArray[np.generic], what: str = "observed") -> Ints:
        """Return the (K,) indices of labels by name.

        Raises
        ------
        DataError
            A label is none of the N, or occurs twice.

        Examples
        --------
        >>> EuclideanMetric(3, labels=["low", "middle", "high"]).index(["high", "low"])
        array([2, 0])
        """
        place = {label: position for position, label in enumerate(self.labels)}
        names = [name.item() if isinstance(name, np.generic) else name for name in labels]
        for name in names:
            if name not in place:
                shown = ", ".join(map(str, self.labels[:5])) + (", …" if len(self) > 5 else "")
                raise DataError(
                    f"{what}: the label {name!r} is not in the label metric, whose {len(self)} labels are {shown}; add it there"
                )
        if len(set(names)) < len(names):
            raise DataError(f"{what}: the label {max(names, key=names.count)!r} is named twice; name each once")
        return np.array([place[name] for name in names], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.labels)


class EuclideanMetric(LabelMetric):
    """Labels as points: numbers on a scale, or embeddings of their names.

    The weighted sum of squared distances is least at the label nearest to the weighted mean of the points: n·(K + N)·d operations
    instead of n·K·N, and on a scale a binary search.

    Parameters
    ----------
    points
        (N, d) embeddings, (N,) numbers, or N for the scale 0 … N−1.
    labels
        N names; the numbers 0 … N−1 when left out.

    Raises
    ------
    DataError
        A coordinate is not finite, or points and labels do not match.

    Examples
    --------
    >>> scale = EuclideanMetric(5)
    >>> scale.frechet_means(np.array([[0.5, 0.5], [0.9, 0.1]]), observed=np.array([0, 4]))  # 2 was never observed
    array([2, 0])
    """

    def __init__(self, points: ArrayLike | int, labels: Sequence[Hashable] | None = None) -> None:
        given = np.arange(points, dtype=np.float64) if isinstance(points, int) else np.asarray(points, dtype=np.float64)
        self.points = given[:, None] if given.ndim == 1 else given
        if self.points.ndim != 2 or not len(self.points):
            raise DataError(f"EuclideanMetric: points have shape {given.shape}; give (labels, dimensions), or one number per label")
        self.labels = checked_labels(labels, len(self.points))
        bad = ~np.isfinite(self.points).all(1)
        if bad.any():
            raise DataError(
                f"EuclideanMetric: the point of label {self.labels[int(bad.argmax())]!r} is not finite; every label needs a place"
            )

    def distances(self, rows: ArrayLike, columns: ArrayLike | None = None) -> Floats:
        """Return (r, c) Euclidean distances."""
        a, b = self.points[np.asarray(rows)], self.points if columns is None else self.points[np.asarray(columns)]
        if a.shape[1] == 1:
            return np.asarray(np.abs(a - b.T))
        squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
        return np.asarray(np.sqrt(np.maximum(squares, 0)))

    def frechet_means(self, weights: Floats, observed: Ints, candidates: Ints | None = None) -> Ints:
        """Return the (n,) labels nearest to the weighted means of the points; see `LabelMetric.frechet_means`."""
        nodes = np.arange(len(self)) if candidates is None else np.sort(candidates)
        means, own = weights @ self.points[observed], weight_of(weights, observed, len(self))
        chosen = np.empty(len(means), dtype=np.int64)
        scale = self.points.shape[1] == 1
        width = len(means) if scale else max(1, BLOCK // len(nodes))
        order = nodes[np.argsort(self.points[nodes, 0], kind="stable")]
        for start in range(0, len(means), max(width, 1)):
            rows = slice(start, start + width)
            if scale:
                # The places beside the mean; equal points lie side by side, so two on each side find a tie.
                at = np.searchsorted(self.points[order, 0], means[rows, 0])[:, None] + np.arange(-2, 2)
                near = order[np.clip(at, 0, len(order) - 1)]
                near.sort(1)
                squares = (self.points[near, 0] - means[rows]) ** 2
            else:
                near = np.broadcast_to(nodes, (len(means[rows]), len(nodes)))
                places = self.points[nodes]
                squares = (places**2).sum(1) - 2 * means[rows] @ places.T + (means[rows] ** 2).sum(1)[:, None]
            # Ties are ties of the energy, which is the square plus the spread of the weights around their mean.
            around = weights[rows] @ (self.points[observed] ** 2).sum(1) - (means[rows] ** 2).sum(1)
            take = self.take_best(near, squares + around[:, None], lambda i, node, start=start: own(i + start, node), observed)  # type: ignore[misc]
            chosen[rows] = near[np.arange(len(take)), take]
        return chosen


class MatrixMetric(LabelMetric):
    """Labels with a table of distances, for what has no other structure.

    Parameters
    ----------
    matrix
        (N, N) non-negative, zero diagonal. Distances, not their squares. An asymmetric table is made symmetric with a warning.
    labels
        N names; the numbers 0 … N−1 when left out.
    apart
        What an infinite distance counts as: a positive number, or `"diameter"` for the largest finite distance + 1, as the authors of Loki
        do. Left out, an infinite distance is an error.

    Raises
    ------
    DataError
        The table is not square, a distance is negative or not finite, or a diagonal entry is not zero.

    Examples
    --------
    >>> same_or_not = MatrixMetric(1.0 - np.eye(3))  # the Fréchet mean is then the most probable label
    >>> same_or_not.frechet_means(np.array([[0.2, 0.5, 0.3]]), observed=np.arange(3))
    array([1])
    """

    def __init__(
        self, matrix: ArrayLike, labels: Sequence[Hashable] | None = None, *, apart: float | Literal["diameter"] | None = None
    ) -> None:
        table = np.asarray(matrix)
        table = table if table.dtype.kind == "f" else table.astype(np.float64)
        if table.ndim != 2 or table.shape[0] != table.shape[1] or not len(table):
            raise DataError(f"MatrixMetric: the table of distances has shape {table.shape}; it must be square, one row per label")
        self.labels = checked_labels(labels, len(table))
        name = self.labels
        if apart is not None:
            far = float(table[np.isfinite(table)].max(initial=0.0)) + 1 if apart == "diameter" else apart
            if not 0 < far < np.inf:
                raise DataError(f"MatrixMetric: apart is {far:g}; it must be a positive number, or 'diameter'")
            table = np.where(np.isposinf(table), far, table)
        if not np.isfinite(table).all():
            i, j = (int(k) for k in np.argwhere(~np.isfinite(table))[0])
            raise DataError(disconnected(name[i], name[j]))
        if (table < 0).any() or np.diagonal(table).any():
            i, j = (int(k) for k in np.argwhere((table < 0) | (np.eye(len(table), dtype=bool) & (table != 0)))[0])
            raise DataError(
                f"MatrixMetric: the distance of {name[i]!r} and {name[j]!r} is {table[i, j]:g}; none may be negative, that of a "
                "label to itself is 0"
            )
        if not np.allclose(table, table.T, rtol=1e-6, atol=1e-9):
            warnings.warn("the table of distances is not symmetric; the mean of both directions is used", stacklevel=2)
            table = (table + table.T) / 2
        self.matrix = table

    def distances(self, rows: ArrayLike, columns: ArrayLike | None = None) -> Floats:
        """Return (r, c) entries of the table."""
        found = self.matrix[np.asarray(rows)] if columns is None else self.matrix[np.ix_(np.asarray(rows), np.asarray(columns))]
        return np.asarray(found, dtype=np.float64)


def break_ties(energies: Floats, own: Callable[[Ints, Ints], Floats], spread: Callable[[Ints, Ints], Floats]) -> Ints:
    """Return (n,) the column of least energy (n, c); of equals that of the largest own weight, then of the least spread, then the first.

    `own` and `spread` are functions of the (row, column) pairs that are still equal; where nothing ties they are not called.

    Examples
    --------
    >>> own, spread = np.array([[0.9, 0.0, 0.1, 0.1]]), np.array([[0.0, 1.0, 3.0, 2.0]])
    >>> break_ties(np.array([[1.0, 0.5, 0.5, 0.5]]), lambda i, j: own[i, j], lambda i, j: spread[i, j])
    array([3])
    """
    first = energies.argmin(1)
    lowest = energies[np.arange(len(first)), first]
    tied = energies <= (lowest + TIE * (1 + np.abs(lowest)))[:, None]
    several = np.flatnonzero(tied.sum(1) > 1)
    for key in (lambda i, j: -own(i, j), spread):
        i, j = np.nonzero(tied[several])
        if len(i):
            values = np.full((len(several), tied.shape[1]), np.inf)
            values[i, j] = key(several[i], j)
            least = values.min(1, keepdims=True)
            tied[several] = values <= least + TIE * (1 + np.abs(least))
        several = several[tied[several].sum(1) > 1]
    return np.asarray(tied.argmax(1), dtype=np.int64)


def checked_labels(labels: Sequence[Hashable] | None, n: int) -> tuple[Hashable, ...]:
    """N distinct names, or 0 … N−1; raises `DataError` where they do not fit."""
    if labels is None:
        return tuple(range(n))
    names = tuple(name.item() if isinstance(name, np.generic) else name for name in labels)
    if len(names) != n or len(set(names)) != n:
        raise DataError(
            f"the label metric has {n} labels but {len(names)} names, {len(set(names))} of them distinct; give each label its own"
        )
    return names


def disconnected(first: Hashable, second: Hashable) -> str:
    """The sentence for a metric in which some distance is infinite."""
    return (
        f"the label metric is disconnected: no path joins {first!r} and {second!r}, so their distance is infinite and no mean lies between "
        "them; join the parts, for example below a common root, or say how far apart they count (PartedMetric, MatrixMetric(apart=…))"
    )


def weight_of(weights: Floats, observed: Ints, n_labels: int) -> Own:
    """A function of rows and nodes that gives each node's own weight in its row, 0 where it was not observed."""
    place = np.full(n_labels, -1, dtype=np.int64)
    place[observed] = np.arange(len(observed))

    def own(rows: Ints, nodes: Ints) -> Floats:
        return np.where(place[nodes] >= 0, weights[rows, np.maximum(place[nodes], 0)], 0.0)

    return own
