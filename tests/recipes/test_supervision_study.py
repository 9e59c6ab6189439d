"""The study of supervision with equation policies on a few real problems, and with causal language models on sums."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steelyard.completions import Completions
from steelyard.errors import ConfigError
from steelyard.jobs.question_task import QuestionTask
from steelyard.jobs.supervision_mixtures import SupervisionPool, easier, parse_mixture
from steelyard.jobs.supervision_sets import corrupted, describe_set, rank_correlation, sampled, step_judge
from steelyard.language.tiny_lm import tiny_lm
from steelyard.recipes.supervision_study import SupervisionStudy, run
from steelyard.result import Result
from steelyard.training.policy import Policy

EQUATIONS = QuestionTask(
    [f"{a} , {b} and {c} ?" for a, b, c in np.random.default_rng(0).integers(2, 50, (60, 3))],
    [f"- * {a} {b} {c}" for a, b, c in np.random.default_rng(0).integers(2, 50, (60, 3))],
    [str(a * b - c) for a, b, c in np.random.default_rng(0).integers(2, 50, (60, 3))],
    np.zeros(60, bool),
    template="{question}",
    style="equation",
)


def test_severities_are_equal_in_outcome_and_not_in_steps() -> None:
    judge = step_judge(EQUATIONS)
    rates = {}
    for severity in ("mild", "severe"):
        pool = corrupted(EQUATIONS, np.arange(60), severity, seed=0)  # type: ignore[arg-type]
        described = [describe_set(pool.at(percent, seed=1), EQUATIONS, judge) for percent in (0, 50, 100)]
        assert [d["outcome_error_rate"] for d in described] == pytest.approx([0, 0.5, 1])
        assert len({d["words"] for d in described}) == 1, "length tells nothing"
        rates[severity] = [d["step_error_rate"] for d in described]
    assert rates["mild"] == pytest.approx([0, 0.25, 0.5])
    assert rates["severe"][2] > 0.8
    assert rates["mild"][0] == rates["severe"][0] == 0


class Scribe(Policy):
    """Solves a problem rightly, wrongly or at absurd length, in turn."""

    def __init__(self, per_prompt: dict[str, list[str]]) -> None:
        self.per_prompt = per_prompt

    def sample(self, prompts: Sequence[str], n: int = 1, *, temperature: float = 1.0, seed: int = 0) -> Completions:
        rows = np.repeat(np.arange(len(prompts)), n)
        return Completions([prompts[i] for i in rows], [t for p in prompts for t in self.per_prompt[p][:n]], rows=rows)

    def fit(self, completions: Completions, weights: Any = None) -> Scribe:
        return self

    def log_probabilities(self, prompts: Sequence[str], texts: Sequence[str]) -> Any:
        raise NotImplementedError

    def parameters(self) -> list[Any]:
        return []


def test_every_sampled_item_has_a_right_and_a_wrong_solution() -> None:
    task = QuestionTask(["a", "b", "c", "d"], ["it is 1\n#### 1"] * 4, ["1"] * 4, np.zeros(4, bool), template="{question}", style="hashes")
    right, wrong, endless, silent = "so it is\n#### 1", "so it is\n#### 2", "well " * 50 + "#### 3", "so it is this"
    scribe = Scribe({"a": [right, wrong, wrong], "b": [wrong, wrong, silent], "c": [right, right, right], "d": [right, endless, silent]})
    found = sampled(task, [0, 1, 2, 3], scribe, n=3)
    assert found.correct.rows.tolist() == found.wrong.rows.tolist() == [0, 1]
    assert found.correct.texts == (right, "it is 1\n#### 1")
    assert found.wrong.texts == (wrong, wrong)
    assert found.dropped == {"never wrong, or out of proportion": 2, "reference used as right": 1}
    mixed = found.at(50, seed=0)
    assert describe_set(mixed, task, step_judge(task))["outcome_error_rate"] == 0.5
    other = sampled(task, [0, 1, 2, 3], scribe, n=3, judge=lambda texts, task: np.array([text == silent for text in texts.texts]))
    assert other.correct.texts == ("it is 1\n#### 1", silent, "it is 1\n#### 1", silent), "the judge decides what is right"


def test_socratic_problems_bring_their_own_easier_tasks() -> None:
    solution = "How many are sold? ** 16-3=<<16-3=13>>13\nWhat do they earn? ** 13*2=<<13*2=26>>26\n#### 26"
    task = QuestionTask(
        ["16 laid, 3 eaten. The rest is sold at $2. What do they earn?"], [solution], ["26"], np.zeros(1, bool), style="hashes"
    )
    extended, rows, dropped = easier(task, np.array([0]), np.array([], int), None, 0, seed=0)
    assert extended.answers_of(rows) == ["13"]
    assert dropped == {"sub-task: variant of the problem": 1, "sub-tasks": 1, "tasks without a sub-task": 0}
    with pytest.raises(ConfigError, match="subtasks=2 needs a language model"):
        easier(task, np.array([0]), np.array([], int), None, 2, seed=0)


@pytest.mark.parametrize("text", ["hard:50", "easy:0", "hard:12.5+easy:10", "hard:50x2", "hard:50+rephrased"])
def test_mixtures_are_read(text: str) -> None:
    assert parse_mixture(text).name == text


@pytest.mark.parametrize("text", ["", "hard", "hard:101", "hard:50+hard:10", "rephrased", "hard:50+other", "hard:-1"])
def test_mixtures_that_mean_nothing(text: str) -> None:
    with pytest.raises(ConfigError, match="is not understood"):
        parse_mixture(text)


def test_corruptions_can_neither_rephrase_nor_write_prose() -> None:
    pool = SupervisionPool(EQUATIONS, np.arange(10), np.arange(10, 20), "mild", 3, seed=0)
    assert len(pool.items(parse_mixture("hard:50+easy:10"))) == 20
    with pytest.raises(ConfigError, match="corruptions cannot rephrase"):
        pool.items(parse_mixture("hard:50+rephrased"))
    prose = QuestionTask(["a"], ["#### 1"], ["1"], np.zeros(1, bool), style="hashes")
    with pytest.raises(ConfigError, match="teacher 'mild' corrupts equations only"):
        SupervisionPool(prose, np.arange(1), np.arange(0), "mild", 3, seed=0).items(parse_mixture("hard:50"))


def test_rank_correlation() -> None:
    assert rank_correlation([0.1, 0.5, 0.9], [0.7, 0.4, 0.1]) == pytest.approx(-1)
    assert np.isnan(rank_correlation([0.5, 0.5, 0.5], [0.7, 0.4, 0.1]))


def test_equation_policies_on_real_problems(data_root: Path) -> None:
    config = SupervisionStudy(
        mixtures=("hard:0", "hard:90", "easy:0", "hard:50+easy:0"), train=40, test=20, epochs=1, seeds=(0,), stage_a=20
    )
    result = run(config)
    shared, mild, severe = (
        ["hard:0", "easy:0"],
        ["hard:90 (mild)", "hard:50+easy:0 (mild)"],
        ["hard:90 (severe)", "hard:50+easy:0 (severe)"],
    )
    assert sorted(result.arms) == sorted([*shared, *mild, *severe])
    outcome = {arm: result.mean(arm, "outcome_error_rate") for arm in result.arms}
    steps = {arm: result.mean(arm, "step_error_rate") for arm in result.arms}
    assert [outcome[arm] for arm in shared] == [0, 0]
    assert [outcome[arm] for arm in mild] == [outcome[arm] for arm in severe] == pytest.approx([0.9, 0.25])
    assert all(steps[a] < steps[b] for a, b in zip(mild, severe, strict=True))
    assert result.artifacts["sets"]["hard:50+easy:0 (mild)"]["0"]["items"] == 80


def test_language_models_take_the_same_path(tmp_path: Path) -> None:
    file = tmp_path / "sums.csv"
    solve = "{a}+{b}={s} {s}+1={t} #### {t}"
    rows = [(a, b, solve.format(a=a, b=b, s=a + b, t=a + b + 1)) for a in range(6) for b in range(6)]
    file.write_text("\n".join(["question,solution,answer", *(f"{a}+{b}+1=,{text},{a + b + 1}" for a, b, text in rows)]))
    made = tiny_lm([f"{a}+{b}+1=\n{text}" for a, b, text in rows[::2]] * 4, size="nano", tokens=270, context=160, steps=60, seed=0)
    made.save(tmp_path)
    model = str(tmp_path / "model")
    config = SupervisionStudy(
        str(file),
        model,
        (model,),
        mixtures=("hard:50", "hard:50+rephrased"),
        hard_steps=0,
        train=16,
        test=6,
        samples=4,
        answer="hashes",
        epochs=1,
        batch_size=8,
        learning_rate=1e-2,
        max_new_tokens=24,
        seeds=(0,),
    )
    result = run(config)
    assert [arm.split(" (")[0] for arm in result.arms] == ["hard:50", "hard:50+rephrased"]
    items = [sizes["0"]["items"] for sizes in result.artifacts["sets"].values()]
    assert 0 < items[0] <= 16
    assert items[1] == 2 * items[0]
    assert result.mean(result.arms[0], "outcome_error_rate") == pytest.approx(round(items[0] / 2) / items[0])


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="teachers and seeds need at least one value"):
        run(SupervisionStudy(teachers=()))
    with pytest.raises(ConfigError, match="mixture 'all' is not understood"):
        run(SupervisionStudy(mixtures=("all",)))


def test_the_stored_result_supports_what_is_claimed() -> None:
    """Flawed hard tasks beat clean easy ones, and at equal outcome error it is the wrong steps that cost."""
    stored = Result.from_json(Path(__file__).parents[2] / "docs" / "results" / "supervision-study.json")
    assert len(stored.values("hard:0", "accuracy")) >= 3
    assert stored.mean("easy:0", "outcome_error_rate") == 0
    assert stored.compare("hard:90 (mild)", "easy:0", "accuracy").verdict == "better"
    for rate in (50, 90):
        mild, severe = f"hard:{rate} (mild)", f"hard:{rate} (severe)"
        assert stored.mean(mild, "outcome_error_rate") == stored.mean(severe, "outcome_error_rate")
        assert stored.mean(mild, "step_error_rate") < stored.mean(severe, "step_error_rate")
        assert stored.compare(mild, severe, "accuracy").low > 0.08
