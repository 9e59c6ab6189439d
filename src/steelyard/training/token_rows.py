"""Texts as a model reads them: token ids kept flat in one array, padded batch by batch.

Also what must be known of a tokenizer before that: its padding token and how many tokens the model can take.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from steelyard.encoders import positions_of
from steelyard.errors import TrainingError

_CHUNK = 1000
_NO_LIMIT = 1_000_000  # tokenizers without a limit report an astronomical one


@dataclass(frozen=True)
class TokenRows:
    """Token ids of n texts: row i is `ids[offsets[i]:offsets[i + 1]]`; `truncated` texts were longer than the model's context."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    truncated: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self.ids[self.offsets[row] : self.offsets[row + 1]]

    def take(self, rows: NDArray[np.int64]) -> TokenRows:
        """Some of the rows; `truncated` still counts all texts."""
        ids = np.concatenate([self[row] for row in rows])
        return TokenRows(ids, np.concatenate([[0], np.cumsum(self.lengths[rows])]).astype(np.int64), self.truncated)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) number of tokens of each text."""
        return np.diff(self.offsets)


class SoftDataset(Dataset[Any]):
    """Rows of tokens with their probabilistic targets (n, k) and weights (n,)."""

    def __init__(self, tokens: TokenRows, probabilities: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        self.tokens = tokens
        self.probabilities = probabilities
        self.weights = weights

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32], np.float32]:
        return self.tokens[row], self.probabilities[row], self.weights[row]


class PadBatch:
    """Collates rows of a `SoftDataset` into tensors, padded to the longest of the batch."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: list[Any]) -> dict[str, torch.Tensor]:
        """Return `input_ids`, `attention_mask` (b, longest), `targets` (b, k) and `weights` (b,)."""
        tokens, targets, weights = zip(*rows, strict=True)
        batch = pad_rows(tokens, self.pad)
        batch["targets"] = torch.from_numpy(np.stack(targets))
        batch["weights"] = torch.from_numpy(np.asarray(weights, dtype=np.float32))
        return batch


def pad_rows(tokens: Sequence[NDArray[np.int32]], pad: int) -> dict[str, torch.Tensor]:
    """Return `input_ids` and `attention_mask` (b, longest) of b rows of tokens, padded on the right.

    Examples
    --------
    >>> batch = pad_rows([np.array([7, 8]), np.array([9])], pad=0)
    >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist()
    ([[7, 8], [9, 0]], [[1, 1], [1, 0]])
    """
    lengths = np.array([len(row) for row in tokens])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad, dtype=np.int64)
    ids[mask] = np.concatenate(tokens)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def tokenize(tokenizer: Any, texts: Sequence[str], limit: int) -> TokenRows:
    """Return the token ids of `texts`, each cut to `limit` tokens; an empty text becomes one padding token."""
    parts: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    truncated = 0
    for start in range(0, len(texts), _CHUNK):
        chunk = list(texts[start : start + _CHUNK])
        options = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
        rows = tokenizer(chunk, truncation=True, max_length=limit, **options)["input_ids"]
        # Only a row that fills the limit can have been cut, so only those are read again whole.
        full = [index for index, row in enumerate(rows) if len(row) >= limit]
        if full:
            whole = tokenizer([chunk[index] for index in full], truncation=False, **options)["input_ids"]
            truncated += sum(len(row) > limit for row in whole)
        rows = [row or [tokenizer.pad_token_id] for row in rows]
        lengths.extend(len(row) for row in rows)
        parts.append(np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]))
    ids = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
    return TokenRows(ids, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64), truncated)


def batches_by_length(tokens: TokenRows, size: int) -> Iterator[NDArray[np.int64]]:
    """Yield the row numbers in batches of similar length, longest first: little padding, and running out of memory shows at once.

    Examples
    --------
    >>> rows = TokenRows(np.arange(6, dtype=np.int32), np.array([0, 1, 4, 6]), truncated=0)
    >>> [batch.tolist() for batch in batches_by_length(rows, 2)]
    [[1, 2], [0]]
    """
    order = np.argsort(-tokens.lengths, kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]


def ensure_padding(tokenizer: Any, model: Any) -> None:
    """Give the tokenizer a padding token (its end-of-text, else its unknown token) and tell the model which it is.

    Raises
    ------
    TrainingError
        The tokenizer has none of the three.
    """
    if tokenizer.pad_token_id is None:
        replacement = tokenizer.eos_token or tokenizer.unk_token
        if replacement is None:
            raise TrainingError(
                "the tokenizer has no padding, end-of-text or unknown token; set tokenizer.pad_token and save it with the model"
            )
        tokenizer.pad_token = replacement
    # Decoders read their class at the last token that is not padding.
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id


def context_length(tokenizer: Any, model: Any, asked: int | None) -> int:
    """Return the most tokens a text may have: what was asked, but no more than tokenizer and model can take."""
    limits = [asked, tokenizer.model_max_length if tokenizer.model_max_length < _NO_LIMIT else None, positions_of(model)]
    known = [int(limit) for limit in limits if limit]
    return min(known) if known else 512
