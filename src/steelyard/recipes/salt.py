"""SALT: a small language model's soft labels help a larger one at the beginning of its pretraining; then it learns alone.

Rawat et al. 2024, "A Little Help Goes a Long Way: Efficient LLM Training by Leveraging Small LMs". One run with two losses: soft labels
mixed in for the first fifth of the steps, the next token alone after, nothing reset between. Beside it: ordinary pretraining (baseline),
soft labels to the end (RKD), and SALT_DS, whose first stage reads the windows that are challenging yet learnable for an early checkpoint of
the small model, with its control without soft labels. All arms start from the same weights and, but for the chosen windows, read the same
text.

Measured on plays of Shakespeare over three seeds, nats per character of held-out text: when the first stage ends SALT has 2.198 against
2.258 of the baseline, better on every seed, which the baseline has after 142 steps instead of 120. At the end they tie (1.872 and 1.871):
the head start is gone after two thirds of the steps, and the published lower final loss did not come out with a teacher of 2.14 whom the
student passes soon after the switch. RKD ends .142 worse: a weak teacher must be left. SALT_DS ties too (1.870), its windows without soft
labels are no better than any (1.879).
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.errors import ConfigError
from steelyard.jobs.pretraining_arms import (
    PretrainingTask,
    add_curve,
    curve_of,
    load_pretraining_task,
    mean_curves,
    pretrain,
    starting_model,
    steps_to,
    trained_here,
    weights_of,
)
from steelyard.result import Result
from steelyard.training.objectives.distill_mix import DistillMix
from steelyard.training.objectives.token_weighted import TokenWeighted
from steelyard.training.selection.difficulty import difficulty_scores, select_challenging
from steelyard.training.teacher_targets import check_teacher, teacher_targets


@dataclass(frozen=True)
class Salt:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        ``tiny_shakespeare``, ``books_plain_text``, a table of texts (Parquet, CSV, JSON lines) or a ``.txt`` file.
    text : str
        Text column of a table.
    teacher : str
        Shape LAYERSxWIDTH of a small model that is trained here first, or the name or folder of one of the student's tokenizer.
    student : str
        Shape of the fresh student, or the name or folder of a causal language model to train on from its weights.
    teacher_steps : int
        Steps in which a teacher made here is trained; its early checkpoint, which chooses windows, has a third of them.
    weight : float
        Of the soft labels in the first stage, in [0, 1].
    temperature : float
        Of the teacher alone; below 1 sharper.
    stage : float
        Share of the steps that the first stage takes.
    transition : str
        How the soft labels leave: step, linear or linear-ratio.
    select : bool
        Also run SALT_DS and its control.
    top_k : int
        A token counts as learnable where it is among so many most probable ones.
    stored : int
        Make soft labels once beforehand and keep so many tokens per place; 0 runs the teacher in every step.
    runs : str
        Folder for the arms' runs, each with checkpoints: a run that was killed goes on, a finished one is read.
    tokens : int
        Vocabulary made for a fresh student: 258 for single bytes.
    context : int
        Tokens of a window.
    steps : int
        Optimiser steps of the student.
    batch_size : int
        Windows per step.
    learning_rate : float
        Of AdamW, rising for 5 % of the steps, then falling as a cosine.
    evaluate_steps : int
        Steps between two measurements on held-out text.
    test : int
        Held-out windows to measure on at most.
    seeds : tuple of int
        Each draws its own teacher, first weights and order.
    """

    data: str = "tiny_shakespeare"
    text: str = "text"
    teacher: str = "1x48"
    student: str = "3x96"
    teacher_steps: int = 900
    weight: float = 0.667
    temperature: float = 1.0
    stage: float = 0.2
    transition: str = "step"
    select: bool = True
    top_k: int = 10
    stored: int = 0
    runs: str | None = None
    tokens: int = 258
    context: int = 48
    steps: int = 600
    batch_size: int = 32
    learning_rate: float = 2e-3
    evaluate_steps: int = 40
    test: int = 512
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: Salt) -> Result:
    """Train every arm on every seed and measure all on the same held-out text, which decides nothing.

    Returns
    -------
    Result
        Arms ``weak`` (the teacher), ``baseline``, ``SALT``, ``RKD``, ``SALT_DS``, ``chosen windows, no teacher``. Metrics: ``loss`` in nats
        per token at the end, ``early_loss`` when the first stage ends, ``steps_to_baseline`` and ``flops_to_baseline`` (share of the
        baseline's steps and operations after which an arm is where the baseline ends; undefined where it never is; the teacher's forward
        passes and the scoring of windows count, its own training does not), ``flops`` of the whole run over the baseline's, ``seconds``.

    Raises
    ------
    ConfigError, DataError, TrainingError
        An option names nothing, the data cannot be read or are too few, the teacher knows too little or another vocabulary.

    Examples
    --------
    >>> run(Salt(seeds=()))
    Traceback (most recent call last):
    steelyard.errors.ConfigError: seeds is empty; give at least one seed
    """
    if not config.seeds:
        raise ConfigError("seeds is empty; give at least one seed")
    mix(config, None)  # options are checked before anything is trained
    task = load_pretraining_task(
        config.data, config.student, text=config.text, tokens=config.tokens, context=config.context, test=config.test
    )
    result = Result("salt", dataclasses.asdict(config), {"data": task.about})
    curves: dict[str, list[dict[int, float]]] = {}
    for seed in config.seeds:
        _one_seed(config, task, seed, result, curves)
    result.artifacts["curves"] = mean_curves(curves)
    return result


def mix(config: Salt, teacher: Any, until: float | None = None) -> DistillMix:
    """The loss of an arm with soft labels."""
    shape: Any = config.transition if until is None else "step"
    share = config.stage if until is None else until
    return DistillMix(teacher, weight=config.weight, temperature=config.temperature, until=share, transition=shape)


def _one_seed(config: Salt, task: PretrainingTask, seed: int, result: Result, curves: dict[str, list[dict[int, float]]]) -> None:
    teacher, early = (
        trained_here(config.teacher, task, config, steps, seed) for steps in (config.teacher_steps, config.teacher_steps // 3)
    )
    result.add("weak", seed, "loss", check_teacher(teacher, task.test))
    columns = teacher_targets(teacher, task.train, config.stored) if config.stored else None
    shown = None if config.stored else teacher
    # Of each arm: its loss, the windows that it reads first, the share of its steps with a teacher.
    arms: dict[str, tuple[Any, Any, float]] = {
        "baseline": (TokenWeighted(), None, 0.0),
        "SALT": (mix(config, shown), None, config.stage),
        "RKD": (mix(config, shown, 1.0), None, 1.0),
    }
    if config.select:
        budget = max(1, round(config.stage * config.steps) * config.batch_size)
        chosen = select_challenging(difficulty_scores(early, task.train, top_k=config.top_k), budget)
        arms["SALT_DS"] = (mix(config, shown), chosen, config.stage)
        arms["chosen windows, no teacher"] = (TokenWeighted(), chosen, 0.0)
    start, goal = starting_model(config.student, task, seed), math.nan
    # A forward pass takes 2 operations per weight and token, forward and backward together 6.
    extra = 2 * weights_of(teacher) / (6 * weights_of(start[0]))
    scoring = extra * len(task.train) / (config.steps * config.batch_size)
    for arm, (objective, first, taught) in arms.items():
        begun, folder = time.perf_counter(), None if config.runs is None else Path(config.runs) / f"{arm}-{seed}"
        trained = pretrain(start, objective, task.train, task, config, seed, first=first, columns=columns, folder=folder)
        curve = curve_of(trained.history_)
        goal = curve[config.steps] if arm == "baseline" else goal
        reached = steps_to(curve, goal) / config.steps
        add_curve(result, arm, seed, curve, round(config.stage * config.steps))
        chose = 0.0 if first is None else scoring
        result.add(arm, seed, "steps_to_baseline", reached)
        result.add(arm, seed, "flops_to_baseline", reached + extra * min(reached, taught) + chose)
        result.add(arm, seed, "flops", 1 + extra * taught + chose).add(arm, seed, "seconds", time.perf_counter() - begun)
        curves.setdefault(arm, []).append(curve)
