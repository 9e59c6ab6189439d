"""Who votes: labelling functions, expressions, gazetteers, crowds, spans, models, zero-shot classifiers and prompts."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

_HOMES = {
    "ApplyAll": "transformations",
    "ApplyOne": "transformations",
    "Faults": "faults",
    "Goggles": "goggles",
    "InteractiveWS": "interactive",
    "LocalCausalLM": "local_lm",
    "MeanFieldPolicy": "transformations",
    "OpenAICompatible": "prompt_backends",
    "PromptEnsemble": "zero_shot",
    "RandomPolicy": "transformations",
    "RowSource": "base",
    "Rules": "rules",
    "Snuba": "snuba",
    "Source": "base",
    "SourceVotes": "base",
    "Span": "spans",
    "agreement": "verifiers",
    "apply": "apply",
    "apply_batches": "apply",
    "ask_on_terminal": "interactive",
    "augment": "transformations",
    "bio_tags": "spans",
    "centroid": "centroids",
    "crowd": "crowds",
    "decode_bio": "spans",
    "docs_from_votes": "docbin",
    "document_consistency": "spans",
    "encode_bio": "spans",
    "expr": "expressions",
    "gazetteer": "gazetteers",
    "keywords": "expressions",
    "labeling_function": "functions",
    "model": "models",
    "preprocessor": "preprocessors",
    "prompt": "prompts",
    "reask": "reask",
    "regex": "expressions",
    "slice_metrics": "slices",
    "slicing_function": "slices",
    "span_source": "spans",
    "transformation_function": "transformations",
    "verifier": "verifiers",
    "votes_from_docs": "docbin",
    "zero_shot": "zero_shot",
}

__all__ = [
    "ApplyAll",
    "ApplyOne",
    "Faults",
    "Goggles",
    "InteractiveWS",
    "LocalCausalLM",
    "MeanFieldPolicy",
    "OpenAICompatible",
    "PromptEnsemble",
    "RandomPolicy",
    "RowSource",
    "Rules",
    "Snuba",
    "Source",
    "SourceVotes",
    "Span",
    "agreement",
    "apply",
    "apply_batches",
    "ask_on_terminal",
    "augment",
    "bio_tags",
    "centroid",
    "crowd",
    "decode_bio",
    "docs_from_votes",
    "document_consistency",
    "encode_bio",
    "expr",
    "gazetteer",
    "keywords",
    "labeling_function",
    "model",
    "preprocessor",
    "prompt",
    "reask",
    "regex",
    "slice_metrics",
    "slicing_function",
    "span_source",
    "transformation_function",
    "verifier",
    "votes_from_docs",
    "zero_shot",
]

if TYPE_CHECKING:
    from steelyard.sources.apply import apply, apply_batches
    from steelyard.sources.base import RowSource, Source, SourceVotes
    from steelyard.sources.centroids import centroid
    from steelyard.sources.crowds import crowd
    from steelyard.sources.docbin import docs_from_votes, votes_from_docs
    from steelyard.sources.expressions import expr, keywords, regex
    from steelyard.sources.faults import Faults
    from steelyard.sources.functions import labeling_function
    from steelyard.sources.gazetteers import gazetteer
    from steelyard.sources.goggles import Goggles
    from steelyard.sources.interactive import InteractiveWS, ask_on_terminal
    from steelyard.sources.local_lm import LocalCausalLM
    from steelyard.sources.models import model
    from steelyard.sources.preprocessors import preprocessor
    from steelyard.sources.prompt_backends import OpenAICompatible
    from steelyard.sources.prompts import prompt
    from steelyard.sources.reask import reask
    from steelyard.sources.rules import Rules
    from steelyard.sources.slices import slice_metrics, slicing_function
    from steelyard.sources.snuba import Snuba
    from steelyard.sources.spans import Span, bio_tags, decode_bio, document_consistency, encode_bio, span_source
    from steelyard.sources.transformations import (
        ApplyAll,
        ApplyOne,
        MeanFieldPolicy,
        RandomPolicy,
        augment,
        transformation_function,
    )
    from steelyard.sources.verifiers import agreement, verifier
    from steelyard.sources.zero_shot import PromptEnsemble, zero_shot


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"steelyard.sources.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'steelyard.sources' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)


class _Room(ModuleType):
    """Keeps ``apply`` and ``zero_shot`` the functions: importing the modules of that name would put these in their place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Room
