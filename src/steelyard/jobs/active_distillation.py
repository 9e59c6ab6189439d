"""Active distillation: a student learns from few gold labels and, round by round, from a teacher's answers on the rows a strategy chooses.

The loop of Baykal et al. 2022, "Robust Active Distillation". The teacher's mistakes are estimated on held-out gold, never on the pool.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from steelyard.errors import ConfigError
from steelyard.targets import Targets
from steelyard.training.rows import length_of, take_rows
from steelyard.training.selection.query_strategies import QueryStrategy


class ActiveDistillation:
    """Rounds of choosing, asking and learning.

    Parameters
    ----------
    teacher
        Has ``predict_proba(data) -> (n, k)``; a row of zeros or NaN means it abstains, which costs nothing.
    student
        Any student (`StudentTrainer`, `HeadStudent`, `SklearnStudent`); it is trained anew in every round.
    strategy
        A `QueryStrategy`.
    rounds, budget
        The teacher is asked for `budget` rows in each round. What an abstention leaves is spent in the next.
    soft
        Learn from the teacher's probabilities instead of its most probable class.
    mistakes
        Share in [0, 1] of the pool that the teacher gets wrong; from the validation rows when left out.
    features
        (n, d) of all rows, for strategies that spread out; the data themselves where they are an array.
    seed
        Decides the draws.

    Attributes
    ----------
    student_
        The last student.
    history_
        By round: ``rows``, ``answered``, ``mistakes`` (m), ``right`` (share of the queries, NaN without gold), and of a game ``support``
        and ``value``; with `watch`, ``watched``.
    """

    def __init__(
        self,
        teacher: Any,
        student: Any,
        strategy: QueryStrategy,
        *,
        rounds: int = 3,
        budget: int = 50,
        soft: bool = False,
        mistakes: float | None = None,
        features: ArrayLike | None = None,
        seed: int = 0,
    ) -> None:
        if rounds < 0 or budget < 1 or not (mistakes is None or 0 <= mistakes <= 1):
            raise ConfigError(
                f"ActiveDistillation: rounds ({rounds}) from 0, budget ({budget}) from 1, mistakes ({mistakes}) a share in [0, 1]"
            )
        self.teacher, self.student, self.strategy = teacher, student, strategy
        self.rounds, self.budget, self.soft, self.mistakes, self.features, self.seed = rounds, budget, soft, mistakes, features, seed

    def fit(
        self,
        data: Any,
        y: ArrayLike,
        classes: Sequence[str],
        *,
        labeled: ArrayLike,
        pool: ArrayLike,
        validation: ArrayLike,
        watch: Callable[[Any], float] | None = None,
    ) -> Self:
        """Run the rounds.

        Parameters
        ----------
        data
            n texts or rows of features.
        y
            (n,) gold classes, -1 where unknown. Of the pool they are only read for the report, and by an upper bound.
        classes
            k names.
        labeled, pool, validation
            Disjoint row indices.
        watch
            Called with the student of each round; what it returns stands in `history_`.
        """
        gold, known = np.asarray(y, dtype=np.int64), np.asarray(labeled, dtype=np.int64)
        rest, held = np.asarray(pool, dtype=np.int64), np.asarray(validation, dtype=np.int64)
        everything = np.concatenate([known, rest, held])
        if len(np.unique(everything)) != len(everything):
            raise ConfigError("ActiveDistillation: labelled, pool and validation rows overlap; every row belongs to one of them")
        if (gold[np.concatenate([known, held])] < 0).any() or not len(known):
            raise ConfigError("ActiveDistillation: labelled and validation rows need gold labels, and at least one row must be labelled")
        wrong = self._share_of_mistakes(data, gold, held)
        x = data if self.features is None and isinstance(data, np.ndarray) else self.features
        rows, probabilities = known, np.eye(len(classes))[gold[known]]
        self.history_: list[dict[str, Any]] = []
        self._learn(data, rows, probabilities, classes)
        owed = 0
        for number in range(self.rounds):
            owed += self.budget
            if not len(rest):
                break
            mistakes = wrong * len(rest)
            if self.strategy.needs_mistakes and mistakes >= len(rest):
                warnings.warn("the teacher is right on no validation row; asking it is of no use, and the rounds end here", stacklevel=2)
                break
            right = None
            if self.strategy.needs_truth:
                right = self._answers(data, rest).argmax(1) == gold[rest]
                if not right.any():
                    break
            queried = self.strategy.select(
                self.student_.predict_proba(take_rows(data, rest)),
                owed,
                mistakes=mistakes,
                features=None if x is None else np.asarray(x)[rest],
                covered=None if x is None else np.asarray(x)[rows],
                right=right,
                seed=self.seed + number,
            )
            asked = rest[queried.rows]
            answers = self._answers(data, asked)
            answered = answers.sum(1) > 0
            owed -= int(answered.sum())
            taught = answers[answered] / answers[answered].sum(1, keepdims=True)
            labels = taught.argmax(1)
            rows = np.concatenate([rows, asked[answered]])
            probabilities = np.concatenate([probabilities, taught if self.soft else np.eye(len(classes))[labels]])
            rest = np.delete(rest, queried.rows)
            checked = gold[asked[answered]] >= 0
            share = float((labels == gold[asked[answered]])[checked].mean()) if checked.any() else float("nan")
            record = {"rows": asked, "answered": int(answered.sum()), "mistakes": mistakes, "right": share}
            game = queried.game
            self.history_.append(record if game is None else {**record, "support": game.support, "value": game.value})
            self._learn(data, rows, probabilities, classes)
            if watch is not None:
                self.history_[-1]["watched"] = watch(self.student_)
        return self

    def _share_of_mistakes(self, data: Any, gold: NDArray[np.int64], held: NDArray[np.int64]) -> float:
        if self.mistakes is not None or not self.strategy.needs_mistakes:
            return self.mistakes or 0.0
        if not len(held):
            raise ConfigError("ActiveDistillation: no validation rows to estimate the teacher's mistakes on; give some, or mistakes=0.1")
        answers = self._answers(data, held)
        answered = answers.sum(1) > 0
        return 1 - float((answers.argmax(1) == gold[held])[answered].mean()) if answered.any() else 1.0

    def _answers(self, data: Any, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.nan_to_num(np.asarray(self.teacher.predict_proba(take_rows(data, rows)), dtype=np.float64))

    def _learn(self, data: Any, rows: NDArray[np.int64], probabilities: NDArray[np.float64], classes: Sequence[str]) -> None:
        targets = Targets(probabilities, classes=classes, rows=rows)
        assert int(rows.max()) < length_of(data)
        self.student_ = clone(self.student).fit(data, targets)
