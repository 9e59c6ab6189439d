"""Traces that a weak reasoner writes, sorted into what students learn from, and the share of the reasoning gain that they recover.

Yuan et al. 2025, "Incentivizing Strong Reasoning from Weak Supervision". For the recipe `trace-distill`.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.completions import Completions
from steelyard.errors import TrainingError
from steelyard.evaluation import UndefinedGap
from steelyard.jobs.question_task import QuestionTask
from steelyard.jobs.reasoning_arms import EQUATIONS, new_policy, references
from steelyard.language.notation import parse
from steelyard.language.reasoning import is_correct
from steelyard.language.served_writer import ServedWriter
from steelyard.language.traces import degenerate
from steelyard.result import Result
from steelyard.training.policy import Policy
from steelyard.training.selection.error_rate import Keep, select_traces

ARMS: dict[Keep, str] = {"all": "W2SR", "correct": "W2SR-P", "wrong": "W2SR-N"}
"""Which traces a student learns from -> the name of its arm."""


def trace_teacher(
    name: str, task: QuestionTask, rows: NDArray[np.int64], seed: int, *, model: str = "", **writing: Any
) -> Policy | ServedWriter:
    """Who writes the traces: ``equations``, fitted on the gold `rows`; a server's address and its `model`; a causal language model."""
    if name == EQUATIONS:
        return new_policy(EQUATIONS, task, small=True, epochs=40, seed=seed).fit(references(task, rows))
    if re.match(r"https?://", name):
        return ServedWriter(name, model, **writing)
    return new_policy(name, task, warn=False, **writing)


def base_student(name: str, task: QuestionTask, rows: NDArray[np.int64], seed: int, **writing: Any) -> Policy:
    """Who learns from them: ``equations``, which knows the gold `rows` in postfix while traces are prefix; a causal language model."""
    if name == EQUATIONS:
        gold = references(task, rows)
        postfix = [tree.postfix() if (tree := parse(text)) else text for text in gold.texts]
        return new_policy(EQUATIONS, task, seed=seed).fit(replace(gold, texts=postfix))
    return new_policy(name, task, **writing)


def sorted_traces(traces: Completions, task: QuestionTask, keep: Sequence[Keep]) -> tuple[dict[str, Completions], dict[str, Any]]:
    """Drop degenerate traces and choose those of every arm.

    Returns
    -------
    (arm -> its traces, what was counted)

    Raises
    ------
    TrainingError
        An arm has nothing to learn from.
    """
    faults, right = degenerate(traces), is_correct(traces, task.answers, equal=task.equal)
    counts = {**faults.counts(), "right": int(right.sum()), "words": float(np.mean([len(t.split()) for t in traces.texts]))}
    sound = traces.take(faults.sound)
    sets = {ARMS[kind]: select_traces(sound, right[faults.sound], kind) for kind in keep}
    if nothing := [arm for arm, kept in sets.items() if not len(kept)]:
        told = f"{counts['truncated']} were stopped by the length limit, {counts['no_answer']} have no answer, {counts['right']} are right"
        raise TrainingError(
            f"arm {nothing[0]} has nothing to learn from: of the teacher's {len(traces)} traces {told}; give more questions or new tokens, "
            "a better teacher, or leave that arm out of keep"
        )
    return sets, counts


def add_recovered_gain(result: Result, arms: Sequence[str], seed: int, reference: float | None = None) -> None:
    """Add `rgr` = (accuracy − base) / (reference − base) of every arm; the reference is the arm `ceiling` when left out.

    Warns
    -----
    UndefinedGap
        The reference is not better than the base; the share is NaN then.

    Examples
    --------
    >>> result = Result("r").add("base", 0, "accuracy", 0.2).add("W2SR", 0, "accuracy", 0.5)
    >>> add_recovered_gain(result, ["W2SR"], 0, reference=0.8)
    >>> round(result.mean("W2SR", "rgr"), 3)
    0.5
    """
    start = result.values("base", "accuracy")[seed]
    reached = result.values("ceiling", "accuracy")[seed] if reference is None else reference
    if reached <= start:
        told = f"the reference is not better than the base student ({reached:.4g} against {start:.4g})"
        warnings.warn(f"{told}; the gain recovered is undefined there", UndefinedGap, stacklevel=2)
    for arm in arms:
        gain = result.values(arm, "accuracy")[seed] - start
        result.add(arm, seed, "rgr", gain / (reached - start) if reached > start else math.nan)
