"""The local engine: order, laziness, closures across processes, clean ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.engines import LocalEngine, get_engine
from steelyard.errors import ConfigError, SteelyardError

linux = pytest.mark.skipif(sys.platform != "linux", reason="forked workers are used on Linux only")


@pytest.mark.parametrize("workers", [None, 1, 2, 3])
def test_results_come_in_the_order_of_the_batches(workers: int | None) -> None:
    def slower_when_small(number: int) -> int:
        time.sleep(0.002 * (20 - number) / 20)
        return number * number

    assert list(LocalEngine(workers).map_batches(slower_when_small, range(20))) == [number**2 for number in range(20)]


@linux
def test_a_closure_travels_to_other_processes() -> None:
    secret = threading.Lock()  # cannot be pickled, only inherited

    def where(_: int) -> int:
        with secret:
            return os.getpid()

    pids = list(LocalEngine(workers=2).map_batches(where, range(12)))
    assert pids[0] == os.getpid(), "the first batch warms up in this process"
    assert os.getpid() not in pids[1:]


def test_short_work_stays_in_this_process() -> None:
    assert set(LocalEngine().map_batches(lambda _: os.getpid(), range(50))) == {os.getpid()}


@linux
def test_a_result_that_cannot_cross_the_border_is_computed_here() -> None:
    results = list(LocalEngine(workers=2).map_batches(lambda number: (number, threading.Lock()), range(4)))
    assert [number for number, _ in results] == [0, 1, 2, 3]


@linux
def test_a_daemonic_process_uses_threads_because_it_may_have_no_children() -> None:
    def child(queue: multiprocessing.Queue[list[int]]) -> None:
        queue.put(list(LocalEngine(workers=2).map_batches(lambda number: number + 1, range(6))))

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,), daemon=True)
    process.start()
    assert queue.get(timeout=20) == [1, 2, 3, 4, 5, 6]
    process.join()


def test_batches_are_read_only_as_they_are_needed() -> None:
    read: list[int] = []

    def endless() -> Iterator[int]:
        for number in range(10_000):
            read.append(number)
            yield number

    results = LocalEngine(workers=2).map_batches(lambda number: number, endless())
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    results.close()  # type: ignore[attr-defined]
    assert len(read) < 30


@linux
def test_closing_early_leaves_no_worker_behind() -> None:
    results = LocalEngine(workers=2).map_batches(lambda _: time.sleep(0.05), range(1000))
    next(results)
    next(results)
    results.close()  # type: ignore[attr-defined]
    deadline = time.time() + 10
    while multiprocessing.active_children() and time.time() < deadline:
        time.sleep(0.02)
    assert multiprocessing.active_children() == []


@linux
def test_an_interrupt_ends_the_pool() -> None:
    program = (
        "import os, time\n"
        "from steelyard.engines import LocalEngine\n"
        "def slow(number):\n"
        "    if number: os.write(1, f'{os.getpid()}\\n'.encode()); time.sleep(60)\n"
        "list(LocalEngine(workers=2).map_batches(slow, range(8)))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = [int(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_function_is_raised(workers: int) -> None:
    def fails(number: int) -> int:
        if number == 3:
            raise LookupError("three")
        return number

    results = LocalEngine(workers).map_batches(fails, range(6))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match="three"):
        next(results)


@pytest.mark.parametrize(("progress", "shown"), [(True, True), (False, False), (None, False)])
def test_a_bar_appears_when_asked_for(progress: bool | None, shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(LocalEngine().map_batches(abs, [-1, 2], progress)) == [1, 2]
    captured = capsys.readouterr()
    assert ("2/2" in captured.err) == shown
    assert captured.out == ""


@linux
def test_a_dead_worker_is_an_error_and_not_a_hang() -> None:
    parent = os.getpid()
    with pytest.raises(SteelyardError, match="worker process died"):
        list(LocalEngine(workers=2).map_batches(lambda _: os.getpid() == parent or os._exit(9), range(6)))


@given(st.lists(st.lists(st.integers(), max_size=2), min_size=1, max_size=40))
def test_reduce_keeps_the_order_of_the_parts(parts: list[list[int]]) -> None:
    assert LocalEngine().reduce(lambda left, right: left + right, parts) == [number for part in parts for number in part]


def test_reduce_is_a_shallow_tree() -> None:
    depth = LocalEngine().reduce(lambda left, right: max(left, right) + 1, [0] * 1000)
    assert depth == 10


def test_reduce_needs_a_part() -> None:
    with pytest.raises(ValueError, match="at least one"):
        LocalEngine().reduce(max, [])


def test_engines_are_found_by_name() -> None:
    engine = LocalEngine(2)
    assert get_engine(engine) is engine
    assert get_engine("local", 3).workers == 3
    with pytest.raises(ConfigError, match="no engine 'abacus'; engines are local, ray, spark"):
        get_engine("abacus")
    with pytest.raises(ConfigError, match="of no use to the local engine"):
        get_engine("local", address="127.0.0.1:6379")
    with pytest.raises(ConfigError, match="at least 1"):
        get_engine("local", 0)
