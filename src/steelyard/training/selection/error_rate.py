"""Training sets with a chosen share of wrong solutions, and traces chosen by whether their answer is right.

What a study of supervision quality varies: the sets of He, Yin, Peng 2024, "Guiding Through Complexity", are nested, so that a higher error
rate only adds errors; W2SR, W2SR-P and W2SR-N of Yuan et al. 2025, "Incentivizing Strong Reasoning from Weak Supervision", are one cache.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from steelyard.completions import Completions
from steelyard.errors import ConfigError, DataError

Keep = Literal["all", "correct", "wrong"]


def mix_error_rate(correct: Completions, wrong: Completions, rate: float, *, seed: int = 0) -> Completions:
    """Replace a random share of correct solutions by the wrong ones of the same items.

    Parameters
    ----------
    correct, wrong
        n items each, item i of both answers the same question: every item has a right and a wrong solution, so that which items are wrong
        is chance and not difficulty.
    rate
        Outcome error rate in [0, 1]; round(rate·n) items become wrong.
    seed
        Draws the order in which items become wrong. With the same seed the wrong items of a lower rate are among those of a higher one.

    Returns
    -------
    Completions
        n items in the given order.

    Examples
    --------
    >>> right, false = Completions(["a", "b", "c", "d"], ["1"] * 4), Completions(["a", "b", "c", "d"], ["0"] * 4)
    >>> mix_error_rate(right, false, 0.25).texts, mix_error_rate(right, false, 0.75).texts
    (('1', '1', '0', '1'), ('0', '0', '0', '1'))
    """
    if not 0.0 <= rate <= 1.0:
        raise ConfigError(f"mix_error_rate: rate is {rate}; it must be in [0, 1]")
    if not np.array_equal(correct.rows, wrong.rows) or correct.prompts != wrong.prompts:
        raise DataError(
            "mix_error_rate: correct and wrong solutions must answer the same questions in the same order; drop items that lack one"
        )
    n = len(correct)
    flipped = np.zeros(n, dtype=np.bool_)
    flipped[np.random.default_rng(seed).permutation(n)[: round(rate * n)]] = True
    return Completions.concat([correct, wrong]).take(np.arange(n) + n * flipped)


def select_traces(traces: Completions, correct: ArrayLike, keep: Keep = "all") -> Completions:
    """Keep all traces, only those with a right answer, or only those with a wrong one.

    Parameters
    ----------
    traces
        n traces; degenerate ones should have been dropped before.
    correct
        (n,) bool: whether each answer is right.
    keep
        "all" (W2SR), "correct" (W2SR-P) or "wrong" (W2SR-N).

    Examples
    --------
    >>> select_traces(Completions(["q", "r"], ["right", "wrong"]), [True, False], "wrong").texts
    ('wrong',)
    """
    right = np.asarray(correct, dtype=np.bool_)
    if right.shape != (len(traces),):
        raise DataError(f"select_traces: {len(traces)} traces need as many flags, got shape {right.shape}")
    if keep not in get_args(Keep):
        raise ConfigError(f"select_traces: keep is '{keep}'; use one of {', '.join(get_args(Keep))}")
    return traces if keep == "all" else traces.take(right if keep == "correct" else ~right)
