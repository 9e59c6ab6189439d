"""A run over seeds that survives being killed: what a seed measured is kept on disk until the whole run is done.

For recipes whose seeds are long and whose models are not kept arm by arm, such as everything that learns from texts it has drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steelyard import __version__
from steelyard.encoders import fingerprint
from steelyard.jobs.artefacts import identity
from steelyard.result import Result
from steelyard.storage import cache_dir, config_hash


def over_seeds(result: Result, seeds: Sequence[int], one_seed: Callable[[int, Result], None], made_from: Mapping[str, Any]) -> Result:
    """Measure every seed and add it to `result`; seeds that an earlier, killed run of the same finished are read instead.

    Parameters
    ----------
    result
        Its name, its config but for `seeds`, and `made_from` say which run this is. Folders named in the config stand for what they hold.
    seeds
        In this order.
    one_seed
        Adds rows, artifacts and timings of one seed to the empty result it is given; artifacts of several seeds are joined: mappings key
        by key, lists end to end.
    made_from
        What else decides the numbers, such as the texts.

    Returns
    -------
    The result itself.

    Examples
    --------
    >>> def one_seed(seed, part):
    ...     part.add("method", seed, "accuracy", seed / 10)
    ...     part.artifacts["seen"] = [seed]
    >>> result = over_seeds(Result("demo"), (1, 2), one_seed, {})
    >>> result.mean("method", "accuracy"), result.artifacts
    (0.15000000000000002, {'seen': [1, 2]})
    """
    config = {name: _content(value) for name, value in result.config.items() if name != "seeds"}
    run = config_hash([__version__, result.name, config, {name: identity(value) for name, value in made_from.items()}])
    files = {seed: cache_dir() / "seeds" / f"{result.name}-{run}-{seed}.json" for seed in seeds}
    for seed, file in files.items():
        if file.exists():
            part = Result.from_json(file)
        else:
            part = Result(result.name)
            one_seed(seed, part)
            part.to_json(file)
        for row in part.rows:
            result.add(*row)
        _join(result.artifacts, part.artifacts)
        _join(result.timings, part.timings)
    # Only a run that was cut off is gone on with: a whole one, started again, measures again.
    for file in files.values():
        file.unlink(missing_ok=True)
    return result


def _content(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_content(part) for part in value]
    return fingerprint(value) if isinstance(value, str) and value and (Path(value) / "config.json").is_file() else value


def _join(whole: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if isinstance(value, Mapping) and isinstance(whole.get(name), dict):
            _join(whole[name], value)
        elif isinstance(value, list) and isinstance(whole.get(name), list):
            whole[name] += value
        else:
            whole[name] = value
