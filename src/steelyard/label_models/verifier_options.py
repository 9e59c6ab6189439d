"""The options of a `VerifierEnsemble` that are one of several words, and which of them exclude each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from steelyard.errors import LabelModelError

Scale = Literal["range", "quantile", "winsorize", "query"]
Per = Literal["dataset", "cluster", "query"]
Keep = Literal["adaptive", "all", "small", "large", "none"]
Dependencies = Literal["drop", "model", "none"]
Model = Literal["dawid-skene", "metal", "triplet", "continuous"]
Clusters = Literal["difficulty", "embedding", "random"]
Strategy = Literal["dataset", "difficulty", "embedding", "random", "nearest"]
Missing = Literal["zero", "query-mean"]

_WORDS = {
    "scale": Scale,
    "per": Per,
    "keep": Keep,
    "dependencies": Dependencies,
    "label_model": Model,
    "strategy": Strategy,
    "missing": Missing,
}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse what is no option, or two options that make no sense together.

    Raises
    ------
    LabelModelError
        With what to use instead.

    Examples
    --------
    >>> check_options({"per": "query", "threshold": 0.5})
    Traceback (most recent call last):
    steelyard.errors.LabelModelError: per='query' takes the class-balance quantile of each query, so threshold=0.5 has no meaning
    """
    for name, words in _WORDS.items():
        if name in options and options[name] not in get_args(words):
            raise LabelModelError(f"{name} must be one of {', '.join(get_args(words))}, got '{options[name]}'")
    threshold, per, strategy = options.get("threshold", "class-balance"), options.get("per"), options.get("strategy")
    if threshold != "class-balance" and not (isinstance(threshold, int | float) and 0 < threshold < 1):
        raise LabelModelError(f"threshold must be 'class-balance' or lie between 0 and 1, got {threshold!r}")
    if per == "query" and threshold != "class-balance":
        raise LabelModelError(f"per='query' takes the class-balance quantile of each query, so threshold={threshold} has no meaning")
    if per == "cluster" and strategy not in get_args(Clusters):
        raise LabelModelError(f"per='cluster' needs a strategy that makes clusters: {', '.join(get_args(Clusters))}")
    if strategy not in (None, "dataset") and options.get("label_model") == "continuous":
        raise LabelModelError(f"strategy '{strategy}' needs a label model of votes; use strategy='dataset'")
