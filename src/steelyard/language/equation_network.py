"""The network of the word-problem policy: words are read once, a decoder attends to them and points at the numbers among them.

Attention without input feeding (Luong, Pham, Manning 2015), so that a whole equation is scored in one pass; pointers as in Vinyals,
Fortunato, Jaitly 2015, "Pointer Networks".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from steelyard.language.notation import OPERATIONS

END = len(OPERATIONS)
"""Token that ends an equation; the operations are 0 … END − 1."""

FIRST_SLOT = END + 1
"""Token of the first number slot; slot s is FIRST_SLOT + s."""


class Batch(NamedTuple):
    """Padded rows: words (b, L, d) or (b, L), mask (b, L), and which word holds which slot, (b, S, L), rows summing to 1 or 0."""

    words: Tensor
    mask: Tensor
    slots: Tensor


@dataclass
class Rows:
    """Problems one after the other without padding: a batch is gathered, not stacked."""

    words: Tensor
    slots: Tensor
    starts: Tensor
    lengths: Tensor

    def take(self, index: Tensor) -> Batch:
        """Gather some problems as a padded batch, by position."""
        lengths = self.lengths[index]
        steps = torch.arange(int(lengths.max()))
        mask = steps < lengths[:, None]
        place = torch.where(mask, self.starts[index][:, None] + steps, 0)
        slots = torch.where(mask, self.slots[place], -1)
        holds = (slots[:, None, :] == torch.arange(int(slots.max()) + 1)[:, None]).float()
        return Batch(self.words[place], mask, holds / holds.sum(-1, keepdim=True).clamp(min=1))

    def __len__(self) -> int:
        return len(self.starts)


class EquationNetwork(nn.Module):
    """Reader and decoder.

    Parameters
    ----------
    hidden
        Units of every layer.
    d
        Size of the word vectors, or of the vocabulary where words are embedded here.
    embed
        Whether words come as numbers of a vocabulary, to be embedded and read by a bidirectional GRU, or as vectors.
    """

    def __init__(self, hidden: int, d: int, *, embed: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(d, hidden) if embed else None
        self.reader = nn.GRU(hidden, hidden // 2, batch_first=True, bidirectional=True) if embed else None
        self.projection = None if embed else nn.Linear(d, hidden)
        self.tokens = nn.Embedding(FIRST_SLOT + 1, hidden)  # operations, end, begin
        self.begin = nn.Linear(hidden, hidden)
        self.decoder = nn.GRU(hidden, hidden, batch_first=True)
        self.query = nn.Linear(hidden, hidden)
        self.join = nn.Linear(2 * hidden, hidden)
        self.choose = nn.Linear(hidden, FIRST_SLOT)
        self.point = nn.Linear(hidden, hidden)
        self.drop = nn.Dropout(0.0)

    def read(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Word states (b, L, h), states of the slots (b, S, h), first state of the decoder (1, b, h)."""
        if self.reader is not None and self.embedding is not None:
            lengths = batch.mask.sum(1)
            packed = nn.utils.rnn.pack_padded_sequence(
                self.drop(self.embedding(batch.words)), lengths, batch_first=True, enforce_sorted=False
            )
            states = nn.utils.rnn.pad_packed_sequence(self.reader(packed)[0], batch_first=True, total_length=batch.mask.shape[1])[0]
        else:
            assert self.projection is not None
            # One mask for all words of a problem (Gal, Ghahramani 2016): as good as one for each, and far cheaper to draw.
            kept = self.drop(torch.ones(len(batch.words), 1, batch.words.shape[-1]))
            states = torch.tanh(self.projection(kept * batch.words.float()))
        states = states * batch.mask[..., None]
        mean = states.sum(1) / batch.mask.sum(1, keepdim=True)
        return states, batch.slots @ states, torch.tanh(self.begin(mean))[None]

    def decode(self, inputs: Tensor, state: Tensor, words: Tensor, slots: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the next token (b, T, 5 + S) after each of T inputs, and the state after the last."""
        outputs, state = self.decoder(inputs, state)
        scores = (self.query(outputs) @ words.transpose(1, 2)).masked_fill(~batch.mask[:, None], -torch.inf)
        joint = torch.tanh(self.join(self.drop(torch.cat([outputs, scores.softmax(-1) @ words], -1))))
        pointers = (self.point(joint) @ slots.transpose(1, 2)).masked_fill(~batch.slots.any(-1)[:, None], -torch.inf)
        return torch.cat([self.choose(joint), pointers], -1).log_softmax(-1), state

    def embed_tokens(self, tokens: Tensor, slots: Tensor) -> Tensor:
        """Vectors (b, T, h) of tokens (b, T): a slot is shown as its state, −1 is the beginning."""
        places = (tokens - FIRST_SLOT).clamp(0, max(slots.shape[1] - 1, 0))[..., None].expand(-1, -1, slots.shape[2])
        plain = self.tokens(torch.where(tokens < 0, FIRST_SLOT, tokens.clamp(max=END)))
        return torch.where((tokens >= FIRST_SLOT)[..., None], slots.gather(1, places), plain) if slots.shape[1] else plain

    def log_likelihood(self, batch: Batch, targets: Tensor) -> Tensor:
        """log p of each row of targets (b, T), −1 after the end."""
        words, slots, state = self.read(batch)
        before = torch.cat([torch.full_like(targets[:, :1], -1), targets[:, :-1]], 1)
        log_p = self.decode(self.embed_tokens(before, slots), state, words, slots, batch)[0]
        return log_p.gather(-1, targets.clamp(min=0)[..., None])[..., 0].masked_fill(targets < 0, 0.0).sum(1)

    def write(self, rows: Rows, n: int, temperature: float, max_tokens: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Tokens (n·q, T) with the end in them and log p (n·q,) of what was drawn."""
        batch = rows.take(torch.arange(len(rows)))
        words, slots, state = self.read(batch)
        batch = Batch(*(part.repeat_interleave(n, 0) for part in (batch.mask, batch.mask, batch.slots)))
        words, slots, state = words.repeat_interleave(n, 0), slots.repeat_interleave(n, 0), state.repeat_interleave(n, 1)
        token, drawn = torch.full((len(words), 1), -1), []
        alive, score = torch.ones(len(words), dtype=torch.bool), torch.zeros(len(words))
        for _ in range(max_tokens):
            log_p, state = self.decode(self.embed_tokens(token, slots), state, words, slots, batch)
            log_p = log_p[:, -1]
            token = log_p.argmax(-1, keepdim=True) if temperature == 0 else _draw(log_p / temperature, generator)
            score += log_p.gather(1, token)[:, 0].masked_fill(~alive, 0.0)
            drawn.append(torch.where(alive[:, None], token, END))
            alive &= token[:, 0] != END
            if not alive.any():
                break
        ended = torch.cat(drawn, 1)
        # What is still alive has written max_tokens tokens and no end.
        return ended, score


def _draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)
