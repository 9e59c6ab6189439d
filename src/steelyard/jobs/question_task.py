"""Questions whose answers can be checked, and the policies that answer them: what systems that learn from solutions start from.

Problems solved in text and texts of one class each (a class is a one-word answer) become one task, so that causal language models and the
small policies of the proofs run through the same pipeline.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.completions import Completions
from steelyard.datasets.own_table import OwnTable, is_own_table, own_table
from steelyard.datasets.problems import load_problems
from steelyard.errors import ConfigError
from steelyard.jobs.answer_classifier import AnswerClassifier
from steelyard.jobs.named_parts import TFIDF, named_supervisor
from steelyard.jobs.text_task import TEST, TextTask, load_text_task
from steelyard.language.notation import parse
from steelyard.language.reasoning import equal, extract, is_correct
from steelyard.pools import Pools
from steelyard.training.answer_policy import AnswerPolicy
from steelyard.training.policy import Policy

MINILM = "minilm"
PROBLEMS = ("gsm8k", "math500", "math_word_problems")
_WRITTEN = "Question: {question}\nAnswer:\n"


@dataclass(frozen=True, eq=False)
class QuestionTask:
    """n questions, each with a reference solution and its final answer.

    Parameters
    ----------
    questions, solutions, answers : sequences of str, length n
    is_test : (n,) bool
        Questions of the data set's own test split; all False where it has none.
    classes : tuple of str
        The only possible answers, where solutions are single words; else empty.
    template : str
        The prompt, with ``{question}`` in its place.
    style : str or None
        How an answer is extracted from a text, see `steelyard.language.reasoning.extract`; not used with `classes`. `None` for short free
        answers: what "auto" finds, else the whole text.
    about : dict
        Name, licence, citation and checksum of the data.

    Examples
    --------
    >>> task = QuestionTask(["1+1?"], ["1+1 = 2\\n#### 2"], ["2"], np.array([False]))
    >>> task.gold([0]).prompts, task.extract("so it is\\n#### 2.0"), task.equal("2.0", "2")
    (('Question: 1+1?\\nAnswer:\\n',), '2.0', True)
    """

    questions: Sequence[str]
    solutions: Sequence[str]
    answers: Sequence[str]
    is_test: NDArray[np.bool_]
    classes: tuple[str, ...] = ()
    template: str = _WRITTEN
    style: Any = "auto"
    about: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> dict[str, Any]:
        """What a run over these questions is known by."""
        return {name: getattr(self, name) for name in ("questions", "solutions", "answers", "is_test", "classes", "template", "style")}

    def prompts(self, rows: Any) -> list[str]:
        """The prompts of some questions."""
        return [self.template.replace("{question}", self.questions[row]) for row in np.asarray(rows)]

    def gold(self, rows: Any) -> Completions:
        """The reference solutions of some questions, with answers; `rows` counts from 0."""
        chosen = np.asarray(rows).tolist()
        return Completions(self.prompts(rows), [self.solutions[row] for row in chosen], answers=self.answers_of(chosen))

    def answers_of(self, rows: Any) -> list[str]:
        """The final answers of some questions."""
        return [self.answers[row] for row in np.asarray(rows, dtype=np.int64)]

    def extract(self, text: str) -> str:
        """The final answer of a text, "" where there is none."""
        if self.classes:
            return text.strip() if text.strip() in self.classes else ""
        return extract(text, self.style) if self.style is not None else _short(text)

    def equal(self, first: str, second: str) -> bool:
        """Whether two answers mean the same."""
        return first == second if self.classes else equal(first, second)

    def accuracy(self, writer: Any, rows: Any) -> float:
        """Share of the questions that the greedy text answers right."""
        return float(self._right(writer.sample(self.prompts(rows), temperature=0), rows).mean())

    def pass_at(self, writer: Any, rows: Any, *, n: int, k: int = 1, temperature: float = 1.0, seed: int = 0) -> float:
        """Probability that one of k samples is right, estimated without bias from n of them: 1 − C(n − c, k) / C(n, k) with c right."""
        if not 1 <= k <= n:
            raise ConfigError(f"pass@{k} needs at least {k} samples per question, and k at least 1; got {n}")
        right = self._right(writer.sample(self.prompts(rows), n, temperature=temperature, seed=seed), rows)
        miss = np.array([math.comb(n - c, k) / math.comb(n, k) for c in range(n + 1)])
        return float(1 - miss[right.reshape(-1, n).sum(axis=1)].mean())

    def pools(self, gold: float, unlabeled: float | None, test: float | None, seed: int) -> Pools:
        """Draw pools as `TextTask.pools` does: sizes as numbers or shares, the data set's own test split where `test` is left out."""
        codes = np.unique(self.answers, return_inverse=True)[1] if self.classes else np.zeros(len(self.questions), dtype=np.int64)
        return TextTask(list(self.questions), codes.astype(np.int64), self.classes, self.is_test).pools(gold, unlabeled, test, seed)

    def _right(self, texts: Completions, rows: Any) -> NDArray[np.bool_]:
        answered = texts.with_answers([self.extract(text) for text in texts.texts])
        return is_correct(answered, self.answers_of(rows), equal=self.equal)


def load_question_task(data: str | os.PathLike[str], *, written: bool = True) -> QuestionTask:
    """Read problems, a table with the columns ``question`` and ``answer`` (and optionally ``solution``), or a data set of labelled texts.

    Parameters
    ----------
    data : str or path
        ``gsm8k``, ``math500``, ``math_word_problems``, a Parquet, CSV or JSON-lines file, a Hugging Face data set, or the name of a data
        set of texts. Solutions that are all prefix equations are read as such.
    written : bool
        The policies are language models: prompts are written out as question and answer.

    Raises
    ------
    DataError
        The data cannot be read or a column is missing.

    Warns
    -----
    UserWarning
        Questions of a user's table that lie both in the split "test" and in another only measure.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "riddles.csv"
    >>> _ = file.write_text("question,answer\\nWhat has keys but no locks?,a piano\\n")
    >>> load_question_task(file).solutions
    ('a piano',)
    """
    name = os.fspath(data)
    columns = own_table(name).rows.columns if is_own_table(name) else []
    if name in PROBLEMS or {"question", "solution"} <= set(columns):
        found = load_problems(name)
        about = {part: getattr(found, part) for part in ("name", "licence", "citation", "checksum")}
        tested = np.array(found.splits) == "test"
        equations = found.style == "auto" and all(parse(solution) for solution in found.solutions)
        style = "equation" if equations else found.style
        return _each_once(QuestionTask(found.questions, found.solutions, found.answers, tested, style=style, about=about))
    if {"question", "answer"} <= set(columns):
        return _each_once(_short_answers(own_table(name)))
    texts = load_text_task(name)
    known = np.flatnonzero(texts.y >= 0)
    answers = [texts.classes[code] for code in texts.y[known]]
    questions = [texts.texts[row] for row in known]
    template = _WRITTEN if written else "{question}"
    return QuestionTask(questions, answers, answers, texts.is_test[known], texts.classes, template, about=texts.about)


def named_policy(name: str, task: QuestionTask, **options: Any) -> Policy:
    """The untrained policy of that name: ``minilm`` (one-word answers on frozen features), or a causal language model of Hugging Face.

    Parameters
    ----------
    name : str
        ``minilm``, or the name or folder of a causal language model.
    task : QuestionTask
        Names the answers that ``minilm`` can give.
    **options
        Of `AnswerPolicy` or `CausalStudent`; those that are None are left out.

    Raises
    ------
    ConfigError
        ``minilm`` cannot write solutions.

    Examples
    --------
    >>> task = QuestionTask(["up?", "down?"], ["yes", "no"], ["yes", "no"], np.zeros(2, bool), ("yes", "no"))
    >>> named_policy("minilm", task, epochs=3).epochs
    3
    """
    given = {key: value for key, value in options.items() if value is not None}
    if name != MINILM:
        from steelyard.training.causal_student import CausalStudent

        return CausalStudent(name, **given)
    if not task.classes:
        raise ConfigError("minilm answers with one of a few classes and these questions need a written solution; name a causal model")
    unread = {"tune", "max_new_tokens", "top_p"}
    return AnswerPolicy(classes=task.classes, **{key: value for key, value in given.items() if key not in unread})


def named_writer(name: str, task: QuestionTask, *, seed: int = 0, **options: Any) -> Any:
    """The untrained weak model of that name: ``tfidf`` (one-word answers by logistic regression on 60 words), or as `named_policy`.

    Raises
    ------
    ConfigError
        ``tfidf`` cannot write solutions.
    """
    if name != TFIDF:
        return named_policy(name, task, seed=seed, **options)
    if not task.classes:
        raise ConfigError("tfidf answers with one of a few classes and these questions need a written solution; name a causal model")
    nothing = TextTask([], np.zeros(0, dtype=np.int64), task.classes, np.zeros(0, dtype=np.bool_))
    return AnswerClassifier(named_supervisor(TFIDF, nothing), task.classes)


def _short_answers(own: OwnTable) -> QuestionTask:
    table = own.texts(["question", "answer"])
    solutions = tuple(table["answer"])
    tested = (table["split"] == "test").to_numpy() if "split" in table.columns else np.zeros(len(table), dtype=np.bool_)
    about = {"name": own.name, "licence": "unknown", "citation": "", "checksum": own.fingerprint}
    return QuestionTask(tuple(table["question"]), solutions, tuple(map(_short, solutions)), tested, style=None, about=about)


def _each_once(task: QuestionTask) -> QuestionTask:
    """Every question once, that of the test split where it lies on both sides: nobody is measured on what taught him."""
    asked = [question.strip() for question in task.questions]
    tested = {question for question, is_test in zip(asked, task.is_test, strict=True) if is_test}
    if shared := sorted({question for question, is_test in zip(asked, task.is_test, strict=True) if not is_test} & tested):
        warnings.warn(
            f"{len(shared)} questions lie both in the split '{TEST}' and in another, for example {shared[0][:40]!r}; they only measure",
            stacklevel=3,
        )
    kept = [row for row, question in enumerate(asked) if task.is_test[row] or question not in tested]
    first = dict(reversed([(asked[row], row) for row in kept]))
    rows = sorted(first.values())
    columns: dict[str, Any] = {name: tuple(getattr(task, name)[row] for row in rows) for name in ("questions", "solutions", "answers")}
    return replace(task, **columns, is_test=task.is_test[rows])


def _short(text: str) -> str:
    return extract(text) or text.strip()
