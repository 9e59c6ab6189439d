"""Which queries share a model of verifiers: clusters by difficulty, by meaning or at random as a control, or each query's nearest.

Saad-Falcon et al. 2025, "Shrinking the Generation-Verification Gap with Weak Verifiers".
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import LabelModelError
from steelyard.label_models.verifier_options import Clusters
from steelyard.label_models.verifier_rates import VerifierRates
from steelyard.verifier_scores import VerifierScores

Floats = NDArray[np.float64]


class QueryClusters:
    """Learns `count` clusters of queries and tells those of new ones.

    Parameters
    ----------
    how : {"difficulty", "embedding", "random"}
        Quantiles of the number of distinct answers; k-means of the embedded prompts; or a draw that depends on the query's scores and the
        seed only.
    count : int
    encoder
        Anything with ``encode(texts) -> (n, d)``, or the name of an encoder; the packaged one when left out. Only "embedding" reads it.
    seed : int

    Examples
    --------
    >>> scores = VerifierScores.from_array(np.zeros((3, 3, 1)), [["a", "a", "a"], ["a", "b", "b"], ["a", "b", "c"]])
    >>> QueryClusters("difficulty", 3).fit(scores).of(scores).tolist()
    [0, 1, 2]
    """

    def __init__(self, how: Clusters, count: int = 3, encoder: Any = None, seed: int = 0) -> None:
        self.how = how
        self.count = count
        self.encoder = encoder
        self.seed = seed
        self.places: Floats = np.empty(0)
        """Cuts between difficulties, or (count, d) centres of embedded prompts."""

    def fit(self, scores: VerifierScores) -> Self:
        """Learn cuts or centres.

        Raises
        ------
        LabelModelError
            There are no answers to tell difficulty by, no prompts to embed, or fewer queries than clusters.
        """
        if not 1 < self.count <= scores.n_queries:
            raise LabelModelError(f"{scores.n_queries} queries cannot make {self.count} clusters; clusters must be 2 up to that number")
        if self.how == "difficulty":
            self.places = np.unique(np.quantile(scores.distinct_answers(), np.arange(1, self.count) / self.count))
        elif self.how == "embedding":
            from sklearn.cluster import KMeans

            self.places = (
                KMeans(self.count, n_init=4, random_state=self.seed).fit(self._embedded(scores)).cluster_centers_.astype(np.float64)
            )
        return self

    def of(self, scores: VerifierScores) -> NDArray[np.int64]:
        """(Q,) cluster of each query."""
        if self.how == "difficulty":
            return np.searchsorted(self.places, scores.distinct_answers())
        if self.how == "embedding":
            x = self._embedded(scores)
            return np.asarray(((x**2).sum(axis=1)[:, None] - 2 * x @ self.places.T + (self.places**2).sum(axis=1)).argmin(axis=1))
        starts = zip(scores.offsets[:-1], scores.offsets[1:], strict=True)
        return np.array([zlib.crc32(scores.values[a:b].tobytes(), self.seed) % self.count for a, b in starts], dtype=np.int64)

    def _embedded(self, scores: VerifierScores) -> Floats:
        if scores.prompts is None:
            raise LabelModelError("clusters by embedding read the prompts, and these scores have none; give `prompts` to VerifierScores")
        encoder = self.encoder
        if encoder is None or isinstance(encoder, str):
            from steelyard.encoders import OFFLINE, TextEncoder

            encoder = TextEncoder(encoder or OFFLINE)
        return np.asarray(encoder.encode([scores.prompts[start] for start in scores.offsets[:-1]]), dtype=np.float64)


def query_means(scaled: Floats, scores: VerifierScores) -> Floats:
    """(Q, V) mean scaled score of each verifier on each query."""
    return np.asarray(np.add.reduceat(scaled, scores.offsets[:-1], axis=0) / np.diff(scores.offsets)[:, None])


@dataclass(frozen=True, eq=False)
class NeighbourRates:
    """The queries learned from: their mean scores (Q, V), the votes of their responses (n, V'), offsets, and how many make a model."""

    means: Floats
    votes: NDArray[np.int8]
    offsets: NDArray[np.int64]
    count: int

    def right(
        self, means: Floats, votes: NDArray[np.int8], offsets: NDArray[np.int64], learn: Callable[[NDArray[np.int8]], VerifierRates]
    ) -> Floats:
        """(n,) P(right) of responses by rates that `learn` fits to the votes of the nearest queries, Euclidean distance of mean scores."""
        found = np.empty(len(votes))
        for q, own in enumerate(means):
            near = np.argsort(((own - self.means) ** 2).sum(axis=1), kind="stable")[: self.count]
            rows = np.concatenate([np.arange(self.offsets[i], self.offsets[i + 1]) for i in near])
            part = slice(offsets[q], offsets[q + 1])
            found[part] = learn(self.votes[rows]).right(votes[part], votes[part])
        return found
