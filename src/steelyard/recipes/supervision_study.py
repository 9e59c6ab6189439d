"""Supervision study: is it better to collect flawed solutions of the hard tasks one cares about, or clean solutions of easier ones?

He, Yin, Peng 2024, "Guiding Through Complexity: What Makes Good Supervision for Hard Reasoning Tasks?". Every item has a right and a wrong
solution; sets of chosen error rate are mixed from them (nested in the rate), one student is tuned on each from a common start, and all are
measured on hard tasks. Outcome error (wrong answers) and step error (wrong steps) are reported for every set. The built-in proof solves
word problems with equations, whose wrong solutions are mild (one change) or severe (everything redrawn): equal in outcome, not in steps.
There, unlike for the published language models, accuracy falls with every error rate and easy tasks in the mixture add nothing for certain.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from steelyard.errors import ConfigError
from steelyard.jobs.finished_seeds import over_seeds
from steelyard.jobs.question_task import QuestionTask
from steelyard.jobs.reasoning_arms import (
    EQUATIONS,
    continued,
    count_steps,
    divide,
    load_problem_task,
    measure,
    new_policy,
    references,
    solve,
    warm_up,
)
from steelyard.jobs.supervision_mixtures import Mixture, SupervisionPool, easier, parse_mixture
from steelyard.jobs.supervision_sets import Judge, describe_set, rank_correlation, step_judge
from steelyard.language.notation import SEVERITIES
from steelyard.language.steps import StepJudge
from steelyard.result import Result
from steelyard.training.policy import Policy


@dataclass(frozen=True)
class SupervisionStudy:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        ``math_word_problems``, ``gsm8k``, ``gsm8k_socratic`` (with sub-tasks), or a table with the columns question, solution, answer and
        optionally split: Parquet, CSV or JSON lines, or a Hugging Face data set (a folder of ``save_to_disk`` or ``hf:NAME``).
    student : str
        ``equations``, or the name or folder of a causal language model.
    teachers : tuple of str
        Who makes the wrong solutions, one severity each: ``mild`` and ``severe`` corruptions of equations, or names of language models.
    mixtures : tuple of str
        What students learn from, with percentages of wrong solutions: ``hard:50``, ``easy:0``, ``hard:50+easy:10``; for equal cost
        ``hard:50x2`` (twice the epochs) and ``hard:50+rephrased`` (each question in other words too, by the first teacher).
    hard_steps : int
        Steps from which a task counts as hard.
    train : int
        Hard tasks to learn from; all that are left when left out.
    test : int
        Hard tasks to measure on at most.
    stage_a : int
        Easy problems with gold that every student learns first; 0 starts all from the untrained student.
    subtasks : int
        Sub-tasks per hard task that the first teacher is asked for; 0 takes socratic ones where the data have them, else as many problems
        with fewer steps.
    samples : int
        Solutions that a language model is asked for per task, at temperature 1.
    instruction : str
        What every prompt says after the question.
    answer : str
        How answers are read: boxed, hashes, phrase, number, choice, equation, auto; left out: as the data's own solutions mark them.
    tune : str
        How a language model learns: full or lora.
    epochs : float
        25 for equations and 2 otherwise when left out.
    batch_size : int
        16 when left out.
    learning_rate : float
        2e-3 for equations and 2e-5 otherwise when left out.
    max_new_tokens : int
        Length limit of language models.
    seeds : tuple of int
        Each draws its own training tasks, errors and students; what is measured on stays the same.
    """

    data: str = "math_word_problems"
    student: str = EQUATIONS
    teachers: tuple[str, ...] = SEVERITIES
    mixtures: tuple[str, ...] = ("hard:0", "hard:50", "hard:90", "easy:0", "hard:50+easy:0", "hard:50x2")
    hard_steps: int = 2
    train: int | None = None
    test: int = 180
    stage_a: int = 0
    subtasks: int = 0
    samples: int = 3
    instruction: str = ""
    answer: str | None = None
    tune: str = "full"
    epochs: float | None = None
    batch_size: int = 16
    learning_rate: float | None = None
    max_new_tokens: int = 1024
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: SupervisionStudy, judge: StepJudge | None = None, outcome: Judge | None = None) -> Result:
    """Build the sets, tune one student on each, and measure all on the same hard tasks.

    Parameters
    ----------
    config
    judge
        Counts the wrong steps of a solution; operations of equations and derived values of annotated texts when left out.
    outcome
        Says which sampled solutions are right; equality of the final answers when left out.

    Returns
    -------
    Result
        One arm per mixture and teacher: accuracy on hard tasks, shares without an answer and stopped by the length limit, and of what was
        learned from ``outcome_error_rate`` and ``step_error_rate``. Artifacts: sizes and mean lengths of the sets, rank correlation of
        accuracy with both error rates, and what was dropped.

    Raises
    ------
    ConfigError, DataError, TrainingError
        A mixture or a teacher is not understood, the data are too few.

    Examples
    --------
    >>> run(SupervisionStudy(mixtures=("hard:50+soft:10",)))
    Traceback (most recent call last):
    steelyard.errors.ConfigError: mixture 'hard:50+soft:10' is not understood; ...
    """
    if not (config.seeds and config.teachers):
        raise ConfigError("teachers and seeds need at least one value each")
    mixtures = [parse_mixture(text) for text in config.mixtures]
    task, counts = load_problem_task(config.data, instruction=config.instruction, plain=config.student == EQUATIONS, answer=config.answer)
    if config.train is None and config.student == EQUATIONS:
        warm_up(task)
    about = {**task.about, "train": "hard tasks by seed", "test": "hard tasks, fixed"}
    result = Result("supervision-study", dataclasses.asdict(config), {"data": about, "problems": counts})
    made_from = {**task.content, "judges": [str(judge), str(outcome)]}
    over_seeds(result, config.seeds, lambda seed, part: _one_seed(config, task, mixtures, seed, part, judge, outcome), made_from)
    accuracy = [result.mean(arm, "accuracy") for arm in result.arms]
    rates = {name: [result.mean(arm, name) for arm in result.arms] for name in ("outcome_error_rate", "step_error_rate")}
    result.artifacts["rank_correlation"] = {name: rank_correlation(values, accuracy) for name, values in rates.items()}
    return result


def _one_seed(
    config: SupervisionStudy,
    task: QuestionTask,
    mixtures: list[Mixture],
    seed: int,
    result: Result,
    judge: StepJudge | None,
    outcome: Judge | None,
) -> None:
    sets: dict[str, Any] = {}
    length = count_steps(task)
    test, (rows,) = divide(task, np.flatnonzero(length >= config.hard_steps), config.test, [config.train], seed)
    spare = np.random.default_rng(seed).permutation(np.flatnonzero((length < config.hard_steps) & ~task.is_test))
    teachers = {name: name if name in SEVERITIES else _named(config, name, task) for name in config.teachers}
    first = teachers[config.teachers[0]]
    task, easy, dropped = easier(task, rows, spare[config.stage_a :], None if isinstance(first, str) else first, config.subtasks, seed)
    training: dict[str, Any] = {
        "epochs": config.epochs or (25 if config.student == EQUATIONS else 2),
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate or (2e-3 if config.student == EQUATIONS else 2e-5),
        "tune": None if config.student == EQUATIONS else config.tune,
        "seed": seed,
    }
    start = _named(config, config.student, task, **training)
    if config.stage_a:
        start = start.fit(references(task, spare[: config.stage_a]))
    for name, teacher in teachers.items():
        pool = SupervisionPool(task, rows, easy, teacher, config.samples, seed, outcome)
        for mixture in mixtures:
            arm = mixture.name if pool.is_shared(mixture) else f"{mixture.name} ({name})"
            if (arm, seed) in {(row.arm, row.seed) for row in result.rows}:
                continue
            learned = pool.items(mixture)
            longer = {**training, "epochs": training["epochs"] * (1 + mixture.twice)}
            student = continued(start, **longer) if config.stage_a else _named(config, config.student, task, **longer)
            measured, about = measure(solve(student.fit(learned), task, test), task), describe_set(learned, task, judge or step_judge(task))
            for metric in ("accuracy", "no_answer", "length_stopped"):
                result.add(arm, seed, metric, measured[metric])
            for metric in ("outcome_error_rate", "step_error_rate"):
                result.add(arm, seed, metric, about[metric])
            sets[arm] = {str(seed): {name: about[name] for name in ("items", "words")}}
        dropped |= {f"{name}: {reason}": count for reason, count in pool.dropped.items()}
    result.artifacts |= {"dropped": {str(seed): dropped}, "sets": sets}


def _named(config: SupervisionStudy, name: str, task: QuestionTask, **training: Any) -> Policy:
    return new_policy(name, task, warn=name == config.student, max_new_tokens=config.max_new_tokens, **training)
