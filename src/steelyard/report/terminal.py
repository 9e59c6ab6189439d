"""A result in the terminal: the gap bar, the numbers with their intervals, the sources with bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from steelyard.report.content import basis, comparisons, finite, gap_of, headline, number, p_value, percent, span
from steelyard.result import Comparison, Result, higher_is_better

if TYPE_CHECKING:
    from rich.console import Console

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def print_result(result: Result, console: Console | None = None) -> None:
    """Print what a result holds; parts that it lacks are left out.

    Examples
    --------
    >>> from rich.console import Console
    >>> print_result(Result("demo").add("method", 0, "accuracy", 0.75), Console(width=60))
    demo
    ...
    """
    from rich.console import Console

    out = console or Console()
    out.print(Text(result.name, style="bold"))
    gap = gap_of(result)
    if gap is not None:
        out.print(gap_text(gap, width=min(out.width - 2, 72)))
    if result.rows:
        out.print(result_table(result))
    if differences := comparisons(result):
        out.print(comparison_table(differences))
    if sources := result.artifacts.get("sources"):
        out.print(source_table(sources))


def gap_text(gap: dict[str, Any], width: int = 60) -> Text:
    """Draw weak, student and ceiling on one line of text, with a sentence and the labels beneath.

    Examples
    --------
    >>> gap = {"metric": "accuracy", "weak": {"mean": 0.6}, "student": {"mean": 0.7}, "ceiling": {"mean": 0.8}, "pgr": {"mean": 0.5}}
    >>> print(gap_text(gap | {"student_name": "student"}, width=21).plain.splitlines()[1])
    ┝━━━━━━━━━●─────────┤
    """
    mean = {name: float(gap[name]["mean"]) for name in ("weak", "student", "ceiling")}
    first, last = (min, max) if mean["ceiling"] >= mean["weak"] else (max, min)
    low, high = first(mean.values()), last(mean.values())
    at = {name: round((value - low) / ((high - low) or 1.0) * (width - 1)) for name, value in mean.items()}
    behind = at["student"] < at["weak"]
    cells = [" "] * width
    for i in range(at["weak"], at["ceiling"] + 1):
        cells[i] = "─"
    for i in range(min(at["weak"], at["student"]), max(at["weak"], at["student"]) + 1):
        cells[i] = "━"
    cells[at["weak"]], cells[at["ceiling"]] = "┝", "┤"
    cells[at["student"]] = "●"
    line = Text("".join(cells), style="red" if behind else "cyan")
    who = gap.get("student_name", "student")
    names = [("weak", "weak", "yellow"), (who, "student", "red" if behind else "cyan"), ("ceiling", "ceiling", "blue")]
    said = headline({"student_name": who, **gap})
    parts = [Text(said, style="bold"), line]
    labels = [
        Text.assemble((str(shown), style), " ", number(mean[name]), " ", (span(*_ends(gap[name])), "dim")) for shown, name, style in names
    ]
    parts.append(Text("   ").join(labels))
    parts.append(Text(basis(gap), style="dim"))
    return Text("\n").join(parts)


def result_table(result: Result) -> Table:
    """Return one line per metric and arm: mean over seeds, 95 % interval, seeds."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("metric")
    table.add_column("arm")
    for name in ("mean", "95 % interval", "seeds"):
        table.add_column(name, justify="right")
    last = None
    for row in result.table().iter_rows(named=True):
        shown = row["metric"] + ("" if higher_is_better(row["metric"]) else " ↓")
        table.add_row(
            Text(shown if shown != last else ""), Text(row["arm"]), number(row["mean"]), span(row["low"], row["high"]), str(row["n"])
        )
        last = shown
    return table


def comparison_table(differences: Iterable[Comparison]) -> Table:
    """Return one line per paired difference: mean, interval, p-value, verdict."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("metric")
    table.add_column("difference")
    for name in ("mean", "interval", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for c in differences:
        style = {"better": "green", "worse": "red"}.get(c.verdict, "dim")
        pair = Text(f"{c.method} − {c.baseline}")
        table.add_row(
            Text(c.metric), pair, number(c.difference), span(c.low, c.high) or "–", p_value(c.p_value), Text(c.verdict, style=style)
        )
    return table


def source_table(sources: Iterable[Mapping[str, Any]] | Any) -> Table:
    """Return one line per source: coverage with a bar, conflict, believed and measured accuracy.

    Parameters
    ----------
    sources : list of dict, or polars DataFrame
        As `Votes.summary` or `accuracy_table` give.
    """
    rows = sources.to_dicts() if hasattr(sources, "to_dicts") else list(sources)
    present = {key for row in rows for key, value in row.items() if finite(value)}
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("source", overflow="fold")
    table.add_column("votes", style="dim", overflow="fold")
    table.add_column("coverage", no_wrap=True)
    wanted = [("conflict", "conflict"), ("estimated_accuracy", "believed"), ("accuracy", "accuracy")]
    columns = [(key, title) for key, title in wanted if key in present]
    for _, title in columns:
        table.add_column(title, justify="right", no_wrap=True)
    if "low" in present:
        table.add_column("interval", justify="right", style="dim", no_wrap=True)
    for row in rows:
        coverage = row.get("coverage")
        bar = Text.assemble((_bar(coverage or 0.0), "cyan"), f" {percent(coverage):>5}")
        cells: list[Any] = [Text(str(row.get("source", "?"))), Text(_polarity(row)), bar]
        cells += [Text(percent(row.get(key), 1)) for key, _ in columns]
        if "low" in present:
            cells.append(span(row.get("low"), row.get("high"), as_percent=True))
        table.add_row(*cells)
    return table


def _bar(share: float, width: int = 6) -> str:
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(width)


def _polarity(row: Mapping[str, Any]) -> str:
    named = row.get("polarity") or []
    return named if isinstance(named, str) else ", ".join(map(str, named))


def _ends(arm: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return arm.get("low"), arm.get("high")
