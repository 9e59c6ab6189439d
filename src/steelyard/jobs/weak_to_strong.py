"""The weak-to-strong pipeline: a weak supervisor labels what it has not seen, a strong student learns from that, and both meet the ceiling.

Burns et al. 2023, "Weak-to-Strong Generalization". Every arm is the same student with the same budget; only labels or objective differ.
"""

from __future__ import annotations

import copy
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steelyard import evaluation
from steelyard.errors import ConfigError
from steelyard.jobs.artefacts import Artefacts, identity, texts_digest
from steelyard.jobs.weak_labels import seeded, weak_labels
from steelyard.pools import Pools
from steelyard.result import Result
from steelyard.targets import Targets
from steelyard.training.rows import take_rows

METHOD = "method"


@dataclass(frozen=True)
class Arm:
    """How one student learns; what is left out is as in the pipeline.

    Parameters
    ----------
    objective
        An `Objective`; the student's own when left out.
    hard
        Learn the most probable class of each weak label instead of its distribution.
    confidence
        Weak labels whose most probable class is less probable than this are not taught.
    student
        Another student than the pipeline's.
    labels : (n, k) float array, optional
        Other labels than the weak supervisor's, NaN (or anything) outside the unlabeled pool.
    """

    objective: Any = None
    hard: bool = False
    confidence: float = 0.0
    student: Any = None
    labels: NDArray[np.floating[Any]] | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one seed gave: class probabilities (t, k) of every arm on the t test rows, in the order weak, arms, ceiling.

    `weak_labels` (n, k) are NaN outside the unlabeled and the test pool; `y` (t,) is the gold of the test rows.
    """

    seed: int
    y: NDArray[np.int64]
    predictions: Mapping[str, NDArray[np.float32]]
    weak_labels: NDArray[np.float32]
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def arms(self) -> list[str]:
        """The students that learned from weak labels."""
        return [name for name in self.predictions if name not in ("weak", "ceiling")]

    def add_to(self, result: Result, metrics: Sequence[str] = ("accuracy",)) -> Result:
        """Add every metric of every arm, `METRIC/pgr` of the students, and how often they agree with a right and a wrong supervisor.

        Where the ceiling is not better than the supervisor the share recovered is NaN, with an `UndefinedGap` warning.
        """
        for metric in metrics:
            score = {arm: getattr(evaluation, metric)(self.y, p) for arm, p in self.predictions.items()}
            for arm, value in score.items():
                result.add(arm, self.seed, metric, value)
            for arm in self.arms if "ceiling" in score else ():
                share = evaluation.performance_gap_recovered(score["weak"], score[arm], score["ceiling"], metric=metric)
                result.add(arm, self.seed, f"{metric}/pgr", share)
        for arm in self.arms:
            split = evaluation.agreement_by_supervisor_correctness(self.y, self.predictions["weak"], self.predictions[arm])
            result.add(arm, self.seed, "agreement_when_right", split.when_right.mean)
            # With the supervisor wrong, to agree with it is to repeat its error.
            result.add(arm, self.seed, "agreement_when_wrong", split.when_wrong.mean)
        for step, seconds in self.seconds.items():
            result.timings[step] = result.timings.get(step, 0.0) + seconds
        return result


class WeakToStrong:
    """One weak supervisor, one strong student, any number of arms.

    Parameters
    ----------
    weak
        Whatever `weak_labels` takes: a model to train on the gold pool, a pretrained one, sources, votes, or probabilities (n, k).
    strong : Student
        A copy of it, with the run's seed, learns every arm and the ceiling. A student with an `encoder` reads texts as frozen features,
        which are computed once for all arms and seeds.
    arms : mapping of str to Arm
        The students to compare; one arm `method` that imitates the soft labels when left out.
    metrics : sequence of str
        Names of functions of `steelyard.evaluation`.
    cache : path, None or False
        Where weak labels and predictions are kept (`None`: the cache folder), so that a sweep or a killed run makes nothing twice.
    keep : path, optional
        Folder in which the fitted students are kept, as `ARM-SEED`; a fine-tuned one then also goes on in mid-training after a kill.
    label_model : str
        Weighs the votes of sources.

    Examples
    --------
    >>> from steelyard.training import SklearnStudent
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(400, 8))
    >>> y = (x.sum(axis=1) > 0).astype(np.int64)
    >>> pools = Pools.split(400, gold=50, test=150)
    >>> pipeline = WeakToStrong(SklearnStudent(), SklearnStudent(), cache=False)
    >>> outcome = pipeline.run(x, y, pools, ["no", "yes"], weak_inputs=x[:, :3])
    >>> list(outcome.predictions)
    ['weak', 'method', 'ceiling']
    >>> result = outcome.add_to(Result("demo"))
    >>> result.mean("weak", "accuracy") < result.mean("ceiling", "accuracy")
    True
    """

    def __init__(
        self,
        weak: Any,
        strong: Any,
        arms: Mapping[str, Arm] | None = None,
        *,
        metrics: Sequence[str] = ("accuracy",),
        cache: str | os.PathLike[str] | Literal[False] | None = None,
        keep: str | os.PathLike[str] | None = None,
        label_model: str = "select",
    ) -> None:
        self.weak = weak
        self.strong = strong
        self.arms = {METHOD: Arm()} if arms is None else dict(arms)
        self.metrics = tuple(metrics)
        self.artefacts = Artefacts(cache)
        self.keep = None if keep is None else Path(keep)
        self.label_model = label_model
        self._features: dict[tuple[str, str], NDArray[np.float32]] = {}
        if taken := {"weak", "ceiling"} & set(self.arms):
            raise ConfigError(f"an arm cannot be called '{min(taken)}'; the supervisor and the student on gold labels are")

    def run(
        self, inputs: Any, y: NDArray[np.integer[Any]], pools: Pools, classes: Sequence[str], *, seed: int = 0, weak_inputs: Any = None
    ) -> Outcome:
        """Label, teach every arm and the ceiling, and predict the test pool.

        Parameters
        ----------
        inputs
            n texts or feature rows (n, d): what the students read.
        y : (n,) int
            Gold classes, -1 = unknown. The students of weak labels never see them; without gold in the unlabeled pool there is no ceiling.
        pools
            Which rows are for what.
        classes
            k names.
        seed
            Of the weak model and of all students.
        weak_inputs
            What the weak supervisor reads, where that is not `inputs`.

        Raises
        ------
        TrainingError
            The supervisor cannot be trained or names one class only, or a student cannot be trained.
        DataError
            A test item also lies in another pool.
        """
        gold = np.asarray(y, dtype=np.int64)
        pools.require_apart(inputs)
        seen = inputs if weak_inputs is None else weak_inputs
        parts: dict[str, Any] = {"pools": [pools.gold, pools.unlabeled, pools.test], "classes": list(classes), "seed": seed}
        seconds: dict[str, float] = {}
        began = time.perf_counter()
        labels: NDArray[np.float32] = self.artefacts.array(
            "weak-labels",
            {**parts, "weak": self.weak, "inputs": _digest(seen), "y": gold[pools.gold], "label_model": self.label_model},
            lambda: weak_labels(self.weak, seen, gold, pools, classes, seed=seed, label_model=self.label_model),
        )
        seconds["weak labels"] = time.perf_counter() - began
        predictions = {"weak": labels[pools.test]}
        parts["inputs"] = _digest(inputs)
        for name, arm in self.arms.items():
            taught = labels if arm.labels is None else np.asarray(arm.labels)
            targets = Targets(taught[pools.unlabeled], classes=classes, rows=pools.unlabeled).filter(arm.confidence)
            if arm.hard:
                targets = Targets(np.eye(len(classes))[targets.harden()], classes=classes, rows=targets.rows)
            began = time.perf_counter()
            predictions[name] = self._learn(name, arm, inputs, targets, pools.test, seed, parts)
            seconds[name] = time.perf_counter() - began
        truth = np.full(len(gold), -1)
        truth[pools.unlabeled] = gold[pools.unlabeled]
        if (truth >= 0).any():
            began = time.perf_counter()
            predictions["ceiling"] = self._learn("ceiling", Arm(), inputs, Targets.from_labels(truth, classes), pools.test, seed, parts)
            seconds["ceiling"] = time.perf_counter() - began
        return Outcome(seed, gold[pools.test], predictions, labels, seconds)

    def over_seeds(
        self,
        inputs: Any,
        y: NDArray[np.integer[Any]],
        pools: Callable[[int], Pools],
        classes: Sequence[str],
        seeds: Sequence[int],
        *,
        weak_inputs: Any = None,
        result: Result | None = None,
    ) -> Result:
        """Run every seed on the pools that `pools(seed)` draws, and sum up.

        Returns
        -------
        Result
            Rows of all arms, seeds and metrics; artifacts `gap` (of the arm `method`, else the first), `gaps` (of every arm and metric,
            with intervals over seeds, over test rows where there is one seed) and `agreement`.
        """
        result = Result("weak-to-strong") if result is None else result
        outcomes = [self.run(inputs, y, pools(seed), classes, seed=seed, weak_inputs=weak_inputs) for seed in seeds]
        with warnings.catch_warnings():
            # One warning for each gap that is none, not one for every arm.
            warnings.simplefilter("once", evaluation.UndefinedGap)
            for outcome in outcomes:
                outcome.add_to(result, self.metrics)
        result.artifacts |= gap_artifacts(outcomes, result, self.metrics)
        return result

    def _learn(
        self, name: str, arm: Arm, inputs: Any, targets: Targets, test: NDArray[np.int64], seed: int, parts: Mapping[str, Any]
    ) -> NDArray[np.float32]:
        pattern = self.strong if arm.student is None else arm.student
        student = seeded(pattern, seed)
        parameters = student.get_params(deep=False)
        if arm.objective is not None:
            if "objective" not in parameters:
                raise ConfigError(
                    f"arm '{name}' has an objective, but a {type(student).__name__} takes none; use a HeadStudent or StudentTrainer"
                )
            student.set_params(objective=copy.deepcopy(arm.objective))
        kept = None if self.keep is None else self.keep / f"{name}-{seed}"

        def learn() -> NDArray[np.float32]:
            data = self._frozen(pattern, inputs)
            folder = kept
            if "output_dir" in parameters and kept is None and (called := self.artefacts.name("run", made_from)) is not None:
                folder = None if self.artefacts.folder is None else self.artefacts.folder / called
            if "output_dir" in parameters:
                student.set_params(output_dir=folder)
            probabilities: NDArray[np.float32] = student.fit(data, targets).predict_proba(take_rows(data, test))
            if kept is not None and "output_dir" not in parameters:
                student.save(kept)
            elif kept is None and folder is not None:
                shutil.rmtree(folder)  # the predictions are what the run was for
            return probabilities

        made_from = {**parts, "student": student, "probabilities": targets.probabilities, "rows": targets.rows}
        if kept is not None and not (kept / "student.json").exists():
            return learn()
        return self.artefacts.array("predictions", made_from, learn)

    def _frozen(self, student: Any, inputs: Any) -> Any:
        """The inputs as features of the student's frozen encoder, computed once."""
        encoder = getattr(student, "encoder", None)
        if encoder is None or isinstance(inputs, np.ndarray):
            return inputs
        key = (str(getattr(encoder, "identity", id(encoder))), texts_digest(inputs))
        if key not in self._features:
            self._features[key] = np.asarray(encoder.encode(inputs), dtype=np.float32)
        return self._features[key]


def gap_artifacts(outcomes: Sequence[Outcome], result: Result, metrics: Sequence[str]) -> dict[str, Any]:
    """The gaps with their intervals and the agreement over the test rows of all seeds, as the report draws them."""
    first = outcomes[0]
    main = METHOD if METHOD in first.arms else next(iter(first.arms), None)
    if main is None:
        return {}
    artifacts: dict[str, Any] = {
        "agreement": evaluation.agreement_by_supervisor_correctness(
            np.concatenate([outcome.y for outcome in outcomes]),
            *(np.concatenate([outcome.predictions[arm].argmax(axis=1) for outcome in outcomes]) for arm in ("weak", main)),
        ).to_dict()
    }
    if "ceiling" in first.predictions:
        artifacts["gaps"] = {arm: {metric: _gap(outcomes, result, arm, metric) for metric in metrics} for arm in first.arms}
        artifacts["gap"] = artifacts["gaps"][main][metrics[0]]
    return artifacts


def _gap(outcomes: Sequence[Outcome], result: Result, arm: str, metric: str) -> dict[str, Any]:
    three = ("weak", arm, "ceiling")
    if len(outcomes) == 1:
        gap = evaluation.gap_over_rows(outcomes[0].y, *(outcomes[0].predictions[name] for name in three), metric=metric)
    else:
        gap = evaluation.gap_over_seeds(*(list(result.values(name, metric).values()) for name in three), metric=metric)
    return gap.to_dict()


def _digest(inputs: Any) -> Any:
    return identity(inputs) if isinstance(inputs, np.ndarray) else texts_digest(inputs)
