"""Labels in a tree or a graph: WordNet, ICD, a product catalogue; the distance is the length of the shortest path.

Most of such a hierarchy is trees that hang on a small core (for a tree the core is its root). Along a tree the energy of a Fréchet mean is
convex and its slope a difference of two prefix sums, so the mean is found by descending, exactly, without distances between the N labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra

from steelyard.errors import DataError
from steelyard.label_models.metric_space import BLOCK, TIE, Floats, Ints, LabelMetric, checked_labels, disconnected, weight_of

KEPT_CORE = 4096
"""Distances of a core up to this size are kept (134 MB); of a larger one they are worked out a block at a time."""


class GraphMetric(LabelMetric):
    """Shortest paths in a tree or an undirected graph.

    Parameters
    ----------
    edges
        (E, 2) names of the labels that each edge joins; direction and repetition do not matter.
    lengths
        (E,) positive lengths; 1 when left out. Of parallel edges the shortest counts.
    labels
        N names, where the order matters or a single label has no edge; the names in the edges, as they first occur, when left out.

    Attributes
    ----------
    labels, is_tree
        See `LabelMetric`.
    core_size
        Labels that are left when all hanging trees are taken off; 1 for a tree. Time and memory grow with its square, not with N².

    Raises
    ------
    DataError
        The graph is not connected, a length is not positive, an edge names an unknown label.

    Examples
    --------
    >>> tree = GraphMetric([("animal", "cat"), ("animal", "dog"), ("animal", "bird")])
    >>> mean = tree.frechet_means(np.array([[0.4, 0.3, 0.3]]), tree.index(["cat", "dog", "bird"]))
    >>> tree.labels[mean[0]]  # none of the three is likely, what they share is
    'animal'
    """

    _kept: Floats | None = None

    def __init__(
        self, edges: Sequence[tuple[Hashable, Hashable]], lengths: ArrayLike | None = None, labels: Sequence[Hashable] | None = None
    ) -> None:
        pairs = [tuple(edge) for edge in (edges.tolist() if isinstance(edges, np.ndarray) else edges)]
        named = list(dict.fromkeys(itertools.chain.from_iterable(pairs))) if labels is None else list(labels)
        self.labels = checked_labels(named, len(named))
        if not named:
            raise DataError("GraphMetric: there are no edges; give pairs of labels, for example [('animal', 'cat')]")
        if any(len(pair) != 2 for pair in pairs):
            raise DataError(f"GraphMetric: edge {next(pair for pair in pairs if len(pair) != 2)} does not join two labels")
        place = {label: position for position, label in enumerate(self.labels)}
        unknown = next((name for pair in pairs for name in pair if name not in place), None)
        if unknown is not None:
            raise DataError(f"GraphMetric: an edge names {unknown!r}, which is not among the {len(named)} labels; add it or drop the edge")
        ends = np.array([[place[a], place[b]] for a, b in pairs], dtype=np.int64).reshape(-1, 2)
        self._adjacency = _adjacency(ends, lengths, self.labels)
        parts, part = connected_components(self._adjacency, directed=False)
        if parts > 1:
            raise DataError(f"{disconnected(self.labels[0], self.labels[int((part != part[0]).argmax())])} ({parts} parts)")
        self._hang()
        self.is_tree = self.core_size == 1

    @classmethod
    def from_parents(cls, parents: Mapping[Hashable, Hashable | None]) -> GraphMetric:
        """Build a tree (or a hierarchy below one root) from each label's parent; the root's is `None`.

        Examples
        --------
        >>> len(GraphMetric.from_parents({"entity": None, "animal": "entity", "cat": "animal"}))
        3
        """
        roots = [label for label, parent in parents.items() if parent is None]
        if len(roots) > 1:
            raise DataError(disconnected(roots[0], roots[1]))
        labels = list(dict.fromkeys([*parents, *(parent for parent in parents.values() if parent is not None)]))
        return cls([(parent, label) for label, parent in parents.items() if parent is not None], labels=labels)

    @property
    def leaves(self) -> Ints:
        """Indices of the labels with one edge."""
        return np.flatnonzero(np.diff(self._adjacency.indptr) <= 1).astype(np.int64)

    def distances(self, rows: ArrayLike, columns: ArrayLike | None = None) -> Floats:
        """Return (r, c) lengths of the shortest paths, by Dijkstra's algorithm from each row."""
        found = np.atleast_2d(dijkstra(self._adjacency, directed=False, indices=np.asarray(rows)))
        return found if columns is None else found[:, np.asarray(columns)]

    def frechet_means(self, weights: Floats, observed: Ints, candidates: Ints | None = None) -> Ints:
        """Return the (n,) labels of least energy; see `LabelMetric.frechet_means`."""
        chosen = np.empty(len(weights), dtype=np.int64)
        inner = len(observed) if candidates is None else len(self)
        rows = max(1, (BLOCK if self.core_size <= KEPT_CORE else 64 * BLOCK) // max(inner, self.core_size))
        for start in range(0, len(weights), rows):
            some = weights[start : start + rows]
            moments = _Moments(self, some, observed)
            chosen[start : start + rows] = self._descend(moments) if candidates is None else self._among(moments, np.sort(candidates))
        return chosen

    def _among(self, moments: _Moments, candidates: Ints) -> Ints:
        """The best of some labels: energies of all N, from the core outwards."""
        energies = np.empty((moments.n, len(self)))
        firsts = np.empty_like(energies)
        for block in self._core_blocks(moments.n):
            energies[:, self._core[block]], firsts[:, self._core[block]] = moments.at_core(block)
        for level in self._levels:
            parent, w = self._parent[level], self._length[level]
            inside = moments.first(level, parent)
            energies[:, level] = energies[:, parent] + w * (w + 2 * firsts[:, parent] - 4 * inside)
            firsts[:, level] = firsts[:, parent] + w * (1 - 2 * moments.mass(level))
        take = self.take_best(
            np.broadcast_to(candidates, (moments.n, len(candidates))), energies[:, candidates], moments.own, moments.observed
        )
        return np.asarray(candidates[take])

    def _descend(self, moments: _Moments) -> Ints:
        """The best of all labels: the best of the core, or what lies down the one branch that leads to less energy."""
        n = moments.n
        core, core_energy = np.full(n, self._core[0]), np.full(n, np.inf)
        core_first = np.zeros(n)
        start, start_energy, start_first, steepest = np.full(n, -1), np.full(n, np.inf), np.zeros(n), np.zeros(n)
        every = np.arange(n)
        for block in self._core_blocks(n):
            energies, firsts = moments.at_core(block)
            nodes = self._core[block]
            column = self.take_best(np.broadcast_to(nodes, energies.shape), energies, moments.own, moments.observed)
            pair, low = np.column_stack([core, nodes[column]]), np.column_stack([core_energy, energies[every, column]])
            take = self.take_best(pair, low, moments.own, moments.observed)
            core_first = np.where(take == 0, core_first, firsts[every, column])
            core, core_energy = pair[every, take], low[every, take]
            below = self._children_of(nodes)
            if not len(below):
                continue
            above = self._parent[below]
            at = np.searchsorted(nodes, above)
            slope = self._length[below] + 2 * firsts[:, at] - 4 * moments.first(below, above)
            branch = slope.argmin(1)
            found = slope[every, branch] < np.minimum(steepest, -TIE * (1 + np.abs(firsts[every, at[branch]])))
            steepest = np.where(found, slope[every, branch], steepest)
            start = np.where(found, above[branch], start)
            start_energy = np.where(found, energies[every, at[branch]], start_energy)
            start_first = np.where(found, firsts[every, at[branch]], start_first)
        deep, deep_energy = self._walk(moments, start, start_energy, start_first)
        nodes, energies = np.column_stack([core, *deep]), np.column_stack([core_energy, *deep_energy])
        beside, beside_energy = self._walk(moments, core, core_energy, core_first, steps=1)
        nodes, energies = np.column_stack([nodes, *beside]), np.column_stack([energies, *beside_energy])
        # Of equals the first label counts: columns in the order of the labels.
        order = nodes.argsort(axis=1)
        nodes, energies = np.take_along_axis(nodes, order, axis=1), np.take_along_axis(energies, order, axis=1)
        take = self.take_best(nodes, energies, moments.own, moments.observed)
        return np.asarray(nodes[every, take])

    def _walk(
        self, moments: _Moments, start: Ints, energy: Floats, first: Floats, steps: int | None = None
    ) -> tuple[tuple[Ints, Ints], tuple[Floats, Floats]]:
        """Descend from (n,) nodes (-1: none) while the energy falls: where that ends and, beside it, the child that ties with it."""
        node, energy, first = start.copy(), energy.copy(), first.copy()
        tied, tied_energy = np.maximum(start, 0), np.full(len(start), np.inf)
        active = np.flatnonzero((start >= 0) & (self._n_children[np.maximum(start, 0)] > 0))
        while len(active):
            count = self._n_children[node[active]]
            ends = np.cumsum(count)
            within = np.arange(ends[-1]) - np.repeat(ends - count, count)
            rows, above = np.repeat(active, count), np.repeat(node[active], count)
            child = self._children[np.repeat(self._first_child[node[active]], count) + within]
            slope = self._length[child] + 2 * first[rows] - 4 * moments.first_of(rows, child, above)
            least = np.minimum.reduceat(slope, ends - count)
            hit = np.flatnonzero(slope == np.repeat(least, count))
            best = hit[np.unique(rows[hit], return_index=True)[1]]
            down, w = child[best], self._length[child[best]]
            noise = TIE * (1 + np.abs(first[active]))
            flat = np.abs(least) <= noise
            tied[active[flat]], tied_energy[active[flat]] = down[flat], energy[active[flat]]
            moves = least < -noise
            walking, down, w = active[moves], down[moves], w[moves]
            energy[walking] += w * least[moves]
            first[walking] += w * (1 - 2 * moments.mass_of(walking, down))
            node[walking] = down
            active = walking[self._n_children[down] > 0]
            if steps is not None:
                break
        if steps is not None:
            # Only a tie is of interest: where the energy falls on, the walk from the branch has been there.
            node, energy = np.maximum(start, 0), np.full(len(start), np.inf)
        return (np.maximum(node, 0), tied), (energy, tied_energy)

    def _core_blocks(self, n: int) -> list[slice]:
        width = max(1, BLOCK // max(n, self.core_size, 1))
        return [slice(start, min(start + width, self.core_size)) for start in range(0, self.core_size, width)]

    def _core_distances(self, block: slice) -> Floats:
        """(core, block) distances within the core."""
        if self.core_size > KEPT_CORE:
            return np.asarray(dijkstra(self._core_graph, directed=False, indices=np.arange(block.start, block.stop)).T)
        if self._kept is None:
            self._kept = dijkstra(self._core_graph, directed=False)
        return np.asarray(self._kept[:, block])

    def _children_of(self, nodes: Ints) -> Ints:
        count = self._n_children[nodes]
        ends = np.cumsum(count)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - count, count)
        return np.asarray(self._children[np.repeat(self._first_child[nodes], count) + within])

    def _hang(self) -> None:
        """Take off labels with one edge, round by round, and order what hangs below each label in depth first."""
        n, graph = len(self), self._adjacency
        degree = np.diff(graph.indptr).astype(np.int64)
        neighbours = np.zeros(n, dtype=np.int64)
        np.bitwise_xor.at(neighbours, np.repeat(np.arange(n), degree), graph.indices)
        parent, rounds = np.full(n, -1, dtype=np.int64), []
        leaves = np.flatnonzero(degree == 1)
        while len(leaves):
            # Two labels that are each other's last neighbour: one of them is the core.
            leaves = leaves[~((degree[neighbours[leaves]] == 1) & (neighbours[leaves] < leaves))] if len(leaves) == 2 else leaves
            above = neighbours[leaves]
            parent[leaves] = above
            rounds.append(leaves)
            degree[leaves] = 0
            np.subtract.at(degree, above, 1)
            np.bitwise_xor.at(neighbours, above, leaves)
            above = np.unique(above)
            leaves = above[degree[above] == 1]
        self._parent = parent
        self._levels = rounds[::-1]
        hanging = np.flatnonzero(parent >= 0)
        self._length = np.zeros(n)
        if len(hanging):
            self._length[hanging] = np.asarray(graph[hanging, parent[hanging]]).ravel()
        self._core = np.flatnonzero(parent < 0)
        self.core_size = len(self._core)
        self._core_graph = graph[self._core][:, self._core] if self.core_size > 1 else csr_array((1, 1))
        size = np.ones(n, dtype=np.int64)
        for level in rounds:
            np.add.at(size, parent[level], size[level])
        self._children = hanging[np.argsort(parent[hanging], kind="stable")]
        self._n_children = np.bincount(parent[hanging], minlength=n).astype(np.int64)
        self._first_child = np.cumsum(self._n_children) - self._n_children
        # Elder siblings come first: what hangs below them is the offset among the descendants of the parent.
        before = np.cumsum(size[self._children]) - size[self._children]
        offset = np.zeros(n, dtype=np.int64)
        own_parent = parent[self._children]
        offset[self._children] = before - before[self._first_child[own_parent]] if len(hanging) else before
        position, height = np.zeros(n, dtype=np.int64), np.zeros(n)
        position[self._core] = np.cumsum(size[self._core]) - size[self._core]
        for level in self._levels:
            position[level] = position[parent[level]] + 1 + offset[level]
            height[level] = height[parent[level]] + self._length[level]
        self._position, self._size, self._height = position, size, height


class _Moments:
    """For n rows of weights: mass, first and second moment of what hangs below any label, as differences of prefix sums."""

    def __init__(self, graph: GraphMetric, weights: Floats, observed: Ints) -> None:
        self.graph, self.n, self.observed = graph, len(weights), observed
        self.own = weight_of(weights, observed, len(graph))
        order = np.argsort(graph._position[observed])
        places, heights, sorted_weights = graph._position[observed][order], graph._height[observed][order], weights[:, order]
        self.low = np.searchsorted(places, graph._position)
        self.high = np.searchsorted(places, graph._position + graph._size)
        self.masses, self.moments = np.zeros((self.n, len(observed) + 1)), np.zeros((self.n, len(observed) + 1))
        np.cumsum(sorted_weights, axis=1, out=self.masses[:, 1:])
        np.cumsum(sorted_weights * heights, axis=1, out=self.moments[:, 1:])
        self.second = sorted_weights @ heights**2

    def mass(self, nodes: Ints) -> Floats:
        """(n, c) weight below each node."""
        return np.asarray(self.masses[:, self.high[nodes]] - self.masses[:, self.low[nodes]])

    def first(self, nodes: Ints, above: Ints) -> Floats:
        """(n, c) sum of weight times distance from `above` of what lies below each node."""
        below = self.moments[:, self.high[nodes]] - self.moments[:, self.low[nodes]]
        return np.asarray(below - self.graph._height[above] * self.mass(nodes))

    def mass_of(self, rows: Ints, nodes: Ints) -> Floats:
        """(p,) the same for pairs of a row and a node."""
        return np.asarray(self.masses[rows, self.high[nodes]] - self.masses[rows, self.low[nodes]])

    def first_of(self, rows: Ints, nodes: Ints, above: Ints) -> Floats:
        """(p,) the same for pairs of a row and a node."""
        below = self.moments[rows, self.high[nodes]] - self.moments[rows, self.low[nodes]]
        return np.asarray(below - self.graph._height[above] * self.mass_of(rows, nodes))

    def at_core(self, block: slice) -> tuple[Floats, Floats]:
        """(n, c) energies and first moments of some labels of the core: sum p d² and sum p d."""
        graph = self.graph
        total = self.moments[:, -1:]
        if graph.core_size == 1:
            return self.second[:, None].copy(), total.copy()
        used = np.flatnonzero(self.high[graph._core] > self.low[graph._core])
        nodes, distances = graph._core[used], graph._core_distances(block)[used]
        mass = self.mass(nodes)
        moment = self.moments[:, self.high[nodes]] - self.moments[:, self.low[nodes]]
        energies = mass @ distances**2 + 2 * moment @ distances + self.second[:, None]
        return energies, mass @ distances + total


def _adjacency(ends: Ints, lengths: ArrayLike | None, labels: tuple[Hashable, ...]) -> csr_array:
    given = np.ones(len(ends)) if lengths is None else np.asarray(lengths, dtype=np.float64)
    if given.shape != (len(ends),):
        raise DataError(f"GraphMetric: {len(ends)} edges but lengths of shape {given.shape}; give one length per edge")
    bad = ~(np.isfinite(given) & (given > 0))
    if bad.any():
        a, b = ends[int(bad.argmax())]
        raise DataError(
            f"GraphMetric: the edge of {labels[a]!r} and {labels[b]!r} has length {given[bad][0]:g}; lengths are positive numbers"
        )
    # The shortest of parallel edges: sorted by length, the first of each pair of ends is kept.
    joined = ends[:, 0] != ends[:, 1]
    low, high, given = ends[joined].min(1), ends[joined].max(1), given[joined]
    order = np.lexsort((given, high, low))
    low, high, given = low[order], high[order], given[order]
    keep = np.ones(len(low), dtype=np.bool_)
    keep[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    low, high, given = low[keep], high[keep], given[keep]
    both = np.concatenate([low, high]), np.concatenate([high, low])
    return csr_array((np.concatenate([given, given]), both), shape=(len(labels), len(labels)))
