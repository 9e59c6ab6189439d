"""Transformation functions: make further training rows out of old ones, in sequences that a policy draws.

The vocabulary is that of Ratner et al., 2017, "Learning to Compose Domain-Specific Transformations for Data Augmentation".
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np
import polars as pl

from steelyard.errors import SourceError
from steelyard.sources.rows import Columns, RowBatch
from steelyard.sources.tables import as_table

Transformation = Callable[..., Mapping[str, Any] | None]


class TransformationFunction:
    """A function that changes some columns of a row; made by ``transformation_function``."""

    def __init__(self, function: Transformation, *, name: str | None = None) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self._draws = len(inspect.signature(function).parameters) > 1

    def __call__(self, row: Any, rng: np.random.Generator | None = None) -> Mapping[str, Any] | None:
        """Call the function itself, with the generator if it takes one."""
        return self.function(row, np.random.default_rng(rng)) if self._draws else self.function(row)

    def __repr__(self) -> str:
        return f"<TransformationFunction {self.name!r}>"


@overload
def transformation_function(function: Transformation, /) -> TransformationFunction: ...
@overload
def transformation_function(*, name: str | None = None) -> Callable[[Transformation], TransformationFunction]: ...
def transformation_function(function: Transformation | None = None, /, *, name: str | None = None) -> Any:
    """Make a function a transformation of rows.

    The function gets a row and returns a dict of the columns it changes, or ``None`` when it does not apply, which drops the copy. A
    function with a second parameter gets a ``numpy.random.Generator`` there.

    Examples
    --------
    >>> @transformation_function
    ... def shout(row):
    ...     return {"text": row.text.upper()}
    >>> augment(["nice"], [shout])["text"].to_list()
    ['nice', 'NICE']
    """

    def decorate(function: Transformation) -> TransformationFunction:
        return TransformationFunction(function, name=name)

    return decorate if function is None else decorate(function)


class Policy(ABC):
    """Which transformations a copy of a row goes through, in order."""

    @abstractmethod
    def sequence(self, n_functions: int, rng: np.random.Generator) -> list[int]:
        """Return the indices of the functions to apply to one copy."""


class ApplyAll(Policy):
    """Every function, in the order given.

    Examples
    --------
    >>> ApplyAll().sequence(3, np.random.default_rng(0))
    [0, 1, 2]
    """

    def sequence(self, n_functions: int, rng: np.random.Generator) -> list[int]:
        """Return all indices."""
        return list(range(n_functions))


class MeanFieldPolicy(Policy):
    """Draw each function of the sequence independently with fixed probabilities.

    Parameters
    ----------
    probabilities : sequence of float
        One per function, summing to 1.
    sequence_length : int
        Functions per copy.

    Examples
    --------
    >>> MeanFieldPolicy([0.0, 1.0], sequence_length=2).sequence(2, np.random.default_rng(0))
    [1, 1]
    """

    def __init__(self, probabilities: Sequence[float], sequence_length: int = 1) -> None:
        if min(probabilities, default=-1.0) < 0 or not np.isclose(sum(probabilities), 1):
            raise SourceError(f"probabilities must be non-negative and sum to 1, got {list(probabilities)}")
        self.probabilities, self.sequence_length = list(probabilities), sequence_length

    def sequence(self, n_functions: int, rng: np.random.Generator) -> list[int]:
        """Return a drawn sequence."""
        if len(self.probabilities) != n_functions:
            raise SourceError(f"the policy has {len(self.probabilities)} probabilities for {n_functions} functions; give one per function")
        return [int(index) for index in rng.choice(n_functions, size=self.sequence_length, p=self.probabilities)]


class RandomPolicy(Policy):
    """Draw each function of the sequence uniformly.

    Examples
    --------
    >>> len(RandomPolicy(sequence_length=4).sequence(3, np.random.default_rng(0)))
    4
    """

    def __init__(self, sequence_length: int = 1) -> None:
        self.sequence_length = sequence_length

    def sequence(self, n_functions: int, rng: np.random.Generator) -> list[int]:
        """Return a drawn sequence."""
        return [int(index) for index in rng.integers(n_functions, size=self.sequence_length)]


class ApplyOne(RandomPolicy):
    """One function per copy; drawn uniformly when there are several.

    Examples
    --------
    >>> ApplyOne().sequence(1, np.random.default_rng(0))
    [0]
    """

    def __init__(self) -> None:
        super().__init__(sequence_length=1)


def augment(
    data: Any,
    functions: Sequence[TransformationFunction],
    policy: Policy | None = None,
    *,
    n_per_original: int = 1,
    keep_original: bool = True,
    seed: int = 0,
) -> pl.DataFrame:
    """Add transformed copies of rows.

    Parameters
    ----------
    data : table
        Anything ``apply`` accepts.
    functions : sequence of TransformationFunction
        What a copy can go through.
    policy : Policy
        Which of them it does go through; ``ApplyAll()`` by default.
    n_per_original : int
        Copies per row.
    keep_original : bool
        Whether each row itself comes before its copies.
    seed : int
        The same seed gives the same table.

    Returns
    -------
    A table with the columns of the data: each row, then its copies. Copies to which a function does not apply are missing.

    Raises
    ------
    SourceError
        When there is no function, or one returns something other than a dict of existing columns.

    Examples
    --------
    >>> @transformation_function
    ... def swap(row, rng):
    ...     return {"text": " ".join(rng.permutation(row.text.split()))}
    >>> augment(["a b c"], [swap], n_per_original=2, seed=1).height
    3
    """
    if not functions:
        raise SourceError("there are no transformation functions; give at least one")
    table, rng, policy = as_table(data), np.random.default_rng(seed), policy or ApplyAll()
    made: list[dict[str, Any]] = []
    for original in table.iter_rows(named=True):
        if keep_original:
            made.append(original)
        for _ in range(n_per_original):
            copy: dict[str, Any] | None = original
            for index in policy.sequence(len(functions), rng):
                copy = _changed(functions[index], copy, rng) if copy is not None else None
            if copy is not None:
                made.append(copy)
    return pl.DataFrame(made, schema=table.schema)


def _changed(function: TransformationFunction, values: dict[str, Any], rng: np.random.Generator) -> dict[str, Any] | None:
    row = RowBatch(Columns(tuple(values), lambda name: [values[name]]), height=1).view()
    changes = function(row, rng)
    if changes is None:
        return None
    if not isinstance(changes, Mapping) or not changes.keys() <= values.keys():
        raise SourceError(
            f"transformation {function.name!r} returned {changes!r:.60}; return a dict of the columns it changes, among {', '.join(values)}"
        )
    return {**values, **changes}
