"""Soft labels of a language model made once for all windows, its most probable tokens with log-probabilities; whether it may teach.

What SALT (Rawat et al. 2024) reads instead of running its teacher in every step; exact where all tokens are kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steelyard.causal_lm import device_of
from steelyard.errors import ConfigError, TrainingError
from steelyard.training.objectives.token_weighted import IGNORED
from steelyard.training.pretraining import mean_loss
from steelyard.training.text_windows import TextWindows


def teacher_targets(teacher: Any, windows: TextWindows, top: int, *, batch_size: int = 32) -> dict[str, NDArray[Any]]:
    """Return the `top` most probable tokens of each place, as columns that `CausalPretrainer.fit` and `DistillMix` take.

    Parameters
    ----------
    teacher
        A causal language model.
    windows
        w windows of c tokens.
    top
        Tokens to keep, from 1 to the vocabulary.

    Returns
    -------
    dict
        "soft_tokens" (w, c, top) int32 and "soft_logprobs" (w, c, top) float32, most probable first.

    Examples
    --------
    >>> from steelyard.language.tiny_lm import tiny_lm
    >>> from steelyard.training.text_windows import text_windows
    >>> model, tokenizer = tiny_lm(["ab" * 9], size="nano", tokens=258, context=4, steps=1)
    >>> {name: column.shape for name, column in teacher_targets(model, text_windows(tokenizer, ["abab"], 4), top=3).items()}
    {'soft_tokens': (1, 4, 3), 'soft_logprobs': (1, 4, 3)}
    """
    width = int(teacher.config.get_text_config().vocab_size)
    if not 1 <= top <= width:
        raise ConfigError(f"teacher_targets: top is {top}; it must be from 1 to the vocabulary of {width}")
    tokens = np.zeros((len(windows), windows.context, top), dtype=np.int32)
    logprobs = np.zeros(tokens.shape, dtype=np.float32)
    teacher.eval()
    with torch.no_grad():
        for start in range(0, len(windows), batch_size):
            read, _ = windows.batch(slice(start, start + batch_size))
            found = teacher(input_ids=read.to(device_of(teacher)))["logits"].float().log_softmax(-1).topk(top, dim=-1)
            logprobs[start : start + batch_size] = found.values.cpu().numpy()
            tokens[start : start + batch_size] = found.indices.cpu().numpy()
    return {"soft_tokens": tokens, "soft_logprobs": logprobs}


def unigram_loss(windows: TextWindows, vocabulary: int) -> float:
    """Nats per token of the best model that reads nothing: the entropy of the token frequencies, each count raised by one.

    Examples
    --------
    >>> round(unigram_loss(TextWindows(np.array([[0, 0, 1, 0, 1]], dtype=np.int32)), vocabulary=2), 4)
    0.6931
    """
    learned = windows.ids[:, 1:]
    counts = np.bincount(learned[learned != IGNORED], minlength=vocabulary)
    log_p = np.log((counts + 1) / (counts.sum() + vocabulary))
    return float(-(counts * log_p).sum() / counts.sum())


def check_teacher(teacher: Any, windows: TextWindows) -> float:
    """Return the teacher's loss in nats per token; a teacher that knows less than the token frequencies is refused.

    Raises
    ------
    TrainingError
        Its loss is above `unigram_loss`, or it has not the vocabulary of the windows.
    """
    width = int(teacher.config.get_text_config().vocab_size)
    if int(windows.ids.max()) >= width:
        raise TrainingError(
            f"the teacher knows {width} tokens, the text has token {windows.ids.max()}; teacher and student need one tokenizer"
        )
    loss, simplest = mean_loss(teacher, windows), unigram_loss(windows, width)
    if not loss < simplest:
        raise TrainingError(
            f"the teacher's loss of {loss:.3f} nats per token is no better than the {simplest:.3f} of bare token frequencies; "
            "train it longer or choose another"
        )
    return loss
