"""Which sources depend on each other beyond the class they all vote on? Learned from pairwise counts; rows are not looked at again.

Low rank plus sparse, as in Varma, Sala, He, Ratner, Ré (2019), "Learning Dependency Structures for Weak Supervision Models", here on the
correlations themselves rather than on their inverse, with a test per pair in place of a threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components
from scipy.special import betainc, ndtr

from steelyard.errors import LabelModelError
from steelyard.label_models.base import as_votes
from steelyard.label_models.pair_frequencies import association, pair_frequencies
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

Array = NDArray[np.float64]

# A symbol said less often tells nothing that a count could be tested against; identical columns need fewer votes to be no coincidence.
_LEAST_VOTES, _LEAST_COPIED_VOTES = 10, 3
# Sources with so high an association are taken for copies until others account for it: two independent ones would have to be right on
# 19 rows of 20. Less alike ones may be set aside before the first fit, too.
_LIKE_COPIES = 0.8
_ALIKE = (0.5, 0.7)
_ROUNDS = 40


class Dependency(NamedTuple):
    """Two sources that depend on each other given the class."""

    first: str
    second: str
    strength: float
    """Largest residual correlation of two of their symbols, in [0, 1]; 1 for exact copies."""
    p_value: float
    """Of the strongest deviation, corrected for the symbols of the pair; 0 for exact copies, which are not tested."""


def learn_dependencies(votes: Votes | VoteStatistics | ArrayLike, alpha: float = 0.05, min_strength: float = 0.2) -> list[Dependency]:
    r"""Find the pairs of sources whose votes are related by more than the class.

    *Model.* Let x_a tell whether a source says a certain symbol. If sources are independent given the class Y, the correlation of symbols
    a, b of different sources is R_ab = Σ_k p_k (P(a | k) - P(a)) (P(b | k) - P(b)) / (σ_a σ_b): the matrix R has rank K - 1 off its
    diagonal blocks. F with R ≈ F Fᵀ is fitted by alternating least squares over the pairs of sources that are trusted so far; neither
    the class prior nor the accuracies need be known.

    *Test.* The count of rows with both symbols is compared with what F predicts, by the tail of a binomial that has its mean and its
    variance, which holds for rare symbols too. The p-values of a pair are corrected for its number of symbols (Bonferroni), pairs for
    being many (Benjamini and Hochberg, 1995): of the pairs listed, a share of at most `alpha` is expected to be false, and where
    sources are independent given the class, the chance of listing any is at most `alpha`.

    *Search.* The strongest significant pairs are set aside, F is fitted to the rest, and so on until nothing significant is left; pairs
    that the fit then accounts for are taken back. A large group of near-copies could pass for the class itself. So very similar pairs
    (Cramér's V of 0.8 or more: two independent sources would have to be right on 19 rows of 20) are set aside from the first and stay
    there unless the other sources account for their likeness beyond doubt; less similar ones are tried, and the set that leaves the
    fewest pairs unexplained wins. Identical sources count as one and are always listed.

    Parameters
    ----------
    votes : Votes, VoteStatistics or (n, m) int array
        With fewer than four different sources only exact copies can be found: three correlations fit any three sources.
    alpha : float in (0, 1)
        False discovery rate.
    min_strength : float in [0, 1)
        Weaker dependence is not listed even if certain: on many rows everything is significant. The default is the usual cut-off for
        residual correlations of test items (Christensen, Makransky, Horton 2017, "Critical Values for Yen's Q3").

    Returns
    -------
    list of Dependency
        Strongest first; all pairs of a group of copies are listed. Give it to `MeTaL` or `TripletModel` as `dependencies`.

    Raises
    ------
    LabelModelError
        There are no rows, or `alpha` or `min_strength` is out of range.

    Notes
    -----
    Sources that share a mistake look like sources that share a talent: if most sources lean on the same wrong cue, the cue is taken for
    the class and the few good sources for dependent ones. No look at votes alone can tell. A copy of a nearly perfect source is listed
    only if it is exact: a second nearly perfect source would vote the same.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 2000)
    >>> codes = np.where(rng.random((2000, 6)) < 0.75, truth[:, None], 1 - truth[:, None])
    >>> codes[:, 5] = np.where(rng.random(2000) < 0.5, codes[:, 0], codes[:, 5])
    >>> [(found.first, found.second) for found in learn_dependencies(Votes(codes, classes=["a", "b"]))]
    [('source_0', 'source_5')]
    """
    if not 0 < alpha < 1 or not 0 <= min_strength < 1:
        raise LabelModelError(f"alpha must lie in (0, 1) and min_strength in [0, 1), got {alpha} and {min_strength}")
    statistics = votes if isinstance(votes, VoteStatistics) else VoteStatistics.from_votes(as_votes(votes), keep="moments")
    if statistics.n_rows == 0:
        raise LabelModelError("dependencies cannot be learned: there are no rows of votes")
    together = pair_frequencies(statistics)
    copies = _identical(together, statistics.n_rows)
    first = np.flatnonzero(np.unique(copies, return_index=True, return_inverse=True)[1][copies] == np.arange(len(copies)))
    distinct = together[first][:, :, first]
    found = _search(distinct, statistics.n_rows, statistics.n_classes - 1, alpha, min_strength)
    members = [np.flatnonzero(copies == copies[i]) for i in first]
    pairs = [(int(i), int(j), 1.0, 0.0) for group in members for i in group for j in group if i < j]
    pairs += [(int(min(i, j)), int(max(i, j)), strength, p) for a, b, strength, p in found for i in members[a] for j in members[b]]
    pairs.sort(key=lambda pair: (-pair[2], pair[0], pair[1]))
    return [Dependency(statistics.sources[i], statistics.sources[j], strength, p) for i, j, strength, p in pairs]


def _identical(together: Array, n_rows: int) -> NDArray[np.int32]:
    """(m,) number of the group of identical sources that each belongs to; one that always says the same is like no other."""
    shares = np.einsum("jaja->ja", together)
    said_otherwise = n_rows * (1 - shares.max(axis=1)) > _LEAST_COPIED_VOTES - 0.5
    same = n_rows * (1 - np.einsum("iaja->ij", together)) < 0.5
    return np.asarray(connected_components(same & said_otherwise[:, None] & said_otherwise, directed=False)[1])


@dataclass(frozen=True)
class _Columns:
    """Symbols of sources as 0/1 columns: the most frequent symbol of each source, which the others imply, and rare ones left out."""

    together: Array
    """(c, c) share of rows on which both columns hold."""
    owner: NDArray[np.intp]
    """(c,) source of each column, ascending."""
    n_rows: int
    n_sources: int

    @staticmethod
    def of(together: Array, n_rows: int) -> _Columns:
        m, s1 = together.shape[:2]
        shares = np.einsum("jaja->ja", together)
        kept = shares * n_rows >= _LEAST_VOTES - 0.5
        kept[np.arange(m), shares.argmax(axis=1)] = False
        columns = np.flatnonzero(kept)
        return _Columns(together.reshape(m * s1, m * s1)[np.ix_(columns, columns)], columns // s1, n_rows, m)

    @property
    def share(self) -> Array:
        return np.asarray(self.together.diagonal())

    @property
    def spread(self) -> Array:
        return np.sqrt(self.share * (1 - self.share))

    @property
    def per_source(self) -> NDArray[np.intp]:
        return np.bincount(self.owner, minlength=self.n_sources)

    def correlations(self) -> Array:
        """(c, c), zero within a source."""
        correlation = (self.together - np.outer(self.share, self.share)) / np.outer(self.spread, self.spread)
        correlation[self.owner[:, None] == self.owner] = 0
        return correlation

    def cells(self, pairs: NDArray[Any]) -> NDArray[Any]:
        """(c, c) what holds for the pair of sources (m, m) to which each cell belongs."""
        return pairs[np.ix_(self.owner, self.owner)]

    def largest(self, cells: Array) -> Array:
        """(m, m) maximum over the columns of every two sources; zero where there are none."""
        filled = np.flatnonzero(self.per_source)
        starts = np.searchsorted(self.owner, filled)
        best = np.zeros((self.n_sources, self.n_sources))
        if len(filled):
            by_row = np.maximum.reduceat(cells, starts, axis=0)
            best[np.ix_(filled, filled)] = np.maximum.reduceat(by_row, starts, axis=1)
        return best


def _search(together: Array, n_rows: int, rank: int, alpha: float, min_strength: float) -> list[tuple[int, int, float, float]]:
    """Dependent pairs (i, j, strength, p-value) among different sources."""
    columns = _Columns.of(together, n_rows)
    if rank < 1 or (columns.per_source > 0).sum() < 4:
        return []
    alike = association(together)
    best, fewest = list[tuple[int, int, float, float]](), np.inf
    for apart in _starts(alike, columns):
        found, unexplained = _search_from(apart, alike >= _LIKE_COPIES, columns, rank, alpha, min_strength)
        if unexplained < fewest:
            best, fewest = found, unexplained
    return best


def _starts(alike: Array, columns: _Columns) -> list[NDArray[np.bool_]]:
    """Pairs (m, m) that may be set aside at first: all that look like copies at least, as long as four groups of sources are left."""
    starts: list[NDArray[np.bool_]] = []
    for limit in (*_ALIKE, _LIKE_COPIES, 0.9):
        apart = alike >= limit
        groups = connected_components(apart, directed=False)[1][columns.per_source > 0]
        if len(np.unique(groups)) >= 4 and (limit <= _LIKE_COPIES or not starts):
            starts.append(apart)
    return starts or [np.zeros_like(alike, dtype=bool)]


def _search_from(
    apart: NDArray[np.bool_], like_copies: NDArray[np.bool_], columns: _Columns, rank: int, alpha: float, min_strength: float
) -> tuple[list[tuple[int, int, float, float]], int]:
    """Set pairs apart until the low-rank fit to the others leaves none; also how many pairs it does not explain, weak ones too."""
    correlation = columns.correlations()
    cells = np.outer(columns.per_source, columns.per_source).astype(np.float64)
    loadings: Array | None = None
    cleared = np.zeros_like(apart)
    for searched in range(_ROUNDS):
        loadings, leverage = _low_rank(correlation, columns, ~apart, rank, loadings)
        fitted = loadings @ loadings.T
        # The fitted value of a cell outside the fit is itself uncertain: where copies are suspected it gets the benefit of no doubt, so
        # that they are taken for copies unless others account for their likeness; elsewhere the doubt is all its.
        outside = columns.cells(apart)
        suspected = outside & columns.cells(like_copies)
        spared = np.maximum(np.abs(fitted) - 2 * np.sqrt(leverage / columns.n_rows), 0)
        fitted = np.where(suspected, np.copysign(spared, fitted), fitted)
        doubt = np.where(outside & ~suspected, leverage, 0.0)
        residual, p_cells = _deviations(correlation, fitted, doubt, columns)
        # One p-value per pair, corrected for its number of cells; and the largest residual among the cells that count.
        p_pairs = np.where(cells > 0, np.minimum(-columns.largest(-p_cells) * cells, 1), 1.0)
        noted = np.abs(residual) * (p_cells * columns.cells(cells) <= alpha)
        significant = _below_false_discovery_rate(p_pairs, alpha)
        strength = columns.largest(noted)
        dependent = significant & (strength >= min_strength)
        # A pair that takes part in the fit hides part of its residual; what it would be without is guessed low, and seen once it is apart.
        alone = columns.largest(noted / (1 - np.minimum(leverage, 0.9)))
        new = significant & (alone >= min_strength / 2) & ~apart & ~cleared
        if new.any():
            # Only the strongest: what they pull the fit to makes others look dependent.
            apart = apart | (new & (alone >= alone[new].max() / 2))
            if searched == 0:
                apart = apart & (dependent | new)
        elif (apart & ~dependent).any():
            cleared |= apart & ~dependent
            apart = apart & dependent
        else:
            break
    pairs = np.argwhere(np.triu(apart & dependent, 1))
    return [(int(i), int(j), float(strength[i, j]), float(p_pairs[i, j])) for i, j in pairs], int(significant.sum()) // 2


def _low_rank(correlation: Array, columns: _Columns, trusted: NDArray[np.bool_], rank: int, start: Array | None) -> tuple[Array, Array]:
    """F (c, r) with correlation ≈ F Fᵀ on the cells of trusted pairs of sources, by damped alternating least squares.

    Also (c, c) the leverage of each cell: by how much its fitted value follows it, or, outside the fit, the variance of its fitted value
    relative to its own.
    """
    m, owner = columns.n_sources, columns.owner
    trusted = trusted & ~np.eye(m, dtype=bool)
    by_column = columns.cells(trusted)
    known = correlation * by_column
    if start is None:
        values, vectors = np.linalg.eigh(known)
        # Unlike zero, a small loading can grow.
        start = vectors[:, -rank:] * np.sqrt(np.maximum(values[-rank:], 1e-3))
    loadings, r = start, start.shape[1]
    enough = 0.01 / np.sqrt(columns.n_rows)
    for _ in range(500):
        squares = (loadings[:, :, None] * loadings[:, None, :]).reshape(len(owner), -1)
        by_source = np.zeros((m, r * r))
        np.add.at(by_source, owner, squares)
        inverse = np.linalg.inv((trusted.astype(np.float64) @ by_source).reshape(m, r, r) + 1e-6 * np.eye(r))
        solved = np.einsum("cr,crs->cs", known @ loadings, inverse[owner])
        solved = (solved + loadings) / 2
        # No symbol shares more than all of itself with the class.
        solved /= np.sqrt(np.maximum((solved**2).sum(axis=1, keepdims=True), 1))
        moved = np.abs(solved - loadings).max()
        loadings = solved
        if moved < enough:
            break
    pulled = np.einsum("br,mrs,bs->mb", loadings, inverse, loadings, optimize=True)[owner]
    return np.asarray(loadings), np.asarray(pulled + pulled.T)


def _deviations(correlation: Array, fitted: Array, doubt: Array, columns: _Columns) -> tuple[Array, Array]:
    """(c, c) residual correlations and p-values of the counts behind them; within a source 0 and 1.

    `doubt` (c, c) is the variance of the fitted values, relative to that of the counts.
    """
    n, share, spread = columns.n_rows, columns.share, columns.spread
    x, y = share[:, None], share[None, :]
    # P(both) as fitted; half a row at least, since a fit is never so sure that something cannot happen.
    both = np.clip(x * y + fitted * np.outer(spread, spread), 0.5 / n, (1 - 1e-3) * np.minimum(x, y))
    only_x, only_y, none = np.maximum(x - both, 0), np.maximum(y - both, 0), np.maximum(1 - x - y + both, 0)
    # Variance of (1[a] - P(a)) (1[b] - P(b)): the margins are estimated from the same rows.
    variance = both * ((1 - x) * (1 - y)) ** 2 + only_x * ((1 - x) * y) ** 2 + only_y * (x * (1 - y)) ** 2 + none * (x * y) ** 2
    variance -= (both - x * y) ** 2
    count, mean, variance = n * columns.together, n * both, n * np.maximum(variance, 1e-12) * (1 + doubt)
    p_values = np.ones_like(count)
    # What lies within two deviations is not worth an exact tail: it is called certain chance.
    other = columns.owner[:, None] != columns.owner
    odd = other & (np.abs(count - mean) > 2 * np.sqrt(variance))
    p_values[odd] = _two_sided_tail(count[odd], mean[odd], variance[odd])
    return np.where(other, correlation - fitted, 0.0), p_values


def _two_sided_tail(count: Array, mean: Array, variance: Array) -> Array:
    """Chance of a count as far out as this under the (continued) binomial with this mean and variance; the normal where there is none."""
    chance = np.clip(1 - variance / mean, 1e-9, 1 - 1e-9)
    trials = mean / chance
    above = np.where(count > trials, 0.0, betainc(np.maximum(count, 1e-9), np.maximum(trials - count + 1, 1e-9), chance))
    below = np.where(count >= trials, 1.0, betainc(np.maximum(trials - count, 1e-9), count + 1, 1 - chance))
    binomial = np.minimum(np.where(count < 0.5, 1.0, above), below)
    normal = ndtr(-np.abs(count - mean) / np.sqrt(variance))
    return np.asarray(np.minimum(2 * np.where(variance > mean, normal, binomial), 1))


def _below_false_discovery_rate(p_values: NDArray[np.float64], alpha: float) -> NDArray[np.bool_]:
    """(m, m) the pairs that Benjamini and Hochberg's rule rejects among all i < j."""
    ordered = np.sort(p_values[np.triu_indices(len(p_values), 1)])
    passed = np.flatnonzero(ordered <= alpha * np.arange(1, len(ordered) + 1) / max(len(ordered), 1))
    if not len(passed):
        return np.zeros(p_values.shape, dtype=bool)
    rejected = p_values <= ordered[passed[-1]]
    np.fill_diagonal(rejected, False)
    return np.asarray(rejected)
