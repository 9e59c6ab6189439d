"""What an arm of a supervision study learns from: hard tasks, easier ones, or both, each at its error rate.

Easier tasks are sub-tasks of the very hard tasks that are learned from where they can be had, so that they hold no further information.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from steelyard.completions import Completions
from steelyard.errors import ConfigError
from steelyard.jobs.question_task import QuestionTask
from steelyard.jobs.reasoning_arms import references
from steelyard.jobs.supervision_sets import Judge, Supervision, corrupted, rephrased, sampled, with_subtasks
from steelyard.language.decomposition import plain_solution, prompted_subtasks, socratic_subtasks
from steelyard.language.notation import SEVERITIES
from steelyard.training.policy import Policy

_PART = re.compile(r"(hard|easy):(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Mixture:
    """Percentages of wrong solutions among hard and easy tasks (None: without these), and what is added at equal cost."""

    name: str
    hard: float | None = None
    easy: float | None = None
    rephrased: bool = False
    twice: bool = False


def parse_mixture(text: str) -> Mixture:
    """Read a mixture such as ``hard:50+easy:10``, ``hard:50x2`` or ``hard:50+rephrased``.

    Examples
    --------
    >>> parse_mixture("hard:50+easy:10")
    Mixture(name='hard:50+easy:10', hard=50.0, easy=10.0, rephrased=False, twice=False)
    >>> parse_mixture("soft:50")
    Traceback (most recent call last):
    steelyard.errors.ConfigError: mixture 'soft:50' is not understood; ...
    """
    parts = text.removesuffix("x2").split("+")
    rates = {found[1]: float(found[2]) for part in parts if (found := _PART.fullmatch(part))}
    others = [part for part in parts if not _PART.fullmatch(part)]
    if not rates or others not in ([], ["rephrased"]) or len(rates) + len(others) < len(parts) or max(rates.values()) > 100:
        raise ConfigError(f"mixture '{text}' is not understood; write hard:50, easy:0, hard:50+easy:10, hard:50x2 or hard:50+rephrased")
    return Mixture(text, rates.get("hard"), rates.get("easy"), bool(others), text.endswith("x2"))


def easier(
    task: QuestionTask, hard: NDArray[np.int64], spare: NDArray[np.int64], teacher: Policy | None, subtasks: int, seed: int
) -> tuple[QuestionTask, NDArray[np.int64], dict[str, int]]:
    """Find easier tasks for the hard ones: sub-tasks asked of a teacher, socratic ones, or as many problems with fewer steps.

    Parameters
    ----------
    hard, spare
        Rows of the hard tasks to learn from, and of problems with fewer steps.
    teacher
        A language model that is asked for `subtasks` sub-tasks of each hard task, where that is not 0.

    Returns
    -------
    (task with what was added, rows of the easier tasks, dropped sub-tasks by reason)
    """
    questions, solutions = ([column[row] for row in hard] for column in (task.questions, task.solutions))
    if subtasks and teacher is None:
        raise ConfigError(f"subtasks={subtasks} needs a language model as first teacher; corruptions cannot take a problem apart")
    if subtasks and teacher is not None:
        found = prompted_subtasks(teacher, questions, [plain_solution(text) for text in solutions], n=subtasks, seed=seed)
    elif any(" ** " in text for text in solutions):
        found = socratic_subtasks(questions, solutions)
    else:
        return task, spare[: len(hard)], {}
    extended, rows, _ = with_subtasks(task, hard, found)
    dropped = {f"sub-task: {reason}": count for reason, count in found.dropped.items()}
    return extended, rows, {**dropped, "sub-tasks": len(found.subtasks), "tasks without a sub-task": found.tasks - found.kept_tasks}


@dataclass
class SupervisionPool:
    """Right and wrong solutions of the hard and the easy tasks of one seed by one teacher; each is made when an arm first needs it.

    Parameters
    ----------
    teacher
        A severity of corruption, or a language model that is sampled.
    """

    task: QuestionTask
    hard: NDArray[np.int64]
    easy: NDArray[np.int64]
    teacher: str | Policy
    samples: int
    seed: int
    judge: Judge | None = None

    @property
    def dropped(self) -> dict[str, int]:
        """Items without a right or a wrong solution, by reason, of what was made so far."""
        made = {kind: vars(self).get(f"{kind}_supervision") for kind in ("hard", "easy")}
        return {f"{kind}: {reason}": n for kind, part in made.items() if part is not None for reason, n in part.dropped.items()}

    def is_shared(self, mixture: Mixture) -> bool:
        """Whether all teachers give the same items: only right solutions, which are the references where errors are corruptions."""
        return isinstance(self.teacher, str) and not (mixture.hard or mixture.easy)

    def items(self, mixture: Mixture) -> Completions:
        """What a mixture is learned from."""
        parts = []
        if mixture.hard is not None:
            parts.append(self.hard_supervision.at(mixture.hard, self.seed))
            if mixture.rephrased:
                if isinstance(self.teacher, str):
                    raise ConfigError(f"mixture '{mixture.name}' needs a language model as teacher; corruptions cannot rephrase")
                parts.append(rephrased(parts[0], self.task, self.teacher, self.seed))
        if mixture.easy is not None:
            parts.append(self.easy_supervision.at(mixture.easy, self.seed) if mixture.easy else references(self.task, self.easy))
        return Completions.concat(parts)

    @cached_property
    def hard_supervision(self) -> Supervision:
        """Solutions of the hard tasks."""
        return self._make(self.hard)

    @cached_property
    def easy_supervision(self) -> Supervision:
        """Solutions of the easier tasks."""
        return self._make(self.easy)

    def _make(self, rows: NDArray[np.int64]) -> Supervision:
        if not isinstance(self.teacher, str):
            return sampled(self.task, rows, self.teacher, n=self.samples, seed=self.seed, judge=self.judge)
        severity = next((known for known in SEVERITIES if known == self.teacher), None)
        if severity is None or self.task.style != "equation":
            raise ConfigError(f"teacher '{self.teacher}' corrupts equations only; name a language model for other solutions")
        return corrupted(self.task, rows, severity, self.seed)
