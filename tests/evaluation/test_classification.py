"""Metrics agree with scikit-learn, and extend to soft truth, unknown truth and abstaining predictors as documented."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from steelyard.errors import DataError
from steelyard.evaluation import accuracy, balanced_accuracy, brier, confusion_matrix, f1_binary, f1_macro, f1_weighted, log_loss, matthews


@pytest.fixture(params=[(2, 50), (3, 200), (7, 1000), (5, 6)], ids=str)
def labelled(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    k, n = request.param
    rng = np.random.default_rng(k)
    y = rng.integers(0, k, n)
    probabilities = rng.dirichlet(np.ones(k), n)
    probabilities[np.arange(n), y] += 0.5
    return y, probabilities / probabilities.sum(1, keepdims=True), np.arange(k)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_count_metrics_agree_with_scikit_learn(labelled: tuple[np.ndarray, np.ndarray, np.ndarray]):
    y, p, _ = labelled
    hard = p.argmax(1)
    assert accuracy(y, p) == pytest.approx(metrics.accuracy_score(y, hard))
    assert balanced_accuracy(y, p) == pytest.approx(metrics.balanced_accuracy_score(y, hard))
    assert f1_macro(y, p) == pytest.approx(metrics.f1_score(y, hard, average="macro"))
    assert f1_weighted(y, p) == pytest.approx(metrics.f1_score(y, hard, average="weighted"))
    assert matthews(y, p) == pytest.approx(metrics.matthews_corrcoef(y, hard))


def test_probability_metrics_agree_with_scikit_learn(labelled: tuple[np.ndarray, np.ndarray, np.ndarray]):
    y, p, classes = labelled
    assert log_loss(y, p) == pytest.approx(metrics.log_loss(y, p, labels=classes))
    assert brier(y, p) == pytest.approx(((p - np.eye(len(classes))[y]) ** 2).sum(1).mean())
    assert confusion_matrix(y, p).tolist() == metrics.confusion_matrix(y, p.argmax(1), labels=classes).tolist()


def test_f1_binary_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 100), rng.integers(0, 2, 100)
    assert f1_binary(y, p) == pytest.approx(metrics.f1_score(y, p))
    with pytest.raises(DataError, match="two classes"):
        f1_binary([0, 1, 2], [0, 1, 2])


def test_unknown_truth_is_left_out():
    y = np.array([0, 1, -1, 1])
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0], [0.6, 0.4]])
    for metric in (accuracy, f1_macro, matthews, log_loss, brier):
        assert metric(y, p) == metric(y[y >= 0], p[y >= 0])


def test_hard_truth_is_the_corner_of_soft_truth():
    rng = np.random.default_rng(3)
    y, p = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), 60)
    for metric in (accuracy, balanced_accuracy, f1_macro, matthews, log_loss, brier):
        assert metric(np.eye(3)[y], p) == pytest.approx(metric(y, p))


def test_soft_accuracy_is_the_expected_accuracy():
    assert accuracy([[0.7, 0.3], [0.4, 0.6]], [0, 0]) == pytest.approx(0.55)


def test_an_abstained_prediction_is_wrong_but_predicts_no_class():
    assert accuracy([0, 1], [0, -1]) == 0.5
    assert confusion_matrix([0, 1], [0, -1]).tolist() == [[1, 0], [0, 0]]


def test_log_loss_of_a_certain_mistake_stays_finite():
    assert 10 < log_loss([0], [[0.0, 1.0]]) < 20


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 1], [0], "do not match"),
        ([-1, -1], [0, 1], "none of the 2 rows"),
        ([0, 1], [0.2, 0.7], "fractions"),
        ([[0.5, 0.5]], [[0.2, 0.3, 0.5]], "must match"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "out of range"),
        (["a", "b"], ["a", "b"], "truth holds <U1, not numbers; pass class indices"),
        ([-1, 1], [[np.nan, 0.5], [np.nan, 0.5]], "prediction is NaN in row 1"),
        ([0, 1], [0.0, np.nan], "prediction is NaN in row 1"),
    ],
)
def test_mistakes_are_named(y: list[int], p: list[float], message: str):
    with pytest.raises(DataError, match=message):
        accuracy(y, p)
