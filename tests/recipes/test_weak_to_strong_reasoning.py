"""The recipe with one-word answers on real questions, and with small language models on a user's own table, by the same code."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from steelyard.errors import ConfigError
from steelyard.language.tiny_lm import tiny_lm
from steelyard.recipes.weak_to_strong_reasoning import WeakToStrongReasoning, run
from steelyard.training.selection.agreement import WeakSecondView


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A table of sums, and the folder of a language model that has read such sums."""
    folder = tmp_path_factory.mktemp("sums")
    rows = [{"question": f"{a}+{b}?", "solution": f"{a}+{b} is\n#### {a + b}", "answer": str(a + b)} for a in range(3) for b in range(20)]
    pl.DataFrame(rows).write_ndjson(folder / "sums.jsonl")
    written = [f"Question: {row['question']}\nAnswer:\n{row['solution']}" for row in rows]
    tiny_lm(written, size="nano", steps=60, context=64).save(folder / "lm")
    return str(folder / "sums.jsonl"), str(folder / "lm" / "model")


@pytest.mark.slow
@pytest.mark.parametrize("second_view", ["crossfit", "icl"])
def test_language_models_run_on_a_table_by_the_same_code(sums: tuple[str, str], second_view: str) -> None:
    data, model = sums
    config = WeakToStrongReasoning(
        data,
        model,
        model,
        second_view,
        demonstrations=1,
        tune="full",
        epochs=4,
        learning_rate=3e-3,
        max_new_tokens=12,
        samples=2,
        preference_epochs=1,
        gold=20,
        unlabeled=16,
        test=8,
        pass_k=2,
        seeds=(0,),
    )
    result = run(config)
    assert result.arms == ["weak", "baseline", "ceiling", "stage1", "method"]
    assert result.mean("method", "pass@2") >= result.mean("method", "pass@1")
    assert {record["set"] for record in result.artifacts["sets"]} == {"stage1-round1", "pairs"}


def test_policies_of_one_word_refuse_written_solutions(sums: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="name a causal model"):
        run(WeakToStrongReasoning(sums[0], seeds=(0,), gold=20, test=16))


@pytest.mark.slow
def test_real_questions_with_their_negative_control(data_root: Path) -> None:
    config = WeakToStrongReasoning("trec", gold=400, unlabeled=1200, test=500, seeds=(0,), ablations=("second_view=few:60",))
    with pytest.warns(WeakSecondView):
        result = run(config)
    assert result.mean("method", "stage1-round1/precision") > result.mean("weak", "accuracy") + 0.1
    assert result.mean("method", "pairs/chosen_right") > result.mean("method", "pairs/rejected_right") + 0.3
    assert result.mean("second_view=few:60 stage1", "accuracy") < result.mean("stage1", "accuracy")
    warned = {record["arm"]: record["second_view_warning"] for record in result.artifacts["sets"]}
    assert warned == {"method": False, "second_view=few:60": True}
