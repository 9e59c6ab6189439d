"""Pareto scalarizers: from what a model loses against each of several sources on a row to the one number that is minimised.

Zhao, Wei, Preston, Poon 2023, "Pareto Optimal Learning for Estimating Large Language Model Errors". Below the label models, which fit a
harmonizer with them, and the objectives. Array methods only: NumPy and torch alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from steelyard.errors import ConfigError

Scalarizer: TypeAlias = Callable[[Any, Any], Any]
"""From losses (b, m) >= 0 and weights (b, m) >= 0, zero where a source abstains, to one value per row (b,)."""

# Keeps the slope of a root finite where every loss is zero; far below any loss.
_TINY = 1e-16


def linear(losses: Any, weights: Any) -> Any:
    """Σ_j w_j l_j.

    Examples
    --------
    >>> import numpy as np
    >>> float(linear(np.array([3.0, 4.0]), np.array([1.0, 1.0])))
    7.0
    """
    return (weights * losses).sum(-1)


def quadratic(losses: Any, weights: Any) -> Any:
    """(Σ_j w_j l_j)²: the square of the sum, so that rows on which sources contradict each other pull hardest.

    Examples
    --------
    >>> import numpy as np
    >>> float(quadratic(np.array([3.0, 4.0]), np.array([1.0, 1.0])))
    49.0
    """
    return (weights * losses).sum(-1) ** 2


def euclidean(losses: Any, weights: Any) -> Any:
    """√Σ_j (w_j l_j)².

    Examples
    --------
    >>> import numpy as np
    >>> round(float(euclidean(np.array([3.0, 4.0]), np.array([1.0, 1.0]))), 6)
    5.0
    """
    return (((weights * losses) ** 2).sum(-1) + _TINY) ** 0.5


def chebyshev(losses: Any, weights: Any) -> Any:
    """max_j w_j l_j. Only weakly Pareto: a smaller loss of any but the worst source changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> float(chebyshev(np.array([3.0, 4.0]), np.array([1.0, 1.0])))
    4.0
    """
    worst = weights * losses
    return worst.amax(-1) if hasattr(worst, "amax") else worst.max(-1)


SCALARIZERS: dict[str, Scalarizer] = {"linear": linear, "quadratic": quadratic, "euclidean": euclidean, "chebyshev": chebyshev}


def checked_scalarizer(aggregation: str | Scalarizer) -> Scalarizer:
    """The scalarizer of that name, or a function of your own that passes `scalarizer_flaw`.

    Raises
    ------
    ConfigError
        No such name, or the function is no Pareto scalarizer; the message says why.

    Examples
    --------
    >>> checked_scalarizer("linear") is linear
    True
    """
    if callable(aggregation):
        flaw = scalarizer_flaw(aggregation)
        if flaw:
            raise ConfigError(f"'{getattr(aggregation, '__name__', 'aggregation')}' is no Pareto scalarizer: {flaw}")
        return aggregation
    if aggregation not in SCALARIZERS:
        raise ConfigError(f"aggregation must be {', '.join(SCALARIZERS)} or a function of losses and weights, got '{aggregation}'")
    return SCALARIZERS[aggregation]


def scalarizer_flaw(scalarizer: Scalarizer, *, n_sources: int = 4, rows: int = 256, seed: int = 0) -> str | None:
    """Test on random rows what makes a minimiser Pareto optimal; return what fails first, or `None`.

    Needed: abstentions do not count, the value falls strictly when the loss of any one voting source falls, and it is convex. Passing is
    no proof; failing is.

    Parameters
    ----------
    scalarizer : callable
        Gets torch tensors, float64: losses (rows, n_sources) and weights of the same shape.
    n_sources, rows, seed : int
        Size of the test and what it draws.

    Examples
    --------
    >>> scalarizer_flaw(quadratic) is None, scalarizer_flaw(chebyshev)
    (True, 'its value does not fall whenever the loss of one source falls')
    """
    import torch

    generator = torch.Generator().manual_seed(seed)

    def draw() -> Any:
        return -torch.rand(rows, n_sources, generator=generator, dtype=torch.float64).log()

    losses, others = draw(), draw()
    weights = 0.1 + torch.rand(rows, n_sources, generator=generator, dtype=torch.float64)
    value = scalarizer(losses, weights)
    if not isinstance(value, torch.Tensor) or value.shape != (rows,) or not bool(torch.isfinite(value).all()):
        return f"it must give one finite number per row, ({rows},) for losses of shape {tuple(losses.shape)}"
    for j in range(n_sources):
        silent, fallen, moved = weights.clone(), losses.clone(), losses.clone()
        silent[:, j], moved[:, j] = 0.0, others[:, j]
        fallen[:, j] *= 0.5
        if not torch.allclose(scalarizer(losses, silent), scalarizer(moved, silent)):
            return "a source that abstains (weight 0) changes its value"
        if not bool((scalarizer(fallen, weights) < value).all()):
            return "its value does not fall whenever the loss of one source falls"
    between = scalarizer((losses + others) / 2, weights)
    ends = (value + scalarizer(others, weights)) / 2
    return "it is not convex" if bool((between > ends * (1 + 1e-9) + 1e-12).any()) else None
