"""What a result has to say, before it is drawn: the gap, the headline, the comparisons, numbers as people read them."""

from __future__ import annotations

import math
from typing import Any

from steelyard.errors import DataError
from steelyard.result import Comparison, Result, higher_is_better

STUDENT_ARMS = ("student", "method")


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with a true minus sign; a dash where there is none.

    Examples
    --------
    >>> number(-0.25), number(None), number(1234.5)
    ('−0.250', '–', '1,234.5')
    """
    if value is None or math.isnan(value):
        return "–"
    text = f"{value:,.1f}" if abs(value) >= 100 else f"{value:.{digits}f}"
    return text.replace("-", "−")


def percent(value: float | None, digits: int = 0) -> str:
    """Write a share as a percentage.

    Examples
    --------
    >>> percent(0.412), percent(-0.05), percent(None)
    ('41 %', '−5 %', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %".replace("-", "−")


def p_value(value: float | None) -> str:
    """Write a p-value to three places, the smallest as a bound.

    Examples
    --------
    >>> p_value(0.0312), p_value(1e-6)
    ('0.031', '< 0.001')
    """
    return "< 0.001" if value is not None and value < 0.001 else number(value)


def span(low: float | None, high: float | None, as_percent: bool = False) -> str:
    """Write an interval, or nothing where there is none.

    Examples
    --------
    >>> span(0.1, 0.2), span(0.1, 0.2, as_percent=True), span(None, None)
    ('0.100 to 0.200', '10 to 20 %', '')
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    if as_percent:
        return f"{100 * low:.0f} to {100 * high:.0f} %".replace("-", "−")
    return f"{number(low)} to {number(high)}"


def gap_of(result: Result) -> dict[str, Any] | None:
    """Return the "gap" to draw: the artifact if there is one, else made from the arms weak, student (or method) and ceiling, else None.

    Examples
    --------
    >>> result = Result("r").add("weak", 0, "accuracy", 0.6).add("method", 0, "accuracy", 0.7).add("ceiling", 0, "accuracy", 0.8)
    >>> round(gap_of(result)["pgr"]["mean"], 3)
    0.5
    """
    gap = result.artifacts.get("gap")
    if gap is None:
        student = next((arm for arm in STUDENT_ARMS if arm in result.arms), None)
        if student is None or not {"weak", "ceiling"} <= set(result.arms):
            return None
        for metric in result.metrics:
            try:
                means = {
                    name: result.interval(arm, metric) for name, arm in (("weak", "weak"), ("student", student), ("ceiling", "ceiling"))
                }
                seeds = len(result.values(student, metric))
            except DataError:
                continue
            gap = {"metric": metric, "over": "seeds", "n": seeds, "student_name": student}
            gap |= {name: dict(zip(("mean", "low", "high"), three, strict=True)) for name, three in means.items()}
            break
        else:
            return None
    if not isinstance(gap, dict) or not all(
        isinstance(gap.get(name), dict) and finite(gap[name].get("mean")) for name in ("weak", "student", "ceiling")
    ):
        raise DataError("artifact 'gap' needs 'weak', 'student' and 'ceiling', each with a finite 'mean' (and optional 'low', 'high')")
    gap = {"metric": "accuracy", "student_name": "student", **gap}
    if not isinstance(gap.get("pgr"), dict):
        weak, student_mean, ceiling = (gap[name]["mean"] for name in ("weak", "student", "ceiling"))
        open_ = ceiling > weak if higher_is_better(gap["metric"]) else ceiling < weak
        gap["pgr"] = {"mean": (student_mean - weak) / (ceiling - weak) if open_ else math.nan}
    return gap


def finite(value: Any) -> bool:
    """Say whether a value is a number that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def headline(gap: dict[str, Any]) -> str:
    """Say in one sentence what was gained."""
    share, who = gap["pgr"].get("mean"), gap["student_name"]
    if not finite(share):
        return "The ceiling is not better than the weak supervisor, so there is no gap to recover."
    if share < 0:
        return f"The {who} fell behind its weak supervisor."
    if share > 1:
        return f"The {who} went beyond its ceiling, recovering {percent(share)} of the gap."
    return f"The {who} recovered {percent(share)} of the gap between its weak supervisor and the ceiling."


def basis(gap: dict[str, Any]) -> str:
    """Say what the numbers rest on: metric, direction, interval of the share, rows or seeds, caveat."""
    words = [gap["metric"] + ("" if higher_is_better(gap["metric"]) else " (lower is better)")]
    if interval := span(gap["pgr"].get("low"), gap["pgr"].get("high"), as_percent=True):
        words.append(f"share recovered {interval} at {percent(gap['pgr'].get('confidence', 0.95))} confidence")
    if gap.get("n"):
        over = str(gap.get("over", "rows"))
        words.append(f"{gap['n']:,} {over[:-1] if gap['n'] == 1 and over.endswith('s') else over}")
    if gap.get("note"):
        words.append(str(gap["note"]))
    return " · ".join(words)


def comparisons(result: Result) -> list[Comparison]:
    """Compare the method (or student) with every other arm on every metric they share."""
    main = next((arm for arm in ("method", "student") if arm in result.arms), None)
    if main is None:
        return []
    found = []
    for metric in result.metrics:
        for arm in result.arms:
            if arm != main:
                try:
                    found.append(result.compare(main, arm, metric=metric))
                except DataError:
                    continue
    return found
