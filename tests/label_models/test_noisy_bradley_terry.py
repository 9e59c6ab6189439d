from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from steelyard.errors import LabelModelError
from steelyard.label_models.bradley_terry import BradleyTerry
from steelyard.label_models.comparisons import Comparisons
from steelyard.label_models.noisy_bradley_terry import NoisyBradleyTerry, _PenalisedLikelihood
from tests.label_models.test_comparisons import in_order, simulate_comparisons

CARE = np.linspace(0.15, 0.95, 8)
BIAS = np.array([0.9, 0.1, 0.5, 0.7, 0.3, 0.8, 0.2, 0.5])


def by_worker(model: NoisyBradleyTerry, values: np.ndarray) -> np.ndarray:
    return values[[model.workers_.index(f"w{k}") for k in range(len(values))]]


def test_planted_scores_reliabilities_and_biases_are_recovered_as_n_grows() -> None:
    errors = []
    for n in (4_000, 200_000):
        table, scores = simulate_comparisons(12, n, 8, seed=0, care=CARE, bias=BIAS)
        model = NoisyBradleyTerry().fit(table)
        careless = CARE < 0.8
        errors.append(
            [
                np.abs(in_order(model, 12) - scores).max(),
                np.abs(by_worker(model, model.reliabilities_) - CARE).max(),
                np.abs(by_worker(model, model.left_bias_) - BIAS)[careless].max(),
            ]
        )
    assert errors[1][0] < 0.12
    assert errors[1][1] < 0.06
    assert errors[1][2] < 0.06
    assert (np.array(errors[1]) < np.array(errors[0]) / 2).all()


def test_reversed_workers_are_used_when_they_may_flip() -> None:
    rng = np.random.default_rng(1)
    table, scores = simulate_comparisons(12, 30_000, 6, seed=1)
    says_true = np.array([0.95, 0.9, 0.85, 0.8, 0.75, 0.1])
    worker = np.array([int(name[1:]) for name in table["worker"]])
    flip = rng.random(len(worker)) > says_true[worker]
    loser = [r if w == l else l for l, r, w in zip(table["left"], table["right"], table["winner"], strict=True)]
    table["winner"] = [lost if f else won for f, lost, won in zip(flip, loser, table["winner"], strict=True)]
    model = NoisyBradleyTerry(noise="flips").fit(table)
    np.testing.assert_allclose(by_worker(model, model.reliabilities_), says_true, atol=0.05)
    np.testing.assert_allclose(in_order(model, 12), scores, atol=0.25)
    assert not hasattr(model, "left_bias_")


def test_it_ranks_better_than_plain_bradley_terry_when_most_workers_click() -> None:
    gains = []
    for seed in range(5):
        table, scores = simulate_comparisons(25, 6_000, 10, seed=seed, care=np.array([0.05] * 6 + [0.95] * 4), bias=0.9)
        plain, noisy = BradleyTerry().fit(table), NoisyBradleyTerry().fit(table)
        gains.append(np.corrcoef(in_order(noisy, 25), scores)[0, 1] - np.corrcoef(in_order(plain, 25), scores)[0, 1])
    assert np.mean(gains) > 0.02


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("prior", [0.0, 0.5])
def test_the_gradient_is_that_of_the_objective(flips: bool, prior: float) -> None:
    table, _ = simulate_comparisons(5, 200, 3, seed=2, care=0.7, bias=0.6)
    comparisons = Comparisons.from_table(table).with_known(
        Comparisons.from_table({"left": ["item 0"], "right": ["new"], "winner": ["new"]})
    )
    problem = _PenalisedLikelihood(comparisons, flips, prior, (2.0, 1.0), 10.0)
    x = np.random.default_rng(0).normal(size=problem.n_scores + 6)
    assert check_grad(lambda z: problem(z)[0], lambda z: problem(z)[1], x) < 1e-6


def test_the_likelihood_written_out_comparison_by_comparison() -> None:
    table, _ = simulate_comparisons(4, 30, 2, seed=3, care=0.7)
    problem = _PenalisedLikelihood(Comparisons.from_table(table), False, 0.0, (2.0, 1.0), 10.0)
    x = np.random.default_rng(1).normal(size=8)
    items, workers = Comparisons.from_table(table).items, Comparisons.from_table(table).workers
    total = 0.0

    def sigma(z: float) -> float:
        return 1 / (1 + np.exp(-z))

    for left, right, winner, worker in zip(*(table[key] for key in ("left", "right", "winner", "worker")), strict=True):
        k = workers.index(worker)
        eta, b = sigma(x[4 + k]), sigma(x[6 + k])
        left_wins = eta * sigma(x[items.index(left)] - x[items.index(right)]) + (1 - eta) * b
        total += np.log(left_wins if winner == left else 1 - left_wins)
    for k in range(2):
        eta, b = sigma(x[4 + k]), sigma(x[6 + k])
        total += 2 * np.log(eta) + np.log(1 - eta) + np.log(b) + np.log(1 - b)
    assert problem(x)[0] == pytest.approx(-total / 30)


def test_permuting_the_workers_permutes_their_reliabilities() -> None:
    table, _ = simulate_comparisons(8, 2_000, 5, seed=4, care=np.linspace(0.2, 0.9, 5))
    renamed = table | {"worker": [f"w{(int(name[1:]) + 2) % 5}" for name in table["worker"]]}
    one, other = NoisyBradleyTerry().fit(table), NoisyBradleyTerry().fit(renamed)
    reliabilities = by_worker(one, one.reliabilities_)
    np.testing.assert_allclose(reliabilities, np.roll(by_worker(other, other.reliabilities_), -2), atol=1e-3)


def test_known_comparisons_show_who_is_careful() -> None:
    """Two workers who contradict each other everywhere: only gold can tell who is right."""
    items = [f"item {i}" for i in range(6)]
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)] * 4
    table = {
        "left": [items[i] for i, _ in pairs] * 2,
        "right": [items[j] for _, j in pairs] * 2,
        "winner": [items[i] for i, _ in pairs] + [items[j] for _, j in pairs],
        "worker": ["w0"] * len(pairs) + ["w1"] * len(pairs),
    }
    gold = {"left": items[3:] * 2, "right": items[:3] * 2, "winner": items[3:] * 2}
    model = NoisyBradleyTerry(noise="flips").fit(table, gold)
    assert by_worker(model, model.reliabilities_)[1] > 0.8
    assert by_worker(model, model.reliabilities_)[0] < 0.2
    assert model.ranking_[0] == "item 5"


def test_errors() -> None:
    table, _ = simulate_comparisons(4, 60, 3, seed=5)
    with pytest.raises(LabelModelError, match="do not say who"):
        NoisyBradleyTerry().fit({key: table[key] for key in ("left", "right", "winner")})
    with pytest.raises(LabelModelError, match="noise must be"):
        NoisyBradleyTerry(noise="sleep").fit(table)  # type: ignore[arg-type]
    with pytest.raises(LabelModelError, match="reliability_prior"):
        NoisyBradleyTerry(reliability_prior=(1.0, 0.0)).fit(table)
    with pytest.warns(UserWarning, match="did not converge in 1 steps"):
        NoisyBradleyTerry(max_iter=1).fit(table)
