"""Pairs of responses judged by language models and reward models, in both orders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from steelyard.datasets.dataset import Dataset, decode_labels
from steelyard.votes import ABSTAIN, Votes


def read_verdicts(paths: Mapping[str, Path], subset: str | None) -> Dataset:
    """JudgeBench: one row per pair; a source is a judge in one order of showing, and abstains on ties and pairs it was not asked."""
    pairs = pl.read_parquet(paths["pairs"])
    verdicts = pl.read_parquet(paths["verdicts"]).with_columns(
        (pl.col("judge_model").str.split("/").list.last() + " " + pl.col("order")).alias("source")
    )
    classes, sources = ("A", "B"), sorted(verdicts["source"].unique())
    codes = np.full((len(pairs), len(sources)), ABSTAIN, dtype=np.int8, order="F")
    rows = verdicts["pair_id"].replace_strict({pair: row for row, pair in enumerate(pairs["pair_id"])}, return_dtype=pl.Int64)
    columns = verdicts["source"].replace_strict({name: j for j, name in enumerate(sources)}, return_dtype=pl.Int64)
    codes[rows.to_numpy(), columns.to_numpy()] = verdicts["prefers"].replace_strict({"A": 0, "B": 1}, default=-1, return_dtype=pl.Int8)
    text = pl.format("{}\n\nA: {}\n\nB: {}", "question", "answer_A", "answer_B").alias("text")
    table = pairs.with_columns(text, decode_labels(1 - pairs["label"], classes)).drop("label_name")
    return Dataset("judgebench", {"all": table}, classes, "text", votes={"all": Votes(codes, classes=classes, sources=sources)})
