"""Best of n: propose several answers, let a verifier score them, take one.

Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems"; products of experts after Hinton 2002.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.completions import Completions
from steelyard.errors import ConfigError, DataError

Propose = Callable[[Sequence[str]], Completions]
Floats = NDArray[np.float64]
Verify = Callable[[Sequence[str], Sequence[str]], ArrayLike]

_LEAST = 1e-12


def choose(
    scores: ArrayLike, offsets: ArrayLike, answers: Sequence[str] | None = None, by: Literal["response", "answer"] = "response"
) -> NDArray[np.int64]:
    """Take one response of each query.

    Parameters
    ----------
    scores : (n,) float
        NaN is never taken while there is another.
    offsets : (Q + 1,) int
        Responses of query q are the rows ``offsets[q] … offsets[q + 1] - 1``.
    answers : sequence of str, length n, optional
        Final answers; needed for `by="answer"`.
    by : {"response", "answer"}
        The best response, or the best response of the answer whose responses have the highest mean score.

    Returns
    -------
    (Q,) int64
        Row of the response taken; the first of equals.

    Raises
    ------
    DataError
        Scores, offsets and answers do not fit together.

    Examples
    --------
    >>> choose([0.2, 0.9, 0.5], [0, 2, 3]).tolist()
    [1, 2]
    >>> choose([0.9, 0.1, 0.6], [0, 3], answers=["7", "7", "8"], by="answer").tolist()
    [2]
    """
    s, ends = np.asarray(scores, dtype=np.float64), np.asarray(offsets, dtype=np.int64)
    if s.ndim != 1 or ends.ndim != 1 or len(ends) < 2 or ends[0] != 0 or ends[-1] != len(s) or (np.diff(ends) < 1).any():
        raise DataError(f"{s.size} scores do not fit offsets that end at {ends[-1:].tolist()}; every query needs at least one response")
    s = np.where(np.isnan(s), -np.inf, s)
    query = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    of_answer = np.zeros(len(s))
    if by == "answer":
        if answers is None or len(answers) != len(s):
            raise DataError("choosing by answer needs one answer per response; give `answers`")
        codes = np.unique(np.asarray(answers, dtype=object).astype(str), return_inverse=True)[1]
        both = np.unique(query * (codes.max() + 1) + codes, return_inverse=True)[1]
        finite = np.isfinite(s)
        total, count = np.bincount(both, np.where(finite, s, 0.0)), np.bincount(both, finite)
        of_answer = np.where(count > 0, total / np.maximum(count, 1), -np.inf)[both]
    elif by != "response":
        raise ConfigError(f"by must be 'response' or 'answer', got '{by}'")
    order = np.lexsort((np.arange(len(s)), -s, -of_answer, query))
    return np.asarray(order[ends[:-1]], dtype=np.int64)


def product_of_experts(scores: ArrayLike, logprobs: ArrayLike, lengths: ArrayLike | None = None, *, weight: float = 1.0) -> Floats:
    """Logarithm of verifier × proposer: log P(right | response) + weight · log P(response | prompt).

    Parameters
    ----------
    scores : (n,) float in [0, 1]
        P(right) of a verifier; NaN stays NaN.
    logprobs : (n,) float
        Of the proposer, summed over tokens.
    lengths : (n,) float, optional
        Tokens of each response; with them the proposer counts per token, so that it does not prefer the short.
    weight : float ≥ 0
        Of the proposer; 0 leaves the verifier alone.

    Returns
    -------
    (n,) float64

    Raises
    ------
    DataError
        A score is no probability, a log-probability is missing or positive, or shapes differ.

    Examples
    --------
    >>> product_of_experts([0.9, 0.6], np.log([0.1, 0.4])).round(2).tolist()
    [-2.41, -1.43]
    """
    s, log_p = np.asarray(scores, dtype=np.float64), np.asarray(logprobs, dtype=np.float64)
    if s.shape != log_p.shape or s.ndim != 1:
        raise DataError(f"scores of shape {s.shape} and log-probabilities of shape {log_p.shape} cannot be multiplied; give one of each")
    if ((s < 0) | (s > 1)).any():
        raise DataError("the product of experts multiplies probabilities, so scores must lie in [0, 1]; calibrate them or choose by score")
    if not (log_p <= 0).all() or not weight >= 0:
        raise DataError(f"log-probabilities must be known and at most 0, and the proposer's weight ({weight}) at least 0")
    told = log_p if lengths is None else log_p / np.maximum(np.asarray(lengths, dtype=np.float64), 1)
    return np.log(np.maximum(s, _LEAST)) + weight * told


def best_of_n(
    propose: Propose,
    verify: Verify,
    prompts: Sequence[str],
    *,
    by: Literal["response", "answer"] = "response",
    proposer_weight: float = 0.0,
) -> Completions:
    """Propose, verify, select: one completion per prompt.

    Parameters
    ----------
    propose : callable
        Takes prompts and returns `Completions` whose `rows` say which prompt they answer, as `Policy.sample` does.
    verify : callable
        Takes prompts and texts (n each) and returns (n,) scores: a `ScoreStudent`'s `score`, a reward model, a rule.
    prompts : sequence of str
    by : {"response", "answer"}
        As in `choose`.
    proposer_weight : float ≥ 0
        Above 0 the choice is by `product_of_experts`: scores are probabilities and the completions need `logprobs`.

    Raises
    ------
    DataError
        A prompt got no proposal, or log-probabilities are needed and missing.

    Examples
    --------
    >>> def propose(prompts):
    ...     return Completions([p for p in prompts for _ in "ab"], ["4", "5"] * len(prompts), rows=np.arange(2 * len(prompts)) // 2)
    >>> best_of_n(propose, lambda prompts, texts: [eval(p) == int(t) for p, t in zip(prompts, texts)], ["2+2", "2+3"]).texts
    ('4', '5')
    """
    made = propose(prompts)
    counts = np.bincount(made.rows, minlength=len(prompts))
    if len(counts) > len(prompts) or (counts == 0).any():
        raise DataError(f"{int((counts == 0).sum())} of {len(prompts)} prompts got no proposal; propose at least one for each")
    order = np.argsort(made.rows, kind="stable")
    made = made.take(order)
    scores = np.asarray(verify(made.prompts, made.texts), dtype=np.float64)
    if proposer_weight:
        if made.logprobs is None:
            raise DataError("the product of experts needs the proposer's log-probabilities; give `logprobs` to Completions")
        scores = product_of_experts(scores, made.logprobs, weight=proposer_weight)
    return made.take(choose(scores, np.r_[0, counts.cumsum()], made.answers if by == "answer" else None, by))
