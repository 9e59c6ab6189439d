"""The gap as a steelyard: weak supervisor and ceiling mark the ends of the beam, the student hangs from it as its poise."""

from __future__ import annotations

from typing import Any

from steelyard.report.content import finite, number, span
from steelyard.report.palette import css, escape

_BEAM = 62


def gap_bar(gap: dict[str, Any]) -> str:
    """Draw weak, student and ceiling on one beam, as SVG that stands alone and takes the page's colours inside one.

    The width is fluid and the text keeps its size, so the picture reads as well on a telephone as on paper.

    Parameters
    ----------
    gap : dict
        {"metric", "weak", "student", "ceiling"}, the last three each {"mean", "low", "high"}; low and high may be missing or NaN.

    Examples
    --------
    >>> gap_bar({"metric": "accuracy", "weak": {"mean": 0.6}, "student": {"mean": 0.7}, "ceiling": {"mean": 0.8}})[:4]
    '<svg'
    """
    arms = {name: gap[name] for name in ("weak", "student", "ceiling")}
    mean = {name: float(arm["mean"]) for name, arm in arms.items()}
    ends = [float(v) for arm in arms.values() for v in (arm.get("mean"), arm.get("low"), arm.get("high")) if finite(v)]
    # The beam reads from weak to ceiling, left to right, also where less is better.
    first, last = (min(ends), max(ends)) if mean["ceiling"] >= mean["weak"] else (max(ends), min(ends))
    width = last - first or 1.0

    def at(value: float) -> float:
        return 3 + 94 * (value - first) / width

    x = {name: at(value) for name, value in mean.items()}
    who = str(gap.get("student_name", "student"))
    fill = "wrong" if x["student"] < x["weak"] else "student"
    parts = []
    for name, arm in arms.items():
        if finite(arm.get("low")) and finite(arm.get("high")):
            # The ends' intervals lie above the beam, the student's below it: they may overlap and stay legible.
            below = name == "student"
            band = _band(at(float(arm["low"])), at(float(arm["high"])), _BEAM + 5 if below else _BEAM - 14, 9, fill if below else name)
            parts.append(f'<g opacity="0.28">{band}</g>')
    parts += [_band(x["weak"], x["ceiling"], _BEAM - 5, 10, "track"), _band(x["weak"], x["student"], _BEAM - 5, 10, fill)]
    if x["ceiling"] - x["weak"] > 30:
        for quarter in (1, 2, 3):
            place = x["weak"] + (x["ceiling"] - x["weak"]) * quarter / 4
            parts.append(
                f'<line x1="{place:.2f}%" x2="{place:.2f}%" y1="{_BEAM - 5}" y2="{_BEAM + 5}" stroke="{css("paper")}" stroke-width="1.5"/>'
            )
    # Where the ends are close together their labels stand above one another, without intervals, instead of side by side.
    close = x["ceiling"] - x["weak"] < 42
    for name in ("weak", "ceiling"):
        ends_at = f'x1="{x[name]:.2f}%" x2="{x[name]:.2f}%"'
        parts.append(f'<line {ends_at} y1="{_BEAM - 15}" y2="{_BEAM + 9}" stroke="{css(name)}" stroke-width="2.5"/>')
        left = x[name] < 50 if close else name == "weak"
        top = (12 if name == "ceiling" else 34) if close else 16
        detail = "" if close else span(arms[name].get("low"), arms[name].get("high"))
        label = _label(name, mean[name], name, detail)
        parts.append(_placed(x[name], top, f'<g text-anchor="{"start" if left else "end"}">{label}</g>'))
    parts.append(_placed(x["student"], _BEAM, _poise(fill)))
    left = x["student"] < 55
    label = _label(who, mean["student"], fill, span(arms["student"].get("low"), arms["student"].get("high")))
    turned = f'<g transform="translate({18 if left else -18} 0)" text-anchor="{"start" if left else "end"}">{label}</g>'
    parts.append(_placed(x["student"], _BEAM + 36, turned))
    said = ", ".join(f"{who if name == 'student' else name} {number(value)}" for name, value in mean.items())
    title = escape(f"Gap bar of {gap.get('metric', 'the metric')}: {said}")
    return (
        f'<svg class="gap" xmlns="http://www.w3.org/2000/svg" width="100%" height="130" role="img" aria-label="{title}" '
        f'font-family="system-ui, sans-serif" font-size="14"><title>{title}</title>{"".join(parts)}</svg>'
    )


def _band(start: float, stop: float, top: float, height: float, colour: str) -> str:
    left, right = min(start, stop), max(start, stop)
    size = f'width="{max(right - left, 0.3):.2f}%" height="{height:g}"'
    return f'<rect x="{left:.2f}%" y="{top:g}" {size} rx="2" fill="{css(colour)}"/>'


def _placed(x: float, y: float, content: str) -> str:
    return f'<svg x="{x:.2f}%" y="{y}" overflow="visible">{content}</svg>'


def _label(name: str, value: float, colour: str, detail: str) -> str:
    first = f'<text fill="{css(colour)}" font-weight="600">{escape(name)} <tspan fill="{css("ink")}">{number(value)}</tspan></text>'
    return first + (f'<text y="18" fill="{css("quiet")}" font-size="12">{detail}</text>' if detail else "")


def _poise(colour: str) -> str:
    """The hanging weight: a ring on the beam, a rod and a flared body."""
    ring = f'<circle r="8"/><circle r="3" fill="{css("paper")}"/><rect x="-1" y="7" width="2" height="16"/>'
    return f'<g fill="{css(colour)}">{ring}<path d="M-5 22h10l5 24a2.5 2.5 0 0 1-2.5 3h-15a2.5 2.5 0 0 1-2.5-3z"/></g>'
