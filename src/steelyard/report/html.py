"""One self-contained HTML page from a result: inline style and pictures, no script, no network, right in light, dark and print.

What the result lacks is left out; everything it holds is escaped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from steelyard.report.beam import gap_bar
from steelyard.report.board import board_table, profile_plot
from steelyard.report.content import basis, comparisons, finite, gap_of, headline, number, p_value, percent, span
from steelyard.report.palette import DARK, LIGHT
from steelyard.report.plots import SMALL_CONFUSION, calibration_plot, confusion_plot, risk_coverage_plot
from steelyard.result import Result, higher_is_better, plain
from steelyard.storage import atomic_path

_MOST_SOURCES = 200
_MOST_TEXT = 600


def write_report(result: Result, path: str | os.PathLike[str]) -> None:
    """Write the page to a file, atomically.

    Parameters
    ----------
    result : Result
    path : path
        Where to; usually ends in ".html".

    Raises
    ------
    DataError
        If an artifact has not the shape that its picture needs, or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "report.html"
    >>> write_report(Result("demo").add("method", 0, "accuracy", 0.75), path)
    >>> "<title>demo" in path.read_text(encoding="utf-8")
    True
    """
    page = render_report(result)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_report(result: Result) -> str:
    """Return the page as a string.

    Examples
    --------
    >>> "<script" in render_report(Result("<script>alert(1)</script>"))
    False
    """
    artifacts = plain(result.artifacts)
    gap, board = gap_of(result), artifacts.get("leaderboard")
    calibration, risk, confusion = (artifacts.get(name) for name in ("calibration", "risk_coverage", "confusion"))
    return _template().render(
        name=result.name,
        light=LIGHT,
        dark=DARK,
        gap=gap and _gap(gap),
        board=board and {"svg": _inline(profile_plot(board)), "rows": board_table(board)},
        metrics=_metrics(result),
        comparisons=comparisons(result),
        agreement=artifacts.get("agreement"),
        deception=_deception(artifacts.get("deception") or {}),
        sources=_sources(artifacts.get("sources") or []),
        duplicates=artifacts.get("duplicates") or [],
        calibration=calibration and {"svg": _inline(calibration_plot(calibration)), "ece": calibration.get("ece")},
        risk=risk and {"svg": _inline(risk_coverage_plot(risk)), "area": risk.get("area")},
        confusion=confusion and {"svg": _inline(confusion_plot(confusion)), "large": len(confusion["classes"]) > SMALL_CONFUSION},
        worst_rows=[_worst(row) for row in artifacts.get("worst_rows") or []],
        faults=_faults(artifacts.get("faults")),
        explanation=_explanation(artifacts.get("explanation")),
        config=_flat(plain(result.config)),
        timings=_timings(result.timings),
        n_seeds=len({row.seed for row in result.rows}),
    )


@cache
def _template() -> Template:
    # Escaping is on for the whole page; only the pictures made here are marked safe.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, percent=percent, p_value=p_value, breakable=_breakable)
    environment.globals.update(span=span, finite=finite)
    return environment.from_string((Path(__file__).parent / "template.html.j2").read_text(encoding="utf-8"))


def _inline(svg: str) -> Markup:
    """HTML needs no XML namespaces; without them the page holds no address at all."""
    return Markup(re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg))


def _gap(gap: dict[str, Any]) -> dict[str, Any]:
    words = {"headline": headline(gap), "basis": basis(gap), "who": gap["student_name"]}
    return {"svg": _inline(gap_bar(gap)), "share": gap["pgr"].get("mean"), **words}


def _breakable(name: str) -> Markup:
    """Let a long identifier break after its underscores rather than inside a word."""
    return Markup("_<wbr>").join(escape(part) for part in str(name).split("_"))


def _metrics(result: Result) -> list[dict[str, Any]]:
    """One block per metric: its arms on one shared scale, in percent of the scale's width."""
    blocks = []
    for (metric,), rows in result.table().group_by(["metric"], maintain_order=True):
        lines = rows.to_dicts()
        seeds = {line["arm"]: [v for v in result.values(line["arm"], str(metric)).values() if finite(v)] for line in lines}
        ends = [v for line in lines for v in (line["mean"], line["low"], line["high"], *seeds[line["arm"]]) if finite(v)]
        if not ends:
            continue
        # An interval from two seeds can be wider than all the rest; the scale follows the measured values and lets it run off.
        measured = [v for values in seeds.values() for v in values]
        room = max(max(measured) - min(measured), 1e-3 * max(map(abs, measured), default=1.0), 1e-9)
        low, high = max(min(ends), min(measured) - 1.5 * room), min(max(ends), max(measured) + 1.5 * room)
        if high <= low:
            low, high = low - 1.0, high + 1.0
        width = high - low
        for line in lines:
            line["seeds"] = [_place(v, low, width) for v in seeds[line["arm"]]]
            line["at"] = {name: _place(line[name], low, width) if finite(line[name]) else None for name in ("mean", "low", "high")}
            line["colour"] = {"weak": "weak", "student": "student", "method": "student", "ceiling": "ceiling"}.get(line["arm"], "quiet")
        blocks.append({"name": metric, "up": higher_is_better(str(metric)), "arms": lines, "low": low, "high": high})
    return blocks


def _place(value: float, low: float, width: float) -> float:
    return round(3 + 94 * min(max((value - low) / width, 0.0), 1.0), 2)


def _sources(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = {key for row in rows for key, value in row.items() if finite(value)}
    shown = [{**dict.fromkeys(("coverage", "overlap", "conflict", "accuracy", "estimated_accuracy", "low", "high")), **row} for row in rows]
    for row in shown:
        polarity = row.get("polarity") or []
        row["polarity"] = polarity if isinstance(polarity, str) else ", ".join(map(str, polarity))
    return {
        "rows": shown[:_MOST_SOURCES],
        "more": max(len(rows) - _MOST_SOURCES, 0),
        "has_accuracy": bool({"accuracy", "estimated_accuracy"} & names),
        "has_measured": "accuracy" in names,
        "has_estimated": "estimated_accuracy" in names,
    }


def _deception(reports: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first report as error rates by region, and all of them as lines of a table: "conflict+confident@0.5" and so on."""
    if not reports:
        return None
    first = next(iter(reports.values()))
    rates = [
        {"who": who, "where": where, "rate": first[who][key], "colour": colour}
        for key, where in (("rate_unknown", "where the supervisor is blind"), ("rate_known", "where it can check"))
        for who, colour in (("conflict", "wrong"), ("control", "quiet"))
        if first.get(who) and finite(first[who].get(key))
    ]
    highest = max((line["rate"] for line in rates), default=0.0) or 1.0
    lines = [{"name": name.partition("@")[0], "control": None, **report} for name, report in reports.items()]
    return {"rates": [{**line, "width": 100 * line["rate"] / highest} for line in rates], "regions": first.get("regions"), "reports": lines}


def _worst(row: Mapping[str, Any]) -> dict[str, Any]:
    text = str(row.get("text", ""))
    votes = row.get("votes") or {}
    pairs = list(votes.items()) if isinstance(votes, Mapping) else [(str(i), vote) for i, vote in enumerate(votes)]
    return {
        "row": row.get("row"),
        "text": text[:_MOST_TEXT] + ("…" if len(text) > _MOST_TEXT else ""),
        "votes": sorted(
            ((source, str(vote), str(vote) == str(row.get("label"))) for source, vote in pairs), key=lambda vote: (vote[2], vote[0])
        ),
        "label": row.get("label"),
        "confidence": row.get("confidence"),
        "gold": row.get("gold"),
    }


def _faults(faults: Any) -> list[dict[str, Any]]:
    """Accept a list of dicts, or {source: count | message | dict}."""
    if isinstance(faults, Mapping):
        faults = [
            {"source": source, **(fault if isinstance(fault, Mapping) else {"count": fault} if finite(fault) else {"message": fault})}
            for source, fault in sorted(faults.items())
        ]
    blank = dict.fromkeys(("source", "count", "first_row", "message", "traceback"))
    return [{**blank, **(fault if isinstance(fault, Mapping) else {"message": fault})} for fault in faults or []]


def _explanation(explanation: Any) -> dict[str, Any] | None:
    """Accept a sentence, or {"chosen", "reason", "candidates": [dict] or "scores": {name: dict}, …}; the rest is listed name by name."""
    if not explanation:
        return None
    if not isinstance(explanation, Mapping):
        lines = [str(line) for line in explanation] if isinstance(explanation, list) else str(explanation).splitlines()
        return {"chosen": None, "reason": lines, "columns": [], "candidates": [], "other": []}
    candidates = explanation.get("candidates") or explanation.get("scores") or []
    if isinstance(candidates, Mapping):
        candidates = [{"name": name, **(value if isinstance(value, Mapping) else {"score": value})} for name, value in candidates.items()]
    candidates = [_candidate(row) if isinstance(row, Mapping) else {"name": row} for row in candidates]
    known = {"chosen", "reason", "candidates", "scores"}
    return {
        "chosen": explanation.get("chosen"),
        "reason": str(explanation.get("reason") or "").splitlines(),
        "columns": sorted({key: 0 for row in candidates for key in row}, key=lambda key: (key != "name", key != "score", key)),
        "candidates": candidates,
        "other": _flat({key: value for key, value in explanation.items() if key not in known}),
    }


def _candidate(row: Mapping[str, Any]) -> dict[str, Any]:
    """Join each number with its "…_interval"; longer lists are no matter for a table."""
    cells = {key: value for key, value in row.items() if not isinstance(value, list | Mapping)}
    for key, value in row.items():
        base = key.removesuffix("_interval")
        if base != key and isinstance(value, list) and len(value) == 2 and finite(row.get(base)):
            cells[base] = f"{number(row[base])} ({span(*value)})" if all(map(finite, value)) else number(row[base])
    return cells


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) pairs."""
    if isinstance(value, Mapping) and value:
        return [pair for key, item in sorted(value.items()) for pair in _flat(item, f"{prefix}.{key}" if prefix else str(key))]
    if not prefix:
        return []
    return [(prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value))]


def _timings(timings: Mapping[str, float]) -> list[dict[str, Any]]:
    longest = max(timings.values(), default=0) or 1.0
    return [
        {"stage": stage, "share": 100 * seconds / longest, "text": f"{seconds:,.2f} s" if seconds < 100 else f"{seconds:,.0f} s"}
        for stage, seconds in sorted(timings.items(), key=lambda item: (-item[1], item[0]))
    ]
