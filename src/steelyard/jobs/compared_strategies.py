"""Strategies side by side: one strong student learns the same weak labels by every strategy, next to the ceiling and negative controls.

Ye, Xiao, Hui 2024, "Weak-to-Strong Generalization beyond Accuracy".
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard import evaluation
from steelyard.errors import ConfigError, TrainingError
from steelyard.evaluation import UndefinedGap
from steelyard.jobs.strategies import composed_arm, mean_labels, shuffled_labels
from steelyard.jobs.text_task import TextTask
from steelyard.jobs.weak_labels import weak_labels
from steelyard.jobs.weak_to_strong import METHOD, Outcome, WeakToStrong, gap_artifacts
from steelyard.pools import Pools
from steelyard.result import Result
from steelyard.training.base import Student


@dataclass
class ComparedStrategies:
    """A supervisor, a student, and how the student is to learn.

    Parameters
    ----------
    weak, strong
        As `WeakToStrong` takes them.
    strategies
        As `composed_arm` reads them. The first is the arm `method`, the others are arms of their names. Two are controls: ``shuffled``
        learns labels that were dealt to the wrong texts, ``twin`` is another model of the supervisor's kind, so it shows what more texts
        alone bring (only where the supervisor is a model that learns).
    others
        More supervisors; the labels of ``ensemble`` are the mean of theirs and of the weak one's.
    chain
        The student of ``bootstrap``, such as a `BootstrapChain`.
    metrics
        Names of functions of `steelyard.evaluation`.

    Raises
    ------
    ConfigError
        A strategy cannot be read or is not possible with these parts; a metric is unknown.

    Examples
    --------
    >>> from steelyard.training import SklearnStudent
    >>> texts = [f"{word} {i}" for i in range(30) for word in ("free cash", "see you")]
    >>> task = TextTask(texts, np.array([1, 0] * 30), ("ham", "spam"), np.zeros(60, bool))
    >>> job = ComparedStrategies(SklearnStudent(), SklearnStudent(), ["soft", "twin"])
    >>> found = job.over_seeds(task, lambda seed: task.pools(10, 30, 20, seed), [0])
    >>> found.arms, found.mean("twin", "accuracy")
    (['weak', 'method', 'twin', 'ceiling'], 1.0)
    """

    weak: Any
    strong: Any
    strategies: Sequence[str]
    others: Sequence[Any] = ()
    chain: Any = None
    metrics: Sequence[str] = ("accuracy",)

    def __post_init__(self) -> None:
        if unknown := [metric for metric in self.metrics if metric not in dir(evaluation)]:
            raise ConfigError(f"metric '{unknown[0]}' is unknown; use such as accuracy, balanced_accuracy, f1_weighted, log_loss")
        for strategy in self.strategies:
            composed_arm(strategy, dict.fromkeys(self._possible(), object))

    def run(self, texts: Sequence[str], y: NDArray[np.int64], pools: Pools, classes: Sequence[str], *, seed: int = 0) -> Outcome:
        """Label, teach by every strategy and on gold, and predict the test pool; see `WeakToStrong.run`.

        A strategy whose filter keeps no label is left out with a warning.

        Raises
        ------
        TrainingError
            That strategy is the first; or as `WeakToStrong.run`.
        """
        labels = weak_labels(self.weak, texts, y, pools, classes, seed=seed)
        makers: dict[str, Callable[[], Any]] = {
            "ensemble": cache(lambda: mean_labels([labels, *self.others], texts, y, pools, classes, seed=seed)),
            "shuffled": lambda: shuffled_labels(labels, pools, seed),
            "bootstrap": lambda: self.chain,
            "twin": self._twin,
        }
        arms = {}
        for name, strategy in zip([METHOD, *self.strategies[1:]], self.strategies, strict=True):
            arm = composed_arm(strategy, makers)
            surest = float((labels if arm.labels is None else arm.labels)[pools.unlabeled].max())
            if surest >= arm.confidence:
                arms[name] = arm
                continue
            message = (
                f"strategy '{strategy}' keeps none of {len(pools.unlabeled):,} weak labels, the surest has {surest:.2f}; lower the filter"
            )
            if name == METHOD:
                raise TrainingError(message)
            warnings.warn(message, stacklevel=2)
        return WeakToStrong(labels, self.strong, arms).run(texts, y, pools, classes, seed=seed)

    def over_seeds(self, task: TextTask, pools: Callable[[int], Pools], seeds: Sequence[int]) -> Result:
        """Run every seed on the pools that `pools(seed)` draws.

        Returns
        -------
        Result
            Arms `weak`, the strategies, `ceiling`; for strategies also `METRIC/pgr`, and the agreement with the supervisor where it is
            right and where it is wrong (its errors repeated). Artifacts as in `WeakToStrong.over_seeds`.
        """
        outcomes = [self.run(*_drawn(task, pools(seed)), task.classes, seed=seed) for seed in seeds]
        # Only what every seed has can be compared over seeds.
        shared = [arm for arm in outcomes[0].predictions if all(arm in outcome.predictions for outcome in outcomes)]
        outcomes = [replace(outcome, predictions={arm: outcome.predictions[arm] for arm in shared}) for outcome in outcomes]
        result = Result("strategies")
        with warnings.catch_warnings():
            warnings.simplefilter("once", UndefinedGap)
            for outcome in outcomes:
                outcome.add_to(result, self.metrics)
        result.artifacts |= gap_artifacts(outcomes, result, self.metrics)
        return result

    def _possible(self) -> list[str]:
        also = {"ensemble": bool(self.others), "bootstrap": self.chain is not None, "twin": hasattr(self.weak, "fit")}
        return ["shuffled", *(name for name, possible in also.items() if possible)]

    def _twin(self) -> Student:
        from steelyard.training import SklearnStudent

        return self.weak if isinstance(self.weak, Student) else SklearnStudent(self.weak)


def _drawn(task: TextTask, pools: Pools) -> tuple[list[str], NDArray[np.int64], Pools]:
    """Texts, gold and pools of the drawn rows alone, so that nothing else is embedded."""
    parts = [pools.gold, pools.unlabeled, pools.test]
    rows = np.concatenate(parts)
    ends = np.cumsum([len(part) for part in parts])[:2]
    return [task.texts[row] for row in rows], task.y[rows], Pools(*np.split(np.arange(len(rows)), ends))
