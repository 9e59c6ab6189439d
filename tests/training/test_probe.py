from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from steelyard.encoders import offline_encoder
from steelyard.errors import TrainingError
from steelyard.targets import Targets
from steelyard.training import HeadStudent, Objective, ProbeStudent, StudentTrainer, load_student


def test_a_probe_outgrows_the_noisy_labels_of_real_texts(data_root):
    table = pl.read_parquet(data_root / "agnews" / "data.parquet").filter(pl.col("text").str.len_chars() < 150)
    train, test = (table.filter(pl.col("split") == split).sample(n, seed=0) for split, n in (("train", 300), ("test", 150)))
    y = train["label"].to_numpy()
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(len(y)) < 0.5, (y + rng.integers(1, 4, len(y))) % 4, y)  # wrong in half of the rows
    labels = Targets.from_labels(noisy, ["World", "Sports", "Business", "Sci/Tech"])

    encoder = offline_encoder()
    student = ProbeStudent(encoder, C=1.0).fit(train, labels)
    assert (student.predict(train) == y).mean() > (noisy == y).mean() + 0.1
    assert (student.predict(test) == test["label"].to_numpy()).mean() > (noisy == y).mean() + 0.05

    embedded = encoder.encoded_
    for C in (0.1, 10.0, 100.0):  # a sweep embeds nothing again
        ProbeStudent(encoder, C=C).fit(train, labels)
    assert encoder.encoded_ == embedded


def test_tune_probe_is_the_probe_and_its_folder_loads(tmp_path):
    texts = ["great fun", "truly great", "dull stuff", "so dull"]
    targets = Targets([[0.1, 0.9], [0.2, 0.8], [0.8, 0.2], [0.9, 0.1]], classes=["bad", "good"])
    student = StudentTrainer("minilm-offline", tune="probe", output_dir=tmp_path / "run").fit(texts, targets)
    direct = ProbeStudent(offline_encoder()).fit(texts, targets)
    np.testing.assert_allclose(student.predict_proba(texts), direct.predict_proba(texts), atol=1e-6)
    loaded = load_student(tmp_path / "run")
    assert loaded.predict_proba(texts).tobytes() == student.predict_proba(texts).tobytes()


class Hinge(Objective):
    """A loss that is not the cross-entropy."""

    def forward(self, logits, targets, weights=None, **batch):
        margin = 1 - (2 * targets - 1) * logits
        loss = margin.clamp(min=0).sum(-1).mean()
        self.record(hinge=loss, progress=torch.tensor(batch["progress"]))
        return loss


def test_a_head_learns_by_another_objective_which_sees_the_progress(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    y = (x[:, 0] - x[:, 1] > 0).astype(int)
    targets = Targets.from_labels(y[:300], classes=["no", "yes"])
    student = HeadStudent(objective=Hinge(), epochs=10, learning_rate=5e-2, seed=1).fit(x[:300], targets)
    assert (student.predict(x[300:]) == y[300:]).mean() > 0.9
    logged = [line["progress"] for line in student.history_ if "hinge" in line]
    assert logged == sorted(logged)
    assert 0 < logged[0] < logged[-1] < 1
    again = HeadStudent(objective=Hinge(), epochs=10, learning_rate=5e-2, seed=1).fit(x[:300], targets)
    assert again.predict_proba(x).tobytes() == student.predict_proba(x).tobytes()
    student.save(tmp_path / "head")
    assert load_student(tmp_path / "head").predict_proba(x).tobytes() == student.predict_proba(x).tobytes()


def test_a_linear_head_approaches_the_exact_probe():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    p = 1 / (1 + np.exp(-x[:, 0]))
    targets = Targets(np.column_stack([1 - p, p]), classes=["no", "yes"])
    exact = ProbeStudent(C=1e6).fit(x, targets).predict_proba(x)
    head = HeadStudent(epochs=40, learning_rate=1e-2, seed=0).fit(x, targets).predict_proba(x)
    np.testing.assert_allclose(head, exact, atol=0.02)


def test_probes_refuse_what_they_cannot_use():
    targets = Targets(np.eye(2), classes=["a", "b"])
    with pytest.raises(TrainingError, match="the probe has no encoder"):
        ProbeStudent().fit(["x", "y"], targets)
    with pytest.raises(TrainingError, match="row 1 of the features is not finite"):
        ProbeStudent().fit(np.array([[1.0], [np.inf]]), targets)
    with pytest.raises(TrainingError, match="rows have 2 features, it was trained on 1"):
        ProbeStudent().fit(np.array([[1.0], [2.0]]), targets).predict(np.ones((1, 2)))
