"""Loss reweighting: a language model reads a redundant stream once, and each sequence counts by its current loss within the batch.

Sow et al. 2025, "Dynamic Loss-Based Sample Reweighting for Improved Large Language Model Pretraining". Low losses are turned down, high
ones capped (linupper); quadratic turns both ends down, extremes both up; uniform is ordinary training. All arms start from the same weights
and read the same windows. The built-in proof makes a stream redundant: plays of Shakespeare and one passage repeated until it is 40 % of
all. Its negative control is the clean text, where nothing is redundant.

Measured over three seeds, nats per character of clean held-out text: linupper 1.999 against 2.067 of uniform, better on every seed and
there after 62 % of the steps; quadratic ties (2.068), extremes loses (2.114, worse on every seed). On the clean text linupper at
temperature 0.4 loses a little (1.925 against 1.920) and at temperature 1 ties (1.917): the gain comes from redundancy, and 1 is the safe
setting.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    with_repeats,
)
from steelyard.result import Result
from steelyard.training.selection.loss_reweighting import STRATEGIES, LossReweighter, ReweightedLoss
from steelyard.training.text_windows import TextWindows

UNIFORM = "uniform"
_PROOF = "tiny_shakespeare"
_FEWEST_WARM_STEPS = 100


@dataclass(frozen=True)
class LossReweighting:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        ``tiny_shakespeare``, ``books_plain_text``, a table of texts (Parquet, CSV, JSON lines) or a ``.txt`` file.
    text : str
        Text column of a table.
    model : str
        Shape of a fresh model, LAYERSxWIDTH, or the name or folder of a causal language model to train on from its weights.
    strategy : tuple of str
        How losses become weights, one arm each beside uniform: linupper, quadratic, extremes, linear.
    temperature : float
        The larger, the more even; 1 is safe.
    warmup : float
        Share of the steps in which all sequences count alike; left out: 5 %, but at least 100 steps.
    max_weight : float
        Largest weight as a multiple of the mean weight, above 1; the theory asks for 2. No cap when left out.
    redundancy : float
        Share of the stream that a repeated passage takes; left out: 0.4 for tiny_shakespeare, none for other data.
    passage : int
        Tokens of the repeated passage.
    control : bool
        Also train on the clean text, uniformly, by the first strategy, and by it at temperature 1.
    tokens : int
        Vocabulary made for a fresh model: 258 for single bytes.
    context : int
        Tokens of a window, which is one sample.
    steps : int
        Optimiser steps.
    batch_size : int
        Windows per step.
    learning_rate : float
        Of AdamW, rising for 5 % of the steps, then falling as a cosine.
    evaluate_steps : int
        Steps between two measurements on held-out text.
    test : int
        Held-out windows to measure on at most.
    seeds : tuple of int
        Each draws its own first weights, order and repeated passage.
    """

    data: str = _PROOF
    text: str = "text"
    model: str = "2x96"
    strategy: tuple[str, ...] = ("linupper", "quadratic", "extremes")
    temperature: float = 0.4
    warmup: float | None = None
    max_weight: float | None = None
    redundancy: float | None = None
    passage: int = 400
    control: bool = True
    tokens: int = 258
    context: int = 48
    steps: int = 600
    batch_size: int = 32
    learning_rate: float = 2e-3
    evaluate_steps: int = 40
    test: int = 512
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: LossReweighting) -> Result:
    """Train every arm on every seed and measure all on the same clean held-out text, which decides nothing.

    Returns
    -------
    Result
        Arms ``uniform``, one per strategy, and on the clean text ``clean, …``. Metrics: ``loss`` in nats per token at the end,
        ``early_loss`` after a third of the steps, ``steps_to_uniform`` (share of the steps after which the arm is where uniform ends;
        undefined where it never is), ``ess`` (effective share of the batch at the end), ``max_weight`` (greatest weight over the mean
        weight at the end), ``seconds``.

    Raises
    ------
    ConfigError, DataError, TrainingError
        An option names nothing, the data cannot be read or are too few, training diverges.

    Examples
    --------
    >>> run(LossReweighting(strategy=("best",)))
    Traceback (most recent call last):
    steelyard.errors.ConfigError: strategy is best; use extremes, linear, linupper, quadratic, and give at least one seed
    """
    known = sorted(set(STRATEGIES) - {UNIFORM})
    if not config.strategy or set(config.strategy) - set(known) or not config.seeds:
        raise ConfigError(f"strategy is {', '.join(config.strategy) or 'empty'}; use {', '.join(known)}, and give at least one seed")
    task = load_pretraining_task(
        config.data, config.model, text=config.text, tokens=config.tokens, context=config.context, test=config.test
    )
    result = Result("loss-reweighting", dataclasses.asdict(config), {"data": task.about})
    share = config.redundancy if config.redundancy is not None else 0.4 if config.data == _PROOF else 0.0
    curves: dict[str, list[dict[int, float]]] = {}
    for seed in config.seeds:
        repeated = with_repeats(task.train, _passage(task.train, config.passage, seed), share)
        arms = {UNIFORM: (UNIFORM, config.temperature), **{name: (name, config.temperature) for name in config.strategy}}
        _arms(config, task, repeated, arms, "", seed, result, curves)
        if config.control and share:
            first = config.strategy[0]
            clean = {UNIFORM: (UNIFORM, config.temperature), first: (first, config.temperature), f"{first} r=1": (first, 1.0)}
            _arms(config, task, task.train, clean, "clean, ", seed, result, curves)
    result.artifacts["curves"] = mean_curves(curves)
    return result


def _arms(
    config: LossReweighting,
    task: PretrainingTask,
    windows: TextWindows,
    arms: dict[str, tuple[str, float]],
    prefix: str,
    seed: int,
    result: Result,
    curves: dict[str, list[dict[int, float]]],
) -> None:
    start, goal = starting_model(config.model, task, seed), math.nan
    for name, (strategy, temperature) in arms.items():
        arm, begun = prefix + name, time.perf_counter()
        trained = pretrain(start, _objective(config, strategy, temperature), windows, task, config, seed)
        curve, last = curve_of(trained.history_), _last_terms(trained.history_)
        goal = curve[config.steps] if name == UNIFORM else goal
        add_curve(result, arm, seed, curve, config.steps // 3)
        result.add(arm, seed, "steps_to_uniform", steps_to(curve, goal) / config.steps)
        result.add(arm, seed, "ess", last["ess"]).add(arm, seed, "max_weight", last["max_weight"])
        result.add(arm, seed, "seconds", time.perf_counter() - begun)
        curves.setdefault(arm, []).append(curve)


def _objective(config: LossReweighting, strategy: str, temperature: float) -> ReweightedLoss:
    warmup = config.warmup if config.warmup is not None else max(0.05, min(_FEWEST_WARM_STEPS / config.steps, 0.5))
    reweighter = LossReweighter(strategy, temperature=temperature, warmup=warmup, max_weight=config.max_weight)  # type: ignore[arg-type]
    return ReweightedLoss(reweighter)


def _passage(windows: TextWindows, length: int, seed: int) -> Any:
    """Consecutive tokens of the text from a place drawn from the seed."""
    stream = windows.ids[:, :-1].ravel()
    start = np.random.default_rng([seed, 41]).integers(max(1, len(stream) - length - windows.context))
    return stream[start : start + max(length, 1)]


def _last_terms(history: list[dict[str, Any]]) -> dict[str, Any]:
    return next(line for line in reversed(history) if "ess" in line)
