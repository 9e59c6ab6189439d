"""A trigram language model of words: the weakest thing that writes text, a weak supervisor of generators.

Counts of one, two and three words, interpolated (Jelinek, Mercer 1980, "Interpolated estimation of Markov source parameters from sparse
data"). It samples as a `Policy` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator

from steelyard.completions import Completions
from steelyard.errors import ConfigError, TrainingError

_BATCH = 256


class TrigramLM(BaseEstimator):
    """P(w | u, v) = λ₃ c(uvw)/c(uv·) + λ₂ c(vw)/c(v·) + λ₁ c(w)/c(·); where a context was never seen its share goes to the others.

    Parameters
    ----------
    weights : (float, float, float)
        λ₁, λ₂, λ₃, for one word, two and three; positive.
    least : int
        A word that occurs less often is read but never written.
    max_words : int
        Longest text.
    top_p : float
        Share of the probability, most probable words first, that is drawn from.

    Attributes
    ----------
    words_ : tuple of str
        The v words that may be written, the last is the end "".

    Examples
    --------
    >>> model = TrigramLM(least=1).fit(Completions(["the cat", "the dog"], [" sat down", " sat down"]))
    >>> model.sample(["a cat"], temperature=0).texts
    (' sat down',)
    """

    def __init__(
        self, *, weights: tuple[float, float, float] = (0.1, 0.3, 0.6), least: int = 2, max_words: int = 20, top_p: float = 1.0
    ) -> None:
        self.weights = weights
        self.least = least
        self.max_words = max_words
        self.top_p = top_p

    def fit(self, completions: Completions) -> Self:
        """Count the words of prompts and texts, n of each; a text follows its prompt.

        Raises
        ------
        ConfigError
            Weights that are not positive, `top_p` outside (0, 1], `max_words` below 1.
        TrainingError
            No word occurs `least` times.
        """
        if min(self.weights) <= 0 or not 0 < self.top_p <= 1 or self.max_words < 1:
            raise ConfigError(
                f"TrigramLM: weights {self.weights} must be positive, top_p={self.top_p} in (0, 1], max_words={self.max_words} at least 1"
            )
        rows = [(prompt + text).split() for prompt, text in zip(completions.prompts, completions.texts, strict=True)]
        counts = Counter(word for row in rows for word in row)
        kept = sorted(word for word, count in counts.items() if count >= self.least)
        if not kept:
            raise TrainingError(f"TrigramLM: no word occurs {self.least} times in {len(rows)} texts; give it more text or a smaller least")
        self.words_ = (*kept, "")
        # Codes: words, the end, a word that is not written, the void before a text.
        self._code = {word: code for code, word in enumerate(kept)}
        end, void = len(kept), len(kept) + 2
        codes = [np.array([void, void, *self._codes(row), end]) for row in rows]
        first, second, third = (np.concatenate([row[start : len(row) - 2 + start] for row in codes]) for start in range(3))
        written = third <= end
        first, second, third = first[written], second[written], third[written]
        width, self._base = len(self.words_), void + 1
        self._one = np.bincount(third, minlength=width) / len(third)
        self._two = _shares(second, third, (self._base, width))
        self._pairs, places = np.unique(first * self._base + second, return_inverse=True)
        # The last row is empty: the context that was never seen.
        self._three = _shares(places, third, (len(self._pairs) + 1, width))
        return self

    def probabilities(self, contexts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return P(next word), (b, v), rows sum to 1, of the codes (b, 2) of the two words before."""
        keys = contexts[:, 0] * self._base + contexts[:, 1]
        places = np.minimum(np.searchsorted(self._pairs, keys), len(self._pairs) - 1)
        places = np.where(self._pairs[places] == keys, places, len(self._pairs))
        one, two, three = self.weights
        mixed = one * self._one + two * self._two[contexts[:, 1]].toarray() + three * self._three[places].toarray()
        return np.asarray(mixed / mixed.sum(axis=1, keepdims=True))

    def sample(self, prompts: Sequence[str], n: int = 1, *, temperature: float = 1.0, seed: int = 0) -> Completions:
        """Write n texts for each prompt, as `Policy.sample` does but without `logprobs`. A text with words begins with a space."""
        if not hasattr(self, "words_"):
            raise TrainingError("TrigramLM is not fitted; call fit(completions) first")
        if n < 1 or temperature < 0:
            raise ConfigError(f"sample: n is {n} and temperature {temperature}; n must be at least 1, temperature not negative")
        rows, rng = np.repeat(np.arange(len(prompts)), n), np.random.default_rng(seed)
        starts = np.array([self.context(prompt) for prompt in prompts]).reshape(-1, 2)[rows]
        drawn = [self._grow(starts[begin : begin + _BATCH], temperature, rng) for begin in range(0, len(rows), _BATCH)]
        texts = ["".join(f" {self.words_[code]}" for code in row if code < len(self.words_) - 1) for part in drawn for row in part]
        finished = np.array([(row == len(self.words_) - 1).any() for part in drawn for row in part], dtype=bool)
        return Completions([prompts[int(row)] for row in rows], texts, rows=rows, finished=finished)

    def context(self, text: str) -> NDArray[np.int64]:
        """Return the codes (2,) of the last two words."""
        void = self._base - 1
        return np.array([void, void, *self._codes(text.split())], dtype=np.int64)[-2:]

    def _codes(self, words: Sequence[str]) -> list[int]:
        return [self._code.get(word, len(self._code) + 1) for word in words]

    def _grow(self, contexts: NDArray[np.int64], temperature: float, rng: np.random.Generator) -> NDArray[np.int64]:
        """Codes (b, max_words); after the end only ends."""
        end = len(self.words_) - 1
        codes = np.full((len(contexts), self.max_words), end)
        going = np.arange(len(contexts))
        for step in range(self.max_words):
            with np.errstate(divide="ignore"):
                keys = np.log(self.probabilities(contexts[going]))
            if temperature > 0:
                keys = _nucleus(keys / temperature, self.top_p) + rng.gumbel(size=keys.shape)
            codes[going, step] = keys.argmax(axis=1)
            contexts[going] = np.column_stack([contexts[going, 1], codes[going, step]])
            going = going[codes[going, step] != end]
            if not len(going):
                break
        return codes


def _shares(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]) -> sparse.csr_matrix:
    """Counts of (row, column), each row divided by its sum; an empty row stays empty."""
    table = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()
    return sparse.csr_matrix(sparse.diags(1 / np.maximum(np.asarray(table.sum(axis=1)).ravel(), 1)) @ table)


def _nucleus(logits: NDArray[np.float64], top_p: float) -> NDArray[np.float64]:
    """−inf for all but the most probable columns that together hold `top_p`."""
    if top_p == 1:
        return logits
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    order = np.argsort(-p, axis=1, kind="stable")
    ordered = np.take_along_axis(p, order, axis=1)
    before = np.empty_like(p)
    np.put_along_axis(before, order, ordered.cumsum(axis=1) - ordered, axis=1)
    return np.where(before < top_p, logits, -np.inf)
