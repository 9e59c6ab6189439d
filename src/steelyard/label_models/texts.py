"""Rover: several transcripts of the same thing are aligned word by word, and every word is put to the vote.

Fiscus, "A post-processing system to yield reduced word error rates: Recognizer Output Voting Error Reduction (ROVER)", ASRU 1997.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from steelyard.errors import LabelModelError
from steelyard.label_models.answers import Answers, as_answers, known_texts

NOTHING = ""
"""The word of a transcript that has none in a slot."""

Slot = dict[str, list[tuple[float, float]]]
"""What was said in one slot of the network: word → (weight, confidence) of everybody who said it."""

_GRID = np.linspace(0, 1, 11)


class Rover(BaseEstimator):
    r"""Word transition networks by dynamic programming, then a vote in each slot.

    The first transcript of a task is a row of slots. Each further one is aligned with the slots so far at least cost: 0 for a word
    that the slot holds already (or no word, where somebody had none), 1 for another word, a new slot or a skipped one. In each slot
    the word with the best score wins,

    score(w) = α Σ_{j says w} W_j / Σ_j W_j + (1 - α) · mean confidence of those who say w.

    Having no word competes with the confidence `null_confidence`. Ties go to a word rather than to nothing, then to the longer one,
    then to the later one in the alphabet.

    Parameters
    ----------
    alpha : float
        In [0, 1]: 1 votes by weight alone. Learned where known texts and confidences are given.
    null_confidence : float
        In [0, 1]. Learned with `alpha`.
    tokenize : function str → sequence of str
    join : function sequence of str → str

    Attributes
    ----------
    workers_ : tuple of str
    weights_ : (m,) float64
        W_j: share of right words in the known texts, 1 - edits / words, at least 0.01; the mean of the others for a worker without any
        known text; 1 for all when nothing is known.
    alpha_, null_confidence_ : float

    Examples
    --------
    >>> table = {"task": ["t"] * 3, "worker": ["Ann", "Bo", "Cy"], "text": ["the cat sat", "a cat sat down", "the bat sat"]}
    >>> Rover().fit(table).predict(table)["text"].to_list()
    ['the cat sat']
    """

    def __init__(
        self,
        alpha: float = 1.0,
        null_confidence: float = 0.0,
        tokenize: Callable[[str], Sequence[str]] = str.split,
        join: Callable[[Sequence[str]], str] = " ".join,
    ) -> None:
        self.alpha = alpha
        self.null_confidence = null_confidence
        self.tokenize = tokenize
        self.join = join

    def fit(self, answers: Answers | Any, gold: Any = None) -> Self:
        """Learn the workers' weights, and how far to trust confidences, from known texts.

        Parameters
        ----------
        answers : Answers, or a table with columns ``task``, ``worker`` and ``text``
        gold : table with columns ``task`` and ``text``, optional
            Some tasks' true texts.
        """
        if not (0 <= self.alpha <= 1 and 0 <= self.null_confidence <= 1):
            raise LabelModelError(f"alpha ({self.alpha}) and null_confidence ({self.null_confidence}) must lie in [0, 1]")
        read = as_answers(answers)
        self.workers_, self.weights_ = read.workers, np.ones(len(read.workers))
        self.alpha_, self.null_confidence_ = self.alpha, self.null_confidence
        if gold is None:
            return self
        truth = {task: list(self.tokenize(text)) for task, text in known_texts(gold).items()}
        rows = [(i, truth[read.tasks[t]]) for i, t in enumerate(read.task) if read.tasks[t] in truth]
        if not rows:
            raise LabelModelError(f"no answer is about a known task; the first known task is '{next(iter(truth), '')}'")
        edits, words = np.zeros((2, len(self.workers_)))
        for i, known in rows:
            words[read.worker[i]] += len(known)
            edits[read.worker[i]] += edit_distance(list(self.tokenize(read.texts[i])), known)
        right = np.maximum(1 - edits / np.where(words > 0, words, np.nan), 0.01)
        self.weights_ = np.where(words > 0, right, np.nanmean(right) if (words > 0).any() else 1.0)
        if read.confidences is not None:
            self._learn_alpha(read, truth)
        return self

    def predict(self, answers: Answers | Any) -> pl.DataFrame:
        """One text per task: ``task``, ``text`` and ``agreement``, the mean share of weight behind its words and gaps (1 if none)."""
        if not hasattr(self, "weights_"):
            raise LabelModelError("this Rover is not fitted yet; call `fit` first")
        read = as_answers(answers)
        texts, agreement = [], []
        for network in self._networks(read, range(len(read.tasks))):
            said = [_winner(slot, self.alpha_, self.null_confidence_) for slot in network]
            texts.append(self.join([word for word in said if word != NOTHING]))
            shares = [sum(w for w, _ in slot[word]) / _weight(slot) for slot, word in zip(network, said, strict=True)]
            agreement.append(float(np.mean(shares)) if shares else 1.0)
        return pl.DataFrame({"task": read.tasks, "text": texts, "agreement": agreement}, schema_overrides={"text": pl.String})

    def _networks(self, answers: Answers, tasks: Sequence[int] | range) -> list[list[Slot]]:
        """The word transition network of some tasks."""
        weight_of = dict(zip(self.workers_, self.weights_.tolist(), strict=True))
        usual = float(self.weights_.mean())
        weights = [weight_of.get(name, usual) for name in answers.workers]
        rows = answers.of_each_task()
        networks = []
        for t in tasks:
            network: list[Slot] = []
            before: list[float] = []
            for i in rows[t].tolist():
                words = list(self.tokenize(answers.texts[i]))
                weight = weights[answers.worker[i]]
                network = _woven(network, words, _word_confidences(answers, i, words), weight, before)
                before.append(weight)
            networks.append(network)
        return networks

    def _learn_alpha(self, answers: Answers, truth: dict[str, list[str]]) -> None:
        """The pair on a grid with the fewest word errors in the known texts; among equals the greatest alpha."""
        tasks = [t for t, name in enumerate(answers.tasks) if name in truth]
        known = [truth[answers.tasks[t]] for t in tasks]
        networks = self._networks(answers, tasks)
        fewest = np.inf
        for alpha in _GRID[::-1]:
            for null in _GRID if alpha < 1 else _GRID[:1]:
                said = [[word for slot in network if (word := _winner(slot, alpha, null)) != NOTHING] for network in networks]
                errors = sum(edit_distance(one, other) for one, other in zip(said, known, strict=True))
                if errors < fewest:
                    fewest, self.alpha_, self.null_confidence_ = errors, float(alpha), float(null)


def edit_distance(words: Sequence[str], reference: Sequence[str]) -> int:
    """Fewest insertions, deletions and substitutions of words that turn one list into the other.

    Examples
    --------
    >>> edit_distance("a cat sat".split(), "the cat sat down".split())
    2
    """
    return int(_alignment_costs([{word: []} for word in reference], words)[0][-1, -1])


def _alignment_costs(network: Sequence[Slot], words: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Least cost (H + 1, S + 1) of aligning the first i words with the first j slots; cost of skipping each slot; matches (H, S)."""
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(words))}
    held = np.zeros((len(vocabulary) + 1, len(network)), dtype=bool)
    skip = np.ones(len(network), dtype=np.int64)
    for j, slot in enumerate(network):
        for word in slot:
            held[vocabulary.get(word, -1), j] = True
        skip[j] = NOTHING not in slot
    matches = held[[vocabulary[word] for word in words]] if words else np.zeros((0, len(network)), dtype=bool)
    skipped = np.concatenate([[0], np.cumsum(skip)])
    cost = np.empty((len(words) + 1, len(network) + 1), dtype=np.int64)
    cost[0] = skipped
    for i, match in enumerate(matches, start=1):
        row = cost[i - 1] + 1
        np.minimum(row[1:], cost[i - 1, :-1] + ~match, out=row[1:])
        # Skipping slots on top: the best earlier column, paid for by the skips in between.
        cost[i] = skipped + np.minimum.accumulate(row - skipped)
    return cost, skip, matches


def _woven(network: list[Slot], words: Sequence[str], sure: Sequence[float], weight: float, before: Sequence[float]) -> list[Slot]:
    """The network with one more transcript; those heard before have no word in its new slots."""
    cost, skip, matches = _alignment_costs(network, words)
    i, j = len(words), len(network)
    woven: list[Slot] = []
    while i or j:
        if i and j and cost[i, j] == cost[i - 1, j - 1] + (not matches[i - 1, j - 1]):
            i, j = i - 1, j - 1
            slot, word, confidence = network[j], words[i], sure[i]
        elif j and cost[i, j] == cost[i, j - 1] + skip[j - 1]:
            j -= 1
            slot, word, confidence = network[j], NOTHING, 0.0
        else:
            i -= 1
            slot, word, confidence = ({NOTHING: [(w, 0.0) for w in before]} if before else {}), words[i], sure[i]
        slot.setdefault(word, []).append((weight, confidence))
        woven.append(slot)
    return woven[::-1]


def _winner(slot: Slot, alpha: float, null_confidence: float) -> str:
    total = _weight(slot)

    def score(word: str) -> tuple[float, int, str]:
        said = slot[word]
        confidence = null_confidence if word == NOTHING else sum(c for _, c in said) / len(said)
        # Rounded, so that sums taken in another order tie alike.
        return round(alpha * sum(w for w, _ in said) / total + (1 - alpha) * confidence, 12), len(word), word

    return max(slot, key=score)


def _weight(slot: Slot) -> float:
    return sum(weight for said in slot.values() for weight, _ in said)


def _word_confidences(answers: Answers, i: int, words: Sequence[str]) -> Sequence[float]:
    """One confidence per word of answer i."""
    if answers.confidences is None:
        return [1.0] * len(words)
    given = answers.confidences[i]
    if isinstance(given, pl.Series):
        if len(given) != len(words):
            task = answers.tasks[answers.task[i]]
            raise LabelModelError(f"an answer about task '{task}' has {len(words)} words and {len(given)} confidences; give one per word")
        return [float(c) for c in given]
    return [float(given)] * len(words)
