"""HyperLabelModel: one network, trained once on synthetic votes, reads a whole vote matrix and answers; nothing is fitted to the data.

Wu, Chen, Zhang, Chu (2023), "Learning Hyper Label Model for Programmatic Weak Supervision". The weights beside this file are our own,
made by benchmarks/train_hyper_label_model.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import minimize_scalar

from steelyard.errors import LabelModelError
from steelyard.label_models.base import FLOOR, TIED, LabelModel, starting_prior
from steelyard.label_models.hyper_network import Array, Cells, column_pools, gradient, logits
from steelyard.label_models.posterior import VoteLookup, softmax_columns
from steelyard.row_blocks import in_row_blocks
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

_WEIGHTS = Path(__file__).with_name("hyper_label_model.safetensors")
_CELLS_AT_ONCE = 1 << 17
_FINE_TUNING_CELLS = 1 << 18


class HyperLabelModel(LabelModel):
    r"""Label model without training: P(class k | row) from a graph network over the cells of the vote matrix.

    Class k is set against the rest: a cell is +1 for a vote that is compatible with k, -1 for any other vote. Each of four layers maps a
    cell h to LeakyReLU(h A + row mean B + column mean C + mean of all D + b) (the products of weights in the paper are single matrices
    here); the mean over a row's cells goes through a small network to a logit. All K classes are scored by the same network, also for
    K = 2, so that neither the order of rows, sources nor classes matters; P(k | row) ∝ σ(f_k)^β.

    All that the network sees of other rows are means. `fit` takes these from the distinct vote patterns with their counts: the same as from
    the rows, and `predict_proba` can answer for rows that were not there.

    *Gold labels.* The network is fine-tuned on the cross-entropy of the labelled rows: √(number of labels) steps of Adam, the means
    following the weights. Of very many patterns the labelled and the most frequent ones stand for all while it is fine-tuned.

    Parameters
    ----------
    class_prior : (k,) float array, optional
        For rows without votes and for ties. Otherwise from gold labels (at least ten per class), else from how often sources name
        each class.
    learning_rate : float ≥ 0
        Of the fine-tuning; 0 leaves the network as it is.

    Attributes
    ----------
    network_ : (p,) float64
        The weights in use.
    pools_ : (k, 4, m + 1, 8) float64
        Means over each source and over all cells that the layers see, per class.
    sharpness_ : float
        β, see the notes.

    Notes
    -----
    `confusions_` are one M-step from the decisions: P(source j says l | k) is how often it does on rows decided for k, or labelled so.

    *Sharpness.* The network was trained on votes without structure, where nearly nothing can be known: its probabilities rank rows but
    stay near one half. They are raised to one common power β, which changes no decision: the β that brings them closest to the
    posteriors of independent sources with these confusions.

    *Training.* As in the paper (random votes; labels uniform among those under which most sources are better than chance on each class;
    Adam with amsgrad; the run with the best accuracy on 100 sets of independent sources), but on smaller matrices and for fewer steps;
    the metadata of the weights tell which.

    Examples
    --------
    >>> votes = Votes([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, -1]] * 5, classes=["no", "yes"])
    >>> HyperLabelModel().fit(votes).predict(votes[:4]).tolist()
    [0, 1, 0, 1]
    """

    def __init__(self, class_prior: ArrayLike | None = None, learning_rate: float = 1e-4) -> None:
        self.class_prior = class_prior
        self.learning_rate = learning_rate

    def _fit(self, statistics: VoteStatistics) -> None:
        if self.learning_rate < 0:
            raise LabelModelError(f"learning_rate must not be negative, got {self.learning_rate}")
        patterns, counts = statistics.as_votes(), statistics.counts
        assert counts is not None
        self.class_prior_, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        self.network_ = _trained_network()
        gold = statistics.gold
        if (gold >= 0).any() and self.learning_rate:
            self.network_ = _fine_tuned(self.network_, patterns, counts, gold, self.learning_rate)
        weights = counts.astype(np.float64)
        self.pools_ = np.stack([_pools(self.network_, patterns, weights, k) for k in range(statistics.n_classes)])
        self.sharpness_ = 1.0
        scores = self._scores(patterns)
        decided = (scores >= scores.max(axis=1, keepdims=True) - TIED).astype(np.float64)
        decided[~patterns.coverage] = self.class_prior_
        known = np.flatnonzero(gold >= 0)
        decided[known] = np.eye(statistics.n_classes)[gold[known]]
        decided *= (counts / decided.sum(axis=1))[:, None]
        lookup = VoteLookup(patterns)
        expected = lookup.counts(np.ascontiguousarray(decided.T))
        # One row's worth of the source's overall habits, so that a class without rows has some.
        expected += expected.sum(axis=1, keepdims=True) / statistics.n_rows
        self.confusions_ = expected / expected.sum(axis=2, keepdims=True)
        self.sharpness_ = _sharpness(scores, self._naive_bayes(lookup), np.where(patterns.coverage, counts, 0.0))

    def _naive_bayes(self, lookup: VoteLookup) -> Array:
        """(n, k) posteriors if the sources were independent with the confusions found; silence says nothing."""
        tables = np.zeros_like(self.confusions_)
        spoken = self.confusions_[:, :, :-1] / self.confusions_[:, :, :-1].sum(axis=2, keepdims=True).clip(FLOOR)
        tables[:, :, :-1] = np.log(np.maximum(spoken, FLOOR))
        posterior = lookup.scores(tables) + np.log(np.maximum(self.class_prior_, FLOOR))[:, None]
        softmax_columns(posterior)
        return np.asarray(posterior.T)

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        posterior = np.empty((votes.n_rows, votes.n_classes), dtype=np.float32)

        def work(start: int, stop: int) -> None:
            part = votes.take(slice(start, stop))
            first, pattern = _distinct_rows(part)
            posterior[start:stop] = self._scores(part.take(first))[pattern]

        in_row_blocks(work, votes.n_rows)
        posterior[~votes.coverage] = self.class_prior_
        return posterior

    def _scores(self, votes: Votes) -> Array:
        """(n, k) posteriors from the network; of a row without votes they mean nothing."""
        evidence = np.concatenate(
            [
                np.stack([logits(self.network_, cells, _signs(symbols, votes, k), self.pools_[k]) for k in range(votes.n_classes)], axis=1)
                for cells, symbols in _blocks(votes, np.ones(votes.n_rows))
            ]
        )
        return _power(_one_against_rest(evidence), self.sharpness_)


@cache
def _trained_network() -> Array:
    """(p,) weights from the file beside this one."""
    from safetensors.numpy import load_file

    weights = load_file(_WEIGHTS)["network"].astype(np.float64)
    weights.flags.writeable = False
    return weights


def _fine_tuned(network: Array, patterns: Votes, counts: NDArray[np.int64], gold: NDArray[np.int64], learning_rate: float) -> Array:
    """√(number of labels) steps of Adam (amsgrad) on the labelled patterns' cross-entropy."""
    order = np.lexsort((-counts, gold < 0))
    size = np.diff(patterns.csr.indptr)[order].cumsum()
    chosen = np.sort(order[: max(int((size <= _FINE_TUNING_CELLS).sum()), 1)])
    chosen = chosen[patterns.coverage[chosen]]
    votes, gold, counts = patterns.take(chosen), gold[chosen], counts[chosen]
    known = np.flatnonzero(gold >= 0)
    if not len(known):
        return network
    weights = counts.astype(np.float64)
    cells, symbols = _cells(votes.csr, weights), votes.csr.data.astype(np.intp) - 1
    share = np.zeros((votes.n_rows, votes.n_classes))
    share[known, gold[known]] = counts[known] / counts[known].sum()
    first, second, largest = np.zeros_like(network), np.zeros_like(network), np.zeros_like(network)
    for step in range(1, int(np.sqrt(counts[known].sum())) + 1):
        evidence, passes = [], []
        for k in range(votes.n_classes):
            signs, trace = _signs(symbols, votes, k), list[Array]()
            pools = _pools(network, votes, weights, k)
            evidence.append(logits(network, cells, signs, pools, trace))
            passes.append((trace, pools))
        f = np.stack(evidence, axis=1)
        # L = -Σ share log q, q_k ∝ σ(f_k): dL/df_k = (1 - σ(f_k)) (q_k Σ_l share_l - share_k)
        slopes = (1 - _sigmoid(f)) * (_one_against_rest(f) * share.sum(axis=1, keepdims=True) - share)
        by_weight = sum(gradient(network, cells, trace, pools, slopes[:, k]) for k, (trace, pools) in enumerate(passes))
        first = 0.9 * first + 0.1 * by_weight
        second = 0.999 * second + 0.001 * by_weight**2
        largest = np.maximum(largest, second)
        network = network - learning_rate * (first / (1 - 0.9**step)) / (np.sqrt(largest / (1 - 0.999**step)) + 1e-8)
    return network


def _sharpness(scores: Array, target: Array, weights: Array) -> float:
    """The β for which the normalised scores^β come closest to the target posteriors (cross-entropy; convex in β)."""

    def loss(log_beta: float) -> float:
        fitted = np.log(np.maximum(_power(scores, float(np.exp(log_beta))), FLOOR))
        return -float(weights @ (target * fitted).sum(axis=1))

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 8), method="bounded").x)) if weights.any() else 1.0


def _power(scores: Array, exponent: float) -> Array:
    """(n, k) scores^exponent, normalised."""
    powers = exponent * np.log(np.maximum(scores, FLOOR)).T
    softmax_columns(powers)
    return np.asarray(powers.T)


def _one_against_rest(f: Array) -> Array:
    """(n, k) σ(f_k) / Σ σ(f_k'), in log space."""
    log_chance = -np.logaddexp(0, -f)
    chance = np.exp(log_chance - log_chance.max(axis=1, keepdims=True))
    return np.asarray(chance / chance.sum(axis=1, keepdims=True))


def _sigmoid(f: Array) -> Array:
    return np.exp(-np.logaddexp(0, -f))


def _pools(network: Array, votes: Votes, weights: Array, k: int) -> Array:
    return column_pools(network, lambda: ((cells, _signs(symbols, votes, k)) for cells, symbols in _blocks(votes, weights)))


def _blocks(votes: Votes, weights: Array) -> Iterator[tuple[Cells, NDArray[np.intp]]]:
    """Runs of rows with a bounded number of votes: their cells and the symbol in each."""
    matrix = votes.csr
    cuts = np.searchsorted(matrix.indptr, np.arange(0, matrix.nnz + 1, _CELLS_AT_ONCE)[1:])
    cuts = np.unique(np.concatenate([[0], cuts, [votes.n_rows]]))
    for a, b in pairwise(cuts):
        part = matrix[a:b]
        yield _cells(part, weights[a:b]), part.data.astype(np.intp) - 1


def _cells(matrix: sparse.csr_array, weights: Array) -> Cells:
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return Cells(rows, matrix.indices.astype(np.intp), weights, matrix.shape[1])


def _signs(symbols: NDArray[np.intp], votes: Votes, k: int) -> Array:
    """(c,) +1 where the vote is compatible with class k, else -1."""
    return np.where(votes.support[symbols, k], 1.0, -1.0)


def _distinct_rows(votes: Votes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """One row of every pattern, and for each row which of these it equals."""
    codes = np.ascontiguousarray(votes.codes)
    keys = codes.view(np.dtype((np.void, codes.dtype.itemsize * codes.shape[1])))[:, 0]
    _, first, pattern = np.unique(keys, return_index=True, return_inverse=True)
    return first, pattern
