"""A small policy that answers word problems with equations: words → attention decoder whose pointers choose among the problem's numbers.

Stands in for a language model in proofs that must run on one core: it samples, scores, and is fine-tuned as `CausalStudent` is, its texts
are verifiable, and its steps are operations. Pointers: Vinyals, Fortunato, Jaitly 2015; attention: Luong, Pham, Manning 2015.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from steelyard.completions import Completions
from steelyard.errors import ConfigError, DataError, TrainingError
from steelyard.language.equation_network import END, FIRST_SLOT, EquationNetwork, Rows
from steelyard.language.notation import NUMBER, OPERATIONS
from steelyard.language.word_features import WordFeatures
from steelyard.training.completion_rows import row_weights
from steelyard.training.policy import LogProbabilities, Policy

_WORD = re.compile(rf"{NUMBER.pattern}|\w+(?:'\w+)?|[^\w\s]")


@dataclass(frozen=True)
class Problem:
    """A prompt as the policy sees it: words with every number replaced by the name of its slot, and what the slots hold.

    Equal numbers share a slot, so that every equation over the numbers has one spelling.
    """

    words: tuple[str, ...]
    slots: tuple[int, ...]
    numbers: tuple[str, ...]


@lru_cache(maxsize=65536)
def read_problem(prompt: str) -> Problem:
    """Split a prompt into words and number slots.

    Examples
    --------
    >>> read_problem("He has 3 red and 3.0 blue pens, 12 in all?").numbers
    ('3', '12')
    """
    words: list[str] = []
    slots: list[int] = []
    numbers: dict[Fraction, str] = {}
    for token in _WORD.findall(prompt):
        slot, shown = -1, token.lower()
        if NUMBER.fullmatch(token):
            slot = list(numbers).index(_amount(token)) if _amount(token) in numbers else len(numbers)
            numbers.setdefault(_amount(token), token)
            shown = f"number{slot}"
        words.append(shown)
        slots.append(slot)
    return Problem(tuple(words) or ("",), tuple(slots) or (-1,), tuple(numbers.values()))


class EquationPolicy(Policy):
    """Writes equations, prefix or postfix as it was taught, over the numbers of a word problem.

    Parameters
    ----------
    features
        Frozen word vectors to read the problem with. `None`: own word embeddings and a bidirectional GRU, learned from scratch.
    start
        A fitted policy whose weights `fit` starts from and that speaks until then; it decides `features` and `hidden`.
    hidden
        Units of the decoder.
    dropout
        On inputs and on the decoder's output, while training.
    epochs, batch_size, learning_rate, weight_decay
        AdamW; the rate falls linearly to zero.
    max_tokens
        Tokens after which sampling stops; a text stopped so counts as not finished.
    seed
        Initial weights, order of the rows and dropout.

    Examples
    --------
    >>> prompts = [f"Ann has {a} pens and buys {b} more . How many has she ?" for a in range(2, 9) for b in range(10, 14)]
    >>> sums = Completions(prompts, ["+ {} {}".format(*prompt.split()[2:7:4]) for prompt in prompts])
    >>> policy = EquationPolicy(hidden=16, epochs=80, dropout=0.0).fit(sums)
    >>> policy.sample(["Ann has 70 pens and buys 31 more . How many has she ?"], temperature=0).texts
    ('+ 70 31',)
    """

    network_: EquationNetwork
    vocabulary_: dict[str, int] | None

    def __init__(
        self,
        features: WordFeatures | None = None,
        *,
        start: EquationPolicy | None = None,
        hidden: int = 96,
        dropout: float = 0.3,
        epochs: int = 25,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        max_tokens: int = 12,
        seed: int = 0,
    ) -> None:
        if hidden < 2 or hidden % 2 or not 0 <= dropout < 1 or epochs < 1 or batch_size < 1 or max_tokens < 1:
            given = f"hidden={hidden}, dropout={dropout}, epochs={epochs}, batch_size={batch_size}, max_tokens={max_tokens}"
            raise ConfigError(f"EquationPolicy: {given}; hidden must be even, dropout in [0, 1), the others at least 1")
        self.features = features
        self.start = start
        self.hidden = hidden
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.max_tokens = max_tokens
        self.seed = seed
        if start is not None:
            start._check_ready()
            self.features, self.hidden = start.features, start.hidden
            self.vocabulary_, self.network_ = start.vocabulary_, copy.deepcopy(start.network_)
            self.network_.requires_grad_(True)

    def fit(self, completions: Completions, weights: ArrayLike | None = None) -> Self:
        """Learn n equations; an equation with a number that its problem lacks raises `TrainingError`."""
        importance = torch.from_numpy(row_weights(weights, len(completions)))
        problems = [read_problem(prompt) for prompt in completions.prompts]
        targets = _targets(problems, completions.texts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if self.start is not None:
                self.vocabulary_, self.network_ = self.start.vocabulary_, copy.deepcopy(self.start.network_).requires_grad_(True)
            else:
                self.vocabulary_ = None if self.features is not None else _vocabulary(problems)
                d = self._rows(problems[:1]).words.shape[-1] if self.features is not None else len(self.vocabulary_ or ()) + 2
                self.network_ = EquationNetwork(self.hidden, d, embed=self.features is None)
            self._descend(self._rows(problems), targets, importance)
        return self

    def _descend(self, rows: Rows, targets: Tensor, importance: Tensor) -> None:
        optimizer = torch.optim.AdamW(self.network_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)
        n = len(targets)
        steps = self.epochs * -(-n // self.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        self.network_.train()
        self.network_.drop.p = self.dropout
        for _ in range(self.epochs):
            for batch in torch.randperm(n).split(self.batch_size):
                y = targets[batch]
                y = y[:, : int((y >= 0).sum(1).max())]
                loss = -(importance[batch] * self.network_.log_likelihood(rows.take(batch), y)).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        self.network_.eval()
        if not all(bool(parameter.isfinite().all()) for parameter in self.network_.parameters()):
            raise TrainingError(f"training diverged (weights are not finite); lower learning_rate ({self.learning_rate})")

    def sample(self, prompts: Sequence[str], n: int = 1, *, temperature: float = 1.0, seed: int = 0) -> Completions:
        """Write n equations for each of q prompts."""
        self._check_ready()
        if temperature < 0 or n < 1:
            raise ConfigError(f"sample: n ({n}) must be at least 1 and temperature ({temperature}) not negative")
        generator = torch.Generator().manual_seed(seed)
        problems = [read_problem(prompt) for prompt in prompts]
        parts = []
        for start in range(0, len(problems), 256):
            rows = self._rows(problems[start : start + 256])
            with torch.no_grad():
                parts.append(self.network_.eval().write(rows, n, temperature, self.max_tokens, generator))
        tokens, scores = ([part[i] for part in parts] for i in range(2))
        written = [row for block in tokens for row in block.tolist()]
        texts, finished = [], []
        for i, row in enumerate(written):
            stop = row.index(END) if END in row else len(row)
            finished.append(END in row)
            texts.append(" ".join(OPERATIONS[t] if t < END else problems[i // n].numbers[t - FIRST_SLOT] for t in row[:stop]))
        return Completions(
            [prompt for prompt in prompts for _ in range(n)],
            texts,
            rows=np.repeat(np.arange(len(problems)), n),
            logprobs=torch.cat(scores).numpy() if scores else np.zeros(0, np.float32),
            finished=np.array(finished, dtype=np.bool_),
        )

    def log_probabilities(self, prompts: Sequence[str], texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return log p of each whole equation with its end, (n,), and its number of tokens with the end."""
        return self.prepared(prompts, texts)(np.arange(len(prompts)))

    def prepared(self, prompts: Sequence[str], texts: Sequence[str]) -> LogProbabilities:
        """Read the problems once; see `Policy.prepared`."""
        self._check_ready()
        problems = [read_problem(prompt) for prompt in prompts]
        rows, targets = self._rows(problems), _targets(problems, texts)

        def score(part: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
            index = torch.from_numpy(part)
            return self.network_.eval().log_likelihood(rows.take(index), targets[index]), (targets[index] >= 0).sum(1)

        return score

    def parameters(self) -> list[nn.Parameter]:
        """Return the weights of the reader and the decoder; frozen word vectors are not among them."""
        self._check_ready()
        return list(self.network_.parameters())

    def _check_ready(self) -> None:
        if not hasattr(self, "network_"):
            raise TrainingError("this EquationPolicy has no weights yet; call fit(completions) or give it a fitted start")

    def _rows(self, problems: Sequence[Problem]) -> Rows:
        lengths = torch.tensor([len(problem.words) for problem in problems])
        if self.features is not None:
            flat = torch.from_numpy(np.concatenate(self.features.encode([problem.words for problem in problems])))
        else:
            known = self.vocabulary_ or {}
            flat = torch.tensor([known.get(word, 1) for problem in problems for word in problem.words])
        slots = torch.tensor([slot for problem in problems for slot in problem.slots])
        return Rows(flat, slots, lengths.cumsum(0) - lengths, lengths)


def _targets(problems: Sequence[Problem], texts: Sequence[str]) -> Tensor:
    """Token numbers (n, T) of equations with their end, −1 behind it."""
    rows = []
    for i, (problem, text) in enumerate(zip(problems, texts, strict=True)):
        place = {_amount(number): FIRST_SLOT + slot for slot, number in enumerate(problem.numbers)}
        try:
            rows.append([OPERATIONS.index(t) if t in OPERATIONS else place[_amount(t)] for t in text.split()] + [END])
        except (KeyError, ValueError):
            raise DataError(
                f"row {i}: '{text}' is no equation over the numbers of its problem, which are {', '.join(problem.numbers) or 'none'}"
            ) from None
    width = max(map(len, rows), default=1)
    return torch.tensor([row + [-1] * (width - len(row)) for row in rows]).reshape(len(rows), width)


def _vocabulary(problems: Sequence[Problem]) -> dict[str, int]:
    """Words that occur at least twice, from 2 on; 0 is padding, 1 stands for every other word."""
    counts = Counter(word for problem in problems for word in problem.words)
    return {word: i for i, word in enumerate((word for word, count in sorted(counts.items()) if count > 1), start=2)}


def _amount(number: str) -> Fraction:
    return Fraction(number.replace(",", ""))
