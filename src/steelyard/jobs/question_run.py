"""A run over seeds on a task of questions, with ablations beside the method: what the recipes that learn from drawn answers share."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from steelyard.errors import ConfigError
from steelyard.jobs.ablations import ablated
from steelyard.jobs.finished_seeds import over_seeds
from steelyard.jobs.question_task import MINILM, QuestionTask, load_question_task
from steelyard.result import Result

Config = TypeVar("Config")


def run_on_questions(
    name: str, config: Any, writer: str, one_seed: Callable[[QuestionTask, int, Result], None], *, train: str, records: str
) -> Result:
    """Read the questions, measure every seed and say what was learned from.

    Parameters
    ----------
    name
        Of the recipe.
    config : frozen dataclass
        Its options, among them `data` and `seeds`.
    writer
        The strong model's name: one that writes is asked for a worked solution, ``minilm`` is not.
    one_seed
        Adds what one seed measured to the empty result it is given.
    train
        What is learned from, in words.
    records
        Artifact to which seeds append their records.

    Raises
    ------
    ConfigError
        There are no seeds.
    DataError
        The data cannot be read.
    """
    if not config.seeds:
        raise ConfigError("seeds is empty; give at least one, for example --seeds 3")
    task = load_question_task(config.data, written=writer != MINILM)
    result = Result(name, dataclasses.asdict(config))
    result.artifacts |= {"data": {**task.about, "train": train, "test": "the test pool"}}

    def timed(seed: int, part: Result) -> None:
        began = time.perf_counter()
        part.artifacts[records] = []
        one_seed(task, seed, part)
        part.timings[f"seed {seed}"] = time.perf_counter() - began

    return over_seeds(result, config.seeds, timed, task.content)


def method_and_ablations(config: Config) -> Iterator[tuple[str, Config]]:
    """The arm of the method and one per ablation, each with its options.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Options:
    ...     rounds: int = 2
    ...     ablations: tuple[str, ...] = ("rounds=1",)
    >>> [(arm, options.rounds) for arm, options in method_and_ablations(Options())]
    [('method', 2), ('rounds=1', 1)]
    """
    yield "method", config
    for changes in config.ablations:  # type: ignore[attr-defined]
        yield changes, ablated(config, changes)


def learning(config: Any) -> dict[str, Any]:
    """How the models of a run learn and write: the options that `named_policy` and `named_writer` take."""
    return {name: getattr(config, name) for name in ("tune", "epochs", "learning_rate", "max_new_tokens")}


def preferring(config: Any) -> dict[str, Any]:
    """How they learn from pairs: the options of `Policy.prefer`."""
    return {
        "beta": config.beta,
        "nll_weight": config.nll_weight,
        "epochs": config.preference_epochs,
        "learning_rate": config.preference_learning_rate,
    }
