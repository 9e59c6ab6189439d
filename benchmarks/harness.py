"""What every benchmark script shares: paired rounds, the machine's facts, and results written as JSON and as a Markdown table."""

import importlib.metadata
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from peers import HERE, run_json

RESULTS = HERE / "results"


def run_steelyard(operation: str, *arguments: object) -> dict:
    """Run one operation of `sides/steelyard_side.py` in a fresh process of this interpreter."""
    return run_json(sys.executable, HERE / "sides" / "steelyard_side.py", operation, *arguments)


def paired_rounds(sides: dict[str, Callable[[], dict]], rounds: int) -> dict[str, list[dict]]:
    """Run all sides once per round, in turns, so that a busy spell of the machine hits all of them alike."""
    answers: dict[str, list[dict]] = {name: [] for name in sides}
    for i in range(rounds):
        for name, run in sides.items():
            answers[name].append(run())
            print(f"  round {i + 1}/{rounds} {name}: {short(answers[name][-1])}", file=sys.stderr, flush=True)
    return answers


def best(answers: list[dict], field: str) -> tuple[float, float]:
    """Wall and processor seconds of the fastest rounds: those least disturbed by others on the machine."""
    return min(answer[field][0] for answer in answers), min(answer[field][1] for answer in answers)


def median(answers: list[dict], field: str) -> float:
    """Median of the rounds."""
    return statistics.median(answer[field] for answer in answers)


def speed_row(
    what: str, peer: str, peer_seconds: tuple[float, float], our_seconds: tuple[float, float], target: float | None = None
) -> dict:
    """One line of a speed table: wall clock of both, their ratio, whether it reaches the target, and the ratio of processor time."""
    ratio = peer_seconds[0] / our_seconds[0]
    return {
        "operation": what,
        "peer": peer,
        "peer seconds": peer_seconds[0],
        "steelyard seconds": our_seconds[0],
        "times faster": ratio,
        "target": "" if target is None else f"≥ {target:g}",
        "reached": "" if target is None else "yes" if ratio >= target else "no",
        "peer CPU s": peer_seconds[1],
        "steelyard CPU s": our_seconds[1],
        "times less CPU": peer_seconds[1] / our_seconds[1],
    }


def machine(peers: Sequence[str] = ()) -> dict:
    """Facts that a reader needs to judge a figure; nothing that identifies the machine."""
    libraries = ("numpy", "scipy", "scikit-learn", "polars", "pyarrow")
    from peers import REQUIREMENTS

    pins = {pin.split("==")[0]: pin.split("==")[1] for peer in peers for pin in REQUIREMENTS[peer] if "==" in pin}
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in libraries},
        "peers": pins,
    }


def write_results(name: str, rows: list[dict], *, title: str, notes: str, peers: Sequence[str] = (), **extra: object) -> None:
    """Write `results/<name>.json` and `results/<name>.md`, and print the table."""
    RESULTS.mkdir(exist_ok=True)
    facts = machine(peers)
    write_text(
        RESULTS / f"{name}.json", json.dumps({"title": title, "machine": facts, "notes": notes, "rows": rows, **extra}, indent=1) + "\n"
    )
    versions = ", ".join(f"{key} {value}" for key, value in {**facts["peers"], **facts["libraries"]}.items())
    page = (
        f"# {title}\n\n{notes}\n\nMachine: {facts['cores']} cores, {facts['architecture']}, Python {facts['python']}; "
        f"{versions}.\n\n{table(rows)}\n"
    )
    write_text(RESULTS / f"{name}.md", page)
    print(page)


def write_text(path: Path, text: str) -> None:
    """Write a file in one step, so that a broken run leaves the old result."""
    draft = path.with_name(path.name + ".part")
    draft.write_text(text)
    draft.replace(path)


def table(rows: list[dict]) -> str:
    """A Markdown table; columns in order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(column, "")) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def cell(value: object) -> str:
    """Numbers with three significant digits, everything else as it is."""
    if isinstance(value, list):
        return "/".join(map(cell, value))
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def short(answer: dict) -> str:
    """One line for the terminal."""
    return ", ".join(f"{key} {cell(value)}" for key, value in answer.items())
