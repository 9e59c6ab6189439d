"""Completions as a causal model reads them: the rendered prompt, the text whole, the end token; only text and end are learned.

Guards two silent failures of chain-of-thought fine-tuning: templates that strip the reasoning, and windows that cut the answer off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset

from steelyard.causal_lm import context_tokens, pad_left, render_prompt
from steelyard.errors import TrainingError
from steelyard.training.token_rows import TokenRows

Rendering = Literal["raw", "template"]
Overlong = Literal["raise", "drop", "cut_prompt"]

_GUARDED = 200


@dataclass(frozen=True)
class CompletionRows:
    """Tokens of n prompts with their texts: of row i the last `lengths[i]` tokens are learned; `kept` are its positions in the input."""

    tokens: TokenRows
    lengths: NDArray[np.int64]
    kept: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)


class CompletionDataset(Dataset[Any]):
    """Rows of tokens with their learned lengths and weights."""

    def __init__(self, rows: CompletionRows, weights: NDArray[np.float32]) -> None:
        self.rows = rows
        self.weights = weights

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> tuple[NDArray[np.int32], np.int64, np.float32]:
        return self.rows.tokens[row], self.rows.lengths[row], self.weights[row]


class PadCompletions:
    """Collates rows of a `CompletionDataset`, padded on the left."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: list[Any]) -> dict[str, torch.Tensor]:
        """Return `ids` and `mask` (b, longest), `lengths` and `weights` (b,)."""
        tokens, lengths, weights = zip(*rows, strict=True)
        ids, mask = pad_left(tokens, self.pad)
        return {"ids": ids, "mask": mask, "lengths": torch.from_numpy(np.array(lengths)), "weights": torch.from_numpy(np.array(weights))}


def completion_rows(
    network: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    texts: Sequence[str],
    *,
    limit: int | None,
    rendering: Rendering = "raw",
    overlong: Overlong = "raise",
) -> CompletionRows:
    """Tokenise n prompts and texts.

    Parameters
    ----------
    limit
        Most tokens of a row; `None` for no limit.
    rendering
        "raw": the text as it is and the end token after the rendered prompt. "template": the chat template writes the answer's turn too.
    overlong
        What happens to a row that is longer: "raise", "drop", or "cut_prompt" (from the left). A text is never cut.

    Raises
    ------
    TrainingError
        The rendering lost the beginning of a text, a row is too long, or there is no end token.
    """
    opened = [render_prompt(tokenizer, prompt) for prompt in prompts]
    if rendering == "template":
        closed = [_templated(tokenizer, prompt, text, start) for prompt, text, start in zip(prompts, texts, opened, strict=True)]
        ends: list[int] = []
    else:
        closed = list(texts)
        if tokenizer.eos_token_id is None:
            raise TrainingError("the tokenizer has no end-of-text token, so the model could not learn to stop; set tokenizer.eos_token")
        ends = [int(tokenizer.eos_token_id)]
    for row, (text, written) in enumerate(zip(texts, closed, strict=True)):
        check_rendered(text, written, row)
    contexts = context_tokens(network, tokenizer, opened)
    answers = tokenizer(closed, add_special_tokens=False, verbose=False)["input_ids"] if closed else []
    answers = [[*answer, *ends] for answer in answers]
    kept = []
    for row, (context, answer) in enumerate(zip(contexts, answers, strict=True)):
        needed = len(context) + len(answer)
        if limit is None or needed <= limit:
            kept.append(row)
        elif overlong == "cut_prompt" and len(answer) < limit:
            contexts[row] = context[-(limit - len(answer)) :]
            kept.append(row)
        elif overlong != "drop":
            raise TrainingError(
                f"row {row} needs {needed} tokens ({len(context)} of the prompt), the model reads {limit}; cutting would lose the answer: "
                "shorten it, raise max_length or set overlong='drop'"
            )
    sizes = [len(contexts[row]) + len(answers[row]) for row in kept]
    flat = [np.asarray(part, dtype=np.int32) for row in kept for part in (contexts[row], answers[row])]
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
    tokens = TokenRows(np.concatenate(flat) if flat else np.zeros(0, dtype=np.int32), offsets, truncated=0)
    return CompletionRows(tokens, np.array([len(answers[row]) for row in kept], dtype=np.int64), np.array(kept, dtype=np.int64))


def row_weights(weights: ArrayLike | None, n: int) -> NDArray[np.float32]:
    """Return weights (n,) of mean 1 for n texts.

    Raises
    ------
    TrainingError
        They are no finite, non-negative numbers, or all zero.

    Examples
    --------
    >>> row_weights([1, 3], 2)
    array([0.5, 1.5], dtype=float32)
    """
    given = np.ones(n, dtype=np.float32) if weights is None else np.asarray(weights, dtype=np.float32)
    if given.shape != (n,) or not np.isfinite(given).all() or (given < 0).any():
        raise TrainingError(f"{n} texts need {n} finite weights that are not negative, got shape {given.shape}")
    if n == 0 or not given.any():
        raise TrainingError(f"there is nothing to learn from ({n} texts, weights sum to {given.sum():g})")
    return np.asarray(given / given.mean(dtype=np.float64), dtype=np.float32)


def check_rendered(text: str, rendered: str, row: int = 0) -> None:
    """Assert that the first 200 characters of `text` are in what the model will be trained on.

    Some chat templates delete the reasoning of an assistant's turn; the loss still falls, on the bare answers.

    Raises
    ------
    TrainingError
        They are not.

    Examples
    --------
    >>> check_rendered("<think>2 and 2</think>4", "<think>2 and 2</think>4<end>")
    >>> check_rendered("<think>2 and 2</think>4", "4<end>", row=3)
    Traceback (most recent call last):
    steelyard.errors.TrainingError: row 3: the chat template dropped the beginning of the text ('<think>2 and 2</think>4'); ...
    """
    if text[:_GUARDED].strip() not in rendered:
        raise TrainingError(
            f"row {row}: the chat template dropped the beginning of the text ({text[:40]!r}); the model would never learn it: "
            "use rendering='raw'"
        )


def _templated(tokenizer: Any, prompt: str, text: str, opened: str) -> str:
    """The answer's turn as the template writes it after the opened prompt."""
    if not getattr(tokenizer, "chat_template", None):
        raise TrainingError("rendering='template' needs a tokenizer with a chat template; use rendering='raw'")
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]
    whole = str(tokenizer.apply_chat_template(turns, tokenize=False))
    if not whole.startswith(opened):
        raise TrainingError("the chat template renders the prompt in another way once it is answered; use rendering='raw'")
    return whole[len(opened) :]
