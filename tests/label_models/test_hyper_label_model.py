from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from steelyard import Votes, VoteStatistics, datasets
from steelyard.errors import LabelModelError
from steelyard.label_models import DawidSkene, HyperLabelModel, MajorityVote
from steelyard.label_models.hyper_network import DEPTH, N_WEIGHTS, SHAPES, SLOPE, Cells, column_pools, gradient, logits, unpack
from tests.label_models.check_estimator import simulate


def random_network(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(-1, 1, a * b) * (a - 1) ** -0.5 for a, b in SHAPES])


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, SLOPE * x)


def logits_cell_by_cell(weights: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The network as it is written down: each cell with the means over its row, its column and all cells."""
    cells = [(i, j) for i, j in zip(*np.nonzero(matrix), strict=True)]
    hidden = {(i, j): np.array([float(matrix[i, j])]) for i, j in cells}
    for layer in unpack(weights)[:DEPTH]:
        hidden = {
            (i, j): leaky(
                np.concatenate(
                    [
                        hidden[i, j],
                        np.mean([hidden[c] for c in cells if c[0] == i], axis=0),
                        np.mean([hidden[c] for c in cells if c[1] == j], axis=0),
                        np.mean([hidden[c] for c in cells], axis=0),
                        [1.0],
                    ]
                )
                @ layer
            )
            for i, j in cells
        }
    answers = []
    for i in range(len(matrix)):
        row = np.mean([hidden[c] for c in cells if c[0] == i], axis=0)
        *inner, last = unpack(weights)[DEPTH:]
        for layer in inner:
            row = leaky(np.append(row, 1.0) @ layer)
        answers.append((np.append(row, 1.0) @ last)[0])
    return np.array(answers)


def cells_of(matrix: np.ndarray, weights: np.ndarray | None = None) -> tuple[Cells, np.ndarray]:
    rows, columns = np.nonzero(matrix)
    counts = np.ones(len(matrix)) if weights is None else weights
    return Cells(rows, columns, counts, matrix.shape[1]), matrix[rows, columns].astype(float)


def some_matrix(seed: int, n: int = 12, m: int = 5) -> np.ndarray:
    matrix = np.random.default_rng(seed).integers(-1, 2, (n, m))
    matrix[~matrix.any(axis=1), 0] = 1
    return matrix


@pytest.mark.parametrize("seed", range(3))
def test_the_network_is_what_its_formula_says(seed: int) -> None:
    weights, matrix = random_network(seed), some_matrix(seed)
    cells, votes = cells_of(matrix)
    found = logits(weights, cells, votes, column_pools(weights, lambda: [(cells, votes)]))
    np.testing.assert_allclose(found, logits_cell_by_cell(weights, matrix), atol=1e-12)


def test_equal_rows_may_be_counted_instead_of_repeated() -> None:
    weights, matrix = random_network(0), some_matrix(0)
    counts = np.random.default_rng(1).integers(1, 9, len(matrix))
    once, votes = cells_of(matrix, counts.astype(float))
    often, repeated = cells_of(np.repeat(matrix, counts, axis=0))
    pools, same = column_pools(weights, lambda: [(once, votes)]), column_pools(weights, lambda: [(often, repeated)])
    np.testing.assert_allclose(pools, same, atol=1e-12)
    np.testing.assert_allclose(np.repeat(logits(weights, once, votes, pools), counts), logits(weights, often, repeated, same), atol=1e-12)


def test_blocks_of_rows_give_the_means_of_the_whole() -> None:
    weights, matrix = random_network(0), some_matrix(0)
    halves = [cells_of(matrix[:5]), cells_of(matrix[5:])]
    np.testing.assert_allclose(column_pools(weights, lambda: halves), column_pools(weights, lambda: [cells_of(matrix)]), atol=1e-12)


def test_gradient_agrees_with_finite_differences() -> None:
    weights, matrix = random_network(0), some_matrix(0)
    rng = np.random.default_rng(2)
    cells, votes = cells_of(matrix, rng.integers(1, 5, len(matrix)).astype(float))
    slopes = rng.normal(size=len(matrix))

    def loss(at: np.ndarray) -> float:
        return float(slopes @ logits(at, cells, votes, column_pools(at, lambda: [(cells, votes)])))

    trace: list[np.ndarray] = []
    pools = column_pools(weights, lambda: [(cells, votes)])
    logits(weights, cells, votes, pools, trace)
    found = gradient(weights, cells, trace, pools, slopes)
    for i in rng.choice(N_WEIGHTS, 200, replace=False):
        step = np.zeros(N_WEIGHTS)
        step[i] = 1e-6
        assert found[i] == pytest.approx((loss(weights + step) - loss(weights - step)) / 2e-6, abs=1e-6)


def test_shipped_weights_say_how_they_were_made() -> None:
    from safetensors import safe_open

    from steelyard.label_models import hyper_label_model

    path = Path(hyper_label_model.__file__).with_suffix(".safetensors")
    assert path.stat().st_size < 200_000
    with safe_open(path, framework="numpy") as file:
        facts = {key: json.loads(value) for key, value in file.metadata().items()}
        assert file.get_tensor("network").shape == (N_WEIGHTS,)
    assert {"seed", "steps", "command", "validation_accuracy", "majority_vote_validation_accuracy"} <= set(facts)
    assert 0.5 < facts["validation_accuracy"] < 1


def test_posteriors_of_patterns_are_those_of_rows() -> None:
    votes, _ = simulate(300, 4, 3, seed=0)
    doubled = Votes(np.vstack([votes.codes, votes.codes[::-1]]), classes=votes.classes)
    one, other = HyperLabelModel().fit(votes), HyperLabelModel().fit(VoteStatistics.from_votes(doubled))
    np.testing.assert_allclose(one.pools_, other.pools_, atol=1e-12)
    # The smoothing of the confusions, one row's worth, weighs less among twice the rows.
    np.testing.assert_allclose(one.predict_proba(votes), other.predict_proba(votes), atol=0.01)
    np.testing.assert_array_equal(one.predict(votes), other.predict(votes))


def test_classes_may_be_permuted() -> None:
    votes, _ = simulate(500, 5, 3, seed=1)
    order = np.array([2, 0, 1, -1])
    renamed = Votes(order[votes.codes], classes=votes.classes)
    np.testing.assert_allclose(
        HyperLabelModel().fit(votes).predict_proba(votes), HyperLabelModel().fit(renamed).predict_proba(renamed)[:, order[:3]], atol=1e-5
    )


def test_flipping_two_classes_flips_the_answer() -> None:
    votes, _ = simulate(200, 4, 2, seed=2)
    flipped = Votes(np.where(votes.codes < 0, -1, 1 - votes.codes), classes=votes.classes)
    np.testing.assert_allclose(
        HyperLabelModel().fit(votes).predict_proba(votes)[:, ::-1], HyperLabelModel().fit(flipped).predict_proba(flipped), atol=1e-6
    )


def test_a_row_that_was_not_there_gets_the_answer_of_its_pattern() -> None:
    votes, _ = simulate(400, 4, 2, seed=3)
    model = HyperLabelModel().fit(votes)
    rows = votes.take([5, 5, 17])
    np.testing.assert_allclose(model.predict_proba(rows), model.predict_proba(votes)[[5, 5, 17]], atol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_independent_sources_are_read_as_well_as_by_counting_them(seed: int) -> None:
    votes, y = simulate(1000, 9, 2, seed=seed, accuracy=0.7, abstain=0.4)
    assert HyperLabelModel().fit(votes).score(votes, y) > MajorityVote().fit(votes).score(votes, y) - 0.02


def test_confusions_are_one_m_step() -> None:
    votes, y = simulate(3000, 5, 2, seed=5, accuracy=0.8)
    model = HyperLabelModel().fit(votes)
    decided = model.predict(votes)
    by_hand = np.stack([[((decided == k) & (votes.codes[:, 0] == said)).sum() for said in (0, 1, -1)] for k in range(2)])
    np.testing.assert_allclose(model.confusions_[0], by_hand / by_hand.sum(axis=1, keepdims=True), atol=0.01)
    assert np.abs(model.accuracies_ - 0.8).max() < 0.06
    assert abs(model.predict_proba(votes).max(axis=1).mean() - model.score(votes, y)) < 0.05


class TestGold:
    def test_fine_tuning_takes_the_root_of_the_labels_in_steps(self) -> None:
        votes, y = simulate(400, 5, 2, seed=6)
        plain = HyperLabelModel().fit(votes).network_
        for n_gold in (1, 30):
            known = np.where(np.arange(400) < n_gold, y, -1)
            tuned = HyperLabelModel().fit(votes, known).network_
            moved = np.abs(tuned - plain).max()
            # A step of Adam moves a weight by at most about the learning rate.
            assert 0.5e-4 < moved < 1.01e-4 * int(np.sqrt(n_gold)) + 1e-5

    def test_more_steps_fit_the_labels_better(self) -> None:
        votes, y = simulate(600, 5, 3, seed=7, accuracy=0.5)
        known = np.where(np.arange(600) < 400, y, -1)

        def loss(model: HyperLabelModel) -> float:
            model.sharpness_ = 1.0
            return float(-np.log(model.predict_proba(votes)[np.arange(400), y[:400]]).mean())

        losses = [loss(HyperLabelModel(learning_rate=rate).fit(votes, known)) for rate in (0.0, 1e-4, 5e-4)]
        assert losses[0] > losses[1] > losses[2]

    def test_gold_of_uncovered_rows_changes_nothing_in_the_network(self) -> None:
        votes = Votes([[0, 1], [1, 1], [-1, -1]], classes=["a", "b"])
        plain, tuned = HyperLabelModel().fit(votes), HyperLabelModel().fit(votes, np.array([-1, -1, 1]))
        np.testing.assert_array_equal(plain.network_, tuned.network_)

    def test_negative_learning_rate(self) -> None:
        with pytest.raises(LabelModelError, match="learning_rate"):
            HyperLabelModel(learning_rate=-1).fit(Votes([[0, 1]], classes=["a", "b"]))


def test_real_crowd_votes(data_root: Path) -> None:
    """39 workers on 108 images of birds: vote .76, Dawid-Skene .90; the network saw neither birds nor crowds and beats the vote."""
    data = datasets.load("bluebirds")
    votes, y = data.votes["all"], data.labels("all")
    accuracy = {type(model).__name__: model.fit(votes).score(votes, y) for model in (HyperLabelModel(), MajorityVote(), DawidSkene())}
    assert accuracy["HyperLabelModel"] >= accuracy["MajorityVote"]
