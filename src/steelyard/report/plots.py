"""Pictures as SVG strings: calibration, risk–coverage, confusion, sweeps. The gap bar is in `beam.py`.

Each stands alone as a file and takes the page's colours inside one. Matplotlib is loaded on first use and never touches pyplot's state.
"""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.errors import DataError
from steelyard.report.content import finite, number, percent
from steelyard.report.palette import LIGHT, escape, themed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NUMBERED_CLASSES = 12
SMALL_CONFUSION = 5
_LONGEST_NAME = 16


def calibration_plot(calibration: dict[str, Any]) -> str:
    """Draw a reliability curve over the histogram of confidence.

    Parameters
    ----------
    calibration : dict
        {"confidence": (b,), "accuracy": (b,), "count": (b,)} and, optional, "low", "high" (b,) of the accuracy.

    Examples
    --------
    >>> calibration_plot({"confidence": [0.6, 0.9], "accuracy": [0.5, 0.95], "count": [10, 30]})[:4]
    '<svg'
    """
    confidence, accuracy, count = _columns(calibration, "calibration", "confidence", "accuracy", "count")
    figure = _figure()
    curve, histogram = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1], gridspec_kw={"hspace": 0.08})
    left = math.floor(10 * float(confidence.min()) - 0.01) / 10
    left = min(max(left, 0.0), 0.9)
    curve.plot([left, 1], [left, 1], color=LIGHT["faint"], linewidth=1, dashes=(2, 3))
    if "low" in calibration and "high" in calibration:
        low, high = _columns(calibration, "calibration", "low", "high")
        curve.vlines(confidence, low, high, color=LIGHT["student"], linewidth=5, alpha=0.22)
    curve.plot(confidence, accuracy, color=LIGHT["student"], linewidth=1.6, marker="o", markersize=5)
    bottom = min(left, float(np.nanmin(accuracy)))
    bottom = math.floor(10 * bottom - 0.01) / 10
    curve.set(xlim=(left, 1.02), ylim=(max(bottom, -0.02), 1.03), ylabel="accuracy")
    curve.text(
        left + 0.02 * (1 - left),
        1.0,
        "below the dotted line:\nmore sure than right",
        color=LIGHT["quiet"],
        va="top",
        fontsize=10,
        parse_math=False,
    )
    width = 0.7 * min([0.06, *np.diff(np.sort(confidence))]) if len(confidence) > 1 else 0.04
    histogram.bar(confidence, count / count.sum(), width=max(width, 0.008), color=LIGHT["faint"], linewidth=0)
    histogram.set(xlabel="confidence", yticks=[])
    top = int(np.argmax(count))
    histogram.text(
        confidence[top] - max(width, 0.008), count[top] / count.sum(), percent(count[top] / count.sum()), ha="right", va="top", fontsize=10
    )
    histogram.set_ylabel("rows", rotation=0, ha="right", va="center")
    for axes in (curve, histogram):
        _bare(axes)
    histogram.spines["left"].set_visible(False)
    curve.tick_params(axis="x", length=0)
    error = calibration.get("ece")
    said = f", expected calibration error {number(error)}" if finite(error) else ""
    return _svg(figure, f"Reliability curve of {len(confidence)} bins{said}")


def risk_coverage_plot(curve: dict[str, Any]) -> str:
    """Draw the error rate against the share of rows answered, most confident first.

    Parameters
    ----------
    curve : dict
        {"coverage": (p,), "risk": (p,)} and, optional, "area".

    Examples
    --------
    >>> risk_coverage_plot({"coverage": [0.5, 1.0], "risk": [0.0, 0.2]})[:4]
    '<svg'
    """
    coverage, risk = _columns(curve, "risk_coverage", "coverage", "risk")
    figure = _figure()
    axes = figure.subplots()
    axes.fill_between(coverage, risk, color=LIGHT["student"], alpha=0.12, linewidth=0)
    axes.plot(coverage, risk, color=LIGHT["student"], linewidth=1.8)
    axes.set(xlim=(0, 1), ylim=(0, max(float(risk.max()) * 1.15, 0.01)), xlabel="share of rows answered", ylabel="error rate")
    for share in (0.5, 1.0):
        at = int(np.argmin(np.abs(coverage - share)))
        axes.plot(coverage[at], risk[at], "o", color=LIGHT["student"], markersize=5, clip_on=False)
        axes.annotate(
            percent(float(risk[at]), 1), (coverage[at], risk[at]), (-6, 8), textcoords="offset points", ha="right", color=LIGHT["ink"]
        )
    _bare(axes)
    return _svg(figure, f"Error rate against coverage; {percent(float(risk[-1]), 1)} when every row is answered")


def confusion_plot(confusion: dict[str, Any]) -> str:
    """Draw the confusion matrix as a heat map, each true class (row) shaded by share; numbers for at most 12 classes.

    Parameters
    ----------
    confusion : dict
        {"classes": (k,) str, "matrix": (k, k)}, rows are the truth.

    Examples
    --------
    >>> confusion_plot({"classes": ["a", "b"], "matrix": [[3, 1], [0, 4]]})[:4]
    '<svg'
    """
    from matplotlib.patches import Rectangle

    matrix, classes = np.asarray(confusion["matrix"], dtype=np.float64), [_short(str(name)) for name in confusion["classes"]]
    k = len(classes)
    if matrix.shape != (k, k) or k == 0:
        raise DataError(f"artifact 'confusion' has {k} classes and a matrix of shape {matrix.shape}; it must be k × k")
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1e-12)
    figure = _figure(k)
    axes = figure.subplots()
    for i in range(k):
        for j in range(k):
            colour = LIGHT["student" if i == j else "wrong"]
            gap = 0.03 if k <= 40 else 0.0
            box = (1 - 2 * gap, 1 - 2 * gap)
            axes.add_patch(Rectangle((j + gap, i + gap), *box, facecolor=LIGHT["track"], linewidth=0))
            if shares[i, j] > 0:
                axes.add_patch(Rectangle((j + gap, i + gap), *box, facecolor=colour, alpha=0.03 + 0.97 * shares[i, j], linewidth=0))
            if k <= MOST_NUMBERED_CLASSES:
                text = LIGHT["paper"] if shares[i, j] > 0.5 else LIGHT["ink"]
                size = 13 if k <= 4 else 10
                count = f"{matrix[i, j]:,.0f}" if float(matrix[i, j]).is_integer() else f"{matrix[i, j]:,.1f}"
                axes.text(j + 0.5, i + 0.5 - (0.06 if k <= 4 else 0), count, ha="center", va="center", color=text, fontsize=size)
                if k <= 4:
                    axes.text(j + 0.5, i + 0.65, percent(shares[i, j]), ha="center", va="center", color=text, fontsize=10)
    axes.set(xlim=(0, k), ylim=(k, 0), xlabel="predicted", ylabel="true")
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    shown = classes if k <= 40 else []
    ticks = np.arange(len(shown)) + 0.5
    long = max((len(name) for name in shown), default=0) * k > 44
    axes.set_xticks(ticks, shown, rotation=60 if long else 0, ha="left" if long else "center", parse_math=False)
    axes.set_yticks(ticks, shown, parse_math=False)
    _bare(axes)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    right = float(np.trace(matrix) / max(matrix.sum(), 1e-12))
    return _svg(figure, f"Confusion matrix of {k} classes, {percent(right, 1)} on the diagonal")


def sweep_plot(sweep: dict[str, Any]) -> str:
    """Draw students of several strengths under supervisors of several strengths, and the share of the gap that each pair recovered.

    Parameters
    ----------
    sweep : dict
        {"weak": what makes supervisors stronger, "strong": what makes students stronger, "cells": [{"weak": size, "strong": size, "gap":
        gap artifact}, …]}; size 0 means all there is.

    Examples
    --------
    >>> gap = {"metric": "accuracy", "weak": {"mean": 0.6}, "student": {"mean": 0.7}, "ceiling": {"mean": 0.8}, "pgr": {"mean": 0.5}}
    >>> sweep_plot({"weak": "words", "strong": "features", "cells": [{"weak": 60, "strong": size, "gap": gap} for size in (8, 0)]})[:4]
    '<svg'
    """
    cells = {(cell["weak"], cell["strong"]): cell["gap"] for cell in sweep["cells"]}
    supervisors, students = (sorted({pair[side] for pair in cells}, key=lambda size: size or math.inf) for side in (0, 1))
    figure = _figure()
    figure.set_size_inches(9.6, 4.2)
    scores, shares = figure.subplots(1, 2)
    places = np.arange(len(students))

    def values(weak: Any, arm: str) -> list[float]:
        found = [cells.get((weak, strong), {}).get(arm, {}).get("mean") for strong in students]
        return [math.nan if value is None else float(value) for value in found]

    ends: list[tuple[float, int, str]] = []
    ceiling = np.nanmean([values(weak, "ceiling") for weak in supervisors], axis=0)
    scores.plot(places, ceiling, color=LIGHT["ceiling"], linewidth=2.2, dashes=(4, 2), label="ceiling")
    for rank, weak in enumerate(supervisors):
        strength = 0.3 + 0.7 * (rank + 1) / len(supervisors)
        style = {"color": LIGHT["student"], "alpha": strength, "linewidth": 1.8, "marker": "o", "markersize": 4}
        own = float(np.nanmean(values(weak, "weak")))
        scores.axhline(own, color=LIGHT["weak"], alpha=strength, linewidth=1, dashes=(2, 2))
        scores.plot(places, values(weak, "student"), **style)
        scores.text(-0.5, own, str(weak or "all"), ha="left", va="bottom", fontsize=9, color=LIGHT["weak"])
        share = np.clip(values(weak, "pgr"), -1, 1.2)
        shares.plot(places, share, **style)
        known = np.flatnonzero(~np.isnan(share))
        if len(known):
            ends.append((float(share[known[-1]]), int(known[-1]), str(weak or "all")))
    ends.sort()
    at = [end for end, _, _ in ends]
    for rank in range(1, len(at)):
        # Names keep apart where lines end together.
        at[rank] = max(at[rank], at[rank - 1] + 0.045 * float(np.ptp(shares.get_ylim())))
    down = max((moved - end for moved, (end, _, _) in zip(at, ends, strict=True)), default=0.0) / 2
    for moved, (_, place, name) in zip(at, ends, strict=True):
        shares.text(place + 0.08, moved - down, name, va="center", fontsize=9, color=LIGHT["weak"])
    shares.axhline(0, color=LIGHT["faint"], linewidth=1)
    metric = next(iter(cells.values())).get("metric", "accuracy")
    scores.text(places[-1], ceiling[-1], "ceiling", ha="right", va="bottom", fontsize=9, color=LIGHT["ceiling"])
    for axes, label in ((scores, metric), (shares, "share of the gap recovered")):
        axes.set_xticks(places, [str(size or "all") for size in students])
        axes.set(xlabel=str(sweep["strong"]), ylabel=label, xlim=(-0.55, len(students) - 0.6))
        _bare(axes)
    scores.set_title(f"amber: {sweep['weak']}, dotted: their own {metric}", fontsize=10, color=LIGHT["quiet"], loc="left")
    shares.set_title("no point: the ceiling is not better", fontsize=10, color=LIGHT["quiet"], loc="left")
    return _svg(figure, f"{len(students)} strengths of the student under {len(supervisors)} supervisors: {metric} and gap recovered")


def _columns(artifact: dict[str, Any], of: str, *names: str) -> list[np.ndarray]:
    columns = [np.array([math.nan if v is None else v for v in artifact.get(name, [])], dtype=np.float64) for name in names]
    sizes = {name: len(column) for name, column in zip(names, columns, strict=True)}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        raise DataError(f"artifact '{of}' needs lists of one length, none empty; it has {sizes}")
    return columns


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _figure(classes: int = 0) -> Figure:
    from matplotlib.figure import Figure

    side = 0.0 if classes <= SMALL_CONFUSION else min(0.9 + 0.33 * classes, 5.5)
    return Figure(figsize=(3.7 + side, 3.5 + side), layout="constrained", facecolor="none")


def _bare(axes: Any) -> None:
    axes.set_facecolor("none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in axes.spines.values():
        side.set_color(LIGHT["rule"])
    axes.tick_params(colors=LIGHT["quiet"], labelsize=10, width=0.8, length=3)
    axes.xaxis.label.set(color=LIGHT["ink"], fontsize=11)
    axes.yaxis.label.set(color=LIGHT["ink"], fontsize=11)
    for text in axes.texts:
        if text.get_color() == "black":
            text.set_color(LIGHT["ink"])


def _svg(figure: Figure, title: str) -> str:
    """Write the figure as one <svg> element: real text, no date, themed colours, a title for those who cannot see it."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    whole = buffer.getvalue()
    body = re.sub(r"<metadata>.*?</metadata>", "", whole[whole.index("<svg") :], flags=re.DOTALL)
    said = escape(title)
    head, _, rest = body.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return themed(f'{head} class="plot" role="img" aria-label="{said}"><title>{said}</title>{rest}'.strip())
