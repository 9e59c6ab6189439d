"""Exact inference in a Markov chain whose moves differ from token to token; `forward_backward` is the special case of one table for all.

As there, sequences are taken longest first, so that step t works on the t-th tokens of all sequences that are still going.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steelyard.label_models.forward_backward import _schedule

Array = NDArray[np.float64]


class TokenMarginals(NamedTuple):
    """What an E-step needs.

    Attributes
    ----------
    states : (n, k) float64
        P(state | sequence) per token; rows sum to 1.
    moves : (n, k, k) float64
        P(state before, state | sequence) per token; 0 for the first token of a sequence.
    log_likelihood : float
    """

    states: Array
    moves: Array
    log_likelihood: float


def token_marginals(log_emissions: Array, offsets: NDArray[np.int64], start: Array, transitions: Array) -> TokenMarginals:
    """Marginals of all sequences.

    Parameters
    ----------
    log_emissions : (n, k) float array
        Log-likelihood of each token's observation under each state; -inf = impossible.
    offsets : (g + 1,) int array
        Where sequences begin; empty sequences are allowed.
    start : (k,) float array
    transitions : (n, k, k) float array
        P(state | state before) on the way to each token, rows sum to 1; that of a first token is not used.

    Examples
    --------
    >>> even = np.full((2, 2, 2), 0.5)
    >>> token_marginals(np.log([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 2]), even[0, 0], even).moves[1].round(2).tolist()
    [[0.18, 0.72], [0.02, 0.08]]
    """
    n, k = log_emissions.shape
    moves = np.zeros((n, k, k))
    if n == 0:
        return TokenMarginals(np.empty((0, k)), moves, 0.0)
    first, going = _schedule(offsets)
    top = log_emissions.max(axis=1)
    # Possible but hopeless states keep a trace, so that a path through them survives when every other one is illegal.
    emission = np.exp(np.maximum(log_emissions - top[:, None], -400.0), where=log_emissions > -np.inf, out=np.zeros((n, k)))
    forward, backward, scale = np.empty((n, k)), np.ones((n, k)), np.empty(n)
    for t, alive in enumerate(going):
        now = first[:alive] + t
        arriving = start if t == 0 else (forward[now - 1, None] @ transitions[now])[:, 0]
        weight = arriving * emission[now]
        total = weight.sum(axis=1)
        forward[now], scale[now] = weight / total[:, None], total
    for t in range(len(going) - 1, 0, -1):
        now = first[: going[t]] + t
        ahead = emission[now] * backward[now] / scale[now, None]
        backward[now - 1] = (transitions[now] @ ahead[:, :, None])[:, :, 0]
        moves[now] = forward[now - 1, :, None] * transitions[now] * ahead[:, None]
    states = forward * backward
    states /= states.sum(axis=1, keepdims=True)
    return TokenMarginals(states, moves, float(top.sum() + np.log(scale).sum()))


def token_viterbi(log_emissions: Array, offsets: NDArray[np.int64], start: Array, transitions: Array) -> NDArray[np.int64]:
    """(n,) most probable path of every sequence; arguments as in `token_marginals`, ties go to the lower state.

    Examples
    --------
    >>> moves = np.array([[[0.5, 0.5]] * 2, [[0.1, 0.9]] * 2])
    >>> token_viterbi(np.log([[0.6, 0.4], [0.6, 0.4]]), np.array([0, 2]), np.array([0.5, 0.5]), moves).tolist()
    [0, 1]
    """
    n, k = log_emissions.shape
    path = np.empty(n, dtype=np.int64)
    if n == 0:
        return path
    first, going = _schedule(offsets)
    with np.errstate(divide="ignore"):
        log_start, log_transitions = np.log(start), np.log(transitions)
    best, came_from = np.empty((n, k)), np.zeros((n, k), dtype=np.int32)
    for t, alive in enumerate(going):
        now = first[:alive] + t
        if t == 0:
            best[now] = log_start + log_emissions[now]
            continue
        through = best[now - 1][:, :, None] + log_transitions[now]
        came_from[now] = through.argmax(axis=1)
        best[now] = through.max(axis=1) + log_emissions[now]
    for t in range(len(going) - 1, -1, -1):
        now = first[: going[t]] + t
        still = going[t + 1] if t + 1 < len(going) else 0
        path[now[still:]] = best[now[still:]].argmax(axis=1)
        path[now[:still]] = came_from[now[:still] + 1, path[now[:still] + 1]]
    return path
