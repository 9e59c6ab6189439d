"""Trace distillation (W2SR): a capable base model learns to reason from the traces of a small reasoner, even where many of them are wrong.

Yuan et al. 2025, "Incentivizing Strong Reasoning from Weak Supervision". One trace per question is drawn from the teacher; degenerate ones
are dropped; the student is fine-tuned on all (W2SR), the right (W2SR-P) or the wrong ones (W2SR-N). The share of the reasoning gain
recovered is RGR = (accuracy − base) / (reference − base). The built-in proof solves word problems with equations: the base student writes
postfix, the traces are prefix, and the reference is the student tuned on gold equations instead of reinforcement learning. There W2SR-P
outgrows its teacher on the mean, not on every seed.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import ConfigError
from steelyard.evaluation import gap_over_seeds
from steelyard.jobs.finished_seeds import over_seeds
from steelyard.jobs.question_task import QuestionTask
from steelyard.jobs.reasoning_arms import (
    EQUATIONS,
    cached_traces,
    continued,
    divide,
    load_problem_task,
    measure,
    references,
    solve,
    warm_up,
)
from steelyard.jobs.trace_arms import ARMS, add_recovered_gain, base_student, sorted_traces, trace_teacher
from steelyard.language.reasoning import is_correct
from steelyard.language.served_writer import ServedWriter
from steelyard.result import Result
from steelyard.training.policy import Policy


@dataclass(frozen=True)
class TraceDistill:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        ``math_word_problems``, ``gsm8k``, ``math500``, or a table with the columns question, solution, answer and optionally split:
        Parquet, CSV or JSON lines, or a Hugging Face data set (a folder of ``save_to_disk`` or ``hf:NAME``).
    teacher : str
        ``equations`` (a small policy trained on gold here), the name or folder of a causal language model that reasons, or the address of a
        server with chat completions, such as vLLM's.
    student : str
        ``equations`` (a larger policy that knows another notation), or the name or folder of a base model.
    teacher_model : str
        Name the server knows the teacher by.
    keep : tuple of str
        Which traces the student learns from, one arm each: all, correct, wrong.
    reference : str
        What the gain is compared with: ``gold`` (the student tuned on reference solutions), or the accuracy of the student trained by RL.
    instruction : str
        What every prompt says after the question, such as "Reason step by step and put the final answer in a box".
    answer : str
        How answers are read: boxed, hashes, phrase, number, choice, equation, auto; left out: as the data's own solutions mark them.
    teacher_rows : int
        Gold problems that the built-in teacher learns from.
    base_rows : int
        Gold problems that the built-in student learns its other notation from.
    train : int
        Problems that the teacher solves; all that are left when left out.
    test : int
        Problems to measure on at most.
    temperature : float
        Of the teacher's traces; 0 is greedy, 0.6 the published setting.
    top_p : float
        Share of the probability that language models draw from.
    max_new_tokens : int
        Length limit of language models, the same for traces and all arms.
    samples : int
        Solutions per test problem; 1 is greedy, more are drawn at the temperature and estimate pass@1.
    tune : str
        How a language model learns: full or lora.
    epochs : float
        Passes over the traces; 12 for equations and 5 otherwise when left out.
    batch_size : int
        Traces per step; 8 for equations and 128 otherwise when left out.
    learning_rate : float
        1e-3 for equations and 1e-5 otherwise when left out.
    seeds : tuple of int
        Each draws its own teacher, base and traces; what is measured on stays the same.
    """

    data: str = "math_word_problems"
    teacher: str = EQUATIONS
    student: str = EQUATIONS
    teacher_model: str = ""
    keep: tuple[str, ...] = ("all", "correct", "wrong")
    reference: str = "gold"
    instruction: str = ""
    answer: str | None = None
    teacher_rows: int = 250
    base_rows: int = 950
    train: int | None = None
    test: int = 380
    temperature: float = 0.0
    top_p: float = 0.95
    max_new_tokens: int = 4096
    samples: int = 1
    tune: str = "full"
    epochs: float | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: TraceDistill) -> Result:
    """Draw the traces once per seed, tune one student per kind of traces, and measure all on the same problems.

    Returns
    -------
    Result
        Arms ``weak`` (the teacher), ``base``, ``base, no instruction`` (where there is one: prompting alone is no gain), ``W2SR``,
        ``W2SR-P``, ``W2SR-N`` and ``ceiling`` (the reference). Metrics: accuracy (pass@1, first completed answer), ``rgr``, shares of texts
        that the length limit stopped, that run on or give no answer; of the traces also how many there are and how many are right.

    Raises
    ------
    ConfigError, DataError, TrainingError
        An option names nothing, the data cannot be read or are too few, a trace does not fit the student.

    Examples
    --------
    >>> run(TraceDistill(keep=("right",)))
    Traceback (most recent call last):
    steelyard.errors.ConfigError: keep is right; use all, correct, wrong, and give at least one seed
    """
    unknown = [kind for kind in config.keep if kind not in ARMS]
    if unknown or not config.seeds:
        raise ConfigError(f"keep is {', '.join(config.keep) or 'empty'}; use all, correct, wrong, and give at least one seed")
    task, counts = load_problem_task(
        config.data, instruction=config.instruction, plain=EQUATIONS in (config.teacher, config.student), answer=config.answer
    )
    if config.train is None and config.student == EQUATIONS:
        warm_up(task)
    result = Result(
        "trace-distill", dataclasses.asdict(config), {"data": {**task.about, "train": "pools by seed", "test": "fixed"}, "problems": counts}
    )
    over_seeds(result, config.seeds, lambda seed, part: _one_seed(config, task, seed, part), task.content)
    if "W2SR-P" in result.arms and "ceiling" in result.arms:
        arms = ([result.values(arm, "accuracy")[seed] for seed in config.seeds] for arm in ("weak", "W2SR-P", "ceiling"))
        result.artifacts["gap"] = {**gap_over_seeds(*arms).to_dict(), "student_name": "W2SR-P"}
    result.artifacts["reference"] = (
        "the student tuned on reference solutions" if config.reference == "gold" else "accuracy given by the user"
    )
    return result


def _one_seed(config: TraceDistill, task: QuestionTask, seed: int, result: Result) -> None:
    sizes = [config.teacher_rows * (config.teacher == EQUATIONS), config.base_rows * (config.student == EQUATIONS), config.train]
    test, (taught, known, rows) = divide(task, np.arange(len(task.questions)), config.test, sizes, seed)
    limits = {"top_p": config.top_p, "max_new_tokens": config.max_new_tokens}
    teacher = trace_teacher(config.teacher, task, taught, seed, model=config.teacher_model, **limits)
    base = base_student(config.student, task, known, seed, **limits)
    sampling = {} if config.teacher == EQUATIONS else limits
    traces = cached_traces(teacher, config.teacher, task, rows, temperature=config.temperature, seed=seed, **sampling)
    sets, counts = sorted_traces(traces, task, config.keep)  # type: ignore[arg-type]
    result.artifacts["traces"] = {str(seed): counts}
    if config.reference == "gold":
        sets["ceiling"] = references(task, rows)
    arms: dict[str, Policy | ServedWriter] = {"weak": teacher, "base": base}
    for arm, policy in arms.items():
        _measure(config, task, policy, test, arm, seed, result)
    if config.instruction:
        bare = replace(task, template="{question}\n")
        _measure(config, bare, base, test, "base, no instruction", seed, result)
    for arm, learned in sets.items():
        student = continued(base, tune=_of(config, None, config.tune), **_training(config), seed=seed).fit(learned)
        _measure(config, task, student, test, arm, seed, result)
        hits = is_correct(learned, task.answers, equal=task.equal)
        result.add(arm, seed, "traces", len(learned)).add(arm, seed, "right_traces", float(hits.mean()) if len(hits) else math.nan)
    add_recovered_gain(result, list(sets), seed, None if config.reference == "gold" else float(config.reference))


def _measure(
    config: TraceDistill, task: QuestionTask, policy: Policy | ServedWriter, rows: NDArray[np.int64], arm: str, seed: int, result: Result
) -> None:
    drawn = solve(policy, task, rows, n=config.samples, temperature=config.temperature if config.samples > 1 else 0.0, seed=seed)
    for metric, value in measure(drawn, task).items():
        result.add(arm, seed, metric, value)


def _training(config: TraceDistill) -> dict[str, Any]:
    return {
        "epochs": config.epochs or _of(config, 12, 5),
        "batch_size": config.batch_size or _of(config, 8, 128),
        "learning_rate": config.learning_rate or _of(config, 1e-3, 1e-5),
    }


def _of(config: TraceDistill, equations: Any, language_model: Any) -> Any:
    return equations if config.student == EQUATIONS else language_model
