"""SALT on a user's own text and models in seconds, and what the stored proof supports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from steelyard.errors import ConfigError, TrainingError
from steelyard.language.tiny_lm import tiny_lm
from steelyard.recipes.salt import Salt, run
from steelyard.result import Result

SMALL = Salt(
    teacher="1x24", student="1x48", teacher_steps=60, context=16, steps=20, batch_size=8, evaluate_steps=4, test=20, top_k=5, seeds=(0,)
)
TEXTS = [f"the {i} cats sat on {i * 7 % 50} mats and {i * 3 % 41} dogs ran home" for i in range(150)]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("mine") / "mine.txt"
    file.write_text("\n".join(TEXTS))
    return str(file)


def test_own_text_with_a_teacher_made_here_and_runs_that_are_read_again(mine: str, tmp_path: Path) -> None:
    config = replace(SMALL, data=mine, runs=str(tmp_path / "runs"))
    result = run(config)
    assert result.arms == ["weak", "baseline", "SALT", "RKD", "SALT_DS", "chosen windows, no teacher"]
    assert len({result.values(arm, "loss")[0] for arm in result.arms}) == 6
    flops = {arm: result.values(arm, "flops")[0] for arm in result.arms[1:]}
    assert flops["baseline"] == 1.0 < flops["SALT"] < flops["RKD"]
    assert flops["chosen windows, no teacher"] > 1.0, "scoring the windows is counted"
    again = run(config)
    assert [str(row) for row in again.rows if row.metric != "seconds"] == [str(row) for row in result.rows if row.metric != "seconds"]
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {f"{arm}-0" for arm in result.arms[1:]}


def test_own_models_by_name_and_stored_soft_labels(mine: str, tmp_path: Path) -> None:
    for name, steps in (("teacher", 80), ("student", 0)):
        tiny_lm(TEXTS, size="nano", tokens=258, context=16, steps=steps, learning_rate=1e-2).save(tmp_path / name)
    own = replace(SMALL, data=mine, teacher=str(tmp_path / "teacher" / "model"), student=str(tmp_path / "student" / "model"), select=False)
    live, stored = run(own), run(replace(own, stored=258))
    assert live.arms == ["weak", "baseline", "SALT", "RKD"]
    assert live.values("SALT", "loss")[0] != live.values("baseline", "loss")[0]
    for arm in live.arms:
        assert stored.values(arm, "loss")[0] == pytest.approx(live.values(arm, "loss")[0], abs=2e-3)


def test_refusals(mine: str) -> None:
    with pytest.raises(ConfigError, match="seeds is empty"):
        run(replace(SMALL, seeds=()))
    with pytest.raises(ConfigError, match="transition 'soft'"):
        run(replace(SMALL, data=mine, transition="soft"))
    with pytest.raises(TrainingError, match=r"no better than the .* of bare token frequencies"):
        run(replace(SMALL, data=mine, teacher_steps=0))


def test_the_stored_result_supports_what_is_claimed() -> None:
    stored = Result.from_json(Path(__file__).parents[2] / "docs" / "results" / "salt.json")
    early, late = ({arm: stored.values(arm, metric) for arm in stored.arms if arm != "weak"} for metric in ("early_loss", "loss"))
    assert len(late["SALT"]) >= 3
    assert all(early["SALT"][seed] <= value - 0.02 for seed, value in early["baseline"].items())
    assert all(late["RKD"][seed] > value + 0.05 for seed, value in late["baseline"].items())
    # What did not come out: a lower loss at the end.
    for arm in ("SALT", "SALT_DS"):
        assert stored.compare(arm, "baseline", "loss").verdict == "unclear"
