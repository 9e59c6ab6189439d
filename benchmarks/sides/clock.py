"""Time and peak memory of one call, the same for every side. Standard library only, so that it runs in every peer's environment."""

import gc
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Timing(NamedTuple):
    """Seconds on the wall, and of processor time over all threads and worker processes, which hardly feels other work on the machine."""

    wall: float
    cpu: float


def timed(call: Callable[[], Any], repeats: int = 1) -> tuple[Timing, Any]:
    """The best of `repeats` calls, wall and processor time each on its own, and the last call's answer."""
    wall = cpu = float("inf")
    answer = None
    for _ in range(repeats):
        gc.collect()
        started, spent = time.perf_counter(), _cpu_seconds()
        answer = call()
        wall, cpu = min(wall, time.perf_counter() - started), min(cpu, _cpu_seconds() - spent)
    return Timing(wall, cpu), answer


def _cpu_seconds() -> float:
    # The process clock is finer than os.times, which alone knows of finished workers.
    workers = os.times()
    return time.process_time() + workers.children_user + workers.children_system


def peak_growth(call: Callable[[], Any]) -> tuple[int, Any]:
    """Bytes by which the peak resident memory during the call exceeds the resident memory just before it (Linux).

    `getrusage` cannot be reset and would hide a peak below one reached while loading, so the kernel's high-water mark is reset instead;
    it is the same counter.
    """
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_bytes("VmRSS")
    answer = call()
    return _status_bytes("VmHWM") - before, answer


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel does not report {field}")


def answer(**fields: Any) -> None:
    """Print the side's JSON answer as the last line."""
    print(json.dumps(fields))
