"""Sets with published labelling-function votes: rows with one vote per function, and documents with span votes turned into token votes.

A reader takes the paths of a set's files by their stem and returns the `Dataset`; `load` adds name, licence, citation and checksum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard.datasets.dataset import Dataset
from steelyard.votes import ABSTAIN, Votes

Paths = Mapping[str, Path]


def read_rows(paths: Paths, subset: str | None) -> Dataset:
    """One row per item with columns ``split``, ``text``, ``label``, ``label_name`` and the list ``votes``."""
    stem = subset or "data"
    names = pl.read_parquet(paths[f"{subset}_lfs" if subset else "lfs"])["name"].to_list()
    return _from_rows(pl.read_parquet(paths[stem]), names, on="text")


def read_census(paths: Paths, subset: str | None) -> Dataset:
    """Census records: a table of attributes instead of a text."""
    table = pl.read_parquet(paths["data"])
    rules = pl.read_parquet(paths["lfs"])["rule"].to_list()
    features = tuple(name for name in table.columns if name not in {"id", "split", "label", "label_name", "votes"})
    return _from_rows(table, rules, on=features)


def read_chemprot(paths: Paths, subset: str | None) -> Dataset:
    """Validation and test rows have the votes of every function, training rows only their majority (one source, ``majority_vote``)."""
    data = _from_rows(pl.read_parquet(paths["votes"]), pl.read_parquet(paths["lfs"])["name"].to_list(), on="text")
    train = pl.read_parquet(paths["train_majority"])
    votes = Votes(train["majority_vote"].to_numpy()[:, None].astype(np.int64), classes=data.classes, sources=["majority_vote"])
    table = train.drop("label", "majority_vote").rename({"label_name": "label"})
    return replace(data, splits={"train": table, **data.splits}, votes={"train": votes, **data.votes})


def read_tokens(paths: Paths, subset: str | None) -> Dataset:
    """Documents as lists of tokens; span votes become one BIO vote per token.

    A token outside all spans of a function is a vote for ``O`` where the function fired in that document, and an abstention in documents in
    which it found nothing: a dictionary that does not know a subject says nothing about it.
    """
    table = pl.read_parquet(paths["data"])
    functions = pl.read_parquet(paths["lfs"])["name"].to_list()
    types = sorted({span["type"] for spans in table["gold"] for span in spans})
    classes = ("O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))
    splits, votes = {}, {}
    for (split,), part in table.partition_by("split", as_dict=True, maintain_order=True).items():
        offsets = np.concatenate([[0], np.cumsum(part["tokens"].list.len().to_numpy())]).astype(np.int64)
        tags = [
            [classes[code] for code in _bio(spans, end - start, classes)]
            for spans, (start, end) in zip(part["gold"], pairwise(offsets), strict=True)
        ]
        codes = np.full((offsets[-1], len(functions)), ABSTAIN, dtype=np.int8, order="F")
        for spans, start, end in zip(part["votes"], offsets[:-1], offsets[1:], strict=True):
            for function in {span["lf"] for span in spans}:
                own = [span for span in spans if span["lf"] == function]
                codes[start:end, function] = _bio(own, end - start, classes)
        splits[str(split)] = part.select("id", "tokens", pl.Series("label", tags))
        votes[str(split)] = Votes(codes, classes=classes, sources=functions, groups=offsets)
    return Dataset("tokens", splits, classes, "tokens", votes=votes)


def _bio(spans: Any, length: int, classes: tuple[str, ...]) -> NDArray[np.int8]:
    """(length,) class indices: the first token of a span begins it, the rest are inside, all others are ``O``."""
    codes = np.zeros(length, dtype=np.int8)
    for span in spans:
        codes[span["start"] : span["end"]] = classes.index(f"I-{span['type']}")
        codes[span["start"]] = classes.index(f"B-{span['type']}")
    return codes


def _from_rows(table: pl.DataFrame, functions: list[str], on: str | tuple[str, ...]) -> Dataset:
    codes = table.group_by("label").agg(pl.col("label_name").first()).sort("label")
    classes = tuple(codes["label_name"])
    table = table.drop("label", "votes_as_published", strict=False).rename({"label_name": "label"})
    splits = {str(key[0]): part for key, part in table.partition_by("split", as_dict=True, maintain_order=True).items()}
    votes = {
        split: Votes(np.asfortranarray(np.array(part["votes"].to_list(), dtype=np.int8)), classes=classes, sources=functions)
        for split, part in splits.items()
    }
    return Dataset("rows", {split: part.drop("votes", "split") for split, part in splits.items()}, classes, on, votes=votes)
