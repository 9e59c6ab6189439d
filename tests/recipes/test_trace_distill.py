"""Trace distillation with equation policies on a few real problems, and with causal language models on sums."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from steelyard.errors import ConfigError
from steelyard.jobs.reasoning_arms import InstructStudent, count_steps, divide, load_problem_task, new_policy
from steelyard.language.tiny_lm import tiny_lm
from steelyard.recipes.trace_distill import TraceDistill, run
from steelyard.result import Result


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Additions of two digits, solved in one written step; one reference is wrong."""
    file = tmp_path_factory.mktemp("sums") / "sums.csv"
    rows = [f"{a}+{b}=,{a}+{b}={a + b} #### {a + b},{a + b}" for a in range(8) for b in range(8)]
    file.write_text("\n".join(["question,solution,answer", *rows, "9+9=,#### 17,18"]))
    return file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, sums: Path) -> str:
    """A model that has read some of the solved sums and some noise."""
    solved = [line.split(",")[0] + "\n" + line.split(",")[1] for line in sums.read_text().splitlines()[1:-1]]
    folder = tmp_path_factory.mktemp("model")
    tiny_lm(solved[::2] * 4, size="nano", tokens=270, context=48, steps=60, seed=0).save(folder)
    return str(folder / "model")


def test_references_that_contradict_their_answer_are_left_out_and_test_rows_are_the_same_for_every_seed(sums: Path) -> None:
    task, counts = load_problem_task(str(sums))
    assert counts == {"problems": 64, "solution and answer disagree": 1}
    rows = np.arange(64)
    (first, pools), (second, others) = divide(task, rows, 10, [5, None], seed=0), divide(task, rows, 10, [5, None], seed=1)
    assert first.tolist() == second.tolist()
    assert [len(pool) for pool in pools] == [5, 49]
    assert sorted([*first, *pools[0], *pools[1]]) == list(range(64))
    assert pools[0].tolist() != others[0].tolist()
    with pytest.raises(ConfigError, match="64 problems do not suffice"):
        divide(task, rows, 10, [60], seed=0)
    assert set(count_steps(task)) == {1}


def test_equation_policies_on_real_problems(data_root: Path) -> None:
    result = run(TraceDistill(teacher_rows=40, base_rows=40, train=40, test=30, epochs=2, seeds=(0,)))
    assert result.arms == ["weak", "base", "W2SR", "W2SR-P", "W2SR-N", "ceiling"]
    traces = result.artifacts["traces"]["0"]
    assert traces["traces"] == 40
    assert (
        result.values("W2SR", "traces")[0] == traces["sound"] == result.values("W2SR-P", "traces")[0] + result.values("W2SR-N", "traces")[0]
    )
    assert result.values("W2SR-P", "right_traces")[0] == 1
    assert result.values("W2SR-N", "right_traces")[0] == 0
    assert result.values("base", "accuracy")[0] == 0, "the base writes another notation"
    assert result.values("base", "no_answer")[0] == 1
    reached = result.values("ceiling", "accuracy")[0]
    expected = result.values("W2SR", "accuracy")[0] / reached if reached else math.nan
    assert result.values("W2SR", "rgr")[0] == pytest.approx(expected, nan_ok=True)


def test_language_models_take_the_same_path(model: str, sums: Path) -> None:
    config = TraceDistill(
        str(sums),
        model,
        model,
        keep=("all",),
        instruction="Add.",
        answer="hashes",
        train=20,
        test=8,
        max_new_tokens=16,
        samples=2,
        temperature=0.5,
        epochs=1,
        batch_size=8,
        learning_rate=1e-2,
        seeds=(0,),
    )
    result = run(config)
    assert result.arms == ["weak", "base", "base, no instruction", "W2SR", "ceiling"]
    assert 0 <= result.values("W2SR", "accuracy")[0] <= 1
    assert result.rows == run(config).rows, "traces come from the cache, everything else from the seed"


def test_refusals(sums: Path) -> None:
    with pytest.raises(ConfigError, match="keep is best; use all, correct, wrong"):
        run(TraceDistill(keep=("best",)))
    with pytest.raises(ConfigError, match="a table whose solutions are prefix equations"):
        run(TraceDistill(str(sums), train=5, test=5, teacher_rows=5, base_rows=5, seeds=(0,)))


def test_a_student_that_follows_instructions_is_warned_of(sums: Path) -> None:
    task, _ = load_problem_task(str(sums))
    with pytest.warns(InstructStudent, match="looks tuned to instructions"):
        new_policy("some/model-7b-instruct", task)


def test_the_stored_result_supports_what_is_claimed() -> None:
    """Wrong traces teach the form of reasoning, right ones more than all of them, and the student outgrows its teacher."""
    stored = Result.from_json(Path(__file__).parents[2] / "docs" / "results" / "trace-distill.json")
    assert len(stored.values("W2SR", "accuracy")) >= 3
    base, wrong, every, right = (stored.mean(arm, "accuracy") for arm in ("base", "W2SR-N", "W2SR", "W2SR-P"))
    assert base < wrong < every < right < stored.mean("ceiling", "accuracy")
    assert right > stored.mean("weak", "accuracy")
    assert stored.mean("W2SR-P", "rgr") >= 0.55
    assert stored.mean("W2SR-N", "rgr") >= 0.2
    assert stored.compare("W2SR", "W2SR-N", "accuracy").verdict == "better"
    assert stored.compare("W2SR-P", "W2SR", "accuracy").verdict == "better"
