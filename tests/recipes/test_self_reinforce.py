"""The recipe with one-word answers on real questions, and with a small language model on a user's own table, by the same code."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from steelyard.errors import ConfigError
from steelyard.language.tiny_lm import tiny_lm
from steelyard.recipes.self_reinforce import SelfReinforce, run


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A table of sums, and the folder of a language model that has read other texts."""
    folder = tmp_path_factory.mktemp("sums")
    rows = [{"question": f"{a}+{b}?", "answer": str(a + b)} for a in range(9) for b in range(9)]
    pl.DataFrame(rows).write_parquet(folder / "sums.parquet")
    tiny_lm([f"Question: {row['question']}" for row in rows], size="nano", steps=10, context=400).save(folder / "lm")
    return str(folder / "sums.parquet"), str(folder / "lm" / "model")


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["judge", None])
def test_a_language_model_runs_on_a_table_by_the_same_code(sums: tuple[str, str], choice: str | None) -> None:
    data, model = sums
    shared = {"tune": "full", "epochs": 3, "learning_rate": 3e-3, "max_new_tokens": 4, "seeds": (0,)}
    sizes = {"solved": 30, "first": 0, "validation": 8, "unlabeled": 20, "test": 8}
    result = run(SelfReinforce(data, model, filter=choice, threshold=0.01, rounds=1, **shared, **sizes))
    assert result.arms == ["base", "baseline", "method"]
    first = result.artifacts["rounds"][1]
    assert 0 <= first["kept"] <= first["offered"] <= first["drawn"] == 20
    assert (first["preferred"], first["dispreferred"]) == ("policy 1", "policy 0")
    assert (first["judge_agreement"] == first["judge_agreement"]) == (choice == "judge" and first["offered"] > 0)


def test_options_that_cannot_be_are_refused(sums: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="use confidence, judge or none"):
        run(SelfReinforce(*sums, filter="gold", solved=30, first=0, validation=10, test=16, seeds=(0,)))
    with pytest.raises(ConfigError, match="seeds is empty"):
        run(SelfReinforce(sums[0], seeds=()))


@pytest.mark.slow
def test_the_filter_is_precise_and_the_outcome_safe_on_real_questions(data_root: Path) -> None:
    sizes = {"solved": 120, "unlabeled": 600, "test": 500, "validation": 200}
    config = SelfReinforce(
        "trec", rounds=1, temperature=0, epochs=100, preference_epochs=3, seeds=(0,), ablations=("filter=none",), **sizes
    )
    result = run(config)
    filtered, loose = (result.mean(arm, "round 1/preferred_right") for arm in ("method", "filter=none"))
    assert filtered > loose + 0.1
    assert result.mean("method", "round 1/dispreferred_right") < 0.15
    assert result.mean("base", "accuracy") < result.mean("baseline", "accuracy")
