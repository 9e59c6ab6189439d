"""AutoWS-Bench-101: which way to turn 100 labels into many? A leaderboard of automatic weak supervision against plain baselines.

Roberts et al. 2022, "AutoWS-Bench-101: Benchmarking Automated Weak Supervision with 100 Labels". Every strategy gets the same labelled and
unlabelled rows of every data set and kind of features. Accuracy counts abstentions as errors; accuracy on the covered rows and coverage
stand beside it, and ``student_accuracy`` is that of logistic regression taught the labels that were made. The stored run: 14 sets, 46
tasks, five seeds; 600 rows of each to label and learn from and 400 to test on, drawn once (wine: 124, which leaves 24 unlabelled), ten
rounds of Snuba, five questions per class. Published and seen here: without foundation features few-shot leads, then GOGGLES, then Snuba, on
digits (.87, .68, .36), mnist (.76, .41, .29) and cifar10 (.23, .16, .10); on the raw columns of tables Snuba is ahead of GOGGLES. Automatic
strategies are clearly ahead of few-shot on one task, the words of agnews, with zero-shot as one more source (Snuba .60, GOGGLES .57,
against .54), and behind zero-shot alone (.63) even there. Published and not seen: that scores of a zero-shot model as features turn this
round. On the domains of clinc150 multipolar Snuba rises from .23 (PCA) to .32 with them, less than the .42 of zero-shot alone, and only on
the rows it covers, 59 %, is it right more often (.54); Snuba per class falls. As one more source beside rules of other features, zero-shot
adds .07 to .10 on average to Snuba and interactive weak supervision (22 or 23 of 27 tasks), which then are ahead of zero-shot on 16 to 18;
GOGGLES it harms.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from steelyard import evaluation
from steelyard.errors import ConfigError, SteelyardError
from steelyard.jobs.bench_tasks import FEATURES, BenchTask, load_bench_task, suitable
from steelyard.jobs.label_budget import STRATEGIES, BudgetOptions, answer, draw, student_answers
from steelyard.result import Result

SUITABLE = "suitable"


@dataclass(frozen=True)
class AutoWSBench:
    """Options of the recipe.

    Parameters
    ----------
    data : tuple of str
        Names of data sets or paths of tables (texts, or numbers, with a column ``label``); ``NAME@COLUMN`` takes the labels from another
        column; ``suitable`` stands for every registered set that is present and has rows and labels enough.
    features : tuple of str
        What sources and students see: ``raw``, ``pca``, ``pretrained`` (texts), ``zero-shot`` (texts: similarity to the class names).
    strategies : tuple of str
        Those to compare; ``all``.
    budget : int
        Labelled rows.
    pool : int
        Rows at most that labelled and unlabelled rows are drawn from; few, so that all sets together take minutes.
    test : int
        Rows at most to measure on.
    components : int
        Principal components.
    encoder : str
        Sentence encoder: ``minilm``, or the name or folder of a Hugging Face encoder.
    label_model : str
        Weighs the votes, and verifies in Snuba.
    rounds : int
        Rounds of Snuba, for each class against the rest; 23 in the publication.
    candidates : int
        Features, or pairs of them, at most that rules are made from; a random sample of wider ones.
    queries : int
        Questions of interactive weak supervision after the first four, for each class against the rest; an oracle answers them from
        the labelled rows. 25 in the publication.
    seeds : tuple of int
        Each draws its own labelled rows; what is measured on stays the same.
    """

    data: tuple[str, ...] = (SUITABLE,)
    features: tuple[str, ...] = FEATURES
    strategies: tuple[str, ...] = ("all",)
    budget: int = 100
    pool: int = 600
    test: int = 400
    components: int = 100
    encoder: str = "minilm"
    label_model: str = "MeTaL"
    rounds: int = 10
    candidates: int = 200
    queries: int = 5
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


def run(config: AutoWSBench) -> Result:
    """Run every strategy on every data set, kind of features and seed.

    Parameters
    ----------
    config : AutoWSBench

    Returns
    -------
    Result
        One arm per strategy, metrics named ``data features/metric``; artifacts ``leaderboard``, ``recall`` per class, ``rules`` in words
        (of the first seed) and ``left_out`` with the reason.

    Raises
    ------
    ConfigError, DataError
        An option names nothing, a named data set cannot be used, or nothing is left to compare.

    Examples
    --------
    >>> config = AutoWSBench(("wine",), ("pca",), ("few-shot", "snuba"), budget=30, rounds=3, seeds=(0,))
    >>> board = run(config).artifacts["leaderboard"]
    >>> [row["name"] for row in board["strategies"]]
    ['few-shot', 'snuba']
    """
    strategies = tuple(STRATEGIES) if config.strategies == ("all",) else config.strategies
    _check(config, strategies)
    left_out: dict[str, str] = {}
    result = Result("autows-bench", dataclasses.asdict(config), {"recall": {}, "rules": {}, "left_out": left_out})
    tasks: list[str] = []
    citations: dict[str, str] = {}
    for name in [one for given in config.data for one in (suitable(config.budget) if given == SUITABLE else [given])]:
        began = time.perf_counter()
        try:
            # The class names serve as one more source beside any features.
            wanted = tuple(dict.fromkeys((*config.features, "zero-shot")))
            task = load_bench_task(
                name, features=wanted, pool=config.pool, test=config.test, components=config.components, encoder=config.encoder
            )
            for features in config.features:
                if features in task.features:
                    label = f"{task.name} {features}"
                    _one_task(config, strategies, task, features, label, result)
                    tasks.append(label)
        except SteelyardError as error:
            if name in config.data:
                raise
            left_out[name] = str(error)
            continue
        result.timings[name] = time.perf_counter() - began
        citations[task.about["name"]] = task.about["citation"]
    if not tasks:
        raise ConfigError(f"nothing to compare: none of the data sets has any of the features {', '.join(config.features)}")
    result.artifacts["leaderboard"] = evaluation.rank_strategies(result, tasks)
    result.artifacts["data"] = {
        "name": ", ".join(citations),
        "train": f"{config.budget} labelled rows by seed",
        "test": f"at most {config.test} fixed rows",
        "licence": "of each set, see the page of data sets",
        "citation": "; ".join(citations.values()),
    }
    return result


def _one_task(config: AutoWSBench, strategies: tuple[str, ...], task: BenchTask, features: str, label: str, result: Result) -> None:
    recalls: dict[str, list[Any]] = {}
    options = BudgetOptions(config.label_model, config.rounds, config.queries, config.candidates)
    for seed in config.seeds:
        drawn = draw(task, features, config.budget, seed, options)
        for strategy in strategies:
            answers = answer(strategy, drawn)
            if answers is None:
                continue
            for metric, value in evaluation.coverage_scores(task.y_test, answers.codes).items():
                result.add(strategy, seed, f"{label}/{metric}", value)
            taught = student_answers(drawn, answers)
            if taught is not None:
                result.add(strategy, seed, f"{label}/student_accuracy", evaluation.accuracy(task.y_test, taught))
            recalls.setdefault(strategy, []).append(evaluation.class_recall(task.y_test, answers.codes, len(task.classes)))
            if answers.rules and seed == config.seeds[0]:
                result.artifacts["rules"].setdefault(label, {})[strategy] = list(answers.rules.values())[:5]
    means = {strategy: np.mean(rows, axis=0) for strategy, rows in recalls.items()}
    result.artifacts["recall"][label] = {name: dict(zip(task.classes, row.round(4).tolist(), strict=True)) for name, row in means.items()}


def _check(config: AutoWSBench, strategies: tuple[str, ...]) -> None:
    for name, values in (("data", config.data), ("features", config.features), ("strategies", strategies), ("seeds", config.seeds)):
        if not values:
            raise ConfigError(f"{name} needs at least one value")
    for kind, given, known in (("strategy", strategies, tuple(STRATEGIES)), ("features", config.features, FEATURES)):
        for name in given:
            if name not in known:
                raise ConfigError(f"{kind} '{name}' is unknown; choose among {', '.join(known)}")
    if config.pool <= config.budget or config.test < 1:
        raise ConfigError(
            f"a pool of {config.pool} rows leaves none unlabelled beside {config.budget} labels, or test={config.test} is empty"
        )
