"""A leaderboard of strategies over tasks: accuracy and coverage always together, intervals over seeds, performance profiles, ranks.

After Roberts et al. 2022, "AutoWS-Bench-101"; profiles are those of Dolan and Moré 2002, "Benchmarking optimization software with
performance profiles": the share of tasks on which a strategy's error is at most tau times the smallest error of all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import DataError
from steelyard.result import Result

Floats = NDArray[np.float64]


def coverage_scores(y: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """Judge predictions that may abstain.

    Parameters
    ----------
    y : (n,) int
        True classes, -1 = unknown (left out).
    predicted : (n,) int
        -1 = abstained.

    Returns
    -------
    dict
        ``accuracy`` with abstentions as errors — the only one to compare across coverages —, ``accuracy_covered`` on the rows answered (NaN
        if none), and ``coverage``, their share.

    Raises
    ------
    DataError
        Lengths differ, or no label is known.

    Examples
    --------
    >>> coverage_scores([0, 1, 1, 0], [0, 1, 0, -1])
    {'accuracy': 0.5, 'accuracy_covered': 0.6666666666666666, 'coverage': 0.75}
    """
    truth, answer = np.asarray(y), np.asarray(predicted)
    if truth.shape != answer.shape or truth.ndim != 1:
        raise DataError(f"truth of shape {truth.shape} and predictions of shape {answer.shape} do not match; give one class per row")
    known = truth >= 0
    if not known.any():
        raise DataError(f"none of the {len(truth)} rows has a known label; -1 means unknown")
    answered = answer[known] >= 0
    right = answer[known] == truth[known]
    return {
        "accuracy": float(right.mean()),
        "accuracy_covered": float(right[answered].mean()) if answered.any() else math.nan,
        "coverage": float(answered.mean()),
    }


def class_recall(y: ArrayLike, predicted: ArrayLike, n_classes: int) -> Floats:
    """Recall (k,) of each class, abstentions as errors; NaN for a class that does not occur.

    Examples
    --------
    >>> class_recall([0, 0, 1], [0, -1, 1], 2).tolist()
    [0.5, 1.0]
    """
    truth, answer = np.asarray(y), np.asarray(predicted)
    size = np.bincount(truth[truth >= 0], minlength=n_classes).astype(np.float64)
    right = np.bincount(truth[(truth >= 0) & (truth == answer)], minlength=n_classes)
    return np.divide(right, size, out=np.full(n_classes, np.nan), where=size > 0)


def performance_profile(errors: ArrayLike, taus: ArrayLike) -> Floats:
    """Share of tasks (s, t) on which strategy s has an error of at most tau times the smallest.

    Parameters
    ----------
    errors : (s strategies, q tasks) float
        NaN where a strategy does not apply: it then counts as beaten there.
    taus : (t,) float, at least 1

    Raises
    ------
    DataError
        An error is negative or a task has none.

    Examples
    --------
    >>> performance_profile([[0.1, 0.4], [0.2, 0.2]], [1.0, 2.0]).tolist()
    [[0.5, 1.0], [0.5, 1.0]]
    """
    table = np.asarray(errors, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or (table < 0).any() or np.isnan(table).all(axis=0).any():
        raise DataError(f"a profile needs non-negative errors of strategies × tasks with one on every task, got shape {table.shape}")
    best = np.nanmin(table, axis=0)
    # A perfect strategy would make every other infinitely worse; one row in ten thousand is as good as perfect.
    ratio = np.maximum(table, 1e-4) / np.maximum(best, 1e-4)
    within = np.nan_to_num(ratio, nan=np.inf)[:, :, None] <= np.asarray(taus, dtype=np.float64) + 1e-12
    return np.asarray(within.mean(axis=1))


def ranks(scores: ArrayLike) -> Floats:
    """Rank (s, q) of every strategy on every task, 1 = highest score, ties share the mean; NaN where a strategy does not apply.

    Examples
    --------
    >>> ranks([[0.9, 0.5], [0.8, 0.5], [float("nan"), 0.7]]).tolist()
    [[1.0, 2.5], [2.0, 2.5], [nan, 1.0]]
    """
    table = np.asarray(scores, dtype=np.float64)
    higher = (table[None] > table[:, None]).sum(axis=1)
    equal = (table[None] == table[:, None]).sum(axis=1)
    return np.where(np.isnan(table), np.nan, higher + (equal + 1) / 2)


def rank_strategies(result: Result, tasks: Sequence[str], metric: str = "accuracy", most_tau: float = 8.0) -> dict[str, Any]:
    """Everything a leaderboard shows, as plain JSON types, from a result whose metrics are named ``task/metric``.

    Parameters
    ----------
    result : Result
    tasks : sequence of str
    metric : str
        A share, higher is better; abstentions should be errors in it.
    most_tau : float
        Right end of the profiles.

    Returns
    -------
    dict
        ``tasks``; ``strategies``: by mean rank, each with name, tasks done, mean rank, tasks won, area under its profile (1 is best) and
        ``cells``: per task mean, low, high, coverage and accuracy_covered (None where it does not apply); ``profile`` with ``tau`` and
        one list per strategy.

    Raises
    ------
    DataError
        No strategy has that metric on a task.

    Examples
    --------
    >>> result = Result("bench")
    >>> for seed in (0, 1):
    ...     _ = result.add("few-shot", seed, "digits/accuracy", 0.8 + 0.02 * seed).add("snuba", seed, "digits/accuracy", 0.5)
    >>> board = rank_strategies(result, ["digits"])
    >>> [(row["name"], row["mean_rank"], row["wins"]) for row in board["strategies"]]
    [('few-shot', 1.0, 1), ('snuba', 2.0, 0)]
    """
    names = result.arms
    measured = {(row["arm"], row["metric"]): row for row in result.table().iter_rows(named=True)}
    scores = np.array([[_mean(measured, name, f"{task}/{metric}") for task in tasks] for name in names], dtype=np.float64)
    if not len(tasks) or np.isnan(scores).all(axis=0).any():
        raise DataError(f"a leaderboard needs '{metric}' of at least one strategy on each of the {len(tasks)} tasks")
    applies = np.flatnonzero(np.isfinite(scores).any(axis=1))
    names, scores = [names[s] for s in applies], scores[applies]
    taus = np.geomspace(1.0, most_tau, 60)
    profile = performance_profile(1 - scores, taus)
    # In log tau, as profiles are drawn.
    areas = np.asarray(np.trapezoid(profile, np.log(taus), axis=1)) / math.log(most_tau)
    places = ranks(scores)
    mean_rank = np.nanmean(places, axis=1)
    strategies = [
        {
            "name": names[s],
            "tasks": int(np.isfinite(scores[s]).sum()),
            "mean_rank": float(mean_rank[s]),
            "wins": int((places[s] < 2).sum()),
            "area": float(areas[s]),
            "cells": [_cell(measured, names[s], task, metric) for task in tasks],
        }
        for s in np.argsort(mean_rank, kind="stable")
    ]
    curves = {names[s]: profile[s].round(4).tolist() for s in np.argsort(mean_rank, kind="stable")}
    return {"metric": metric, "tasks": list(tasks), "strategies": strategies, "profile": {"tau": taus.round(4).tolist(), "share": curves}}


def _mean(measured: Mapping[tuple[str, str], dict[str, Any]], arm: str, metric: str) -> float:
    return float(measured[arm, metric]["mean"]) if (arm, metric) in measured else math.nan


def _cell(measured: Mapping[tuple[str, str], dict[str, Any]], arm: str, task: str, metric: str) -> dict[str, float] | None:
    row = measured.get((arm, f"{task}/{metric}"))
    if row is None:
        return None
    more = {name: _mean(measured, arm, f"{task}/{name}") for name in ("coverage", "accuracy_covered")}
    return {"mean": row["mean"], "low": row["low"], "high": row["high"], **more}
