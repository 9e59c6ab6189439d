"""A head on features: its start, its schedule, and the step that plain gradient descent would take."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError, TrainingError
from steelyard.targets import Targets
from steelyard.training import HeadStudent, SoftCrossEntropy, StudentTrainer
from steelyard.training.fine_tuning import start_at_zero, without_dropout
from tests.training.tiny_models import bert, gpt2_without_padding, toy_task


def rows(n: int = 64) -> tuple[np.ndarray, Targets]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 4)).astype(np.float32), Targets(rng.dirichlet(np.ones(3), n), classes=list("abc"))


class Seen(SoftCrossEntropy):
    """Keeps what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.logits: list[torch.Tensor] = []
        self.progress: list[float] = []
        self.targets: list[torch.Tensor] = []

    def forward(self, logits, targets, weights=None, **batch):
        self.logits.append(logits.detach().clone())
        self.targets.append(targets.clone())
        self.progress.append(batch["progress"])
        return super().forward(logits, targets, weights)


def test_every_epoch_visits_every_row_once_in_another_order():
    x, targets = rows(50)
    seen = Seen()
    HeadStudent(objective=seen, epochs=2, batch_size=16).fit(x, targets)
    assert [len(part) for part in seen.targets] == [16, 16, 16, 2] * 2
    first, second = (torch.cat(seen.targets[part]) for part in (slice(0, 4), slice(4, 8)))
    assert not torch.equal(first, second)
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(epoch.numpy(), axis=0), np.sort(targets.probabilities, axis=0))
    assert seen.progress == [step / 8 for step in range(8)]


def test_a_zero_head_starts_undecided_and_has_no_bias():
    x, targets = rows()
    for hidden in (None, 8):
        seen = Seen()
        student = HeadStudent(objective=seen, hidden=hidden, zero_head=True, epochs=1).fit(x, targets)
        assert (seen.logits[0] == 0).all()
        assert student.head_.layers[-1].bias is None
        assert student.head_.layers[-1].weight.abs().max() > 0


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [0.5, 1, 1, 1]), ("linear", [0.5, 1, 2 / 3, 1 / 3]), ("cosine", [0.5, 1, 0.75, 0.25])],
)
def test_the_rate_rises_and_falls(schedule: str, expected: list[float]):
    student = HeadStudent(learning_rate=1.0, warmup=0.25 + 1e-9, schedule=schedule)
    rates = [student._rate(step, 4) for step in range(4)]
    assert rates[1:] == pytest.approx(expected[1:], abs=1e-6)
    assert rates[0] == pytest.approx(0.5)


def test_the_first_step_of_adam_moves_each_weight_by_the_learning_rate_against_its_gradient():
    x, targets = rows(32)
    student = HeadStudent(zero_head=True, epochs=1, batch_size=32, learning_rate=1e-3, schedule="constant").fit(x, targets)
    gradient = (1 / 3 - targets.probabilities).T @ x  # by the weights of a linear head at zero
    moved = student.head_.layers[-1].weight.detach().numpy()
    np.testing.assert_allclose(moved, -1e-3 * np.sign(gradient), rtol=1e-3)


def test_the_global_generator_is_left_alone():
    x, targets = rows()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    HeadStudent(epochs=1).fit(x, targets)
    assert torch.equal(torch.get_rng_state(), before)


def test_divergence_and_bad_options_are_named():
    x, targets = rows()
    with pytest.raises(TrainingError, match="training diverged"):
        HeadStudent(hidden=8, learning_rate=1e30, epochs=5, schedule="constant").fit(x, targets)
    for options in ({"epochs": 0}, {"batch_size": 0}, {"patience": 0}, {"warmup": 1.0}, {"schedule": "step"}):
        with pytest.raises(ConfigError):
            HeadStudent(**options).fit(x, targets)


@pytest.mark.parametrize("make", [bert, gpt2_without_padding])
def test_a_fine_tuned_classifier_can_start_at_zero_without_bias_and_dropout(make, tmp_path):
    texts, _, targets = toy_task(40)
    seen = Seen()
    student = StudentTrainer(make(), seen, epochs=1, zero_head=True, dropout=False, learning_rate=1e-3, progress=False).fit(texts, targets)
    assert (seen.logits[0] == 0).all()
    head = getattr(student.model_, "score", None) or student.model_.classifier
    assert head.weight.abs().max() > 0
    assert head.bias is None or (head.bias == 0).all()
    student.save(tmp_path / "s")
    assert StudentTrainer.load(tmp_path / "s").predict_proba(texts).tobytes() == student.predict_proba(texts).tobytes()


def test_without_dropout_training_and_prediction_see_the_same_model():
    model, _ = bert()
    without_dropout(model)
    ids = torch.randint(4, 20, (3, 6))
    assert torch.equal(model.train()(ids).logits, model.eval()(ids).logits)


def test_a_model_without_a_known_head_says_so():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model.config = bert()[0].config
    with pytest.raises(TrainingError, match="no output layer called one of"):
        start_at_zero(model)
