"""The cores of this machine as an engine: batches in, results out in the same order, with bounded memory.

Work begins in this process. When it proves to last, the rest goes to forked processes, which inherit the function with everything it
closes over, so that functions of notebooks and closures work; where forking is not safe, to threads.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from steelyard.engines.base import Batch, Engine, Part
from steelyard.engines.progress import Bar
from steelyard.errors import SteelyardError

#: Seconds of work still ahead from which processes pay for their start.
WORTH_A_POOL = 1.0


class LocalEngine(Engine):
    """Map and reduce on this machine.

    Parameters
    ----------
    workers : int, optional
        Processes (or threads) to use. ``1`` keeps everything in this process; ``None`` uses all usable cores, but only for work that
        lasts longer than about a second.

    Raises
    ------
    ConfigError
        When ``workers`` is below 1.

    Examples
    --------
    >>> engine = LocalEngine()
    >>> list(engine.map_batches(sum, [[1, 2], [3], []]))
    [3, 3, 0]
    >>> engine.reduce(lambda left, right: left + right, ["a", "b", "c"])
    'abc'
    """

    def map_batches(self, function: Callable[[Batch], Part], batches: Iterable[Batch], progress: bool | None = None) -> Iterator[Part]:
        """Yield ``function(batch)`` for every batch, in order, with at most a few batches per worker in flight.

        The first batch always runs in this process: what the function loads lazily is then loaded once and shared by forked workers.

        Parameters
        ----------
        function : callable
            Any callable, closures included. With processes, batches and results must be picklable; a batch that is not runs here.
        batches : iterable
            A list lets the engine foresee the remaining work; any other iterable is read as needed.
        progress : bool, optional
            Show a bar; ``None`` shows one on a terminal when the work lasts.

        Raises
        ------
        SteelyardError
            When a worker process dies, for instance for lack of memory.

        Examples
        --------
        >>> factor = 3
        >>> list(LocalEngine(workers=2).map_batches(lambda number: factor * number, range(4)))
        [0, 3, 6, 9]
        """
        total = len(batches) if isinstance(batches, Sized) else None
        bar = Bar(total, progress)
        try:
            for result in self._results(function, iter(batches), total):
                bar.advance()
                yield result
        finally:
            bar.close()

    def _results(self, function: Callable[[Batch], Part], batches: Iterator[Batch], total: int | None) -> Iterator[Part]:
        """Run batches here until a pool is worth its start, then there."""
        workers = usable_cores() if self.workers is None else self.workers
        begun = time.perf_counter()
        for done, batch in enumerate(batches, start=1):
            yield function(batch)
            elapsed = time.perf_counter() - begun
            ahead = elapsed if total is None else elapsed / done * (total - done)
            if workers > 1 and (self.workers is not None or ahead > WORTH_A_POOL) and done != total:
                yield from _in_pool(function, batches, workers)
                return


def usable_cores() -> int:
    """Return how many cores this process may use.

    Examples
    --------
    >>> usable_cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_pool(function: Callable[[Batch], Part], batches: Iterator[Batch], workers: int) -> Iterator[Part]:
    forked = _fork_is_safe()
    pool: Executor
    if forked:
        # Initialiser arguments are inherited through the fork, never pickled: any closure travels.
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), initializer=_adopt, initargs=(function,))
        call: Callable[[Any], Any] = _call_adopted
    else:
        pool, call = ThreadPoolExecutor(workers), function
    pending: deque[tuple[Batch, Future[Part]]] = deque()
    processes: list[Any] = []
    finished = False
    try:
        with warnings.catch_warnings():
            # Python warns about forking a process with threads; those of polars are idle here and the children do not use them.
            warnings.simplefilter("ignore", DeprecationWarning)
            for batch in batches:
                pending.append((batch, pool.submit(call, batch)))
                processes = list((getattr(pool, "_processes", None) or {}).values())
                if len(pending) > 2 * workers:
                    yield _result(function, *pending.popleft())
        while pending:
            yield _result(function, *pending.popleft())
        finished = True
    except BrokenProcessPool as error:
        raise SteelyardError("a worker process died, perhaps for lack of memory; use fewer workers or workers=1") from error
    finally:
        pool.shutdown(wait=finished, cancel_futures=True)
        if not finished:
            for process in processes:  # an interrupt or an error must not leave workers behind
                process.terminate()


def _result(function: Callable[[Batch], Part], batch: Batch, future: Future[Part]) -> Part:
    try:
        return future.result()
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        if "pickle" not in str(error):
            raise
        return function(batch)  # the batch or its result cannot cross the process border


def _fork_is_safe() -> bool:
    """Forking needs Linux, a process that may have children, and no CUDA context, which does not survive it."""
    torch = sys.modules.get("torch")
    cuda = torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized()
    return sys.platform == "linux" and not multiprocessing.current_process().daemon and not cuda


_adopted: Callable[[Any], Any]


def _adopt(function: Callable[[Any], Any]) -> None:
    """Make ``function`` this worker's own; the parent alone answers an interrupt."""
    global _adopted  # noqa: PLW0603 - a worker process has one function for its whole life
    _adopted = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)  # OpenMP's thread team does not survive a fork


def _call_adopted(batch: Any) -> Any:
    return _adopted(batch)
