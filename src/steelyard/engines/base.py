"""Engine: where work runs. Map a function over batches, in order; reduce parts by merging. Nothing else in the library knows where."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import ClassVar, TypeVar

from steelyard.errors import ConfigError

Batch = TypeVar("Batch")
Part = TypeVar("Part")


class Engine(ABC):
    """The contract of every engine: the same batches give the same parts in the same order, wherever they are computed.

    Parameters
    ----------
    workers : int, optional
        How many processes may work at once; the engine decides when left out.

    Attributes
    ----------
    is_remote : bool
        Whether batches travel to other machines or runtimes. Then work is best handed over in large pieces that need nothing else.

    Raises
    ------
    ConfigError
        When ``workers`` is below 1.
    """

    is_remote: ClassVar[bool] = False

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"workers must be at least 1, got {workers}")
        self.workers = workers

    def __repr__(self) -> str:
        return f"{type(self).__name__}(workers={self.workers})"

    @abstractmethod
    def map_batches(self, function: Callable[[Batch], Part], batches: Iterable[Batch], progress: bool | None = None) -> Iterator[Part]:
        """Yield ``function(batch)`` for every batch, in order, with a bounded number of batches in flight."""

    def reduce(self, merge: Callable[[Part, Part], Part], parts: Iterable[Part]) -> Part:
        """Merge parts pairwise as a tree, keeping their order and at most ``log2`` of their number in memory.

        Raises
        ------
        ValueError
            When there are no parts.

        Examples
        --------
        >>> from steelyard.engines import LocalEngine
        >>> LocalEngine().reduce(lambda left, right: f"({left}{right})", "abcde")
        '(((ab)(cd))e)'
        """
        merged: list[tuple[int, Part]] = []  # (height of the subtree, its merged value), heights strictly falling
        for part in parts:
            height = 0
            while merged and merged[-1][0] == height:
                part, height = merge(merged.pop()[1], part), height + 1  # noqa: PLW2901 - the part grows into its subtree
            merged.append((height, part))
        if not merged:
            raise ValueError("reduce needs at least one part")
        result = merged.pop()[1]
        while merged:
            result = merge(merged.pop()[1], result)
        return result


def modules_of_this_process() -> list[ModuleType]:
    """Modules that no other machine can import, such as a sources file that was run as a script: what they define travels by value."""
    return [module for module in list(sys.modules.values()) if isinstance(module, ModuleType) and module.__spec__ is None]
