"""A leaderboard as people see it: performance profiles as a picture, and one table of strategies × tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

from steelyard.errors import DataError
from steelyard.report.content import number, percent
from steelyard.report.palette import LIGHT
from steelyard.report.plots import _bare, _figure, _svg

_DASHES = ((None, None), (5, 2), (2, 2), (6, 2, 1, 2), (1, 1))


def profile_plot(board: dict[str, Any]) -> str:
    """Draw for each strategy the share of tasks on which its error is at most tau times the smallest; higher and further left is better.

    Parameters
    ----------
    board : dict
        What `evaluation.rank_strategies` returns.

    Raises
    ------
    DataError
        It holds no profile.

    Examples
    --------
    >>> profile_plot({"profile": {"tau": [1.0, 2.0], "share": {"few-shot": [0.5, 1.0]}}})[:4]
    '<svg'
    """
    profile = board.get("profile") or {}
    if not profile.get("share"):
        raise DataError("artifact 'leaderboard' has no profile; make it with evaluation.rank_strategies")
    figure = _figure()
    figure.set_size_inches(7.4, 4.2)
    axes = figure.subplots()
    tau = np.asarray(profile["tau"], dtype=np.float64)
    colours = (LIGHT["student"], LIGHT["weak"], LIGHT["ceiling"], LIGHT["wrong"], LIGHT["ink"])
    for rank, (name, share) in enumerate(profile["share"].items()):
        dashes = _DASHES[rank // len(colours) % len(_DASHES)]
        style: dict[str, Any] = {} if dashes[0] is None else {"dashes": dashes}
        axes.step(tau, share, where="post", color=colours[rank % len(colours)], linewidth=1.8, label=name, **style)
    axes.set_xscale("log", base=2)
    ticks = [t for t in (1, 2, 4, 8, 16) if t <= tau[-1] * 1.001]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set(xlim=(1, tau[-1]), ylim=(-0.02, 1.03), xlabel="error at most so many times the smallest", ylabel="share of tasks")
    axes.legend(frameon=False, fontsize=9, labelcolor=LIGHT["ink"], loc="center left", bbox_to_anchor=(1.0, 0.5))
    _bare(axes)
    return _svg(figure, f"Performance profiles of {len(profile['share'])} strategies")


def board_table(board: dict[str, Any]) -> list[list[str]]:
    """The leaderboard as rows of text, the head first: best strategy first, cells "accuracy ± half interval (coverage)".

    A row per strategy, or a row per task where there are more tasks than strategies.

    Examples
    --------
    >>> cell = {"mean": 0.5, "low": 0.4, "high": 0.6, "coverage": 0.8, "accuracy_covered": 0.625}
    >>> row = {"name": "snuba", "mean_rank": 1.0, "area": 1.0, "wins": 1, "tasks": 1, "cells": [cell]}
    >>> board_table({"tasks": ["digits pca"], "strategies": [row]})
    [['strategy', 'mean rank', 'profile area', 'digits pca'], ['snuba', '1.0', '1.000', '0.500 ± 0.100; 0.625 on 80 %']]
    """
    rows = [["strategy", "mean rank", "profile area", *board["tasks"]]]
    for row in board["strategies"]:
        rows.append([row["name"], number(row["mean_rank"], 1), number(row["area"]), *map(_said, row["cells"])])
    if len(board["tasks"]) > len(board["strategies"]):
        return [list(column) for column in zip(*rows, strict=True)]
    return rows


def _said(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "–"
    spread = f" ± {number((cell['high'] - cell['low']) / 2)}" if cell.get("high") is not None and cell["high"] == cell["high"] else ""
    covered = cell.get("coverage")
    partly = covered is not None and covered < 0.9995
    return f"{number(cell['mean'])}{spread}" + (f"; {number(cell['accuracy_covered'])} on {percent(covered)}" if partly else "")
