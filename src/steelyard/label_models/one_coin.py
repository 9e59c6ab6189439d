"""One-coin sources: right with one chance whatever the class, silent with another. The weights and tables that follow from it."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from steelyard.label_models.base import FLOOR
from steelyard.vote_statistics import VoteStatistics

Array = NDArray[np.float64]

_TOO_RARE = 0.01


def one_coin_weights(propensities: Array, accuracies: Array, k: int) -> tuple[Array, Array]:
    """Weights (m,) of "the source votes" and of "it names the class", as in P(vote | class) ∝ exp(w 1[votes] + w' 1[names the class]).

    A source that votes with chance β and is right with chance α has e^w = β (1 - α) / ((k - 1) (1 - β)) and e^w' = (k - 1) α / (1 - α).
    """
    vote, silent, right, wrong, ways = (
        np.log(np.maximum(chance, FLOOR)) for chance in (propensities, 1 - propensities, accuracies, 1 - accuracies, k - 1)
    )
    return vote + wrong - ways - silent, ways + right - wrong


def one_coin_tables(votes: Array, names: Array, support: NDArray[np.bool_]) -> Array:
    """(m, k, S + 1) what each symbol, abstain last, adds to the log-score of each class, from the two weights (m,) of each source.

    Where parents are among the symbols, all right ones together count as much as one class, all wrong ones as much as k - 1.
    """
    right, wrong = support.T, ~support.T
    ways = right / np.maximum(right.sum(axis=1, keepdims=True), 1)
    ways = ways + (len(right) - 1) * wrong / np.maximum(wrong.sum(axis=1, keepdims=True), 1)
    spoken = votes[:, None, None] + names[:, None, None] * right + np.log(np.maximum(ways, FLOOR))
    return np.concatenate([spoken, np.zeros((len(votes), len(right), 1))], axis=2)


def one_coin_confusions(propensities: Array, accuracies: Array, support: NDArray[np.bool_]) -> Array:
    """(m, k, S + 1) P(vote | class); errors are spread evenly.

    Examples
    --------
    >>> one_coin_confusions(np.array([0.5]), np.array([0.8]), np.eye(3, dtype=bool))[0, 0].round(2).tolist()
    [0.4, 0.05, 0.05, 0.5]
    """
    tables = one_coin_tables(*one_coin_weights(propensities, accuracies, support.shape[1]), support)
    confusions = np.exp(tables + np.log(np.maximum(1 - propensities, FLOOR))[:, None, None])
    confusions[propensities == 0] = np.append(np.zeros(len(support)), 1.0)
    return confusions


def not_below_chance(statistics: VoteStatistics) -> NDArray[np.bool_]:
    """(m,) sources that only ever name one class, unless gold labels show them to be worse than chance.

    Worse than chance they would speak for the other classes on every vote: all votes of the table could then be explained by one class
    that every row has. Models whose likelihood allows this keep the accuracy of such sources at or above chance. A few gold labels do not
    rule that explanation out, so each source needs its own: so few right votes on gold rows that chance gives them once in a hundred times.
    """
    named = (statistics.votes_for @ statistics.support > 0).sum(axis=1)
    one_sided = (named == 1) & (statistics.n_classes > 1)
    if not (one_sided.any() and statistics.gold_counts.any()):
        return np.asarray(one_sided)
    m, (s, k) = statistics.n_sources, statistics.support.shape
    by_gold = statistics.moments.gold_columns.reshape(k, m, s)
    right = np.einsum("kms,sk->m", by_gold, statistics.support)
    return np.asarray(one_sided & (binom.cdf(right, by_gold.sum(axis=(0, 2)), 1 / k) > _TOO_RARE))


def warn_of_one_sided_sources(statistics: VoteStatistics, name: str) -> None:
    """Say so where most sources name a single class: how often two of these agree tells which class they name, not how good they are."""
    n_named = (statistics.votes_for @ statistics.support > 0).sum(axis=1)
    one_sided = int((n_named == 1).sum())
    if statistics.n_classes > 1 and one_sided > (n_named > 0).sum() / 2:
        warnings.warn(
            f"{one_sided} of {statistics.n_sources} sources only ever name one class, which {name} mistakes for skill or the lack of it; "
            "prefer DawidSkene or Cage",
            stacklevel=5,
        )
