"""Work on millions of rows a block at a time: a block fits in the processor's cache, and NumPy lets threads run beside each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

BLOCK = 1 << 17


def in_row_blocks(work: Callable[[int, int], T], n_rows: int, size: int = BLOCK) -> list[T]:
    """Call ``work(start, stop)`` for consecutive row ranges and return the results in order.

    Parameters
    ----------
    work : function of ``(start, stop)``
        Reads rows ``start:stop`` and either returns something or fills its part of an output array.
    n_rows : int
        Number of rows in all; no call is made for zero rows.
    size : int
        Rows in one block.

    Examples
    --------
    >>> in_row_blocks(lambda start, stop: stop - start, 10, size=4)
    [4, 4, 2]
    """
    starts = range(0, n_rows, size)
    workers = min(len(starts), _processors())
    if workers <= 1:
        return [work(start, min(start + size, n_rows)) for start in starts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda start: work(start, min(start + size, n_rows)), starts))


def _processors() -> int:
    limit = os.environ.get("OMP_NUM_THREADS", "")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min(int(limit), available) if limit.isdigit() and int(limit) > 0 else available
