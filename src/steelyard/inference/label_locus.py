"""Which labels can a Fréchet mean reach from the observed ones, and which label to observe next so that it reaches more.

The locus of observed labels is the union of the Fréchet means of all weights on them; a set whose locus is everything is a locus cover.
Roberts et al. 2023, "Geometry-Aware Adaptation for Pretrained Models": in a tree the leaves are the least cover, in a complete graph only
the whole set is one: without geometry nothing unseen is ever answered.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import ConfigError
from steelyard.inference.frechet import Floats, Ints, LabelSpace

BLOCK = 1 << 22
SAME = 1e-9


def locus(metric: LabelSpace, observed: Sequence[Hashable] | NDArray[np.generic]) -> Ints:
    """Return the sorted indices of the labels that some weights on the observed labels have as a Fréchet mean.

    In a tree: the labels on the paths between observed ones, exactly. Elsewhere pair by pair: all minimisers of
    `w d(y, a)² + (1 − w) d(y, b)²` for w in [0, 1], which are the labels on the lower left hull of the points `(d(y, a)², d(y, b)²)`.
    That is exact where the locus is the union over pairs, and otherwise a lower bound.

    Examples
    --------
    >>> from steelyard.label_models.metric_space import EuclideanMetric, MatrixMetric
    >>> locus(EuclideanMetric(6), [1, 4])
    array([1, 2, 3, 4])
    >>> locus(MatrixMetric(1.0 - np.eye(4)), [1, 3])  # without geometry
    array([1, 3])
    """
    return _locus(metric, metric.index(observed))


def is_locus_cover(metric: LabelSpace, observed: Sequence[Hashable] | NDArray[np.generic]) -> bool:
    """Whether every label can be reached from the observed ones.

    Examples
    --------
    >>> from steelyard.label_models.graph_metric import GraphMetric
    >>> tree = GraphMetric([("root", "a"), ("root", "b"), ("b", "c"), ("b", "d")])
    >>> is_locus_cover(tree, ["a", "c", "d"]), is_locus_cover(tree, ["a", "c"])
    (True, False)
    """
    return len(locus(metric, observed)) == len(metric)


def locus_cover(metric: LabelSpace) -> Ints:
    """Return the indices of a set of labels from which all are reached: the least one in a tree (its leaves), elsewhere a greedy one.

    The greedy cover starts with two labels far apart and adds what `next_labels` says.

    Examples
    --------
    >>> from steelyard.label_models.metric_space import EuclideanMetric
    >>> locus_cover(EuclideanMetric(100))
    array([ 0, 99])
    """
    if metric.is_tree:
        return np.asarray(getattr(metric, "leaves"), dtype=np.int64)  # noqa: B009 - only trees have leaves
    first = int(metric.distances([0])[0].argmax())
    second = int(metric.distances([first])[0].argmax())
    pair = np.unique([second, first]).astype(np.int64)
    return np.sort(np.concatenate([pair, _next(metric, pair, len(metric))]))


def next_labels(metric: LabelSpace, observed: Sequence[Hashable] | NDArray[np.generic], n: int = 1) -> list[Any]:
    """Return up to n labels, by name, to collect examples of next: each the farthest from all that can be reached with those before it.

    It ends early when everything is reached. Of equally far labels the first is taken.

    Examples
    --------
    >>> from steelyard.label_models.metric_space import EuclideanMetric
    >>> next_labels(EuclideanMetric(10), observed=[2, 3], n=5)  # two ends reach the whole scale
    [9, 0]
    """
    if n < 1:
        raise ConfigError(f"next_labels: n is {n}; ask for at least one label")
    return [metric.labels[i] for i in _next(metric, metric.index(observed), n)]


def _next(metric: LabelSpace, observed: Ints, n: int) -> Ints:
    chosen: list[int] = []
    reached = _locus(metric, observed)
    nearest = _nearest(metric, reached)
    while len(chosen) < n and len(reached) < len(metric):
        far = int(np.where(np.isin(np.arange(len(metric)), reached), -1.0, nearest).argmax())
        chosen.append(far)
        added = _added(metric, np.append(observed, chosen[:-1]).astype(np.int64), far)
        new = np.setdiff1d(added, reached)
        nearest = np.minimum(nearest, _nearest(metric, new))
        reached = np.union1d(reached, new)
    return np.array(chosen, dtype=np.int64)


def _nearest(metric: LabelSpace, nodes: Ints) -> Floats:
    """(N,) distance of each label to the nearest of `nodes`."""
    best = np.full(len(metric), np.inf)
    width = max(1, BLOCK // len(metric))
    for start in range(0, len(nodes), width):
        best = np.minimum(best, metric.distances(nodes[start : start + width]).min(0))
    return best


def _locus(metric: LabelSpace, observed: Ints) -> Ints:
    if not len(observed):
        raise ConfigError("locus: no label is observed; name at least one")
    if metric.is_tree:
        # All paths of the tree that the observed labels span can be walked from one of them.
        return np.union1d(observed[:1], _paths(metric, int(observed[0]), observed[1:]))
    reached = observed[:1]
    for count in range(1, len(observed)):
        reached = np.union1d(reached, _added(metric, observed[:count], int(observed[count])))
    return np.asarray(reached, dtype=np.int64)


def _added(metric: LabelSpace, before: Ints, label: int) -> Ints:
    """What a further label adds: its pairs with those before it."""
    if metric.is_tree:
        return _paths(metric, label, before[:1])
    to_label, found = metric.distances([label])[0] ** 2, [np.array([label], dtype=np.int64)]
    width = max(1, BLOCK // len(metric))
    for start in range(0, len(before), width):
        squares = metric.distances(before[start : start + width]) ** 2
        found += [_hull(to_label, to_other) for to_other in squares]
    return np.unique(np.concatenate(found))


def _paths(metric: LabelSpace, start: int, ends: Ints) -> Ints:
    """Labels on the paths of a tree from one label to others."""
    from_start, on_path = metric.distances([start])[0], np.zeros(len(metric), dtype=np.bool_)
    width = max(1, BLOCK // len(metric))
    for first in range(0, len(ends), width):
        some = ends[first : first + width]
        around = metric.distances(some) + from_start
        on_path |= (around <= from_start[some][:, None] * (1 + SAME) + SAME).any(0)
    return np.flatnonzero(on_path).astype(np.int64)


def _hull(x: Floats, y: Floats) -> Ints:
    """Indices of the points on the lower left hull of (x, y): the minimisers of w x + (1 − w) y over w in [0, 1], ties included."""
    a, b = int(np.lexsort((y, x))[0]), int(np.lexsort((x, y))[0])
    # Only what lies below the chord of the two ends can be on the hull between them.
    scale = max(float(x.max()), float(y.max()), 1.0)
    inside = np.flatnonzero((x <= x[b] + SAME) & (y <= y[a] + SAME) & _below(x, y, a, b, scale))
    # Labels at one point are on the hull together; two of them in a chain would have no direction.
    places, group = np.unique(np.round(np.stack([x[inside], y[inside]], axis=1) / scale, 12), axis=0, return_inverse=True)
    hull: list[int] = []
    for i in range(len(places)):
        while len(hull) > 1 and _turn(places, hull[-2], hull[-1], i) < -SAME:
            hull.pop()
        hull.append(i)
    return np.asarray(inside[np.isin(group.ravel(), hull)], dtype=np.int64)


def _below(x: Floats, y: Floats, a: int, b: int, scale: float) -> NDArray[np.bool_]:
    cross = (x[b] - x[a]) * (y - y[a]) - (y[b] - y[a]) * (x - x[a])
    return np.asarray(cross <= SAME * scale**2)


def _turn(places: Floats, a: int, b: int, c: int) -> float:
    """Positive for a turn to the left from a over b to c, zero on a line."""
    (ax, ay), (bx, by), (cx, cy) = places[a], places[b], places[c]
    return float((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
