"""Requests to an assistant that are safe to answer or not, as published with a study of weak supervision beyond accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from steelyard.datasets.dataset import Dataset


def read_prompts(paths: Mapping[str, Path], subset: str | None) -> Dataset:
    """Prompts as published: repeated ones, 181 that carry both labels, and one without text."""
    safe = pl.col("is_safe").cast(pl.String).str.to_lowercase().replace_strict({"true": "safe", "false": "unsafe"}, default=None)
    table = pl.read_parquet(paths["data"]).select(pl.col("prompt").fill_null("").alias("text"), safe.alias("label"))
    return Dataset("prompts", {"all": table}, ("unsafe", "safe"), "text")
