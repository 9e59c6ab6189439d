"""The bench on bundled data: every number twice the same, the paper's order without foundation features, a page, and bad options."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.recipes import get
from steelyard.recipes.autows_bench import AutoWSBench, run
from steelyard.report import write_report

SMALL = AutoWSBench(("digits",), ("pca",), ("few-shot", "snuba", "goggles"), pool=600, test=400, components=16, rounds=4, seeds=(0, 1))


@pytest.fixture(scope="module")
def result():
    return run(SMALL)


def test_few_shot_is_ahead_of_goggles_and_goggles_of_snuba_without_foundation_features(result) -> None:
    few, goggles, snuba = (result.mean(arm, "digits pca/accuracy") for arm in ("few-shot", "goggles", "snuba"))
    assert few > goggles + 0.15
    assert goggles > snuba


def test_accuracy_stands_beside_coverage_recall_and_rules_in_words(result, tmp_path: Path) -> None:
    assert result.mean("snuba", "digits pca/coverage") <= 1
    assert set(result.artifacts["recall"]["digits pca"]["snuba"]) == set("0123456789")
    assert any("→" in rule for rule in result.artifacts["rules"]["digits pca"]["snuba"])
    assert result.mean("snuba", "digits pca/student_accuracy") > 0.1
    write_report(result, tmp_path / "report.html")
    assert "Leaderboard" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_same_configuration_gives_the_same_numbers(result) -> None:
    one = dataclasses.replace(SMALL, seeds=(1,))
    again = {(row.arm, row.metric): row.value for row in run(one).rows}
    first = {(row.arm, row.metric): row.value for row in result.rows if row.seed == 1}
    assert again == first


def test_own_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 200)
    file = tmp_path / "own.csv"
    pl.DataFrame({"a": 2 * kind + rng.normal(size=200), "b": rng.normal(size=200), "label": kind}).write_csv(file)
    found = run(AutoWSBench((str(file),), ("raw",), ("few-shot", "iws", "snuba"), budget=20, rounds=2, queries=1, seeds=(0,)))
    board = found.artifacts["leaderboard"]
    # Two features make too few candidates for questions: interactive weak supervision does not apply.
    assert {row["name"] for row in board["strategies"]} >= {"few-shot", "snuba"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"strategies": ("guess",)}, ConfigError, "strategy 'guess' is unknown"),
        ({"features": ("clip",)}, ConfigError, "features 'clip' is unknown"),
        ({"seeds": ()}, ConfigError, "seeds needs at least one value"),
        ({"pool": 100}, ConfigError, "leaves none unlabelled"),
        ({"data": ("nothing",)}, DataError, "no data set named 'nothing'"),
        ({"budget": 15}, ConfigError, "a budget of 15 labels does not suit 'digits' with 10 classes"),
        ({"features": ("zero-shot",)}, ConfigError, "none of the data sets has any of the features"),
    ],
)
def test_bad_options(change: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(dataclasses.replace(SMALL, **change))


def test_it_has_a_name() -> None:
    assert get("autows-bench").config is AutoWSBench
