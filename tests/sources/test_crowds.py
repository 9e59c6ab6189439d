"""Annotators as sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard.errors import SourceError
from steelyard.sources import apply, crowd, keywords
from steelyard.votes import Votes

ANSWERS = pl.DataFrame(
    {
        "item": [2, 1, 2, 3, 1],
        "who": ["Ann", "Ann", "Bo", "Bo", "Cy"],
        "said": ["SPAM", "HAM", "SPAM", None, "SPAM"],
    }
)


def test_each_worker_votes_where_they_answered() -> None:
    votes = apply(crowd(ANSWERS, task="item", worker="who", label="said"), {"item": [1, 2, 3]})
    assert votes.sources == ("Ann", "Bo", "Cy")
    assert votes.classes == ("HAM", "SPAM")
    assert votes.codes.tolist() == [[0, -1, 1], [1, 1, -1], [-1, -1, -1]]


def test_a_crowd_stands_beside_rules() -> None:
    table = {"id": [2, 1], "text": ["free", "nice"]}
    votes = apply(
        [keywords("free", label="SPAM"), *crowd(ANSWERS, task="item", worker="who", label="said", on="id")], table, classes=["HAM", "SPAM"]
    )
    assert votes.codes.tolist() == [[1, 1, 1, -1], [-1, 0, -1, 1]]


def test_the_last_answer_counts() -> None:
    answers = {"task": ["a", "a"], "worker": ["Ann", "Ann"], "label": ["X", "Y"]}
    [ann] = crowd(answers)
    assert apply([ann], {"task": ["a"]}).codes.tolist() == [[1]]


def test_mistakes_say_what_is_there() -> None:
    with pytest.raises(SourceError, match="lacks the column 'task'; its columns are item, who, said"):
        crowd(ANSWERS)
    with pytest.raises(SourceError, match="reads the column 'item', which the data lacks; its columns are id"):
        apply(crowd(ANSWERS, task="item", worker="who", label="said"), {"id": [1]})
    with pytest.raises(SourceError, match="are of type String, those of the crowd's table of type Int64"):
        apply(crowd(ANSWERS, task="item", worker="who", label="said"), {"item": ["1"]})


def test_the_bluebird_crowd_reads_as_the_votes_do(data_root: Path) -> None:
    table = pl.read_parquet(data_root / "crowd_bluebirds" / "votes.parquet")
    task, worker, label = table.columns[:3] if "task" not in table.columns else ("task", "worker", "label")
    direct, tasks = Votes.from_long(table, task=task, worker=worker, label=label)
    votes = apply(crowd(table, task=task, worker=worker, label=label), pl.DataFrame({task: tasks}), classes=direct.classes)
    assert votes.shape == (108, 39)
    np.testing.assert_array_equal(votes.select(direct.sources).codes, direct.codes)
