"""Steelyard weighs weak, cheap, imperfect supervision into labels you can trust and models stronger than their supervisors.

The flow is the architecture: data → sources → `Votes` → label model → `Targets` → student → predictor → `Result` → report.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# What a user types every day, and the room it comes from. Nothing is imported before it is asked for.
_HOMES = {
    "ABSTAIN": "votes",
    "Votes": "votes",
    "VoteStatistics": "votes",
    "Targets": "targets",
    "Result": "result",
    "SteelyardError": "errors",
    "apply": "sources",
    "labeling_function": "sources",
    "preprocessor": "sources",
    "keywords": "sources",
    "regex": "sources",
    "expr": "sources",
    "gazetteer": "sources",
    "model": "sources",
    "zero_shot": "sources",
    "centroid": "sources",
    "prompt": "sources",
    "crowd": "sources",
    "performance_gap_recovered": "evaluation",
    "write_report": "report",
}
_ROOMS = ("datasets", "encoders", "engines", "evaluation", "jobs", "label_models", "recipes", "report", "sources", "training")

__all__ = [
    "ABSTAIN",
    "Result",
    "SteelyardError",
    "Targets",
    "VoteStatistics",
    "Votes",
    "apply",
    "centroid",
    "crowd",
    "datasets",
    "encoders",
    "engines",
    "evaluation",
    "expr",
    "gazetteer",
    "keywords",
    "label_models",
    "labeling_function",
    "model",
    "performance_gap_recovered",
    "preprocessor",
    "prompt",
    "recipes",
    "regex",
    "report",
    "sources",
    "training",
    "write_report",
    "zero_shot",
]

if TYPE_CHECKING:
    from steelyard import datasets, encoders, engines, evaluation, label_models, recipes, report, sources, training
    from steelyard.errors import SteelyardError
    from steelyard.evaluation import performance_gap_recovered
    from steelyard.report import write_report
    from steelyard.result import Result
    from steelyard.sources import (
        apply,
        centroid,
        crowd,
        expr,
        gazetteer,
        keywords,
        labeling_function,
        model,
        preprocessor,
        prompt,
        regex,
        zero_shot,
    )
    from steelyard.targets import Targets
    from steelyard.votes import ABSTAIN, Votes, VoteStatistics


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"steelyard.{_HOMES[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"steelyard.{name}")
    # The module and the name let Python suggest what may have been meant.
    raise AttributeError(f"module 'steelyard' has no attribute '{name}'", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
