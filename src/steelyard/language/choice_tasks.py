"""Annotation tasks as multiple choice: one prompt form for all of them, one token for every answer, documents cut and never the question.

Dominguez-Olmedo et al. 2024, "Lawma: The Power of Specialization for Legal Tasks". A task may ask another question for each key of an
example, and an example may allow a part of the choices. Documents are split once for all tasks; majorities are sampled down.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import DataError

LETTERS = string.ascii_uppercase


@dataclass(frozen=True)
class ChoiceTask:
    """What annotators are asked.

    Parameters
    ----------
    name
        Of the task.
    choices
        Answer -> what it means, in the order of the codes.
    question, instruction
        One text, or key -> text where the examples of a task have keys.

    Raises
    ------
    DataError
        There are fewer than two choices.

    Examples
    --------
    >>> task = ChoiceTask("outcome", {"won": "the party won", "lost": "the party lost"}, {"party": "Who won?"})
    >>> print(task.prompt("The appeal is allowed.", key="party"))
    The appeal is allowed.
    <BLANKLINE>
    Question: Who won?
    A. the party won
    B. the party lost
    Answer:
    """

    name: str
    choices: Mapping[str, str]
    question: str | Mapping[str, str] = "Which of these fits?"
    instruction: str | Mapping[str, str] = ""

    def __post_init__(self) -> None:
        """Check that there is something to choose."""
        if len(self.choices) < 2:
            raise DataError(f"task '{self.name}' has {len(self.choices)} answer(s) only, so there is nothing to annotate; leave it out")

    def prompt(
        self, document: str, *, key: str | None = None, allowed: Sequence[int] | None = None, labels: Sequence[str] = LETTERS
    ) -> str:
        """Instruction, document, question and the choices (all, or the codes `allowed`), each under its label."""
        before, after = self.around(key=key, allowed=allowed, labels=labels)
        return f"{before}{document}{after}"

    def around(self, *, key: str | None = None, allowed: Sequence[int] | None = None, labels: Sequence[str] = LETTERS) -> tuple[str, str]:
        """What stands before and after the document."""
        codes = range(len(self.choices)) if allowed is None else allowed
        if len(codes) > len(labels):
            raise DataError(f"task '{self.name}' has {len(codes)} choices and {len(labels)} labels; give one single-token label for each")
        texts = list(self.choices.values())
        listed = "\n".join(f"{label}. {texts[code]}" for label, code in zip(labels, codes, strict=False))
        instruction, question = self._keyed(self.instruction, key), self._keyed(self.question, key)
        return (f"{instruction}\n\n" if instruction else ""), f"\n\nQuestion: {question}\n{listed}\nAnswer:"

    def asked(self, key: str | None) -> str:
        """The question of a key."""
        return self._keyed(self.question, key)

    def _keyed(self, text: str | Mapping[str, str], key: str | None) -> str:
        if isinstance(text, str):
            return text
        if key is None or key not in text:
            raise DataError(f"task '{self.name}' asks by key, and an example has the key {key!r}; known are {', '.join(text)}")
        return text[key]


@dataclass(frozen=True, eq=False)
class Annotated:
    """n examples of one task.

    Parameters
    ----------
    task : ChoiceTask
    texts : list of str
        The documents.
    y : (n,) int64
        Codes of the gold answers.
    documents : (n,) array
        What document each example is about: what the split goes by.
    keep_fraction : float
        Kept share of the majority class.
    majority : int
        Code of the class that was sampled down, or -1.
    allowed : (n, k) bool, optional
        The choices that each example has; all when left out.
    keys : (n,) array of str, optional
        Which of the task's questions each example asks.
    accepted : (n, k) bool, optional
        The answers that count as right, where an example has several; `y` is the one that teaches. `y` alone when left out.

    Raises
    ------
    DataError
        An example's answer is not among its choices.

    Examples
    --------
    >>> task = ChoiceTask("topic", {"tax": "about tax", "trade": "about trade", "war": "about war"})
    >>> both = np.array([[True, True, False], [False, False, True]])
    >>> Annotated(task, ["duties", "arms"], np.array([0, 2]), np.arange(2), accepted=both).right(np.array([1, 0]))
    array([ True, False])
    """

    task: ChoiceTask
    texts: list[str]
    y: NDArray[np.int64]
    documents: NDArray[Any]
    keep_fraction: float = 1.0
    majority: int = -1
    about: dict[str, str] = field(default_factory=dict)
    allowed: NDArray[np.bool_] | None = None
    keys: NDArray[Any] | None = None
    accepted: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Check that every answer is allowed."""
        if self.allowed is not None and not (right := self.allowed[np.arange(len(self.y)), self.y]).all():
            row, names = int(np.flatnonzero(~right)[0]), list(self.task.choices)
            raise DataError(f"task '{self.task.name}': example {row} has the answer '{names[self.y[row]]}', not among its own choices")

    @property
    def codes(self) -> list[NDArray[np.int64]]:
        """The choices of each example, in order."""
        if self.allowed is None:
            return [np.arange(len(self.task.choices))] * len(self)
        return [np.flatnonzero(row) for row in self.allowed]

    @property
    def read(self) -> list[str]:
        """What an encoder reads: the document, after its question where examples ask different ones."""
        if self.keys is None:
            return self.texts
        return [f"{self.task.asked(key)}\n{text}" for key, text in zip(self.keys, self.texts, strict=True)]

    def chosen(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """The best of each example's own choices by scores (n, k)."""
        return np.asarray((scores if self.allowed is None else np.where(self.allowed, scores, -np.inf)).argmax(axis=1), dtype=np.int64)

    def right(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which of n answers count as right."""
        return codes == self.y if self.accepted is None else self.accepted[np.arange(len(self)), codes]

    def take(self, rows: NDArray[np.integer[Any]], **changes: Any) -> Annotated:
        """Some of the examples."""
        kept = {"keep_fraction": self.keep_fraction, "majority": self.majority, "about": self.about, **changes}
        by_row = {"allowed": self.allowed, "keys": self.keys, "accepted": self.accepted}
        kept |= {name: None if value is None else value[rows] for name, value in by_row.items()}
        return Annotated(self.task, [self.texts[row] for row in rows], self.y[rows], self.documents[rows], **kept)

    def __len__(self) -> int:
        return len(self.texts)


def split_by_document(tasks: Sequence[Annotated], test: float = 0.25, *, seed: int = 0) -> list[tuple[Annotated, Annotated]]:
    """Split every task into (train, test) so that no document of any task's training lies in any task's test.

    Raises
    ------
    DataError
        A task is left with no example on one side.

    Examples
    --------
    >>> task = ChoiceTask("t", {"a": "a", "b": "b"})
    >>> both = [Annotated(task, list("xyzw"), np.array([0, 1, 0, 1]), np.arange(4)) for _ in range(2)]
    >>> (train, held), (other, _) = split_by_document(both, 0.5)
    >>> len(train), len(held), set(held.documents) & set(other.documents)
    (2, 2, set())
    """
    documents = np.unique(np.concatenate([task.documents.astype(str) for task in tasks]))
    tested = np.random.default_rng(seed).permutation(documents)[: round(test * len(documents))]
    parts = []
    for task in tasks:
        is_test = np.isin(task.documents.astype(str), tested)
        if is_test.all() or not is_test.any():
            raise DataError(
                f"task '{task.task.name}' has no example for {'training' if is_test.all() else 'the test'}; give more documents"
            )
        parts.append((task.take(np.flatnonzero(~is_test)), task.take(np.flatnonzero(is_test))))
    return parts


def balanced(examples: Annotated, *, most: float = 0.5, least: int = 10, seed: int = 0) -> Annotated:
    """Sample the majority class down to the share `most`; tasks of at most `least` examples stay as they are.

    Examples
    --------
    >>> task = Annotated(ChoiceTask("t", {"a": "a", "b": "b"}), ["x"] * 20, np.repeat([0, 1], [16, 4]), np.arange(20))
    >>> kept = balanced(task)
    >>> len(kept), kept.keep_fraction, kept.majority
    (8, 0.25, 0)
    """
    counts = np.bincount(examples.y, minlength=len(examples.task.choices))
    majority = int(counts.argmax())
    others = len(examples) - int(counts[majority])
    size = int(others * most / (1 - most))
    if len(examples) <= least or counts[majority] <= size or size == 0:
        return examples
    own = np.flatnonzero(examples.y == majority)
    kept = np.random.default_rng(seed).choice(own, size, replace=False)
    rows = np.sort(np.concatenate([np.flatnonzero(examples.y != majority), kept]))
    return examples.take(rows, keep_fraction=size / len(own), majority=majority)


def require_single_tokens(tokenizer: Any, labels: Sequence[str]) -> dict[str, int]:
    """The token of every label as it follows "Answer:", a space before it.

    Raises
    ------
    DataError
        A label takes several tokens, or two labels the same one.
    """
    tokens: dict[str, int] = {}
    lead = tokenizer("Answer:", add_special_tokens=False)["input_ids"]
    for label in labels:
        whole = tokenizer(f"Answer: {label}", add_special_tokens=False)["input_ids"]
        if whole[: len(lead)] != lead or len(whole) != len(lead) + 1:
            raise DataError(f"the label '{label}' is not one token after 'Answer:' in this vocabulary; choose other labels")
        tokens[label] = whole[-1]
    if len(set(tokens.values())) < len(tokens):
        raise DataError("two labels share one token in this vocabulary; choose other labels")
    return tokens


def fitting_prompt(task: ChoiceTask, document: str, tokenizer: Any, context: int, *, reserve: int = 11, **options: Any) -> tuple[str, bool]:
    """The prompt with the document cut from its end to the tokens that question, answer and a reserve leave, and whether it was whole.

    Raises
    ------
    DataError
        The question alone is longer than the context.
    """
    before, after = task.around(**options)
    room = context - reserve - sum(len(tokenizer(part, add_special_tokens=False)["input_ids"]) for part in (before, after))
    if room <= 0:
        raise DataError(f"the question of task '{task.name}' leaves no room for a document in {context} tokens; shorten it")
    tokens = tokenizer(document, add_special_tokens=False)["input_ids"]
    whole = len(tokens) <= room
    return f"{before}{document if whole else tokenizer.decode(tokens[:room])}{after}", whole
