"""Early stopping keeps the weights of the best check, in the lean loop and in the Trainer, and goes on from a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from steelyard.errors import ConfigError
from steelyard.targets import Targets
from steelyard.training import HeadStudent, SoftCrossEntropy, StudentTrainer
from steelyard.training.early_stopping import EarlyStopping, agreement, hold_out, some_rows
from steelyard.training.rows import training_rows
from tests.training.tiny_models import bert, toy_task


def test_the_best_weights_come_back():
    model, scores = nn.Linear(1, 1, bias=False), iter([0.1, 0.9, 0.5])
    stopping = EarlyStopping(lambda _: next(scores), steps_per_epoch=1, patience=5)
    for step in (1, 2, 3):
        nn.init.constant_(model.weight, step)
        assert not stopping.after_step(step, model)
    stopping.restore(model)
    assert (model.weight.item(), stopping.best_step, stopping.best_score) == (2.0, 2, 0.9)


def test_four_checks_an_epoch_and_patience_in_epochs():
    judged: list[int] = []
    stopping = EarlyStopping(lambda _: -float(len(judged)), steps_per_epoch=40, patience=2)
    model = nn.Linear(1, 1)
    for step in range(1, 200):
        before = len(judged)
        judged += [step] if step % 10 == 0 else []
        if stopping.after_step(step, model):
            break
        assert (len(judged) > before) == (step % 10 == 0)
    assert step == stopping.best_step + 80 == 90


def test_what_was_best_survives_in_a_checkpoint(tmp_path):
    model = nn.Linear(2, 2)
    stopping = EarlyStopping(lambda _: 0.5, steps_per_epoch=4, patience=1)
    stopping.after_step(1, model)
    stopping.save(tmp_path)
    other = EarlyStopping(lambda _: 0.0, steps_per_epoch=4, patience=1)
    other.load(tmp_path)
    kept = model.weight.detach().clone()
    nn.init.zeros_(model.weight)
    other.restore(model)
    assert torch.equal(model.weight, kept)
    assert (other.best_step, other.best_score) == (1, 0.5)


def test_rows_to_judge_by_are_not_learned_from():
    learned, judged = hold_out(50, 0.3, seed=1)
    assert sorted([*learned, *judged]) == list(range(50))
    assert len(judged) == 15
    used = training_rows(50, Targets.from_labels(np.arange(50) % 2, classes=["a", "b"]), student="test")
    assert agreement(np.zeros(15, dtype=np.int64), some_rows(used, judged)) == pytest.approx((judged % 2 == 0).mean())
    for share in (0.0, 1.0, 0.001):
        with pytest.raises(ConfigError, match="early_stopping is"):
            hold_out(50, share, seed=0)


def noisy_blobs(n: int = 900, seed: int = 0) -> tuple[np.ndarray, np.ndarray, Targets]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = np.concatenate([1.5 * np.eye(2)[y], np.zeros((n, 30))], axis=1) + rng.normal(size=(n, 32))
    named = np.where(rng.random(n) < 0.3, 1 - y, y)
    return x.astype(np.float32), y, Targets.from_labels(named, classes=["a", "b"])


def test_a_head_that_would_learn_the_errors_by_heart_is_stopped_before():
    x, y, targets = noisy_blobs()
    options = {"hidden": 64, "epochs": 30, "learning_rate": 5e-3, "seed": 0}
    rows = np.arange(500)
    late = HeadStudent(**options).fit(x, targets.take(rows))
    early = HeadStudent(early_stopping=0.2, **options).fit(x, targets.take(rows))
    steps = late.history_[-1]["step"]
    assert early.stopped_ < early.history_[-1]["step"] < steps
    assert (early.predict(x[500:]) == y[500:]).mean() > (late.predict(x[500:]) == y[500:]).mean() + 0.05


def test_a_fine_tuned_student_stops_too_and_takes_the_best_weights():
    texts, y, targets = toy_task(600, accuracy=0.85)
    student = StudentTrainer(bert(), epochs=20, learning_rate=3e-3, early_stopping=0.25, patience=4, progress=False).fit(texts, targets)
    assert 0 < student.stopped_ < 20 * 15
    assert student.history_[-1]["step"] < 20 * 15
    assert (student.predict(texts) == y).mean() > 0.85


class Interrupted(SoftCrossEntropy):
    """Breaks off after so many steps, as a kill would, but inside this process."""

    left = 10**9

    def forward(self, *arguments, **batch):
        Interrupted.left -= 1
        if Interrupted.left < 0:
            raise KeyboardInterrupt
        return super().forward(*arguments, **batch)


def test_an_interrupted_run_remembers_its_best_check(tmp_path):
    texts, _, targets = toy_task(200, accuracy=0.85)

    def run(folder):
        options = {"epochs": 6, "learning_rate": 3e-3, "batch_size": 10, "checkpoint_steps": 20, "patience": 5, "progress": False}
        return StudentTrainer(bert(), Interrupted(), early_stopping=0.2, output_dir=folder, **options).fit(texts, targets)

    Interrupted.left = 75
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run")
    Interrupted.left = 10**9
    resumed, undisturbed = run(tmp_path / "run"), run(None)
    assert Interrupted.left == 10**9 - (96 - 60) - 96
    assert resumed.stopped_ == undisturbed.stopped_ == StudentTrainer.load(tmp_path / "run").stopped_
    assert resumed.predict_proba(texts).tobytes() == undisturbed.predict_proba(texts).tobytes()
