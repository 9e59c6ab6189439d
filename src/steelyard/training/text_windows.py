"""Plain texts as a causal model reads them in pretraining: one stream of tokens, cut into windows, in an order that is known beforehand.

A fixed order is what makes arms of a comparison differ by their loss alone, and what lets a first stage read chosen windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset

from steelyard.errors import ConfigError, TrainingError
from steelyard.training.objectives.token_weighted import IGNORED

_CHARACTERS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class TextWindows:
    """w windows of c + 1 tokens, of which the first c are read and the last c are to be foretold.

    Parameters
    ----------
    ids
        (w, c + 1) int32 tokens; `IGNORED` where a window is not full. Each begins with the token that the one before it ended with.

    Examples
    --------
    >>> windows = TextWindows(np.array([[5, 6, 7], [7, 8, IGNORED]], dtype=np.int32))
    >>> len(windows), windows.context, windows.learned
    (2, 2, 3)
    """

    ids: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def context(self) -> int:
        """Tokens that the model reads at once."""
        return int(self.ids.shape[1]) - 1

    @property
    def learned(self) -> int:
        """Number of tokens to be foretold."""
        return int((self.ids[:, 1:] != IGNORED).sum())

    def take(self, rows: ArrayLike) -> TextWindows:
        """Some of the windows, by position or mask."""
        return TextWindows(self.ids[np.asarray(rows)])

    def batch(self, rows: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is read and what is to be foretold, (b, c) int64 each; padding is read as token 0 and never learned."""
        ids = torch.from_numpy(self.ids[rows].astype(np.int64))
        return ids[:, :-1].clamp(min=0), ids[:, 1:]


def text_windows(tokenizer: Any, texts: Sequence[str], context: int) -> TextWindows:
    """Tokenise texts one after the other, each ended by the end token where the tokenizer has one, and cut the stream into windows.

    Parameters
    ----------
    texts
        Any number of strings of any length.
    context
        Tokens that the model reads at once, at least 1.

    Raises
    ------
    ConfigError
        The context is smaller than 1.
    TrainingError
        The texts hold fewer than two tokens.

    Examples
    --------
    >>> from steelyard.language.tiny_lm import tiny_lm
    >>> windows = text_windows(tiny_lm(["ab"], size="nano", tokens=258, steps=0).tokenizer, ["abcde"], context=4)
    >>> windows.ids.shape, windows.learned  # five letters and the end token
    ((2, 5), 5)
    """
    if context < 1:
        raise ConfigError(f"text_windows: context is {context}; a window reads at least 1 token")
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    parts = [np.zeros(0, dtype=np.int32)]
    for some in _groups(texts):
        rows = tokenizer(some, add_special_tokens=False, verbose=False)["input_ids"]
        parts += [np.asarray([*row, *end], dtype=np.int32) for row in rows if row]
    stream = np.concatenate(parts)
    if len(stream) < 2:
        raise TrainingError(
            f"{len(texts)} texts hold {len(stream)} tokens; a language model needs at least two to learn one from the other"
        )
    count = -(-(len(stream) - 1) // context)
    padded = np.full(count * context + 1, IGNORED, dtype=np.int32)
    padded[: len(stream)] = stream
    return TextWindows(np.lib.stride_tricks.sliding_window_view(padded, context + 1)[::context].copy())


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in groups of bounded length: a tokenizer needs many times the memory of what it reads."""
    group: list[str] = []
    length = 0
    for text in texts:
        if group and length + len(text) > _CHARACTERS_AT_ONCE:
            yield group
            group, length = [], 0
        group.append(text)
        length += len(text)
    if group:
        yield group


def reading_order(n: int, length: int, seed: int, first: ArrayLike | None = None) -> NDArray[np.int64]:
    """Return which of n windows are read, one after the other: shuffled passes, after those that are to come first.

    Parameters
    ----------
    n
        Number of windows.
    length
        Number of windows to read.
    seed
        Decides the passes. With `first` they begin after its end exactly as they would have gone on without it.
    first
        Positions of the windows to read first, each once, in an order drawn from the seed; cut to `length`.

    Examples
    --------
    >>> reading_order(4, 6, seed=0).tolist()
    [2, 0, 1, 3, 3, 2]
    >>> reading_order(4, 6, seed=0, first=[1, 2]).tolist()
    [1, 2, 1, 3, 3, 2]
    """
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(n) for _ in range(max(1, -(-length // n)))])[:length].astype(np.int64)
    if first is not None:
        chosen = np.asarray(first, dtype=np.int64)
        if chosen.ndim != 1 or ((chosen < 0) | (chosen >= n)).any():
            raise ConfigError(f"reading_order: the windows to read first must be positions from 0 to {n - 1}")
        chosen = np.random.default_rng([seed, 1]).permutation(chosen)[:length]
        order[: len(chosen)] = chosen
    return order


class OrderedWindows(Dataset[Any]):
    """The windows in the order in which they are read, with what else an objective reads of each.

    Parameters
    ----------
    windows
        w windows.
    order
        (n,) positions of windows.
    columns
        Further arrays by name, (w, …) each, such as soft labels that were made before.
    """

    def __init__(self, windows: TextWindows, order: NDArray[np.int64], columns: dict[str, Any] | None = None) -> None:
        self.windows = windows
        self.order = order
        self.columns = columns or {}

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> int:
        return int(self.order[place])

    def collate(self, reads: Sequence[str]) -> Any:
        """Return the function that makes a batch of positions: the model's `input_ids`, `targets`, `weights`, and the columns in `reads`.

        `tokens` are the `input_ids` once more, for an objective that shows them to another model.
        """

        def batch(rows: list[int]) -> dict[str, torch.Tensor]:
            read, targets = self.windows.batch(rows)
            made = {"input_ids": read, "targets": targets, "weights": torch.ones(len(rows))}
            if "tokens" in reads:
                made["tokens"] = read.clone()
            taken = {name: np.asarray(column[np.asarray(rows)]) for name, column in self.columns.items() if name in reads}
            return made | {name: torch.from_numpy(values) for name, values in taken.items()}

        return batch
