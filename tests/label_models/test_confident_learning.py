from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import LabelModelError, VotesError
from steelyard.label_models.confident_learning import label_issues
from steelyard.targets import Targets

METHODS = ["noise_rate", "class", "both", "confident_joint"]


def simulate(n: int, k: int, seed: int, *, noise: float = 0.1, sharp: float = 4.0):
    """True labels, given labels of which a share `noise` moved to the next class, and a classifier that sees the truth through noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    given = np.where(rng.random(n) < noise, (y + 1) % k, y)
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), y] += sharp
    return y, given, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def joint_by_hand(given: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The paper's confident joint, counted row by row, then calibrated."""
    k = p.shape[1]
    thresholds = [p[given == j, j].mean() if (given == j).any() else np.inf for j in range(k)]
    counts = np.zeros((k, k))
    for label, row in zip(given, p, strict=True):
        passing = [j for j in range(k) if row[j] >= thresholds[j] - 1e-6]
        if passing:
            counts[label, max(passing, key=lambda j: row[j])] += 1
    counts[np.arange(k), np.arange(k)] = np.maximum(counts.diagonal(), 1)
    return counts / counts.sum(axis=1, keepdims=True) * np.bincount(given, minlength=k)[:, None]


@pytest.mark.parametrize("k", [2, 5])
def test_the_joint_counted_row_by_row_is_the_same(k: int) -> None:
    _, given, p = simulate(400, k, seed=k, sharp=2.0)
    found = label_issues(given, p)
    np.testing.assert_allclose(found.joint, joint_by_hand(given, p))
    np.testing.assert_allclose(found.joint.sum(axis=1), np.bincount(given))


def test_the_planted_joint_is_recovered_as_n_grows() -> None:
    errors = []
    for n in (300, 100_000):
        y, given, p = simulate(n, 4, seed=1, sharp=7.0)
        planted = np.bincount(given * 4 + y, minlength=16).reshape(4, 4) / n
        errors.append(np.abs(label_issues(given, p).joint / n - planted).max())
        rates = np.diag(np.full(4, 0.9)) + np.diag(np.full(3, 0.1), -1) + np.diag([0.1], 3)
        errors[-1] = max(errors[-1], np.abs(label_issues(given, p).joint / n - rates / 4).max())
    assert errors[1] < 0.005
    assert errors[1] < errors[0] / 3


@pytest.mark.parametrize("method", METHODS)
def test_flipped_labels_are_found(method: str) -> None:
    y, given, p = simulate(5_000, 6, seed=2)
    found = label_issues(given, p, method=method)  # type: ignore[arg-type]
    wrong = given != y
    assert wrong[found.rows].mean() > 0.85
    assert wrong[found.rows].sum() / wrong.sum() > 0.7
    np.testing.assert_array_equal(found.suggested, p.argmax(axis=1))


@pytest.mark.parametrize("method", METHODS)
def test_issues_are_ranked_by_quality_and_never_agree_with_the_prediction(method: str) -> None:
    _, given, p = simulate(1_000, 3, seed=3, sharp=1.5)
    for rank_by in ("self_confidence", "normalized_margin"):
        found = label_issues(given, p, method=method, rank_by=rank_by)  # type: ignore[arg-type]
        assert len(found.rows)
        assert (np.diff(found.quality[found.rows]) >= 0).all()
        assert (found.suggested[found.rows] != given[found.rows]).all()


def test_both_is_the_intersection() -> None:
    _, given, p = simulate(2_000, 5, seed=4, sharp=2.0)
    taken = {method: set(label_issues(given, p, method=method).rows.tolist()) for method in METHODS}  # type: ignore[arg-type]
    assert taken["both"] == taken["noise_rate"] & taken["class"]


def test_quality_in_closed_form() -> None:
    p = [[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.2, 0.7, 0.1]]
    np.testing.assert_allclose(label_issues([0, 1, 2], p).quality, [0.7, 0.3, 0.1])
    np.testing.assert_allclose(label_issues([0, 1, 2], p, rank_by="normalized_margin").quality, [0.75, 0.45, 0.2])


def test_a_perfect_classifier_finds_exactly_the_wrong_labels() -> None:
    y, given, _ = simulate(500, 3, seed=5)
    for method in METHODS:
        found = label_issues(given, np.eye(3)[y], method=method)  # type: ignore[arg-type]
        assert sorted(found.rows) == np.flatnonzero(given != y).tolist()


def test_clean_labels_have_no_issues() -> None:
    y, _, p = simulate(500, 3, seed=6, sharp=12.0)
    assert len(label_issues(y, p).rows) == 0


def test_a_class_that_labels_no_row_is_never_suggested_by_the_joint() -> None:
    y, _, p = simulate(300, 3, seed=7)
    found = label_issues(np.minimum(y, 1), p)
    assert found.thresholds[2] == 2
    assert (found.joint[:, 2] == 0).all()


def test_renaming_the_classes_changes_nothing_else() -> None:
    _, given, p = simulate(800, 4, seed=8, sharp=2.0)
    names = np.array([2, 0, 3, 1])
    one, other = label_issues(given, p), label_issues(names[given], p[:, np.argsort(names)])
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_allclose(one.joint, other.joint[np.ix_(names, names)])


def test_known_labels_decide_their_rows() -> None:
    y, given, p = simulate(1_000, 3, seed=9, sharp=0.5)
    gold = np.where(np.arange(1_000) < 200, y, -1)
    found = label_issues(given, p, y=gold)
    assert set(found.rows[found.rows < 200]) == set(np.flatnonzero((given != y)[:200]))
    np.testing.assert_array_equal(found.quality[:200], (given == y)[:200].astype(float))
    np.testing.assert_array_equal(found.suggested[:200], y[:200])


def test_targets_are_hardened_and_the_table_names_classes() -> None:
    _, given, p = simulate(200, 2, seed=10)
    classes = ("HAM", "SPAM")
    found = label_issues(Targets.from_labels(given, classes), p)
    np.testing.assert_array_equal(found.rows, label_issues(given, p).rows)
    table = found.table(classes)
    assert table.columns == ["row", "given", "suggested", "quality"]
    assert set(table["given"]) <= set(classes)
    assert table["row"].to_list() == found.rows.tolist()


def test_errors() -> None:
    _, given, p = simulate(20, 3, seed=11)
    with pytest.raises(LabelModelError, match="one probability per row"):
        label_issues(given, p[:10])
    with pytest.raises(LabelModelError, match="two classes or more"):
        label_issues(given, p[:, :1])
    with pytest.raises(LabelModelError, match="allowed are 0 to 2"):
        label_issues(np.where(np.arange(20) == 4, -1, given), p)
    with pytest.raises(LabelModelError, match="one integer per row"):
        label_issues(given.astype(float), p)
    with pytest.raises(LabelModelError, match="no labels"):
        label_issues(np.zeros(0, int), np.zeros((0, 3)))
    with pytest.raises(LabelModelError, match="method must be"):
        label_issues(given, p, method="guess")  # type: ignore[arg-type]
    with pytest.raises(LabelModelError, match="rank_by must be"):
        label_issues(given, p, rank_by="guess")  # type: ignore[arg-type]
    with pytest.raises(VotesError, match="one label per row"):
        label_issues(given, p, y=[0])
