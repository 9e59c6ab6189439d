"""Where work runs: every engine maps a function over batches and reduces parts by merging; nothing else knows where it runs."""

from __future__ import annotations

from steelyard.engines.local import LocalEngine
from steelyard.errors import ConfigError

__all__ = ["LocalEngine", "get_engine"]


def get_engine(engine: str | LocalEngine = "local", workers: int | None = None) -> LocalEngine:
    """Return the engine of that name, or the engine itself when it already is one.

    Parameters
    ----------
    engine : str or LocalEngine
        ``"local"``: the cores of this machine.
    workers : int, optional
        How many processes or threads it may use; all usable cores by default.

    Raises
    ------
    ConfigError
        When no engine has that name.

    Examples
    --------
    >>> get_engine("local", workers=2)
    LocalEngine(workers=2)
    >>> get_engine("ray")
    Traceback (most recent call last):
    steelyard.errors.ConfigError: engine 'ray' is not available in this version; engines are local
    """
    if isinstance(engine, LocalEngine):
        return engine
    if engine == "local":
        return LocalEngine(workers)
    raise ConfigError(f"engine {engine!r} is not available in this version; engines are local")
