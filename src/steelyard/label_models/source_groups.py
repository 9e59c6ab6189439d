"""Groups of dependent sources: which pairs tell nothing about the class, and what a group's votes are worth together.

Used by the moment models. A group's votes are modelled as a tree of copies (Chow and Liu, 1968, "Approximating Discrete Probability
Distributions with Dependence Trees"); every edge is a source that repeats another with some chance, in closed form from pairwise counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from steelyard.errors import LabelModelError
from steelyard.label_models.dependencies import learn_dependencies
from steelyard.label_models.pair_frequencies import association
from steelyard.label_models.posterior import log_posterior
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

Array = NDArray[np.float64]
Pairs = Sequence[Sequence[object]]

_SMALLEST = 1e-6


@dataclass(frozen=True)
class SourceGroups:
    """Which sources depend on each other given the class.

    Attributes
    ----------
    pairs : (e, 2) int64
        Indices of dependent sources, each pair once, smaller index first.
    apart : (m, m) bool
        Sources that no chain of pairs links: only their agreement is due to the class alone. False on the diagonal.
    weights : (m,) float64
        How much of a witness of its own each source is: w ≥ 0 with V w = 1 within a group (least squares), V being the table of Cramér's V
        with a unit diagonal. These are the weights of the best linear mean of correlated observations (Aitken, 1936): any number of
        copies weighs as much as one source and leaves the weights of others alone; a source in no group weighs one.
    """

    pairs: NDArray[np.int64]
    apart: NDArray[np.bool_]
    weights: Array

    @staticmethod
    def of(dependencies: Pairs | Literal["learn"] | None, statistics: VoteStatistics, together: Array) -> SourceGroups:
        """Groups of pairs that a user declared, or that are to be learned from the votes, or of none."""
        m = statistics.n_sources
        if dependencies is None:
            return SourceGroups(np.empty((0, 2), np.int64), ~np.eye(m, dtype=bool), np.ones(m))
        declared: object = learn_dependencies(statistics) if isinstance(dependencies, str) and dependencies == "learn" else dependencies
        pairs = checked_pairs(declared, statistics.sources)
        linked = np.zeros((m, m), dtype=bool)
        linked[pairs[:, 0], pairs[:, 1]] = True
        group = connected_components(linked, directed=False)[1]
        same = group[:, None] == group
        alike = association(together) + np.eye(m)
        weights = np.ones(m)
        for members in (np.flatnonzero(group == g) for g in np.unique(group[pairs[:, 0]])):
            weights[members] = nnls(alike[np.ix_(members, members)], np.ones(len(members)))[0]
        return SourceGroups(pairs, ~same, weights)

    @property
    def order(self) -> NDArray[np.intp]:
        """(m,) sources group by group, groups by their first member: so copies are always equally far in an iteration."""
        return np.argsort((~self.apart).argmax(axis=1), kind="stable")

    def weighted_prior(self, statistics: VoteStatistics) -> Array:
        """(k,) `starting_prior` from votes, where copies of a source do not add to the average over sources."""
        named = statistics.votes_for[:, : statistics.n_classes]
        total, sources = self.weights @ named, self.weights @ (named > 0)
        rate = np.divide(total, sources, out=np.zeros_like(total), where=sources > 0) + 1.0 / statistics.n_rows
        return np.asarray(rate / rate.sum())


def checked_pairs(dependencies: object, sources: tuple[str, ...]) -> NDArray[np.int64]:
    """(e, 2) indices of pairs given by name or by index, without repetitions, in ascending order."""
    if isinstance(dependencies, str) or not isinstance(dependencies, Sequence | np.ndarray):
        raise LabelModelError(f"dependencies must be pairs of sources, 'learn' or None, got {dependencies!r}")
    found: set[tuple[int, int]] = set()
    for pair in dependencies:
        if isinstance(pair, str) or not isinstance(pair, Sequence | np.ndarray) or len(pair) < 2:
            raise LabelModelError(f"dependencies must be pairs of sources, such as ('{sources[0]}', '{sources[-1]}'); got {pair!r}")
        i, j = (_index(source, sources) for source in pair[:2])
        if i == j:
            raise LabelModelError(f"source '{sources[i]}' is declared to depend on itself; give pairs of different sources")
        found.add((min(i, j), max(i, j)))
    return np.asarray(sorted(found), dtype=np.int64).reshape(-1, 2)


def _index(source: object, sources: tuple[str, ...]) -> int:
    if isinstance(source, str):
        if source not in sources:
            raise LabelModelError(f"dependencies name source '{source}', which the votes lack; their sources are {', '.join(sources)}")
        return sources.index(source)
    if isinstance(source, int | np.integer) and not isinstance(source, bool):
        if not 0 <= source < len(sources):
            raise LabelModelError(f"dependencies name source {source}; the votes have sources 0 to {len(sources) - 1}")
        return int(source)
    raise LabelModelError(f"dependencies name a source by its name or index, not by {source!r}")


def joint_terms(groups: SourceGroups, mu: Array, prior: Array, together: Array, n_rows: int) -> tuple[NDArray[np.int64], Array]:
    """What two votes of a group tell together beyond what each tells alone, for the edges of a tree within each group.

    P(votes of a group | k) = Π_i P(v_i | k) · Π_(i,j) P(v_i, v_j | k) / (P(v_i | k) P(v_j | k)), the second product over a spanning tree of
    the declared pairs: the one whose pairs are most dependent (Chow and Liu). It is exact when dependence has the form of a tree, as
    with any number of copies of one source, and of exact copies it leaves one.

    Parameters
    ----------
    groups : SourceGroups
    mu : (m, S + 1, k) float array
        Confusions.
    prior : (k,) float array
    together : (m, S + 1, m, S + 1) float array
        `pair_frequencies`.
    n_rows : int

    Returns
    -------
    (t, 2) int64 tree edges, (t, k, S + 1, S + 1) float64 log-likelihood ratios
    """
    observed = together[groups.pairs[:, 0], :, groups.pairs[:, 1], :]
    expected = np.einsum("eak,ebk,k->eab", mu[groups.pairs[:, 0]], mu[groups.pairs[:, 1]], prior)
    # Log-likelihood that a row gains by the edge.
    gain = (observed * np.log(np.maximum(observed, 1e-12) / np.maximum(expected, 1e-12))).sum(axis=(1, 2))
    m = len(mu)
    cost = csr_array((np.exp(-gain), (groups.pairs[:, 0], groups.pairs[:, 1])), shape=(m, m))
    tree = np.argwhere(minimum_spanning_tree(cost).toarray() > 0)
    terms = np.empty((len(tree), mu.shape[2], mu.shape[1], mu.shape[1]))
    for term, (i, j) in zip(terms, tree, strict=True):
        joint = copied_votes(mu[i], mu[j], prior, together[i, :, j], n_rows)
        alone = np.log(np.maximum(mu[i], _SMALLEST))[:, None] + np.log(np.maximum(mu[j], _SMALLEST))
        term[:] = (np.log(np.maximum(joint, _SMALLEST**2)) - alone).transpose(2, 0, 1)
    return tree.astype(np.int64), terms


def copied_votes(first: Array, second: Array, prior: Array, together: Array, n_rows: int) -> Array:
    """P(v_i = a, v_j = b | k), (S + 1, S + 1, k), when one of two sources repeats the other with chance c and else votes by itself.

    P(v_j = b | v_i = a, k) = c [a = b] + (1 - c) ν_b,k, where ν follows from μ_j = c μ_i + (1 - c) ν. Over the classes this gives
    P(a, b) = M_ij + c (diag(o_i) - M_ii) with M_ij = μ_i diag(p) μ_jᵀ, o_i = μ_i p: linear in c, which is its least-squares solution,
    cells weighed by 1 / (o_i o_j). The direction that fits better is taken. c lies in [0, 1]: what was copied counts once, a
    disagreement, which cannot be copied, counts as two votes.

    Parameters
    ----------
    first, second : (S + 1, k) float arrays
        Confusions of the two sources, abstaining last.
    prior : (k,) float array
    together : (S + 1, S + 1) float array
        Share of rows on which they say a and b.
    n_rows : int
    """
    best, least = np.empty(0), np.inf
    for mu_i, mu_j, seen in ((first, second, together), (second, first, together.T)):
        shares = np.outer(mu_i @ prior, mu_j @ prior)
        weight = np.divide(1.0, shares, out=np.zeros_like(shares), where=shares > _SMALLEST**2)
        independent = (mu_i * prior) @ mu_j.T
        by_copying = np.diag(mu_i @ prior) - (mu_i * prior) @ mu_i.T
        c = (weight * (seen - independent) * by_copying).sum() / max(float((weight * by_copying**2).sum()), 1e-12)
        if n_rows * (1 - seen.trace()) < 0.5:
            c = 1.0  # never seen to differ
        c = min(max(c, 0.0), 1 - _SMALLEST)
        # What is left of μ_j after the copied part is known to about 1 / sqrt(n): that much of μ_j is mixed in.
        noise = 1 / np.sqrt(n_rows)
        own = np.maximum(mu_j - c * mu_i + noise * mu_j, _SMALLEST * mu_j)
        own = own / own.sum(axis=0)
        joint = mu_i[:, None] * (c * np.eye(len(mu_i))[:, :, None] + (1 - c) * own)
        error = float((weight * (joint @ prior - seen) ** 2).sum())
        if error < least:
            best, least = (joint if mu_i is first else joint.transpose(1, 0, 2)), error
    return best


def group_posterior(
    votes: Votes, confusions: Array, prior: Array, tree: NDArray[np.int64], terms: Array, *, silence_speaks: bool
) -> NDArray[np.float32]:
    """(n, k) posterior from confusions (m, k, S + 1) and the joint terms of a tree of pairs.

    Where silence does not speak, a silent source says nothing alone, nor together with another.
    """
    tables = np.log(np.maximum(confusions, _SMALLEST))
    heard = terms.copy()
    if not silence_speaks:
        tables[:, :, -1] = 0
        heard[:, :, -1] = heard[:, :, :, -1] = 0
    pairs = [(int(i), int(j), term) for (i, j), term in zip(tree, heard, strict=True)]
    return log_posterior(votes, tables, np.log(prior.clip(_SMALLEST)), pairs)
