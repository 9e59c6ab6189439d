"""The picture of a training: what was measured on held-out data, step by step, one line per arm."""

from __future__ import annotations

from typing import Any

import numpy as np

from steelyard.errors import DataError
from steelyard.report.palette import LIGHT
from steelyard.report.plots import _bare, _figure, _svg

_COLOURS = ("faint", "student", "wrong", "weak", "ceiling")
_DASHES = ((None, None), (5, 2), (2, 2), (7, 2, 2, 2))
_UNSETTLED = 0.1


def curve_plot(curves: dict[str, Any]) -> str:
    """Draw one line per arm, from a tenth of the way on, where arms can be told apart.

    Parameters
    ----------
    curves : dict
        {"x": what the steps are, "y": what is measured, "arms": [{"name": …, "steps": (p,), "loss": (p,)}, …]}; the first arm is the
        baseline.

    Examples
    --------
    >>> curve_plot({"x": "steps", "y": "loss", "arms": [{"name": "a", "steps": [10, 20], "loss": [3.0, 2.0]}]})[:4]
    '<svg'
    """
    arms = curves["arms"]
    if not arms or any(len(line["steps"]) != len(line["loss"]) or not line["steps"] for line in arms):
        raise DataError("artifact 'curves' needs arms, each with as many losses as steps and at least one")
    figure = _figure()
    figure.set_size_inches(8.4, 4.2)
    axes = figure.subplots()
    for rank, line in enumerate(arms):
        steps, losses = np.asarray(line["steps"], dtype=np.float64), np.asarray(line["loss"], dtype=np.float64)
        shown = (steps >= _UNSETTLED * steps.max()) | (len(steps) < 3)
        style: dict[str, Any] = {"color": LIGHT[_COLOURS[rank % len(_COLOURS)]], "dashes": _DASHES[rank // len(_COLOURS) % len(_DASHES)]}
        axes.plot(steps[shown], losses[shown], label=f"{line['name']} {losses[-1]:.3f}", linewidth=1.6, **style)
    axes.set(xlabel=str(curves["x"]), ylabel=str(curves["y"]))
    legend = axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for text in legend.get_texts():
        text.set_color(LIGHT["ink"])
        text.set_parse_math(False)
    _bare(axes)
    return _svg(figure, f"{curves['y']} of {len(arms)} arms by {curves['x']}")
