"""How a strong answer is drawn: choose among several, or answer with the Fréchet mean of what a model believes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from steelyard.inference.best_of_n import best_of_n, choose, product_of_experts

_HOMES = {
    "FrechetMeanClassifier": "frechet",
    "frechet_mean": "frechet",
    "frechet_one_hot": "frechet_torch",
    "frechet_scores": "frechet_torch",
    "is_locus_cover": "label_locus",
    "locus": "label_locus",
    "locus_cover": "label_locus",
    "next_labels": "label_locus",
}

__all__ = [
    "FrechetMeanClassifier",
    "best_of_n",
    "choose",
    "frechet_mean",
    "frechet_one_hot",
    "frechet_scores",
    "is_locus_cover",
    "locus",
    "locus_cover",
    "next_labels",
    "product_of_experts",
]

if TYPE_CHECKING:
    from steelyard.inference.frechet import FrechetMeanClassifier, frechet_mean
    from steelyard.inference.frechet_torch import frechet_one_hot, frechet_scores
    from steelyard.inference.label_locus import is_locus_cover, locus, locus_cover, next_labels


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"steelyard.inference.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'steelyard.inference' has no attribute '{name}'")
