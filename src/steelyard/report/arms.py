"""The picture of a comparison: every arm on one scale, its mean, its interval over seeds and each seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from steelyard.errors import DataError
from steelyard.report.palette import LIGHT
from steelyard.report.plots import _bare, _figure, _svg

if TYPE_CHECKING:
    from steelyard.result import Result

_COLOURS = {"weak": "weak", "student": "student", "method": "student", "ceiling": "ceiling"}


def arm_plot(result: Result, metric: str) -> str:
    """Draw one line per arm, from the first down: a dot for the mean, a bar for its 95 % interval, a stroke for each seed.

    Raises
    ------
    DataError
        No arm has a number of this metric.

    Examples
    --------
    >>> from steelyard.result import Result
    >>> arm_plot(Result("demo").add("weak", 0, "accuracy", 0.6).add("method", 0, "accuracy", 0.7), "accuracy")[:4]
    '<svg'
    """
    found = {
        arm: [row.value for row in result.rows if (row.arm, row.metric) == (arm, metric) and math.isfinite(row.value)]
        for arm in result.arms
    }
    values = {arm: numbers for arm, numbers in found.items() if numbers}
    if not values:
        raise DataError(f"result '{result.name}' has no number of '{metric}' to draw")
    figure = _figure()
    figure.set_size_inches(8.4, 0.8 + 0.34 * len(values))
    axes = figure.subplots()
    for place, (arm, numbers) in enumerate(values.items()):
        colour = LIGHT[_COLOURS.get(arm, "quiet")]
        mean, low, high = result.interval(arm, metric)
        if math.isfinite(low) and len(numbers) > 1:
            axes.plot([low, high], [place, place], color=colour, linewidth=6, alpha=0.25, solid_capstyle="butt")
        axes.plot(numbers, [place] * len(numbers), "|", color=colour, markersize=11, alpha=0.5)
        axes.plot([mean if math.isfinite(mean) else sum(numbers) / len(numbers)], [place], "o", color=colour, markersize=6)
    axes.set_yticks(range(len(values)), [arm.replace("$", r"\$") for arm in values])
    axes.invert_yaxis()
    axes.set(xlabel=metric)
    _bare(axes)
    return _svg(figure, f"{metric} of {len(values)} arms")
