"""A Ray cluster as an engine: every batch is a task; a task whose worker dies runs again elsewhere, with the same result.

Moritz et al. 2018, "Ray: A Distributed Framework for Emerging AI Applications".
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, ClassVar

from steelyard.engines.base import Batch, Engine, Part, modules_of_this_process
from steelyard.engines.local import usable_cores
from steelyard.engines.progress import Bar
from steelyard.errors import ConfigError, SteelyardError

#: How often a batch is tried again after its worker died.
RETRIES = 3


class RayEngine(Engine):
    """Map and reduce on a Ray cluster.

    Parameters
    ----------
    address : str, optional
        ``ray://host:port``, ``host:port``, or ``auto`` for the cluster this machine belongs to. Left out, the program's own connection is
        used, or a local cluster is started for as long as the program runs. Every machine needs steelyard and what the sources import.
    workers : int, optional
        Processes of a local cluster; all usable cores by default. On a cluster that is already there, its own size decides.

    Raises
    ------
    ConfigError
        When Ray is not installed, or no cluster answers at that address.

    Examples
    --------
    >>> RayEngine("ray://10.0.0.1:10001")
    RayEngine('ray://10.0.0.1:10001')
    """

    is_remote: ClassVar[bool] = True

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        super().__init__(workers)
        self.address = address

    def __repr__(self) -> str:
        return f"RayEngine({self.address!r})" if self.address else f"RayEngine(workers={self.workers})"

    def map_batches(self, function: Callable[[Batch], Part], batches: Iterable[Batch], progress: bool | None = None) -> Iterator[Part]:
        """Yield ``function(batch)`` for every batch, in order, with two batches per core of the cluster in flight.

        Parameters
        ----------
        function : callable
            Sent to the cluster once; closures included.
        batches : iterable
            Sent one by one; each must be picklable.
        progress : bool, optional
            Show a bar; ``None`` shows one on a terminal when the work lasts.

        Raises
        ------
        SteelyardError
            A batch killed its worker again and again. What the function itself raises is raised here as it is.
        """
        ray = self._connect()
        task = ray.remote(max_retries=RETRIES)(_call)
        for module in modules_of_this_process():
            ray.cloudpickle.register_pickle_by_value(module)
        shared = ray.put(function)
        ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        bar = Bar(len(batches) if isinstance(batches, Sized) else None, progress)
        pending: deque[Any] = deque()
        try:
            for batch in batches:
                pending.append(task.remote(shared, batch))
                if len(pending) > ahead:
                    yield _result(ray, pending.popleft())
                    bar.advance()
            while pending:
                yield _result(ray, pending.popleft())
                bar.advance()
        finally:
            bar.close()
            for reference in pending:
                ray.cancel(reference, force=True)

    def _connect(self) -> Any:
        try:
            import ray
        except ImportError as error:
            raise ConfigError("engine 'ray' needs the library Ray; install it with: pip install 'steelyard[ray]'") from error
        if ray.is_initialized():
            return ray
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if self.address is None:
            ray.init(num_cpus=self.workers or usable_cores(), include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
            return ray
        try:
            if self.address != "auto":
                # Ray itself would try for minutes.
                host, _, port = self.address.removeprefix("ray://").rpartition(":")
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address=self.address, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(f"no Ray cluster answers at {self.address!r}: {_first_line(error)}; check address and port") from error
        return ray


def _call(function: Callable[[Any], Any], batch: Any) -> Any:
    return function(batch)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from error
        raise
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError) as error:
        raise SteelyardError(
            f"a batch lost its worker {RETRIES + 1} times ({type(error).__name__}), perhaps for lack of memory; use smaller chunks"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0].rstrip(".")
