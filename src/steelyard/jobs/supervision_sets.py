"""Supervision of chosen quality: for every task a right and a wrong solution, from a corruption or from a teacher's judged samples.

Both exist for every item before any error rate is set, so that which items are wrong is chance. He, Yin, Peng 2024, "Guiding Through
Complexity: What Makes Good Supervision for Hard Reasoning Tasks?".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from steelyard.completions import Completions
from steelyard.jobs.question_task import QuestionTask
from steelyard.jobs.reasoning_arms import references, solve
from steelyard.language.decomposition import Decomposition, plain_solution
from steelyard.language.equations import read_problem
from steelyard.language.notation import Severity, corrupt
from steelyard.language.reasoning import is_correct
from steelyard.language.steps import StepJudge, operation_errors, step_error_rate, value_errors
from steelyard.training.policy import Policy
from steelyard.training.selection.error_rate import mix_error_rate

_REPHRASE = "Rephrase this problem without changing any number, condition or what is asked. Write only the problem.\n\n{question}\n"

Judge = Callable[[Completions, QuestionTask], NDArray[np.bool_]]


@dataclass(frozen=True)
class Supervision:
    """Right and wrong solutions of the same items, and how many items were dropped, by reason."""

    correct: Completions
    wrong: Completions
    dropped: dict[str, int] = field(default_factory=dict)

    def at(self, percent: float, seed: int) -> Completions:
        """The items with this percentage of them wrong; sets of one seed are nested."""
        return mix_error_rate(self.correct, self.wrong, percent / 100, seed=seed)

    def of(self, rows: ArrayLike) -> Supervision:
        """Only the items of these problems."""
        kept = np.isin(self.correct.rows, np.asarray(rows))
        return Supervision(self.correct.take(kept), self.wrong.take(kept), self.dropped)


def corrupted(task: QuestionTask, rows: ArrayLike, severity: Severity, seed: int) -> Supervision:
    """Take the reference equations as right and make a wrong one of each; problems whose value no change alters are dropped.

    Right and wrong have the same number of tokens, so that length cannot tell them apart.

    Examples
    --------
    >>> task = QuestionTask(["5 , 3 , 2 ?"], ["- * 5 3 2"], ["13"], np.array([False]), template="{question}", style="equation")
    >>> made = corrupted(task, [0], "mild", seed=0)
    >>> made.correct.texts, made.wrong.texts, describe_set(made.wrong, task, step_judge(task))["step_error_rate"]
    (('- * 5 3 2',), ('+ * 5 3 2',), 0.5)
    """
    right = references(task, rows)
    drawn = []
    for i, (prompt, text) in enumerate(zip(right.prompts, right.texts, strict=True)):
        drawn.append(
            corrupt(text, read_problem(prompt).numbers, severity, seed=int(np.random.SeedSequence([seed, i]).generate_state(1)[0]))
        )
    kept = np.array([text is not None for text in drawn], dtype=np.bool_)
    correct = right.take(kept)
    texts = [text for text in drawn if text is not None]
    wrong = replace(correct, texts=texts, answers=[task.extract(text) for text in texts])
    return Supervision(correct, wrong, {"no wrong equation": int((~kept).sum())})


def sampled(
    task: QuestionTask,
    rows: ArrayLike,
    teacher: Policy,
    *,
    n: int = 3,
    temperature: float = 1.0,
    seed: int = 0,
    judge: Judge | None = None,
    length: tuple[float, float] = (0.5, 1.5),
) -> Supervision:
    """Sample a teacher and keep one right and one wrong solution of every problem.

    A problem that the teacher never solves keeps its reference as the right solution; one that it never fails is dropped, and so are
    samples whose length is out of proportion to the reference's.

    Parameters
    ----------
    judge
        Says which solutions are right; equality of the final answers when left out.
    length
        Least and most characters of a sample, as multiples of the reference's.
    """
    index = np.asarray(rows, dtype=np.int64)
    drawn = solve(teacher, task, index, n=n, temperature=temperature, seed=seed)
    sizes = np.array([len(text) for text in drawn.texts], dtype=np.float64)
    gold = np.array([len(task.solutions[row]) for row in drawn.rows], dtype=np.float64)
    fits = (sizes >= length[0] * gold) & (sizes <= length[1] * gold)
    right = judge(drawn, task) if judge else is_correct(drawn, task.answers, equal=task.equal)
    answered = np.array([bool(answer) for answer in drawn.answers or ()], dtype=np.bool_)
    order = np.random.default_rng(seed).permutation(len(drawn))
    solved, failed = (_first_of_each(drawn.rows, order[chosen[order]]) for chosen in (fits & right, fits & ~right & answered))
    kept = [row for row in index.tolist() if row in failed]
    unsolved = np.array([row not in solved for row in kept], dtype=np.bool_)
    plain = replace(drawn, logprobs=None, finished=None)
    either = Completions.concat([plain.take([solved.get(row, 0) for row in kept]), references(task, kept)])
    correct = either.take(np.arange(len(kept)) + len(kept) * unsolved)
    dropped = {"never wrong, or out of proportion": len(index) - len(kept), "reference used as right": int(unsolved.sum())}
    return Supervision(correct, plain.take([failed[row] for row in kept]), dropped)


def _first_of_each(rows: NDArray[np.int64], positions: NDArray[np.int64]) -> dict[int, int]:
    """The first of `positions` for every row that occurs among them."""
    return dict(zip(rows[positions][::-1].tolist(), positions[::-1].tolist(), strict=True))


def with_subtasks(task: QuestionTask, rows: ArrayLike, found: Decomposition) -> tuple[QuestionTask, NDArray[np.int64], NDArray[np.int64]]:
    """Append the sub-tasks of some problems to a task.

    Returns
    -------
    (task, rows of the sub-tasks, rows of the problems that they were derived from)
    """
    n, subs = len(task.questions), found.subtasks
    more = {"questions": [s.question for s in subs], "solutions": [s.solution for s in subs], "answers": [s.answer for s in subs]}
    columns: dict[str, Any] = {name: [*getattr(task, name), *values] for name, values in more.items()}
    parents = np.asarray(rows, dtype=np.int64)[np.array([s.task for s in subs], dtype=np.int64)]
    return replace(task, **columns, is_test=np.append(task.is_test, np.zeros(len(subs), dtype=np.bool_))), n + np.arange(len(subs)), parents


def rephrased(items: Completions, task: QuestionTask, teacher: Policy, seed: int) -> Completions:
    """The same solutions for questions that a language model put in other words: more data at equal cost, without new problems."""
    asked = [_REPHRASE.format(question=task.questions[row]) for row in items.rows]
    written = teacher.sample(asked, temperature=1.0, seed=seed).texts
    questions = [text.strip() or task.questions[row] for text, row in zip(written, items.rows.tolist(), strict=True)]
    return replace(items, prompts=[task.template.replace("{question}", question) for question in questions])


def step_judge(task: QuestionTask) -> StepJudge:
    """How steps are judged without a model: operations of an equation, derived values of a text with calculator annotations."""
    return operation_errors if task.style == "equation" else value_errors


def describe_set(items: Completions, task: QuestionTask, judge: StepJudge) -> dict[str, float]:
    """Size, outcome error, step error and mean length of a set of solutions of the task's problems."""
    right = is_correct(items, task.answers, equal=task.equal)
    judged = step_error_rate(items.texts, [plain_solution(task.solutions[row]) for row in items.rows], judge)
    words = float(np.mean([len(text.split()) for text in items.texts]))
    return {"items": len(items), "outcome_error_rate": float(1 - right.mean()), "step_error_rate": judged, "words": words}


def rank_correlation(values: list[float], accuracies: list[float]) -> float:
    """Spearman's correlation of the accuracy of students with a property of what they learned from; NaN where one is constant.

    Examples
    --------
    >>> rank_correlation([0.0, 0.5, 0.9], [0.5, 0.3, 0.1])
    -1.0
    """
    pairs = [(v, a) for v, a in zip(values, accuracies, strict=True) if np.isfinite(v) and np.isfinite(a)]
    if len(pairs) < 3 or any(len(set(column)) < 2 for column in zip(*pairs, strict=True)):
        return float("nan")
    first, second = zip(*pairs, strict=True)
    return float(spearmanr(first, second).statistic)
