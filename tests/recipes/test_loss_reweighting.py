"""Loss reweighting on a user's own text in seconds, and what the stored proof supports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.recipes.loss_reweighting import LossReweighting, run
from steelyard.result import Result

SMALL = LossReweighting(model="1x24", context=16, steps=16, batch_size=8, evaluate_steps=8, test=20, passage=30, seeds=(0,))


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("mine") / "mine.jsonl"
    file.write_text("\n".join(f'{{"body": "the {i} cats sat on {i * 7 % 50} mats and {i * 3 % 41} dogs ran home"}}' for i in range(200)))
    return str(file)


def test_own_text_without_and_with_a_repeated_passage(mine: str) -> None:
    plain = run(replace(SMALL, data=mine, text="body", strategy=("linupper",)))
    assert plain.arms == ["uniform", "linupper"], "own text is taken as it is"
    redundant = run(replace(SMALL, data=mine, text="body", strategy=("linupper",), redundancy=0.5))
    assert redundant.arms == ["uniform", "linupper", "clean, uniform", "clean, linupper", "clean, linupper r=1"]
    losses = [redundant.values(arm, "loss")[0] for arm in redundant.arms]
    assert len(set(losses)) == 5
    assert max(losses) < 5.6
    assert redundant.values("uniform", "ess")[0] == 1.0
    assert redundant.values("linupper", "ess")[0] < 1.0
    assert redundant.values("uniform", "steps_to_uniform")[0] == 1.0
    # The clean arms are the plain run: the same text, weights, order and losses.
    assert plain.values("linupper", "loss")[0] == redundant.values("clean, linupper", "loss")[0]
    assert plain.artifacts["curves"]["arms"][0]["steps"] == [8, 16]


def test_refusals(mine: str) -> None:
    with pytest.raises(ConfigError, match="strategy is best; use extremes, linear, linupper, quadratic"):
        run(replace(SMALL, strategy=("best",)))
    with pytest.raises(DataError, match="has no column 'text'"):
        run(replace(SMALL, data=mine))
    with pytest.raises(ConfigError, match="temperature"):
        run(replace(SMALL, data=mine, text="body", temperature=0.0))


def test_the_stored_result_supports_what_is_claimed() -> None:
    stored = Result.from_json(Path(__file__).parents[2] / "docs" / "results" / "loss-reweighting.json")
    losses = {arm: stored.values(arm, "loss") for arm in stored.arms}
    assert len(losses["uniform"]) >= 3
    for seed, uniform in losses["uniform"].items():
        assert losses["linupper"][seed] <= uniform - 0.02
        assert losses["extremes"][seed] > losses["linupper"][seed]
        assert stored.values("linupper", "steps_to_uniform")[seed] < 0.7
    assert abs(stored.mean("quadratic", "loss") - stored.mean("uniform", "loss")) < 0.02, "a tie"
    # The negative control: without redundancy there is no gain.
    assert stored.mean("clean, linupper", "loss") > stored.mean("clean, uniform", "loss")
    assert stored.compare("clean, linupper r=1", "clean, uniform", "loss").verdict == "unclear"
