"""Exact inference in a hidden Markov chain for many sequences at once: marginals (scaled forward–backward) and best paths (Viterbi).

The moves have one table for all tokens, or a table for each. Sequences are taken longest first, so that step t works on one slice: the
t-th tokens of all sequences that are still going.
Rabiner (1989), "A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Marginals(NamedTuple):
    """What an E-step needs.

    Attributes
    ----------
    states : (n, k) float64
        P(state | sequence) per token; rows sum to 1.
    starts : (k,) float64
        Expected number of sequences that start in each state.
    moves : (k, k) or (n, k, k) float64, as the transitions given
        Expected number of moves from state to state; or, token by token, P(state before, state | sequence), 0 for first tokens.
    log_likelihood : float
    """

    states: Array
    starts: Array
    moves: Array
    log_likelihood: float


def forward_backward(log_emissions: Array, offsets: NDArray[np.int64], start: Array, transition: Array) -> Marginals:
    """Marginals of all sequences.

    Parameters
    ----------
    log_emissions : (n, k) float array
        Log-likelihood of each token's observation under each state; -inf = impossible.
    offsets : (g + 1,) int array
        Where sequences begin; empty sequences are allowed.
    start : (k,) float array
        P(state) of first tokens.
    transition : (k, k) or (n, k, k) float array
        P(state | state before), rows sum to 1: one table for all, or one for the way to each token; those of first tokens are not used.

    Examples
    --------
    >>> even, emissions, offsets = np.full((2, 2), 0.5), np.log([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 2])
    >>> forward_backward(emissions, offsets, even[0], even).states.round(2).tolist()
    [[0.9, 0.1], [0.2, 0.8]]
    >>> forward_backward(emissions, offsets, even[0], np.stack([even, even])).moves[1].round(2).tolist()
    [[0.18, 0.72], [0.02, 0.08]]
    """
    n, k = log_emissions.shape
    moves = np.zeros_like(transition)
    if n == 0:
        return Marginals(np.empty((0, k)), np.zeros(k), moves, 0.0)
    each = transition.ndim == 3
    first, going = _schedule(offsets)
    top = log_emissions.max(axis=1)
    # Possible but hopeless states keep a trace, so that a path through them survives when every other one is illegal.
    emission = np.exp(np.maximum(log_emissions - top[:, None], -400.0), where=log_emissions > -np.inf, out=np.zeros((n, k)))
    forward, backward, scale = np.empty((n, k)), np.ones((n, k)), np.empty(n)
    for t, alive in enumerate(going):
        now = first[:alive] + t
        if each:
            arriving = start if t == 0 else (forward[now - 1, None] @ transition[now])[:, 0]
        else:
            arriving = start if t == 0 else forward[now - 1] @ transition
        weight = arriving * emission[now]
        total = weight.sum(axis=1)
        forward[now], scale[now] = weight / total[:, None], total
    for t in range(len(going) - 1, 0, -1):
        now = first[: going[t]] + t
        ahead = emission[now] * backward[now] / scale[now, None]
        if each:
            backward[now - 1] = (transition[now] @ ahead[:, :, None])[:, :, 0]
            moves[now] = forward[now - 1, :, None] * transition[now] * ahead[:, None]
        else:
            backward[now - 1] = ahead @ transition.T
            moves += transition * (forward[now - 1].T @ ahead)
    states = forward * backward
    states /= states.sum(axis=1, keepdims=True)
    return Marginals(states, states[first[: going[0]]].sum(axis=0), moves, float(top.sum() + np.log(scale).sum()))


def viterbi(log_emissions: Array, offsets: NDArray[np.int64], start: Array, transition: Array) -> NDArray[np.int64]:
    """(n,) most probable path of every sequence; arguments as in `forward_backward`, ties go to the lower state.

    Examples
    --------
    >>> viterbi(np.log([[0.6, 0.4], [0.6, 0.4]]), np.array([0, 2]), np.array([0.5, 0.5]), np.array([[0.1, 0.9], [0.1, 0.9]])).tolist()
    [0, 1]
    """
    n, k = log_emissions.shape
    path = np.empty(n, dtype=np.int64)
    if n == 0:
        return path
    first, going = _schedule(offsets)
    with np.errstate(divide="ignore"):
        log_start, log_transition = np.log(start), np.log(transition)
    best, came_from = np.empty((n, k)), np.zeros((n, k), dtype=np.int32)
    for t, alive in enumerate(going):
        now = first[:alive] + t
        if t == 0:
            best[now] = log_start + log_emissions[now]
            continue
        through = best[now - 1][:, :, None] + (log_transition[now] if transition.ndim == 3 else log_transition)
        came_from[now] = through.argmax(axis=1)
        best[now] = through.max(axis=1) + log_emissions[now]
    for t in range(len(going) - 1, -1, -1):
        now = first[: going[t]] + t
        still = going[t + 1] if t + 1 < len(going) else 0
        path[now[still:]] = best[now[still:]].argmax(axis=1)
        path[now[:still]] = came_from[now[:still] + 1, path[now[:still] + 1]]
    return path


def _schedule(offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First token of each sequence, longest sequence first, and how many sequences have a token at each step."""
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")
    steps = np.arange(lengths.max(initial=0))
    return offsets[:-1][order], np.searchsorted(-lengths[order], -steps, side="left")
