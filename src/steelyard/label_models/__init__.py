"""How votes are weighed: one file per label model, all with one interface (`fit`, `partial_fit`, `predict_proba`, `predict`)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "LabelModel": "base",
    "MajorityVote": "majority_vote",
    "DawidSkene": "dawid_skene",
    "MeTaL": "metal",
    "TripletModel": "triplet",
    "SequenceHMM": "sequence_hmm",
    "select": "selection",
}

__all__ = [
    "DawidSkene",
    "LabelModel",
    "MajorityVote",
    "MeTaL",
    "SequenceHMM",
    "TripletModel",
    "select",
]

if TYPE_CHECKING:
    from steelyard.label_models.base import LabelModel
    from steelyard.label_models.dawid_skene import DawidSkene
    from steelyard.label_models.majority_vote import MajorityVote
    from steelyard.label_models.metal import MeTaL
    from steelyard.label_models.selection import select
    from steelyard.label_models.sequence_hmm import SequenceHMM
    from steelyard.label_models.triplet import TripletModel


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"steelyard.label_models.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'steelyard.label_models' has no attribute '{name}'")
