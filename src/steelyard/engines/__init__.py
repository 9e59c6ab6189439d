"""Where work runs: every engine maps a function over batches and reduces parts by merging; nothing else knows where it runs."""

from __future__ import annotations

from steelyard.engines.base import Engine
from steelyard.engines.local import LocalEngine
from steelyard.errors import ConfigError

__all__ = ["Engine", "LocalEngine", "get_engine"]

_NAMES = ("local", "ray", "spark")


def get_engine(engine: str | Engine = "local", workers: int | None = None, address: str | None = None) -> Engine:
    """Return the engine of that name, or the engine itself when it already is one.

    Parameters
    ----------
    engine : str or Engine
        ``"local"``: the cores of this machine. ``"ray"``, ``"spark"``: a cluster, or a local one that is started for the work.
    workers : int, optional
        How many processes it may use; all usable cores by default.
    address : str, optional
        Of the cluster: ``ray://host:port`` or ``auto`` for Ray, a master URL for Spark.

    Raises
    ------
    ConfigError
        When no engine has that name, its library is not installed, or a local engine is given an address.

    Examples
    --------
    >>> get_engine("local", workers=2)
    LocalEngine(workers=2)
    >>> get_engine("abacus")
    Traceback (most recent call last):
    steelyard.errors.ConfigError: there is no engine 'abacus'; engines are local, ray, spark
    """
    if isinstance(engine, Engine):
        return engine
    if engine == "ray":
        from steelyard.engines.ray import RayEngine

        return RayEngine(address, workers)
    if engine == "spark":
        from steelyard.engines.spark import SparkEngine

        return SparkEngine(address, workers)
    if engine != "local":
        raise ConfigError(f"there is no engine {engine!r}; engines are {', '.join(_NAMES)}")
    if address is not None:
        raise ConfigError(f"address {address!r} is of no use to the local engine; name the cluster's kind with --engine ray or spark")
    return LocalEngine(workers)
