"""Keep the targets that the label model is sure of: above a threshold, a top share, or the same number for every class.

Threshold: Lee 2013, "Pseudo-label"; equal numbers per class: Zou et al. 2018, "Class-balanced self-training".
"""

from __future__ import annotations

import numpy as np

from steelyard.errors import ConfigError
from steelyard.targets import Targets


def select_confident(targets: Targets, *, threshold: float = 0.0, fraction: float = 1.0, balanced: bool = False) -> Targets:
    """Return the most confident targets, in their original order; `rows` says which they are.

    Parameters
    ----------
    targets
        n targets; confidence is the probability of the most probable class.
    threshold
        Least confidence in [0, 1] to be kept.
    fraction
        Share in (0, 1] of the n targets to keep at most, the most confident first; of equals the earlier.
    balanced
        Divide the places evenly among the classes that occur (by hardened label). A class with fewer candidates keeps them all, and no
        class keeps more than its share, so fewer than `fraction` may remain. With `fraction=1` the share is the size of the smallest class.

    Raises
    ------
    ConfigError
        `threshold` or `fraction` is out of range.

    Examples
    --------
    >>> targets = Targets([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]], classes=["a", "b"])
    >>> select_confident(targets, threshold=0.75).rows
    array([0, 1])
    >>> select_confident(targets, fraction=0.5, balanced=True).rows
    array([0, 3])
    """
    if not 0.0 <= threshold <= 1.0:
        raise ConfigError(f"select_confident: threshold is {threshold}; it must be in [0, 1]")
    if not 0.0 < fraction <= 1.0:
        raise ConfigError(f"select_confident: fraction is {fraction}; it must be in (0, 1]")
    confidence = targets.confidence
    best_first = np.argsort(-confidence, kind="stable")
    best_first = best_first[confidence[best_first] >= np.float32(threshold)]
    places = round(fraction * len(targets))
    if not balanced:
        return targets.take(np.sort(best_first[:places]))
    labels = targets.harden()[best_first]
    present, counts = np.unique(labels, return_counts=True)
    if not len(present):
        return targets.take(best_first)
    share = int(counts.min()) if fraction == 1.0 else places // len(present)
    return targets.take(np.sort(np.concatenate([best_first[labels == code][:share] for code in present])))
