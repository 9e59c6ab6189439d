"""What verifiers share that is not correctness: near-copies, of which one is kept, and habits, for which the whole ensemble is doubted.

The pairs come from `learn_dependencies`; when a pair is one verifier and when to doubt are our own rules, which read no label.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from steelyard.label_models.dependencies import Dependency, learn_dependencies
from steelyard.verifier_scores import MAJORITY
from steelyard.votes import Votes

Floats = NDArray[np.float64]
CLASSES = ("wrong", "right")

NEAR_COPY = float(np.sqrt(2) - 1)
"""Residual correlation ρ from which on two verifiers are rather one: together they are worth 2 / (1 + ρ), so that counting both exaggerates
their evidence by 1 + ρ and dropping one shrinks it by 2 / (1 + ρ); these are equal at ρ = √2 - 1."""


INFORMATIVE = 0.1
"""TPR - FPR from which on a verifier tells right from wrong."""


class DependentVerifiers(UserWarning):
    """Verifiers fire together for another reason than that a response is right."""


class GuardedEnsemble(UserWarning):
    """What the verifiers share is not correctness as far as anyone can tell: the ensemble does not use the fitted weights."""


def dependent_verifiers(votes: NDArray[np.int8], names: list[str], what: str) -> list[Dependency]:
    """Pairs that depend on each other beyond the class, strongest first; warns when there are any."""
    found = learn_dependencies(Votes(votes, classes=CLASSES, sources=names))
    if found:
        warnings.warn(
            f"{len(found)} pairs of verifiers depend on each other beyond correctness, most of all '{found[0].first}' and "
            f"'{found[0].second}' ({found[0].strength:.2f}); dependencies='{what}' decides what is done about it",
            DependentVerifiers,
            stacklevel=4,
        )
    return found


def representatives(votes: NDArray[np.int8], kept: NDArray[np.bool_], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of each group of linked verifiers the one that shares most with the verifiers outside of it; nobody's label is asked.

    Parameters
    ----------
    votes : (n, V) int8
    kept : (V,) bool
        Verifiers that are candidates at all.
    pairs : (p, 2) int
        Links, by position.

    Returns
    -------
    (V,) bool

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> right = rng.random(2000) < 0.5
    >>> votes = np.column_stack([right ^ (rng.random(2000) < e) for e in (0.1, 0.2, 0.3)]).astype(np.int8)
    >>> copied = np.column_stack([votes, votes[:, 0] ^ (rng.random(2000) < 0.1)]).astype(np.int8)
    >>> representatives(copied, np.ones(4, dtype=bool), np.array([[0, 3]])).tolist()
    [True, True, True, False]
    """
    linked = np.zeros((len(kept), len(kept)), dtype=bool)
    linked[pairs[:, 0], pairs[:, 1]] = True
    group = connected_components(linked, directed=False)[1]
    shared = np.nan_to_num(np.corrcoef(votes.T.astype(np.float64)))
    outside = ((group[:, None] != group) & kept) * shared
    stays = kept.copy()
    for g in np.unique(group[pairs]):
        members = np.flatnonzero((group == g) & kept)
        stays[members] = False
        stays[members[outside[members].sum(axis=1).argmax()]] = True
    return stays


def doubt(kept: Sequence[str], tpr: Floats, fpr: Floats, majority: bool) -> tuple[str, set[str]]:
    """Why the fitted rates are not to be believed, empty when they may be, and the verifiers that they say tell right from wrong.

    Examples
    --------
    >>> doubt(["length", "lines", "steps", "majority"], np.array([0.9, 0.9, 0.8, 0.5]), np.array([0.2, 0.1, 0.2, 0.5]), True)[0]
    'what length, lines, steps share has nothing to do with how often an answer is given'
    """
    tells = {name for name, gap in zip(kept, tpr - fpr, strict=True) if gap >= INFORMATIVE}
    if len(tells) < 3:
        return f"only {len(tells)} verifiers tell right from wrong", tells
    if majority and MAJORITY not in tells:
        return f"what {', '.join(sorted(tells)[:4])} share has nothing to do with how often an answer is given", tells
    return "", tells


def warn_guarded(why: str) -> None:
    """Tell whoever called `fit`."""
    warnings.warn(why, GuardedEnsemble, stacklevel=4)
