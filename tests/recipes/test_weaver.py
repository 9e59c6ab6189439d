"""Weaver on a user's own table, on the negative control, and what the stored proof supports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard.datasets.scored_responses import load_scores
from steelyard.errors import ConfigError, DataError, LabelModelError
from steelyard.recipes.weaver import Weaver, run
from steelyard.result import Result


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    right = rng.random(1200) < 0.4
    columns = {f"judge {j}": right + (0.6 + 0.2 * j) * rng.normal(size=1200) for j in range(4)}
    columns |= {f"junk {j}": rng.random(1200) for j in range(5)}
    answers = np.where(right, "right", rng.integers(0, 6, 1200).astype(str))
    texts = {"prompt": [f"question {i // 4}" for i in range(1200)], "response": [f"I say {a}" for a in answers]}
    file = tmp_path / "scores.parquet"
    pl.DataFrame({"query": np.arange(1200) // 4, "answer": answers, "label": right.astype(int), **texts, **columns}).write_parquet(file)
    return file


def test_a_table_of_ones_own_with_and_without_labels(table: Path) -> None:
    result = run(Weaver(str(table), distill=("ridge",), seeds=(0, 1)))
    assert result.mean("method", "accuracy") > result.mean("mean", "accuracy") + 0.05
    assert result.artifacts["fit"]["0"]["labels_used"] == 0
    assert "retained" in result.metrics
    told = run(Weaver(str(table), class_balance="labels", gold=0.05, seeds=(0,)))
    assert told.artifacts["fit"]["0"]["labels_used"] == 60
    bare = table.with_name("bare.parquet")
    pl.read_parquet(table).drop("label").write_parquet(bare)
    unlabelled = run(Weaver(str(bare), seeds=(0,)))
    assert unlabelled.arms == []
    assert len(unlabelled.artifacts["chosen"]) == 300


def test_refusals(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="class_balance is 'half'; use estimate, labels or a number"):
        run(Weaver(str(table), class_balance="half"))
    with pytest.raises(DataError, match="no scored responses named 'mine'"):
        run(Weaver("mine"))
    bare = tmp_path / "bare.parquet"
    pl.read_parquet(table).drop("label", "prompt").write_parquet(bare)
    with pytest.raises(LabelModelError, match="the class balance is unknown"):
        run(Weaver(str(bare), class_balance="labels", seeds=(0,)))
    with pytest.raises(ConfigError, match="at least one seed"):
        run(Weaver(str(table), seeds=()))


def test_on_dependent_rules_the_guard_does_not_fall_below_the_majority(data_root: Path) -> None:
    shared = {"data": "gsm8k_weak_solutions", "class_balance": "0.379", "shares": (), "seeds": (0, 1)}
    guarded, loose = run(Weaver(**shared)), run(Weaver(**shared, guard=False))
    majority = guarded.values("majority", "accuracy")
    assert all(value >= majority[seed] for seed, value in guarded.values("method", "accuracy").items())
    assert loose.mean("method", "accuracy") < guarded.mean("majority", "accuracy") - 0.05


def test_judges_and_language_models_are_read_as_verifiers(data_root: Path) -> None:
    judges, _ = load_scores("judgebench_verdicts")
    assert (judges.n_queries, len(judges), len(judges.names)) == (350, 700, 12)
    legal, _ = load_scores("llm_votes_legal/sc_issuearea")
    assert legal.n_queries == 1000
    right = legal.labels == 1
    best = legal.names.index("lawma-70b")
    assert np.nanmean(legal.values[right, best]) > np.nanmean(legal.values[~right, best]) + 0.5


def test_the_stored_result_supports_what_is_claimed() -> None:
    stored = Result.from_json(Path(__file__).parents[2] / "docs" / "results" / "weaver.json")
    values = {arm: stored.values(arm, "accuracy") for arm in ("method", "mean", "majority")}
    assert len(values["method"]) >= 3
    assert all(values["method"][seed] >= values["mean"][seed] + 0.06 for seed in values["method"])
    assert all(values["method"][seed] >= values["majority"][seed] + 0.12 for seed in values["method"])
    assert min(stored.values("distilled ridge", "retained").values()) >= 0.95
