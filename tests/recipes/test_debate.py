"""The recipe end to end on a user's table: arms, protocols, the command line, and a sentence for every mistake."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from steelyard.cli import app
from steelyard.errors import ConfigError, DataError, SourceError, TrainingError
from steelyard.recipes.debate import Debate, run

WORDS = {
    "food": ["bread", "cheese", "apple", "soup", "cake", "rice", "pear", "salad"],
    "travel": ["train", "airport", "hotel", "beach", "ticket", "harbour", "passport", "bus"],
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(300):
        label = ["food", "travel"][i % 2]
        own = rng.choice(WORDS[label], 2, replace=False, p=np.r_[0.2, 0.1, np.full(6, 0.7 / 6)])
        rows.append({"text": f"{' '.join(rng.choice(['my', 'the', 'a', 'our'], 2))} {own[0]} and {own[1]} {i}", "label": label})
    rows.append({"text": "something else", "label": "other"})
    file = tmp_path_factory.mktemp("debate") / "topics.csv"
    pl.DataFrame(rows).write_csv(file)
    return str(file)


def small(table: str, **options) -> Debate:
    given = {"classes": ("food", "travel"), "gold": 60, "unlabeled": 120, "test": 120, "weak_words": 8, "judge_words": 30, "seeds": (0,)}
    return Debate(table, **{**given, **options})


def test_debates_give_better_labels_and_a_better_student(table):
    result = run(small(table, loss=("soft", "confidence")))
    assert result.arms == ["weak", "naive", "confidence", "single", "method", "ceiling", "judge", "judges_by_seed", "judges_by_debate"]
    assert result.mean("judges_by_debate", "accuracy") > result.mean("weak", "accuracy") + 0.1
    assert result.mean("method", "accuracy") > result.mean("weak", "accuracy")
    assert result.artifacts["cost"][0]["failed"] == 0
    assert result.artifacts["cost"][0]["turns"] == 5 * 6 * 300  # four debates, and the one that the other ensemble shares


@pytest.mark.parametrize("protocol", ["consultancy", "market", "none"])
def test_the_other_protocols_run_through_the_same_door(table, protocol):
    result = run(small(table, protocol=protocol, members=2, turns=2))
    spoken = result.artifacts["cost"][0]["turns"]
    assert (spoken == 0) == (protocol == "none")
    assert result.mean("judge", "accuracy") > 0.5


def test_the_command_line_runs_it(table, tmp_path, capsys):
    arguments = ["run", "debate", "--data", table, "--classes", "food,travel", "--gold", "60", "--members", "2", "--weak-words", "8"]
    with pytest.raises(SystemExit) as stop:
        app([*arguments, "--seeds", "1", "-o", str(tmp_path / "r.json"), "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["name"] == "debate"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"classes": ()}, ConfigError, "choose two of food, other, travel"),
        ({"classes": ("food", "drink")}, ConfigError, "choose two of"),
        ({"protocol": "quarrel"}, ConfigError, "protocol 'quarrel' is unknown"),
        ({"gold": 6}, DataError, "too few to draw quotations"),
        ({"gold": 250}, ConfigError, "cannot be drawn from 300 rows"),
        ({"debater": "http://127.0.0.1:9", "debater_model": "m"}, SourceError, "no server answers"),
        ({"weak_words": 1, "gold": 30}, TrainingError, "labels all 120 unlabeled rows"),
        ({"loss": ()}, ConfigError, "at least one value each"),
    ],
)
def test_mistakes_are_one_sentence(table, options, error, message):
    with pytest.raises(error, match=message):
        run(small(table, members=1, **options))
