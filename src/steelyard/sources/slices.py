"""Slicing functions: name the parts of the data that matter, and see how a model does on each.

After Chen et al., 2019, "Slice-based Learning: A Programming Model for Residual Learning in Critical Data Slices".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import SourceError
from steelyard.sources.rows import RowBatch
from steelyard.sources.tables import as_table

Metric = Callable[[NDArray[Any], NDArray[Any]], float]


class SlicingFunction:
    """A condition that says which rows belong to a slice; made by ``slicing_function``."""

    def __init__(self, function: Callable[[Any], Any], *, name: str | None = None, batch: bool = False) -> None:
        self.function, self.batch = function, batch
        self.name = name or str(getattr(function, "__name__", type(function).__name__))

    def __call__(self, row: Any) -> Any:
        """Call the function itself."""
        return self.function(row)

    def __repr__(self) -> str:
        return f"<SlicingFunction {self.name!r}>"

    def mask(self, data: Any) -> NDArray[np.bool_]:
        """Return (n,) whether each row belongs to the slice; a null condition means no.

        Raises
        ------
        SourceError
            When the function raises, or gives no answer per row: a measurement must not skip rows silently.
        """
        table = as_table(data)
        if self.batch:
            answers = pl.Series(self.function(table), dtype=pl.Boolean).fill_null(False).to_numpy()
            if len(answers) != table.height:
                raise SourceError(f"slice {self.name!r} gave {len(answers)} answers for {table.height} rows; give one per row")
            return np.asarray(answers)
        mask = np.zeros(table.height, dtype=bool)
        for position, row in RowBatch.of(table).visit():
            try:
                mask[position] = bool(self.function(row))
            except Exception as error:
                raise SourceError(f"slice {self.name!r} failed on row {position}: {type(error).__name__}: {error}") from error
        return mask


@overload
def slicing_function(function: Callable[[Any], Any], /) -> SlicingFunction: ...
@overload
def slicing_function(*, name: str | None = None, batch: bool = False) -> Callable[[Callable[[Any], Any]], SlicingFunction]: ...
def slicing_function(function: Callable[[Any], Any] | None = None, /, *, name: str | None = None, batch: bool = False) -> Any:
    """Make a condition on a row (or, with ``batch=True``, on the polars table) a slice.

    Examples
    --------
    >>> @slicing_function
    ... def short(row):
    ...     return len(row.text) < 5
    >>> short.mask(["nice", "a long one"]).tolist()
    [True, False]
    """

    def decorate(function: Callable[[Any], Any]) -> SlicingFunction:
        return SlicingFunction(function, name=name, batch=batch)

    return decorate if function is None else decorate(function)


def accuracy(y: NDArray[Any], predictions: NDArray[Any]) -> float:
    """Return the share of equal entries.

    Examples
    --------
    >>> accuracy(np.array([0, 1]), np.array([0, 0]))
    0.5
    """
    return float(np.mean(y == predictions))


def slice_metrics(
    slices: Sequence[SlicingFunction],
    data: Any,
    y: ArrayLike,
    predictions: ArrayLike,
    metric: Metric | Mapping[str, Metric] = accuracy,
) -> pl.DataFrame:
    """Measure predictions on every slice and overall.

    Parameters
    ----------
    slices : sequence of SlicingFunction
        The parts to look at; they may overlap.
    data : table
        The n rows.
    y : (n,) array
        True labels.
    predictions : (n,) or (n, k) array
        What ``metric`` compares with them.
    metric : callable or mapping of name to callable
        Called with the labels and predictions of a slice.

    Returns
    -------
    A table with the columns ``slice``, ``n`` and one per metric; the first row is ``overall``. Metrics of an empty slice are null.

    Raises
    ------
    SourceError
        When labels or predictions are not one per row, or two slices share a name.

    Examples
    --------
    >>> @slicing_function
    ... def short(row):
    ...     return len(row.text) < 5
    >>> slice_metrics([short], ["nice", "good", "a long one"], [0, 1, 1], [0, 0, 1]).rows()
    [('overall', 3, 0.6666666666666666), ('short', 2, 0.5)]
    """
    table = as_table(data)
    truth, predicted = np.asarray(y), np.asarray(predictions)
    for what, values in (("labels", truth), ("predictions", predicted)):
        if len(values) != table.height:
            raise SourceError(f"{len(values)} {what} for {table.height} rows; give one per row")
    metrics = metric if isinstance(metric, Mapping) else {getattr(metric, "__name__", "metric"): metric}
    masks = {"overall": np.ones(table.height, dtype=bool)}
    for each in slices:
        if each.name in masks:
            raise SourceError(f"two slices are named {each.name!r}; give one of them another name")
        masks[each.name] = each.mask(table)
    rows = [
        {"slice": name, "n": int(mask.sum())}
        | {label: float(measure(truth[mask], predicted[mask])) if mask.any() else None for label, measure in metrics.items()}
        for name, mask in masks.items()
    ]
    return pl.DataFrame(rows, schema={"slice": pl.String, "n": pl.Int64} | dict.fromkeys(metrics, pl.Float64))
