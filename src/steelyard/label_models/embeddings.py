"""ClosestToAverage and Rasa: of several answers in any form, take the one whose embedding lies closest to the (weighted) average.

Li and Fukumoto, "A dataset of crowdsourced word sequences: collections and answer aggregation for ground truth creation", AnnoNLP 2019;
the weights of Rasa are those of Li et al., "A confidence-aware approach for truth discovery on long-tail data", VLDB 2014.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.stats import chi2
from sklearn.base import BaseEstimator

from steelyard.errors import LabelModelError
from steelyard.label_models.answers import Answers, as_answers
from steelyard.label_models.long_tables import as_frame, encode, read_columns

Floats = NDArray[np.float64]
Encoder = Callable[[list[str]], ArrayLike]

_LEAST = 1e-5


class ClosestToAverage(BaseEstimator):
    """The answer closest to ê_t = Σ_j β_j e_tj / Σ_j β_j, the sum over those who answered task t; all β_j = 1 unless known answers tell.

    Parameters
    ----------
    encoder : function list of str → (n, d) array, optional
        Makes embeddings of texts, for instance ``TextEncoder().encode``; not needed where embeddings are given.
    distance : {"cosine", "euclidean"}
        How far an answer is from the average; the cosine distance of a zero vector is 2.

    Attributes
    ----------
    workers_ : tuple of str
    reliabilities_ : (m,) float64
        β_j, with mean 1.

    Examples
    --------
    >>> table = {"task": ["t"] * 3, "worker": ["Ann", "Bo", "Cy"], "text": ["a cat", "a bat", "tax law"]}
    >>> vectors = [[1.0, 0.1], [0.9, 0.3], [0.0, 1.0]]
    >>> ClosestToAverage().fit(table, vectors).predict(table, vectors)["text"].to_list()
    ['a bat']
    """

    def __init__(self, encoder: Encoder | None = None, distance: Literal["cosine", "euclidean"] = "cosine") -> None:
        self.encoder = encoder
        self.distance = distance

    def fit(self, answers: Answers | Any, embeddings: ArrayLike | None = None, gold: Any = None) -> Self:
        """Learn the workers' reliabilities.

        Parameters
        ----------
        answers : Answers, or a table with columns ``task``, ``worker`` and ``text``
        embeddings : (a, d) float array, optional
            One row per answer; made by the encoder when left out.
        gold : table, optional
            Known answers of some tasks: columns ``task`` and ``embedding`` (lists of d numbers), or ``text`` for the encoder.

        Raises
        ------
        LabelModelError
            When there is neither an encoder nor embeddings, or shapes do not fit.
        """
        read = as_answers(answers)
        vectors = self._embedded(list(read.texts), embeddings)
        known, centres = self._known(gold, read, vectors.shape[1])
        self.workers_ = read.workers
        reliabilities = self._fit(read, vectors, known, centres)
        self.reliabilities_ = reliabilities / reliabilities.mean()
        return self

    def _fit(self, answers: Answers, vectors: Floats, known: NDArray[np.bool_], centres: Floats) -> Floats:
        """(m,) reliabilities, from tasks whose answer is known (T,) and lies at `centres` (T, d)."""
        told = known[answers.task]
        if not told.any():
            return np.ones(len(answers.workers))
        squares = ((vectors[told] - centres[answers.task[told]]) ** 2).sum(axis=1)
        return _inverse_variances(answers.worker[told], squares, len(answers.workers))

    def predict(self, answers: Answers | Any, embeddings: ArrayLike | None = None) -> pl.DataFrame:
        """One answer per task: columns ``task``, ``text``, ``worker`` who gave it, and its ``distance`` from the average.

        Ties go to the answer that comes first. A worker not met in `fit` has reliability 1.
        """
        if not hasattr(self, "reliabilities_"):
            raise LabelModelError(f"this {type(self).__name__} is not fitted yet; call `fit` first")
        read = as_answers(answers)
        vectors = self._embedded(list(read.texts), embeddings)
        learned = dict(zip(self.workers_, self.reliabilities_.tolist(), strict=True))
        reliabilities = np.array([learned.get(name, 1.0) for name in read.workers])
        distances = self._distances(vectors, _averages(read, vectors, reliabilities[read.worker])[read.task])
        order = np.lexsort((np.arange(len(read)), distances.round(12), read.task))
        best = order[np.searchsorted(read.task[order], np.arange(len(read.tasks)))]
        texts, workers = [read.texts[i] for i in best], [read.workers[j] for j in read.worker[best]]
        return pl.DataFrame({"task": read.tasks, "text": texts, "worker": workers, "distance": distances[best]})

    def _distances(self, vectors: Floats, centres: Floats) -> Floats:
        if self.distance == "euclidean":
            return np.asarray(np.linalg.norm(vectors - centres, axis=1))
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(centres, axis=1)
        products = (vectors * centres).sum(axis=1)
        return 1 - np.divide(products, lengths, out=np.full(len(vectors), -1.0), where=lengths > 0)

    def _embedded(self, texts: list[str], embeddings: ArrayLike | None) -> Floats:
        if self.distance not in ("cosine", "euclidean"):
            raise LabelModelError(f"distance must be 'cosine' or 'euclidean', got '{self.distance}'")
        if embeddings is None:
            if self.encoder is None:
                raise LabelModelError("there are neither embeddings nor an encoder to make them; give one of the two")
            embeddings = self.encoder(texts)
        vectors = np.asarray(embeddings, dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise LabelModelError(f"embeddings have shape {vectors.shape}; give one finite row for each of the {len(texts)} answers")
        return vectors

    def _known(self, gold: Any, answers: Answers, width: int) -> tuple[NDArray[np.bool_], Floats]:
        """Which tasks have a known answer (T,), and its embedding (T, d), zeros elsewhere."""
        known, centres = np.zeros(len(answers.tasks), dtype=bool), np.zeros((len(answers.tasks), width))
        if gold is None:
            return known, centres
        frame = as_frame(gold, "known answers")
        column = "embedding" if "embedding" in frame.columns else "text"
        rows = read_columns(frame, "known answers", task="task", value=column)
        if column == "text":
            vectors = self._embedded(rows["value"].cast(pl.String).to_list(), None)
        else:
            vectors = np.array(rows["value"].to_list(), dtype=np.float64)
        if vectors.ndim != 2 or vectors.shape[1] != width:
            raise LabelModelError(f"known answers have embeddings of shape {vectors.shape}, the answers' have {width} columns")
        names, place = encode(rows["task"], known=answers.tasks)
        about = place < len(answers.tasks)
        if not about.any():
            raise LabelModelError(f"no answer is about a known task; the first known task is '{names[place[0]]}'")
        known[place[about]], centres[place[about]] = True, vectors[about]
        return known, centres


class Rasa(ClosestToAverage):
    r"""Reliability-aware aggregation: averages and reliabilities estimated in turn.

    ê_t = Σ_j β_j e_tj / Σ_j β_j  (or the known answer),  β_j ∝ χ²_{0.025}(n_j) / Σ_t ‖e_tj - ê_t‖² / (1 - h_tj),  n_j answers of worker j.

    The quantile of χ² trusts workers with few answers less. h_tj = β_j / Σ_j' β_j' is the share that worker j himself has in the average
    (0 where the answer is known): because of it he seems closer to the truth than he is. The published iteration lacks the factor
    1 / (1 - h_tj), and among a few workers who answer the same tasks it ends with all weight on one of them; with it β_j tends to the
    inverse variance of worker j. ``correction=False`` is the published form.

    Parameters
    ----------
    encoder, distance : see `ClosestToAverage`
    correction : bool
    max_iter : int
    tol : float
        Stop when no reliability (mean 1) moves by more.

    Attributes
    ----------
    workers_, reliabilities_ : see `ClosestToAverage`
    converged_ : bool
    n_iter_ : int

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = np.tile([0.5, 1.0, 1.0, 2.0], 500)
    >>> truth = np.repeat(rng.normal(size=(500, 8)), 4, axis=0)
    >>> answers = {"task": np.repeat(np.arange(500), 4), "worker": ["Ann", "Bo", "Cy", "Di"] * 500, "text": [""] * 2000}
    >>> model = Rasa().fit(answers, truth + noise[:, None] * rng.normal(size=(2000, 8)))
    >>> (1 / np.sqrt(model.reliabilities_ / model.reliabilities_[1])).round(1).tolist()
    [0.5, 1.0, 1.0, 2.0]
    """

    def __init__(
        self,
        encoder: Encoder | None = None,
        distance: Literal["cosine", "euclidean"] = "cosine",
        correction: bool = True,
        max_iter: int = 500,
        tol: float = 1e-6,
    ) -> None:
        super().__init__(encoder, distance)
        self.correction = correction
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, answers: Answers, vectors: Floats, known: NDArray[np.bool_], centres: Floats) -> Floats:
        if self.max_iter < 1:
            raise LabelModelError(f"max_iter must be at least 1, got {self.max_iter}")
        size, m = np.bincount(answers.task), len(answers.workers)
        # A single answer is its own average and tells nothing about its worker.
        telling = (size > 1)[answers.task] | known[answers.task]
        beta = np.ones(m)
        self.converged_ = not telling.any()
        self.n_iter_ = 0
        while self.n_iter_ < self.max_iter and not self.converged_:
            weight = beta[answers.worker]
            average = np.where(known[:, None], centres, _averages(answers, vectors, weight))
            squares = ((vectors - average[answers.task]) ** 2).sum(axis=1)
            if self.correction:
                share = np.where(known, 0.0, 1 / np.bincount(answers.task, weight))[answers.task] * weight
                squares /= np.maximum(1 - share, _LEAST)
            after = _inverse_variances(answers.worker[telling], squares[telling], m)
            after /= after.mean()
            self.converged_ = float(np.abs(after - beta).max()) < self.tol
            beta = after
            self.n_iter_ += 1
        if not self.converged_:
            warnings.warn(f"Rasa did not converge in {self.max_iter} rounds; raise max_iter", stacklevel=3)
        return beta


def _averages(answers: Answers, vectors: Floats, weight: Floats) -> Floats:
    """(T, d) weighted mean of each task's answers."""
    a, n_tasks = len(weight), len(answers.tasks)
    chooser = sparse.csr_array((weight, (answers.task, np.arange(a))), shape=(n_tasks, a))
    sums: Floats = np.asarray(chooser @ vectors)
    return sums / np.bincount(answers.task, weight, n_tasks)[:, None]


def _inverse_variances(worker: NDArray[np.int64], squares: Floats, m: int) -> Floats:
    """(m,) χ²_{0.025}(n_j) / sum of squares of worker j; the mean of the others for a worker without any."""
    n = np.bincount(worker, minlength=m)
    found = chi2.ppf(0.025, np.maximum(n, 1)) / np.maximum(np.bincount(worker, squares, m), _LEAST)
    return np.where(n > 0, found, found[n > 0].mean())
