"""Text classification sets: news, questions with passages, moral judgements, reviews, requests to an assistant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from steelyard.datasets.dataset import Dataset, decode_labels
from steelyard.votes import Votes

Paths = Mapping[str, Path]

_ETHICS = {
    "commonsense_short": (("acceptable", "wrong"), pl.col("text")),
    "deontology": (("unreasonable", "reasonable"), pl.concat_str("scenario", "excuse", separator=" ")),
    "justice": (("unreasonable", "reasonable"), pl.col("scenario")),
    "virtue": (("no", "yes"), pl.concat_str("scenario", pl.lit("Trait:"), "trait", separator=" ")),
}


def read_agnews(paths: Paths, subset: str | None) -> Dataset:
    """AG News: descriptions without titles."""
    table = pl.read_parquet(paths["data"]).drop("label").rename({"label_name": "label"})
    return Dataset("agnews", _by_split(table), ("World", "Sports", "Business", "Sci/Tech"), "text")


def read_boolq(paths: Paths, subset: str | None) -> Dataset:
    """BoolQ: ``text`` is the question followed by the passage; only the development split exists."""
    table = pl.read_parquet(paths["dev"])
    text = pl.concat_str("question", "passage", separator="? ").alias("text")
    table = table.with_columns(text, decode_labels(table["label"], ("no", "yes")))
    return Dataset("boolq", {"dev": table}, ("no", "yes"), "text")


def read_ethics(paths: Paths, subset: str | None) -> Dataset:
    """One ETHICS task; for utilitarianism the text holds two scenarios, the label says which is more pleasant."""
    assert subset is not None
    table = pl.read_parquet(paths[subset])
    if subset == "utilitarianism":
        classes: tuple[str, ...] = ("first", "second")
        # The file always lists the pleasanter scenario first; without a swap the label would be constant.
        swap = [sum(text.encode()) % 2 for text in table["more_pleasant"] + table["less_pleasant"]]
        pairs = zip(table["more_pleasant"], table["less_pleasant"], swap, strict=True)
        texts = [f"First: {less if swapped else more} Second: {more if swapped else less}" for more, less, swapped in pairs]
        table = table.with_columns(pl.Series("text", texts), decode_labels(pl.Series(swap), classes))
    else:
        classes, text = _ETHICS[subset]
        table = table.with_columns(text.alias("text"), decode_labels(table["label"], classes))
    return Dataset("ethics", _by_split(table), classes, "text")


def read_reviews(paths: Paths, subset: str | None) -> Dataset:
    """Reviews with one published source, the majority vote of hand-written sentiment rules."""
    assert subset is not None
    table = pl.read_parquet(paths[subset])
    classes = ("negative", "positive")
    votes = {
        split: Votes(part["majority_vote"].to_numpy()[:, None].astype(np.int8), classes=classes, sources=["majority_vote"])
        for split, part in _by_split(table).items()
    }
    table = table.drop("label", "majority_vote").rename({"label_name": "label"})
    return Dataset("reviews", _by_split(table), classes, "text", votes=votes)


def read_clinc150(paths: Paths, subset: str | None) -> Dataset:
    """Intents; the out-of-scope queries keep their own splits ``oos_train``, ``oos_val`` and ``oos_test``, labelled ``oos``."""
    table = pl.read_parquet(paths["data"]).rename({"intent": "label"})
    return Dataset("clinc150", _by_split(table), tuple(sorted(table["label"].unique())), "text")


def _by_split(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {str(key[0]): part.drop("split") for key, part in table.partition_by("split", as_dict=True, maintain_order=True).items()}
