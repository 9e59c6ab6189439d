"""A Spark cluster as an engine: batches travel as bytes in Arrow columns through ``mapInArrow``; Spark repeats what a lost worker had.

Zaharia et al. 2016, "Apache Spark: A Unified Engine for Big Data Processing".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from typing import Any, ClassVar

from steelyard.engines.base import Batch, Engine, Part, modules_of_this_process
from steelyard.engines.local import usable_cores
from steelyard.engines.progress import Bar
from steelyard.errors import ConfigError, SteelyardError

#: Batches per core that go to the cluster together: enough to keep it busy, few enough for the driver's memory.
ROUND = 4


class SparkEngine(Engine):
    """Map and reduce on Spark.

    Parameters
    ----------
    address : str, optional
        Master URL such as ``spark://host:7077``. Left out, the program's own session is used, or a local one is started with
        `workers` threads. Every machine needs steelyard and what the sources import.
    workers : int, optional
        Of a local session; all usable cores by default.

    Raises
    ------
    ConfigError
        When PySpark or Java is not installed.

    Examples
    --------
    >>> SparkEngine("spark://10.0.0.1:7077")
    SparkEngine('spark://10.0.0.1:7077')
    """

    is_remote: ClassVar[bool] = True

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        super().__init__(workers)
        self.address = address

    def __repr__(self) -> str:
        return f"SparkEngine({self.address!r})" if self.address else f"SparkEngine(workers={self.workers})"

    def map_batches(self, function: Callable[[Batch], Part], batches: Iterable[Batch], progress: bool | None = None) -> Iterator[Part]:
        """Yield ``function(batch)`` for every batch, in order, some batches per core at a time.

        Parameters
        ----------
        function : callable
            Sent to the cluster with its closure.
        batches : iterable
            Each must be picklable.
        progress : bool, optional
            Show a bar; ``None`` shows one on a terminal when the work lasts.

        Raises
        ------
        SteelyardError
            The cluster gave up. What the function itself raises is raised here as it is.
        """
        session, cores = self._session()
        from pyspark import cloudpickle

        for module in modules_of_this_process():
            cloudpickle.register_pickle_by_value(module)
        call = _in_arrow(cloudpickle.dumps(function))
        bar = Bar(len(batches) if isinstance(batches, Sized) else None, progress)
        remaining = iter(batches)
        try:
            while sent := [cloudpickle.dumps(batch) for batch in islice(remaining, ROUND * cores)]:
                for part in _round(session, call, sent):
                    yield part
                    bar.advance()
        finally:
            bar.close()

    def _session(self) -> tuple[Any, int]:
        try:
            from pyspark.errors import PySparkException
            from pyspark.sql import SparkSession
        except ImportError as error:
            raise ConfigError("engine 'spark' needs PySpark; install it with: pip install 'steelyard[spark]'") from error
        # Workers must run the Python that pickled the function.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        try:
            session = SparkSession.getActiveSession()
            if session is None:
                builder = SparkSession.builder.appName("steelyard").config("spark.ui.showConsoleProgress", "false")
                if self.address is None:
                    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
                    builder = builder.master(f"local[{self.workers or usable_cores()}]").config("spark.ui.enabled", "false")
                else:
                    builder = builder.master(self.address)
                session = builder.getOrCreate()
                session.sparkContext.setLogLevel("OFF")
        except (PySparkException, OSError, RuntimeError) as error:
            raise ConfigError(
                f"Spark does not start ({_first_line(error)}); it needs Java 17 or newer and an address that answers"
            ) from error
        return session, int(session.sparkContext.defaultParallelism)


def _in_arrow(function: bytes) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """What a Spark worker does with its share: positions and pickled batches in, positions and pickled results out."""

    def call(shares: Iterator[Any]) -> Iterator[Any]:
        # Pickles cross the wire within the user's own cluster; none is ever read from a file.
        import pickle

        import pyarrow as pa
        from pyspark import cloudpickle

        work = pickle.loads(function)
        for share in shares:
            for position, batch in zip(share["position"].to_pylist(), share["payload"].to_pylist(), strict=True):
                try:
                    answer, failed = cloudpickle.dumps(work(pickle.loads(batch))), False
                except Exception as error:  # noqa: BLE001, RUF100 - raised again where the user is
                    answer, failed = cloudpickle.dumps(error), True
                yield pa.RecordBatch.from_pydict({"position": [position], "payload": [answer], "failed": [failed]})

    return call


def _round(session: Any, call: Callable[..., Any], sent: list[bytes]) -> list[Any]:
    import pickle

    import pyarrow as pa
    from pyspark.errors import PySparkException

    # One batch per partition, so that no worker waits while another has several.
    table = pa.table({"position": list(range(len(sent))), "payload": pa.array(sent, pa.binary())})
    frame = session.createDataFrame(table).repartitionByRange(len(sent), "position")
    try:
        rows = frame.mapInArrow(call, "position long, payload binary, failed boolean").collect()
    except PySparkException as error:
        raise SteelyardError(f"Spark gave up on a batch: {_first_line(error)}") from error
    answers = {row["position"]: (bytes(row["payload"]), row["failed"]) for row in rows}
    parts = []
    for position in range(len(sent)):
        payload, failed = answers[position]
        part = pickle.loads(payload)
        if failed:
            raise part
        parts.append(part)
    return parts


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0].rstrip(".")
