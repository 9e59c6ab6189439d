"""A label space in several parts that no path joins: a forest of hierarchies, a graph that falls apart.

Labels of different parts get one distance, by default the largest within a part + 1, as Roberts et al. 2023, "Geometry-Aware Adaptation
for Pretrained Models", do. The energy of a Fréchet mean is then that of its own part plus a constant: each part finds its own mean.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from steelyard.errors import DataError
from steelyard.label_models.graph_metric import GraphMetric
from steelyard.label_models.metric_space import BLOCK, Floats, Ints, LabelMetric, checked_labels, weight_of


class PartedMetric(LabelMetric):
    """Several label metrics side by side.

    Parameters
    ----------
    parts
        Metrics with distinct labels.
    apart
        Distance of labels in different parts; the largest distance within any part + 1 when left out, which takes one look at every
        distance of a graph (two rows of a tree).

    Attributes
    ----------
    labels
        Those of the parts, one part after another.
    apart
        The distance used.

    Raises
    ------
    DataError
        There is no part, two parts share a label, or `apart` is not a positive number.

    Examples
    --------
    >>> forest = PartedMetric([GraphMetric([("animal", "cat"), ("animal", "dog")]), GraphMetric([("tool", "saw")])])
    >>> forest.apart  # cat and dog are 2 apart
    3.0
    >>> mean = forest.frechet_means(np.array([[0.4, 0.4, 0.2]]), forest.index(["cat", "dog", "saw"]))
    >>> forest.labels[mean[0]]
    'animal'
    """

    def __init__(self, parts: Sequence[LabelMetric], apart: float | None = None) -> None:
        if not parts:
            raise DataError("PartedMetric: there is no part; give at least one label metric")
        self.parts = tuple(parts)
        self.labels = checked_labels([label for part in parts for label in part.labels], sum(map(len, parts)))
        self._part = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self._first = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        self.apart = float(max(map(largest_distance, parts)) + 1 if apart is None else apart)
        if not 0 < self.apart < np.inf:
            raise DataError(f"PartedMetric: the distance between parts is {self.apart:g}; it must be a positive number")

    @classmethod
    def from_edges(
        cls,
        edges: Sequence[tuple[Hashable, Hashable]],
        lengths: ArrayLike | None = None,
        labels: Sequence[Hashable] | None = None,
        *,
        apart: float | None = None,
    ) -> PartedMetric:
        """Build it from a graph that may be disconnected; the arguments are those of `GraphMetric`.

        Examples
        --------
        >>> len(PartedMetric.from_edges([("animal", "cat"), ("tool", "saw")], labels=["animal", "cat", "tool", "saw", "idea"]).parts)
        3
        """
        named = list(dict.fromkeys(itertools.chain.from_iterable(edges))) if labels is None else list(labels)
        place = {label: position for position, label in enumerate(named)}
        unknown = next((name for edge in edges for name in edge if name not in place), None)
        if unknown is not None:
            raise DataError(f"PartedMetric: an edge names {unknown!r}, which is not among the {len(named)} labels; add it or drop the edge")
        ends = np.array([[place[a], place[b]] for a, b in edges], dtype=np.int64).reshape(-1, 2)
        given = np.ones(len(ends)) if lengths is None else np.asarray(lengths, dtype=np.float64)
        if given.shape != (len(ends),):
            raise DataError(f"PartedMetric: {len(ends)} edges but lengths of shape {given.shape}; give one length per edge")
        shape = (len(named), len(named))
        count, part = connected_components(csr_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=shape), directed=False)
        # Edges and labels of each part, by one sort instead of a search per part.
        members = np.split(np.argsort(part, kind="stable"), np.cumsum(np.bincount(part, minlength=count))[:-1])
        of_edge = part[ends[:, 0]]
        within = np.split(np.argsort(of_edge, kind="stable"), np.cumsum(np.bincount(of_edge, minlength=count))[:-1])
        return cls(
            [
                GraphMetric([(named[a], named[b]) for a, b in ends[some]], given[some], [named[i] for i in nodes])
                for nodes, some in zip(members, within, strict=True)
            ],
            apart,
        )

    def distances(self, rows: ArrayLike, columns: ArrayLike | None = None) -> Floats:
        """Return (r, c) distances: those of the part, or `apart`."""
        i, j = np.atleast_1d(np.asarray(rows)), np.arange(len(self)) if columns is None else np.atleast_1d(np.asarray(columns))
        found = np.full((len(i), len(j)), self.apart)
        for number in np.unique(self._part[i]):
            at, to = np.flatnonzero(self._part[i] == number), np.flatnonzero(self._part[j] == number)
            first = self._first[number]
            found[np.ix_(at, to)] = self.parts[number].distances(i[at] - first, j[to] - first)
        return found

    def frechet_means(self, weights: Floats, observed: Ints, candidates: Ints | None = None) -> Ints:
        """Return the (n,) labels of least energy: the best of the parts' own means; see `LabelMetric.frechet_means`."""
        allowed = np.arange(len(self)) if candidates is None else np.asarray(candidates)
        own, nodes, energies = weight_of(weights, observed, len(self)), [], []
        for number, part in enumerate(self.parts):
            may, has = (some[self._part[some] == number] - self._first[number] for some in (allowed, observed))
            if not len(may):
                continue
            inside = weights[:, self._part[observed] == number]
            mass = inside.sum(1)
            best, energy = np.full(len(weights), _central(part, np.sort(may), has)), np.zeros(len(weights))
            rows = np.flatnonzero(mass > 0)
            if len(rows):
                # Parts expect rows that sum to 1; their labels of least energy stay the same.
                shares = inside[rows] / mass[rows, None]
                best[rows] = part.frechet_means(shares, has, None if candidates is None else may)
                for node in np.unique(best[rows]):
                    here = rows[best[rows] == node]
                    energy[here] = inside[here] @ part.distances([node], has)[0] ** 2
            nodes.append(self._first[number] + best)
            energies.append(energy + (1 - mass) * self.apart**2)
        best_of_each = np.column_stack(nodes)
        take = self.take_best(best_of_each, np.column_stack(energies), own, observed)
        return np.asarray(best_of_each[np.arange(len(take)), take])


def _central(part: LabelMetric, nodes: Ints, observed: Ints) -> int:
    """The node nearest to the observed labels on the whole: the answer of a part in which a row has no weight."""
    if not len(observed):
        return int(nodes[0])
    width = max(1, BLOCK // len(observed))
    spread = [part.distances(observed, nodes[start : start + width]).sum(0) for start in range(0, len(nodes), width)]
    return int(nodes[np.concatenate(spread).argmin()])


def largest_distance(metric: LabelMetric) -> float:
    """The diameter of a label space; of a tree from two rows of distances, else from all of them, a block at a time.

    Examples
    --------
    >>> largest_distance(GraphMetric([("a", "b"), ("b", "c"), ("b", "d")]))
    2.0
    """
    if metric.is_tree:
        end = int(metric.distances([0])[0].argmax())
        return float(metric.distances([end]).max())
    width = max(1, BLOCK // len(metric))
    return max(float(metric.distances(np.arange(start, min(start + width, len(metric)))).max()) for start in range(0, len(metric), width))
