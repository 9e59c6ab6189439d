"""The Fréchet rule: its two closed forms, unseen labels, calibration, the estimator's contract, its torch twin, and what a locus is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from steelyard.errors import ConfigError, DataError
from steelyard.inference import (
    FrechetMeanClassifier,
    frechet_mean,
    frechet_one_hot,
    frechet_scores,
    is_locus_cover,
    locus,
    locus_cover,
    next_labels,
)
from steelyard.label_models.graph_metric import GraphMetric
from steelyard.label_models.metric_space import EuclideanMetric, MatrixMetric

RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.ones(6), 200)


def test_with_distances_0_and_1_it_is_argmax_and_on_a_scale_the_rounded_mean():
    np.testing.assert_array_equal(frechet_mean(P, MatrixMetric(1 - np.eye(6))), P.argmax(1))
    path = GraphMetric([(i, i + 1) for i in range(5)])
    for metric in (EuclideanMetric(6), path):
        np.testing.assert_array_equal(frechet_mean(P, metric), np.round(P @ np.arange(6)))


def test_rows_are_scaled_and_temperature_is_a_power():
    scale = EuclideanMetric(6)
    np.testing.assert_array_equal(frechet_mean(P * 7, scale), frechet_mean(P, scale))
    np.testing.assert_array_equal(frechet_mean(P, scale, temperature=0.5), frechet_mean(P**2, scale))
    np.testing.assert_array_equal(frechet_mean(P, scale, temperature=1e-3), P.argmax(1))
    np.testing.assert_array_equal(frechet_mean(P, scale, top=1), P.argmax(1))


def test_a_classifier_answers_labels_it_never_saw_and_is_nearer_to_the_truth():
    x = RNG.uniform(0, 9, 400)
    y = np.round(x).astype(int)
    features = np.column_stack([x + RNG.normal(size=400), RNG.normal(size=400)])
    rows = np.isin(y, [0, 5, 9])
    loki = FrechetMeanClassifier(LogisticRegression(), EuclideanMetric(10)).fit(features[rows], y[rows])
    plain = loki.estimator_.predict(features)
    answers = loki.predict(features)
    assert set(answers) - {0, 5, 9}
    assert ((answers - y) ** 2).mean() < 0.7 * ((plain - y) ** 2).mean()
    assert clone(loki).get_params()["metric"].labels == tuple(range(10))


def test_calibration_finds_the_temperature_that_was_applied():
    class Overconfident:
        classes_ = np.arange(6)

        def predict_proba(self, rows):
            return P[rows] ** 3 / (P[rows] ** 3).sum(1, keepdims=True)

    many = np.repeat(np.arange(200), 50)
    y = np.array([RNG.choice(6, p=P[row]) for row in many])
    loki = FrechetMeanClassifier(Overconfident(), EuclideanMetric(6), temperature="calibrate", prefit=True).fit(many, y)
    assert loki.temperature_ == pytest.approx(3.0, rel=0.1)


def test_only_leaves_may_be_answered():
    tree = GraphMetric([("root", "a"), ("root", "b"), ("root", "c")])
    model = FrechetMeanClassifier(LogisticRegression(), tree, candidates="leaves").fit(np.eye(3), ["a", "b", "c"])
    assert set(model.predict(np.zeros((4, 3)))) <= {"a", "b", "c"}


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: frechet_mean([[0.5, np.nan]], EuclideanMetric(2)), DataError, "row 0"),
        (lambda: frechet_mean([[1.0, 0], [0, 0]], EuclideanMetric(2)), DataError, "row 1"),
        (lambda: frechet_mean([[1.0, 0]], EuclideanMetric(3)), DataError, "3 observed labels"),
        (lambda: frechet_mean([[1.0, 0]], EuclideanMetric(3), [0, 7]), DataError, "label 7 is not in the label metric"),
        (lambda: frechet_mean([[1.0, 0]], EuclideanMetric(2), temperature=0), ConfigError, "temperature"),
        (lambda: frechet_mean([[1.0, 0]], EuclideanMetric(2), candidates=[]), ConfigError, "candidates is empty"),
        (
            lambda: FrechetMeanClassifier(LogisticRegression(), EuclideanMetric(2), temperature="calibrate").fit(np.eye(2), [0, 1]),
            ConfigError,
            "has not seen",
        ),
        (lambda: next_labels(EuclideanMetric(3), [0], n=0), ConfigError, "at least one"),
    ],
)
def test_bad_input_gets_one_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


def random_tree(n, seed):
    rng = np.random.default_rng(seed)
    return GraphMetric([(int(rng.integers(0, i)), i) for i in range(1, n)], labels=range(n))


@pytest.mark.parametrize("seed", range(4))
def test_the_locus_of_a_tree_is_what_weights_on_pairs_reach(seed):
    tree = random_tree(14, seed)
    observed = np.random.default_rng(seed).permutation(14)[:4]
    reached = set()
    for a, b in itertools.combinations(observed.tolist(), 2):
        w = np.linspace(0, 1, 401)
        energies = np.column_stack([w, 1 - w]) @ tree.distances([a, b]) ** 2
        reached |= set(np.nonzero(energies <= energies.min(1, keepdims=True) + 1e-9)[1].tolist())
    found = set(locus(tree, observed).tolist())
    assert reached <= found
    assert found == set(locus(MatrixMetric(tree.distances(np.arange(14))), observed).tolist())


def test_leaves_ends_and_corners_reach_everything_and_nothing_less_does():
    tree = random_tree(30, 5)
    leaves = locus_cover(tree)
    assert is_locus_cover(tree, leaves)
    assert not any(is_locus_cover(tree, np.setdiff1d(leaves, [leaf])) for leaf in leaves)
    grid = GraphMetric([((i, j), (i + a, j + 1 - a)) for i in range(4) for j in range(4) for a in (0, 1) if i + a < 4 and j + 1 - a < 4])
    assert is_locus_cover(grid, [(0, 0), (3, 3)])
    assert not is_locus_cover(MatrixMetric(1 - np.eye(5)), range(4))


def test_chosen_labels_reach_all_sooner_than_random_ones():
    ours, random = [], []
    for seed in range(5):
        tree = random_tree(60, seed)
        rng = np.random.default_rng(seed)
        start = int(rng.integers(60))
        n = len(next_labels(tree, [start], n=60))
        ours.append(n)
        assert is_locus_cover(tree, [start, *next_labels(tree, [start], n=60)])
        order = rng.permutation(np.setdiff1d(np.arange(60), [start]))
        random.append(next(k for k in range(1, 60) if is_locus_cover(tree, [start, *order[:k].tolist()])))
    assert np.mean(ours) < 0.7 * np.mean(random)


def test_torch_scores_are_minus_the_energies_and_their_gradients_pass():
    distances = torch.tensor(EuclideanMetric(6).distances(np.arange(6)))
    p = torch.tensor(P, requires_grad=True)
    scores = frechet_scores(p, distances)
    np.testing.assert_array_equal(scores.argmax(1).numpy(), np.round(P @ np.arange(6)))
    torch.nn.functional.cross_entropy(scores, torch.zeros(len(P), dtype=torch.long)).backward()
    assert p.grad is not None
    assert p.grad.abs().sum() > 0


def test_the_projected_gradient_is_the_centred_one_inside_and_keeps_to_the_simplex():
    scores = torch.tensor([[0.0, 3.0, 1.0]], requires_grad=True)
    answer = frechet_one_hot(scores, "projection", step=0.01, smoothing=0.0)
    (gradient,) = torch.autograd.grad(answer @ torch.tensor([-1.0, 1.0, 0.0]), scores, torch.ones(1))
    # From the corner (0, 1, 0) the step goes along the edge to the first label, half of the difference each.
    torch.testing.assert_close(gradient, torch.tensor([[-0.01, 0.01, 0.0]]))
    with pytest.raises(ConfigError, match="backward 'none'"):
        frechet_one_hot(scores, "none")  # type: ignore[arg-type]
