"""Texts that are challenging yet learnable for a small language model: hard for it, but within what it holds possible (SALT_DS).

Rawat et al. 2024, "A Little Help Goes a Long Way: Efficient LLM Training by Leveraging Small LMs".
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from steelyard.causal_lm import device_of
from steelyard.errors import ConfigError
from steelyard.training.objectives.token_weighted import IGNORED
from steelyard.training.text_windows import TextWindows


def difficulty_scores(teacher: Any, windows: TextWindows, *, top_k: int = 10, batch_size: int = 32) -> NDArray[np.float32]:
    """Return `median_t [1(x_t among the teacher's k most probable) · −log P(x_t | x_<t)]` of each window.

    A token outside of the k most probable counts 0: noise, which a student could not learn from this teacher.

    Parameters
    ----------
    teacher
        A causal language model, best an early checkpoint of the one that teaches.
    windows
        w windows; places without a token are left out of the median.
    top_k
        k, at least 1.

    Returns
    -------
    (w,) float32, not negative; −inf for a window with nothing to learn.

    Examples
    --------
    >>> from steelyard.language.tiny_lm import tiny_lm
    >>> from steelyard.training.text_windows import text_windows
    >>> model, tokenizer = tiny_lm(["ab" * 9], size="nano", tokens=258, context=4, steps=1)
    >>> bool((difficulty_scores(model, text_windows(tokenizer, ["abab"], 4)) >= 0).all())
    True
    """
    if top_k < 1:
        raise ConfigError(f"difficulty_scores: top_k is {top_k}; it must be at least 1")
    scores = np.zeros(len(windows), dtype=np.float32)
    teacher.eval()
    with torch.no_grad():
        for start in range(0, len(windows), batch_size):
            read, targets = (part.to(device_of(teacher)) for part in windows.batch(slice(start, start + batch_size)))
            found = median_score(teacher(input_ids=read)["logits"].float(), targets, top_k)
            scores[start : start + batch_size] = found.cpu().numpy()
    return scores


def median_score(logits: torch.Tensor, targets: torch.Tensor, top_k: int) -> torch.Tensor:
    """The score of `difficulty_scores` from logits (b, t, v) and targets (b, t): (b,).

    Examples
    --------
    >>> logits = torch.tensor([[[2.0, 1.0, 0.0]] * 3])
    >>> round(float(median_score(logits, torch.tensor([[1, 1, 2]]), top_k=2)), 3)  # log(e² + e + 1) − 1, twice; the third is noise
    1.408
    """
    aims = targets.clamp(min=0)
    of_target = logits.gather(2, aims[..., None])
    possible = (logits > of_target).sum(-1) < top_k
    losses = functional.cross_entropy(logits.flatten(0, 1), aims.flatten(), reduction="none").view_as(targets)
    learned = torch.where(targets == IGNORED, torch.nan, losses * possible)
    return learned.nanquantile(0.5, dim=1).nan_to_num(nan=float("-inf"))


def select_challenging(scores: ArrayLike, budget: int) -> NDArray[np.int64]:
    """Return the positions of the `budget` highest scores, highest first, the earlier of equals first; all where there are fewer.

    Examples
    --------
    >>> select_challenging([0.2, 0.9, 0.2, 0.5], 3).tolist()
    [1, 3, 0]
    """
    if budget < 1:
        raise ConfigError(f"select_challenging: budget is {budget}; it must be at least 1")
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")[:budget]
    return order[np.isfinite(values[order])].astype(np.int64)
