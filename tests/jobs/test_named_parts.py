"""Names become parts, and unknown names become one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import ConfigError
from steelyard.jobs.named_parts import FirstDimensions, named_arm, named_student, named_supervisor
from steelyard.jobs.text_task import TextTask
from steelyard.training import HeadStudent, StudentTrainer
from steelyard.votes import Votes

TASK = TextTask(["a", "b"], np.array([0, 1]), ("x", "y"), np.zeros(2, dtype=bool))


def test_supervisors(tmp_path):
    assert named_supervisor("tfidf", TASK, words=7).steps[0][1].max_features == 7
    votes = Votes([[0], [1]], classes=["x", "y"])
    with_votes = TextTask(TASK.texts, TASK.y, TASK.classes, TASK.is_test, votes)
    assert named_supervisor("votes", with_votes) is votes
    with pytest.raises(ConfigError, match="no published votes"):
        named_supervisor("votes", TASK)
    (tmp_path / "rules.py").write_text("import steelyard as sy\na = sy.keywords('a', label='x')\n")
    assert [source.name for source in named_supervisor(str(tmp_path / "rules.py"), TASK)] == ["a"]
    assert named_supervisor("some/model", TASK).model == "some/model"


def test_students_follow_the_switch():
    probe = named_student("minilm", tune="probe", hidden=0, dimensions=16, early_stopping=0.1)
    assert isinstance(probe, HeadStudent)
    assert (probe.encoder.dimensions, probe.hidden, probe.zero_head, probe.batch_size) == (16, None, True, 100)
    for tune in ("full", "lora"):
        student = named_student("minilm", tune=tune, epochs=1)
        assert isinstance(student, StudentTrainer)
        assert (student.tune, student.zero_head, student.dropout, student.epochs) == (tune, True, False, 1)
    with pytest.raises(ConfigError, match="tune must be one of full, lora, probe"):
        named_student("minilm", tune="half")


def test_losses():
    assert named_arm("soft").objective is None
    assert named_arm("hard").hard
    assert named_arm("confidence").objective.alpha == 0.5
    assert type(named_arm("product").objective).__name__ == "ProductLoss"
    official = named_arm("confidence:0.75:official").objective
    assert (official.alpha, official.ramp, official.warmup) == (0.75, "official", 0.1)
    for loss, message in (
        ("xent", "loss 'xent' is unknown"),
        ("confidence:x", "write confidence:0.75"),
        ("confidence:0.5:fast", "named official"),
        ("confidence:2", "must be in"),
    ):
        with pytest.raises(ConfigError, match=message):
            named_arm(loss)


class Letters:
    identity = "letters"

    def encode(self, texts):
        return np.array([[text.count(letter) for letter in "abc"] for text in texts], dtype=np.float32)


def test_first_dimensions_are_those_and_have_their_own_name():
    part = FirstDimensions(Letters(), 2)
    np.testing.assert_allclose(part.encode(["aaaabbb", "aa", "c"]), [[0.8, 0.6], [1, 0], [0, 0]], rtol=1e-6)
    assert part.identity != FirstDimensions(Letters(), 1).identity
