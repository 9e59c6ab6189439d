"""Ablations as words: the same run with some options changed, one more arm beside the method."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, get_args, get_type_hints

from steelyard.errors import ConfigError

Config = TypeVar("Config")
_NONE = "none"


def ablated(config: Config, changes: str) -> Config:
    """A configuration with other options.

    Parameters
    ----------
    config : frozen dataclass
    changes : str
        ``option=value`` or several, joined by ``+``; ``none`` stands for None.

    Raises
    ------
    ConfigError
        There is no such option, or the value is of another kind.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Options:
    ...     rate: float = 0.1
    ...     filter: str | None = "judge"
    >>> ablated(Options(), "filter=none+rate=3e-4")
    Options(rate=0.0003, filter=None)
    """
    kinds = get_type_hints(type(config))
    values: dict[str, Any] = {}
    for change in changes.split("+"):
        name, _, value = change.partition("=")
        if name not in kinds or not value:
            raise ConfigError(f"ablation '{changes}': write option=value, where option is one of {', '.join(kinds)}")
        allowed = get_args(kinds[name]) or (kinds[name],)
        try:
            values[name] = (
                None if value == _NONE and type(None) in allowed else next(kind for kind in allowed if kind is not type(None))(value)
            )
        except (TypeError, ValueError):
            raise ConfigError(
                f"ablation '{changes}': '{value}' is not what {name} takes; see its default {getattr(config, name)!r}"
            ) from None
    return dataclasses.replace(config, **values)  # type: ignore[type-var]
