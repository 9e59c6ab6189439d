"""What pretraining studies share: redundant streams, fresh models, and where curves meet."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError
from steelyard.jobs.pretraining_arms import (
    curve_of,
    load_pretraining_task,
    mean_curves,
    starting_model,
    steps_to,
    weights_of,
    with_repeats,
)
from steelyard.training.text_windows import TextWindows


@pytest.fixture
def task(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    return load_pretraining_task(str(tmp_path / "mine.txt"), "1x24", text="text", tokens=258, context=8, test=5)


def test_a_repeated_passage_takes_its_share_of_the_stream() -> None:
    clean = TextWindows(np.arange(60 * 5, dtype=np.int32).reshape(60, 5))
    stream = with_repeats(clean, np.array([900, 901, 902], dtype=np.int32), 0.4)
    assert (len(stream), int((stream.ids >= 900).all(axis=1).sum())) == (100, 40)
    assert (stream.ids[61:, 0] == stream.ids[60:-1, -1]).all(), "the passage goes on from window to window"
    assert len(with_repeats(clean, np.array([900], dtype=np.int32), 0.0)) == 60
    with pytest.raises(ConfigError, match=r"redundancy is 1\.0"):
        with_repeats(clean, np.array([900], dtype=np.int32), 1.0)


def test_a_fresh_model_is_drawn_from_the_seed(task) -> None:
    one, again, other = (starting_model("1x24", task, seed).model.state_dict() for seed in (0, 0, 1))
    assert all(value.equal(again[name]) for name, value in one.items())
    assert not all(value.equal(other[name]) for name, value in one.items())
    with pytest.raises(ConfigError, match="multiple of 24"):
        starting_model("1x25", task, 0)


def test_what_is_measured_on_is_part_of_what_was_held_out(task) -> None:
    assert len(task.test) == 5
    assert task.about["test"] == f"{task.test.learned:,} held-out tokens"
    assert task.vocabulary == len(task.tokenizer)


def test_weights_that_compute(task) -> None:
    model = starting_model("1x24", task, 0).model
    with torch.no_grad():
        expected = sum(part.numel() for name, part in model.named_parameters() if "embed_tokens" not in name)
    assert weights_of(model) == expected


def test_where_a_curve_meets_a_loss() -> None:
    curve = curve_of([{"step": 10, "held_out": 3.0}, {"step": 15, "loss": 9.0}, {"step": 20, "held_out": 2.0}])
    assert curve == {10: 3.0, 20: 2.0}
    assert [steps_to(curve, loss) for loss in (4.0, 2.5, 2.0)] == [10.0, 15.0, 20.0]
    assert math.isnan(steps_to(curve, 1.9))
    assert mean_curves({"a": [curve, {10: 5.0, 20: 4.0}]})["arms"] == [{"name": "a", "steps": [10, 20], "loss": [4.0, 3.0]}]
