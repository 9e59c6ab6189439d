"""Requests to an assistant, as published and as read; their texts appear in no message."""

from __future__ import annotations

import polars as pl

from steelyard import datasets
from steelyard.datasets.safety import read_prompts


def test_labels_become_names_and_holes_stay_rows(tmp_path):
    file = tmp_path / "data.parquet"
    pl.DataFrame({"prompt": ["a", None, "b", "c"], "is_safe": ["True", "False", "false", None]}).write_parquet(file)
    found = read_prompts({"data": file}, None)
    assert found.classes == ("unsafe", "safe")
    assert found["all"]["text"].to_list() == ["a", "", "b", "c"]
    assert found["all"]["label"].to_list() == ["safe", "unsafe", "unsafe", None]
    assert found.labels("all").tolist() == [1, 0, 0, -1]


def test_the_published_file(data_root):
    found = datasets.load("safety_prompts")
    assert len(found["all"]) == 11_468
    assert (found["all"]["label"] == "unsafe").mean() == 6_421 / 11_468
    assert found.licence == "not stated"
