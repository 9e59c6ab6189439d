"""GOGGLES: no rules at all. Rows that are alike form clusters; a few labels say which cluster is which class.

Das, Chaba, Wu, Gandhi, Chau, Chu 2020, "GOGGLES: Automatic Image Labeling with Affinity Coding", with labelled rows as anchors as in
Roberts et al. 2022, "AutoWS-Bench-101". The clusters are mapped once at the end, not inside every E-step as in the official code.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from steelyard.errors import SourceError
from steelyard.sources.clusters import BernoulliMixture, contingency, feasibility, map_clusters, mapping_certainty
from steelyard.sources.rule_maker import checked_seed
from steelyard.votes import Votes

Floats = NDArray[np.float64]
Affinity = Callable[[Floats, Floats], Floats]
"""From rows (n, d) and anchors (l, d) to (n, l) numbers, larger for rows that are more alike."""


def cosine_affinity(rows: Floats, anchors: Floats) -> Floats:
    """Cosine of every row and every anchor, (n, l).

    Examples
    --------
    >>> cosine_affinity(np.array([[2.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 3.0]])).tolist()
    [[1.0, 0.0]]
    """
    unit = [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (rows, anchors)]
    return np.asarray(unit[0] @ unit[1].T)


class Goggles(BaseEstimator):
    """Affinities to labelled anchors → a Gaussian mixture per affinity function → a Bernoulli mixture of them all → classes.

    Parameters
    ----------
    affinities : mapping of str to callable, optional
        Cosine when left out.
    restarts : int
        Starts of each Gaussian mixture (diagonal covariances); the likeliest counts.
    warn_below : float
        A warning says so if the mapping of clusters to classes is right with less chance than this.
    seed : int

    Attributes
    ----------
    classes_ : tuple of str
    mapping_ : (K,) int64
        Class of each cluster.
    feasibility_ : float
        P(more than 70 % of rows fall into the cluster of their class), judged on the labelled rows.
    certainty_ : float
        P(the mapping is right).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 200)
    >>> X = rng.normal(size=(200, 2)) + 6 * np.eye(2)[y]
    >>> goggles = Goggles().fit({"points": X[:20]}, y[:20], {"points": X[20:]})
    >>> bool((goggles.predict_proba({"points": X[20:]}).argmax(axis=1) == y[20:]).mean() > 0.9)
    True
    """

    def __init__(self, affinities: Mapping[str, Affinity] | None = None, restarts: int = 3, warn_below: float = 0.5, seed: int = 0) -> None:
        self.affinities = affinities
        self.restarts = restarts
        self.warn_below = warn_below
        self.seed = seed

    def fit(
        self,
        X: ArrayLike | Mapping[str, ArrayLike],
        y: ArrayLike,
        unlabeled: ArrayLike | Mapping[str, ArrayLike],
        *,
        classes: Sequence[str] | None = None,
    ) -> Self:
        """Cluster labelled and unlabelled rows together and map the clusters.

        Parameters
        ----------
        X : (l, d) float or a mapping of such
            Labelled rows; several embeddings of the same rows by name give one set of affinities each.
        y : (l,) int
        unlabeled : (n, d) float or a mapping of such
        classes : sequence of str, optional

        Raises
        ------
        SourceError
            As `RuleMaker.fit`, or the embeddings of labelled and unlabelled rows have different names.
        """
        seen, free = _named(X), _named(unlabeled)
        if seen.keys() != free.keys():
            raise SourceError(f"labelled rows have the embeddings {', '.join(seen)} but unlabelled rows {', '.join(free)}; give the same")
        checked = {name: checked_seed(seen[name], y, free[name], classes) for name in seen}
        _, codes, _, self.classes_ = next(iter(checked.values()))
        k = len(self.classes_)
        self.anchors_ = {name: part[0] for name, part in checked.items()}
        both = {name: np.concatenate([part[0], part[2]]) for name, part in checked.items()}
        if len(next(iter(both.values()))) < 2 * k:
            raise SourceError(f"{len(next(iter(both.values())))} rows are too few for {k} clusters; give at least {2 * k}")
        self.bases_: list[Any] = []
        for affinity in self._affinities(both):
            mixture = GaussianMixture(
                k, covariance_type="diag", reg_covar=1e-6, tol=1e-4, max_iter=200, n_init=self.restarts, random_state=self.seed
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # an early stop costs likelihood, not correctness
                self.bases_.append(mixture.fit(affinity))
        parts = self._parts(both)
        self.ensemble_ = BernoulliMixture(k, seed=self.seed).fit(parts)
        table = contingency(self.ensemble_.predict_proba(parts[: len(codes)]), codes)
        self.mapping_ = map_clusters(table)
        self.feasibility_ = feasibility(table, self.mapping_)
        self.certainty_ = mapping_certainty(table, self.mapping_, draws=200, seed=self.seed)
        if self.certainty_ < self.warn_below:
            warnings.warn(
                f"the {len(codes)} labelled rows do not tell which cluster is which class (the mapping is right with a chance of "
                f"{self.certainty_:.0%}); label more rows or choose features in which the classes lie apart",
                stacklevel=2,
            )
        return self

    def predict_proba(self, X: ArrayLike | Mapping[str, ArrayLike]) -> NDArray[np.float32]:
        """Class probabilities (n, K) of rows, seen or new."""
        if not hasattr(self, "mapping_"):
            raise SourceError("this Goggles has no clusters yet; call fit first")
        rows = {name: np.atleast_2d(np.asarray(part, dtype=np.float64)) for name, part in _named(X).items()}
        if rows.keys() != self.anchors_.keys():
            raise SourceError(f"Goggles was fitted on the embeddings {', '.join(self.anchors_)}, got {', '.join(rows)}; give the same")
        clusters = self.ensemble_.predict_proba(self._parts(rows))
        return np.asarray(clusters[:, np.argsort(self.mapping_)], dtype=np.float32)

    def vote(self, X: ArrayLike | Mapping[str, ArrayLike], threshold: float = 0.0) -> Votes:
        """One source: the most probable class of each row with its probability as confidence; it abstains below `threshold`."""
        proba = self.predict_proba(X)
        top = proba.max(axis=1)
        codes = np.where(top >= threshold, proba.argmax(axis=1), -1)
        return Votes(codes[:, None], classes=self.classes_, sources=["goggles"], confidences=top[:, None])

    def _affinities(self, rows: Mapping[str, Floats]) -> list[Floats]:
        functions = self.affinities or {"cosine": cosine_affinity}
        return [function(rows[name], self.anchors_[name]) for name in self.anchors_ for function in functions.values()]

    def _parts(self, rows: Mapping[str, Floats]) -> Floats:
        """(n, K F) responsibilities of the base mixtures, side by side."""
        return np.concatenate([base.predict_proba(A) for base, A in zip(self.bases_, self._affinities(rows), strict=True)], axis=1)


def _named(X: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    return dict(X) if isinstance(X, Mapping) else {"features": X}
