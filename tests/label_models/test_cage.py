from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from scipy.special import expit
from scipy.stats import beta

from steelyard import ABSTAIN, Votes, VoteStatistics
from steelyard.errors import LabelModelError
from steelyard.label_models import Cage
from steelyard.label_models.cage import _named, _Objective
from steelyard.label_models.score_symbols import bin_scores, score_bins, scored_statistics
from tests.label_models.check_estimator import simulate

Array = NDArray[np.float64]
SIDES = np.array([0, 0, 0, 1, 1, 1])


def planted(n: int, seed: int, scored: bool = False) -> tuple[Votes, NDArray[np.int64], Array, Array, Array]:
    """Votes of six rules drawn from the model itself, the truth, P(fires | class) (6, 2), guides that are right, and score strengths."""
    rng = np.random.default_rng(seed)
    rates = np.array([[0.6, 0.1], [0.4, 0.2], [0.5, 0.15], [0.1, 0.5], [0.2, 0.6], [0.05, 0.3]])
    # P(y) ∝ π_y Π_j (1 + e^θ_jy), and 1 + e^θ = 1 / (1 - rate).
    marginal = 1 / np.prod(1 - rates, axis=0)
    marginal /= marginal.sum()
    y = rng.choice(2, n, p=marginal)
    fires = rng.random((n, 6)) < rates.T[y]
    guides = (rates * marginal)[np.arange(6), SIDES] / (rates @ marginal)
    strengths = np.tile([12.0, 8.0], (6, 1))
    mean = np.where(y[:, None] == SIDES, 0.85, 0.15)
    strength = strengths[0][y][:, None]
    confidences = rng.beta(mean * strength, (1 - mean) * strength) if scored else None
    votes = Votes(np.where(fires, SIDES, ABSTAIN), classes=["a", "b"], confidences=confidences)
    return votes, y, rates, guides, strengths


def published_objective(votes: Votes, model: Cage, guides: float, scores: Array | None = None, y: NDArray[np.int64] | None = None) -> float:
    """The objective as the publication writes it: row by row, in plain probabilities, every source split into one trigger per symbol."""
    theta, k = model.triggers_, votes.n_classes
    columns = [(j, l) for j in range(votes.n_sources) for l in range(len(votes.support)) if np.isfinite(theta[j, l, 0])]
    z = sum(model.class_prior_[c] * np.prod([1 + np.exp(theta[j, l, c]) for j, l in columns]) for c in range(k))
    total = 0.0
    for i, row in enumerate(votes.codes):
        joint = model.class_prior_ / z
        for c in range(k):
            for j, l in columns:
                if row[j] != l:
                    continue
                joint[c] *= np.exp(theta[j, l, c])
                if scores is not None and np.isfinite(model.score_strengths_[j, l, c]):
                    r, strength = model.score_means_[j, l, c], model.score_strengths_[j, l, c]
                    joint[c] *= beta.pdf(scores[i, j], r * strength, (1 - r) * strength)
        total += np.log(joint.sum() if y is None or y[i] < 0 else joint[y[i]]) / votes.n_rows
    for j, l in columns:
        fired = [
            model.class_prior_[c] * np.exp(theta[j, l, c]) * np.prod([1 + np.exp(theta[i, a, c]) for i, a in columns if (i, a) != (j, l)])
            for c in range(k)
        ]
        right = np.array(fired)[votes.support[l]].sum() / sum(fired)
        if not votes.support[l].all():
            total += guides * np.log(right) + (1 - guides) * np.log(1 - right)
    return total


def random_votes(n: int, seed: int) -> tuple[Votes, NDArray[np.int64]]:
    """Votes on three classes and a parent; two of four sources give scores; a few gold labels."""
    rng = np.random.default_rng(seed)
    confidences = np.where(np.arange(4) < 2, rng.random((n, 4)), 1.0)
    votes = Votes(rng.integers(-1, 4, (n, 4)), classes=["a", "b", "c"], hierarchy={"b or c": ["b", "c"]}, confidences=confidences)
    return votes, np.where(np.arange(n) < n // 5, rng.integers(0, 3, n), -1)


@pytest.mark.parametrize("scored", [False, True])
def test_the_objective_is_the_published_one_row_by_row(scored: bool) -> None:
    votes, y = random_votes(60, seed=1)
    scores = bin_scores()[score_bins(votes.confidences)] if scored else None
    if not scored:
        votes = Votes(votes.codes, classes=votes.classes, hierarchy=votes.hierarchy)
    model = Cage(0.8).fit(votes, y)
    assert model.converged_
    assert model.objective_ == pytest.approx(published_objective(votes, model, 0.8, scores, y), abs=1e-9)


@pytest.mark.parametrize("scored", [False, True])
def test_the_gradient_is_that_of_finite_differences(scored: bool) -> None:
    votes, y = random_votes(200, seed=2)
    statistics = scored_statistics(votes, y) if scored else VoteStatistics.from_votes(votes, y)
    fires, with_scores = _named(statistics, 4)
    means = np.where(votes.support, 0.8, 0.2) * np.where(with_scores[:, :, None], 1, np.nan)
    objective = _Objective(statistics, fires, with_scores, votes.support, means, np.full((4, 4), 0.7), np.array([0.5, 0.3, 0.2]))
    x = np.random.default_rng(3).normal(size=objective.n_parameters)
    slope = objective.negative(x)[1]
    assert len(x) == 3 * (16 + 8 * scored)
    np.testing.assert_allclose(slope, approx_fprime(x, lambda at: objective.negative(at)[0], 1e-7), atol=1e-5)


def test_one_source_alone_fires_as_often_as_seen_and_is_right_as_often_as_guided() -> None:
    votes = Votes(np.where(np.arange(1000) < 300, 1, ABSTAIN)[:, None], classes=["a", "b"])
    for guide in (0.6, 0.9):
        model = Cage(guide, class_prior=[0.5, 0.5], tol=1e-9).fit(votes)
        assert model.accuracies_[0] == pytest.approx(guide, abs=1e-4)
        assert model.confusions_[0, :, 1] @ model.class_marginal_ == pytest.approx(0.3, abs=1e-4)


def test_planted_rates_are_recovered_as_n_grows() -> None:
    errors = []
    for n in (2_000, 200_000):
        votes, _, rates, guides, _ = planted(n, seed=4)
        model = Cage(guides, class_prior=[0.5, 0.5]).fit(votes)
        errors.append(np.abs(model.confusions_[np.arange(6), :, SIDES] - rates).max())
        np.testing.assert_allclose(model.accuracies_, guides, atol=2 / np.sqrt(n))
    assert errors[1] < 0.01
    assert errors[1] < errors[0] / 3


def test_planted_score_strengths_are_recovered_as_n_grows() -> None:
    errors = []
    for n in (2_000, 100_000):
        votes, _, rates, guides, strengths = planted(n, seed=5, scored=True)
        model = Cage(guides, class_prior=[0.5, 0.5]).fit(votes)
        assert np.abs(model.confusions_[np.arange(6), :, SIDES] - rates).max() < 2 / np.sqrt(n)
        errors.append(np.abs(model.score_strengths_[np.arange(6), SIDES] / strengths - 1).max())
    assert errors[1] < 0.1
    assert errors[1] < errors[0] / 3


def test_scores_tell_more_than_votes() -> None:
    votes, y, _, guides, _ = planted(20_000, seed=6, scored=True)
    without = Votes(votes.codes, classes=votes.classes)
    scored, plain = Cage(guides).fit(votes), Cage(guides).fit(without)
    assert scored.score(votes, y) > plain.score(without, y) + 0.02
    # Without scores at hand, the triggers alone speak.
    assert scored.score(without, y) == pytest.approx(plain.score(without, y), abs=0.01)


def test_a_score_enters_the_posterior_with_its_density() -> None:
    votes, *_ = planted(5_000, seed=7, scored=True)
    model = Cage().fit(votes)
    row = Votes([[0, ABSTAIN, ABSTAIN, ABSTAIN, 1, ABSTAIN]], classes=votes.classes, confidences=[[0.4, 1, 1, 1, 0.9, 1]])
    odds = model.class_prior_.copy()
    for j, l, s in ((0, 0, 0.4), (4, 1, np.float32(0.9))):
        r, strength = model.score_means_[j, l], model.score_strengths_[j, l]
        odds *= np.exp(model.triggers_[j, l]) * beta.pdf(s, r * strength, (1 - r) * strength)
    np.testing.assert_allclose(model.predict_proba(row)[0], odds / odds.sum(), atol=1e-5)


def test_parts_with_scores_merge_to_the_whole() -> None:
    votes, y = random_votes(300, seed=8)
    whole, streamed = Cage().fit(votes, y), Cage()
    for start in (200, 100, 0):
        streamed.partial_fit(votes[start : start + 100], y[start : start + 100])
    np.testing.assert_array_equal(whole.triggers_, streamed.triggers_)
    np.testing.assert_array_equal(whole.score_strengths_, streamed.score_strengths_)
    np.testing.assert_array_equal(whole.predict_proba(votes), streamed.predict_proba(votes))
    sparse = Votes(votes.csr, classes=votes.classes, hierarchy=votes.hierarchy, confidences=_sparse_confidences(votes))
    np.testing.assert_allclose(Cage().fit(sparse, y).predict_proba(sparse), whole.predict_proba(votes), atol=1e-5)


def _sparse_confidences(votes: Votes):
    matrix = votes.csr.astype(np.float32)
    matrix.data = votes.stored_confidences
    return matrix


def test_scores_leave_the_class_prior_as_it_is() -> None:
    votes, y, *_ = planted(1_000, seed=14, scored=True)
    plain = Votes(votes.codes, classes=votes.classes)
    for gold in (None, np.where(np.arange(1_000) < 50, y, -1)):
        with_scores, without = Cage().fit(votes, gold), Cage().fit(plain, gold)
        np.testing.assert_allclose(with_scores.class_prior_, without.class_prior_)
        assert with_scores.class_prior_source_ == without.class_prior_source_ == ("votes" if gold is None else "gold")


def test_parts_with_and_without_scores_do_not_mix() -> None:
    votes, _ = random_votes(100, seed=9)
    model = Cage().fit(votes)
    with pytest.raises(LabelModelError, match="to all parts or to none"):
        model.partial_fit(Votes(votes.codes, classes=votes.classes, hierarchy=votes.hierarchy))


def test_ninety_million_rows_cost_what_their_patterns_do() -> None:
    """Two masks of pixels, each a vote on every pixel: four patterns, whose counts are doubled till there are 91 million rows."""
    votes, _ = simulate(89, 4, 2, seed=10, abstain=0)
    few = many = VoteStatistics.from_votes(votes)
    for _ in range(20):
        many = many + many
    assert many.n_rows > 91e6
    guides = np.tile([0.85, 0.95], (4, 1))
    np.testing.assert_allclose(Cage(guides).fit(many).triggers_, Cage(guides).fit(few).triggers_, atol=0.05)


def test_guides_are_per_source_and_per_symbol() -> None:
    """Two sources that always contradict each other, equally often: who is right is what the guides say."""
    votes = Votes([[0, 1], [1, 0]] * 50, classes=["a", "b"])
    first, second = Cage([0.9, 0.6]).fit(votes), Cage([0.6, 0.9]).fit(votes)
    assert first.predict(votes[:2]).tolist() == [0, 1]
    assert second.predict(votes[:2]).tolist() == [1, 0]
    sure_of_b = Cage([[0.6, 0.95], [0.6, 0.95]]).fit(votes)
    assert sure_of_b.predict(votes[:2]).tolist() == [1, 1]


def test_hundreds_of_sources_do_not_underflow() -> None:
    votes, y = simulate(300, 400, 2, seed=11, abstain=0.1)
    model = Cage(max_iter=20).fit(votes)
    assert np.isfinite(model.log_likelihood_)
    assert np.isfinite(model.predict_proba(votes)).all()
    assert model.score(votes, y) > 0.95


def test_one_long_fit_is_better_than_a_hundred_short_steps() -> None:
    """100 steps of Adam at rate 0.01, as published, stop short of the optimum that L-BFGS finds."""
    votes, *_ = planted(2_000, seed=12)
    model = Cage(class_prior=[0.5, 0.5]).fit(votes)
    fires, scored = _named(VoteStatistics.from_votes(votes), 2)
    objective = _Objective(model.statistics_, fires, scored, votes.support, model.score_means_, np.full((6, 2), 0.9), np.array([0.5, 0.5]))
    x, mean, square = np.ones(12), np.zeros(12), np.zeros(12)
    for step in range(1, 101):
        slope = objective.negative(x)[1]
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        x = x - 0.01 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    assert model.converged_
    assert model.objective_ > -objective.negative(x)[0] + 0.5


def test_crowd_of_birdwatchers(data_root) -> None:
    from steelyard import datasets

    data = datasets.load("bluebirds")
    votes, labels = data.votes["all"], data.labels("all")
    assert Cage().fit(votes).score(votes, labels) > 0.83


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"quality_guides": [0.9, 0.9]}, "one per source"),
        ({"quality_guides": 1.2}, r"\[0, 1\]"),
        ({"score_guides": 1.0}, r"\(0, 1\)"),
        ({"score_guides": np.full((3, 3), 0.5)}, "3 × 2"),
        ({"max_iter": 0}, "max_iter"),
    ],
)
def test_parameters_are_checked(wrong: dict, message: str) -> None:
    with pytest.raises(LabelModelError, match=message):
        Cage(**wrong).fit(simulate(50, 3, 2, seed=0)[0])


def test_rates_of_one_source_are_those_of_its_triggers() -> None:
    votes, _ = simulate(5_000, 5, 2, seed=13)
    model = Cage().fit(votes)
    np.testing.assert_allclose(model.confusions_[:, :, :2], expit(model.triggers_).transpose(0, 2, 1), atol=1e-9)
