"""Result: paired differences with honest intervals, and files that are whole or refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from steelyard import Result
from steelyard.errors import DataError
from steelyard.result import higher_is_better, mean_interval, paired_t


def of(arms: dict[str, list[float]], metric: str = "accuracy") -> Result:
    result = Result("r")
    for arm, values in arms.items():
        for seed, value in enumerate(values):
            result.add(arm, seed, metric, value)
    return result


def test_comparison_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.8, 0.1, 6), rng.normal(0.7, 0.1, 6)
    comparison = of({"method": a, "baseline": b}).compare()
    reference = stats.ttest_rel(a, b)
    low, high = reference.confidence_interval(0.95)
    assert comparison.p_value == pytest.approx(reference.pvalue, rel=1e-9)
    assert (comparison.low, comparison.high) == pytest.approx((low, high), rel=1e-9)
    assert comparison.n == 6


def test_pairing_removes_the_spread_that_seeds_share():
    base = np.array([0.5, 0.6, 0.7, 0.8])
    paired = of({"method": base + np.array([0.010, 0.011, 0.009, 0.010]), "baseline": base}).compare()
    assert paired.verdict == "better"
    assert paired.high - paired.low < 0.01


def test_one_seed_has_no_interval_and_says_so():
    comparison = of({"method": [0.8], "baseline": [0.7]}).compare()
    assert comparison.difference == pytest.approx(0.1)
    assert math.isnan(comparison.low)
    assert math.isnan(comparison.high)
    assert math.isnan(comparison.p_value)
    assert "one pair" in comparison.note
    assert comparison.verdict == "unclear"


def test_identical_arms_do_not_differ_and_a_constant_shift_is_not_called_certain():
    same = of({"method": [0.7, 0.8], "baseline": [0.7, 0.8]}).compare()
    assert (same.difference, same.p_value, same.verdict) == (0.0, 1.0, "unclear")
    shifted = of({"method": [0.75, 0.75], "baseline": [0.5, 0.5]}).compare()
    assert math.isnan(shifted.p_value)
    assert shifted.verdict == "unclear"


def test_swapping_the_arms_mirrors_the_comparison():
    result = of({"method": [0.8, 0.9, 0.7], "baseline": [0.5, 0.7, 0.65]})
    forth, back = result.compare("method", "baseline"), result.compare("baseline", "method")
    assert (back.difference, back.low, back.high) == pytest.approx((-forth.difference, -forth.high, -forth.low))
    assert back.p_value == pytest.approx(forth.p_value)


def test_only_shared_seeds_are_compared():
    result = of({"method": [0.8, 0.9, 0.7], "baseline": [0.5, 0.7]})
    comparison = result.compare()
    assert comparison.n == 2
    assert "1 seed" in comparison.note
    apart = Result("r").add("method", 0, "accuracy", 0.5).add("baseline", 1, "accuracy", 0.5)
    with pytest.raises(DataError, match="share no seed"):
        apart.compare()


@pytest.mark.parametrize("metric", ["log_loss", "ece", "brier", "trec/log_loss"])
def test_verdict_follows_the_metrics_direction(metric: str):
    assert not higher_is_better(metric)
    result = of({"method": [0.20, 0.21, 0.19], "baseline": [0.40, 0.42, 0.41]}, metric)
    assert result.compare().verdict == "better"
    assert result.compare("baseline", "method").verdict == "worse"


def test_t_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        _, low, high = mean_interval(rng.normal(0, 1, 3))
        hits += low <= 0 <= high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


def test_table_has_one_line_per_metric_and_arm():
    result = of({"weak": [0.6, 0.7], "method": [0.8, 0.9]}).add("weak", 0, "brier", 0.3)
    table = result.table()
    assert table.select("metric", "arm", "n").rows() == [("accuracy", "weak", 2), ("accuracy", "method", 2), ("brier", "weak", 1)]
    assert table["mean"].to_list() == pytest.approx([0.65, 0.85, 0.3])
    assert result.mean("weak", "accuracy") == pytest.approx(0.65)


def test_mistakes_are_named():
    result = of({"method": [0.8]})
    with pytest.raises(DataError, match=r"no 'accuracy' for arm 'metod'; it has method/accuracy"):
        result.mean("metod", "accuracy")
    with pytest.raises(DataError, match="already added"):
        result.add("method", 0, "accuracy", 0.9)
    with pytest.raises(DataError, match="infinite"):
        result.add("method", 1, "accuracy", math.inf)
    with pytest.raises(DataError, match="2 metrics"):
        result.add("method", 0, "brier", 0.1).compare()
    with pytest.raises(DataError, match="between 0 and 1"):
        mean_interval([1.0, 2.0], confidence=95)
    with pytest.raises(DataError, match="equally long"):
        paired_t([1.0, 2.0], [1.0])


def test_round_trip_keeps_everything_and_is_valid_json(tmp_path: Path):
    result = of({"weak": [0.6, math.nan]})
    result.config = {"k": np.int64(2), "names": ("a", "b")}
    result.artifacts = {"sources": pl.DataFrame({"source": ["x"], "coverage": [0.5]}), "confusion": {"matrix": np.eye(2)}, "nan": math.nan}
    result.timings = {"fit": 1.5}
    path = tmp_path / "result.json"
    result.to_json(path)
    json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    back = Result.from_json(path)
    assert (back.name, back.timings, back.config) == ("r", {"fit": 1.5}, {"k": 2, "names": ["a", "b"]})
    assert back.artifacts["sources"] == [{"source": "x", "coverage": 0.5}]
    assert back.artifacts["confusion"]["matrix"] == [[1.0, 0.0], [0.0, 1.0]]
    assert back.rows[0] == result.rows[0]
    assert math.isnan(back.rows[1].value)


def test_a_truncated_missing_or_foreign_file_is_refused_by_name(tmp_path: Path):
    path = tmp_path / "result.json"
    of({"weak": [0.6]}).to_json(path)
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(DataError, match=r"result\.json.*truncated"):
        Result.from_json(path)
    with pytest.raises(DataError, match="does not exist"):
        Result.from_json(tmp_path / "none.json")
    path.write_text('{"rows": [{"arm": "a"}]}', encoding="utf-8")
    with pytest.raises(DataError, match="not a steelyard result"):
        Result.from_json(path)
