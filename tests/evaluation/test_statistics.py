"""Intervals cover as often as they say, tests reject as rarely as they say, shortcuts equal the long way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from steelyard.errors import DataError
from steelyard.evaluation import accuracy, bootstrap_interval, f1_macro, paired_difference, sign_flip, wilcoxon, wilson_interval


def simulated(n: int, seed: int, skill: float = 0.7, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    return y, np.where(rng.random(n) < skill, y, rng.integers(0, k, n))


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (8, 10), (81, 263), (15, 148), (10, 10)])
def test_wilson_agrees_with_scipy(successes: int, trials: int):
    low, high = wilson_interval(successes, trials)
    reference = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert (float(low), float(high)) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_wilson_has_the_published_values():
    # Newcombe, 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    low, high = wilson_interval([81, 15, 0, 1], [263, 148, 20, 29])
    assert low.round(4).tolist() == [0.2553, 0.0624, 0.0000, 0.0061]
    assert high.round(4).tolist() == [0.3662, 0.1605, 0.1611, 0.1718]


def test_wilson_of_nothing_is_unknown():
    low, high = wilson_interval([0, 1], [0, 1])
    assert np.isnan([low[0], high[0]]).all()
    assert high[1] == 1.0
    with pytest.raises(DataError, match="successes"):
        wilson_interval(3, 2)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "balanced_accuracy", "matthews"])
def test_resampling_the_table_is_resampling_the_rows(metric: str):
    from steelyard.evaluation import classification

    y, p = simulated(400, 1)
    quick = bootstrap_interval(metric, y, p, n_resamples=4000)
    slow = bootstrap_interval(getattr(classification, metric), y, p, n_resamples=1000, seed=5)
    assert quick.mean == slow.mean
    assert (quick.low, quick.high) == pytest.approx((slow.low, slow.high), abs=0.012)


def test_bootstrap_of_accuracy_is_binomial():
    y = np.zeros(100, dtype=int)
    p = (np.arange(100) >= 80).astype(int)
    interval = bootstrap_interval("accuracy", y, p, n_resamples=20_000)
    low, high = stats.binom.ppf([0.025, 0.975], 100, 0.8) / 100
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.011)


def test_bootstrap_interval_covers_as_often_as_it_says():
    truth = 0.7 + 0.3 / 3
    hits = [i.low <= truth <= i.high for i in (bootstrap_interval("accuracy", *simulated(300, s), n_resamples=400) for s in range(400))]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.035)


def test_probability_metrics_and_soft_truth_are_resampled_by_rows():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 300)
    y = np.array([rng.choice(3, p=row) for row in p])
    losses = -np.log(p[np.arange(300), y])
    interval = bootstrap_interval("log_loss", y, p, n_resamples=2000)
    half = 1.96 * losses.std() / np.sqrt(300)
    assert (interval.low, interval.high) == pytest.approx((losses.mean() - half, losses.mean() + half), abs=0.03)
    assert bootstrap_interval("accuracy", np.eye(3)[y], p, n_resamples=50).mean == pytest.approx(accuracy(y, p))


def test_same_seed_same_interval_and_unknown_rows_do_not_count():
    y, p = simulated(200, 3)
    first = bootstrap_interval("f1_macro", y, p, seed=7)
    assert first == bootstrap_interval("f1_macro", y, p, seed=7)
    longer = bootstrap_interval("f1_macro", np.append(y, [-1, -1]), np.append(p, [0, 1]), seed=7)
    assert longer == first
    assert first.n == 200
    assert first.mean == pytest.approx(f1_macro(y, p))


def test_paired_difference_knows_that_both_saw_the_same_rows():
    y, a = simulated(500, 4)
    b = a.copy()
    wrong = np.flatnonzero(a == y)[:15]
    b[wrong] = (y[wrong] + 1) % 3
    comparison = paired_difference("accuracy", y, a, b)
    assert comparison.difference == pytest.approx(15 / 500)
    assert comparison.verdict == "better"
    # Unpaired, a difference of three points in 500 rows would be lost in the noise of either.
    alone = bootstrap_interval("accuracy", y, a)
    assert alone.high - alone.low > comparison.high - comparison.low


def test_paired_difference_of_equal_predictors_is_nothing():
    y, a = simulated(100, 5)
    same = paired_difference("accuracy", y, a, a)
    assert (same.difference, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_many_classes_do_not_need_the_cube_of_classes():
    y, a = simulated(3000, 6, k=150)
    _, b = simulated(3000, 7, k=150)
    comparison = paired_difference("f1_macro", y, a, b, n_resamples=200)
    assert comparison.difference == pytest.approx(f1_macro(y, a) - f1_macro(y, b))


def test_sign_flip_is_exact_for_few_pairs():
    assert sign_flip([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]) == 2 / 8
    assert sign_flip([1.0, 1.0], [1.0, 1.0]) == 1.0


def test_sign_flip_approaches_the_t_test():
    rng = np.random.default_rng(8)
    a, b = rng.normal(0.3, 1, 60), rng.normal(0, 1, 60)
    assert sign_flip(a, b) == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.02)


def test_sign_flip_rejects_no_more_than_it_may():
    rng = np.random.default_rng(9)
    p_values = [sign_flip(*rng.normal(0, 1, (2, 8))) for _ in range(600)]
    assert np.mean(np.array(p_values) <= 0.05) < 0.075


def test_wilcoxon_is_scipys_and_sees_no_difference_in_equals():
    a, b = np.array([1.1, 2.3, 3.2, 4.8, 5.0, 6.7]), np.array([1.0, 2.0, 3.5, 4.1, 4.2, 5.0])
    assert wilcoxon(a, b) == stats.wilcoxon(a - b).pvalue
    assert wilcoxon(a, a) == 1.0


def test_mistakes_are_named():
    with pytest.raises(DataError, match="unknown metric 'acuracy'"):
        bootstrap_interval("acuracy", [0], [0])
    with pytest.raises(DataError, match="between 0 and 1"):
        bootstrap_interval("accuracy", [0], [0], confidence=95)
    with pytest.raises(DataError, match="equally long"):
        sign_flip([1.0], [1.0, 2.0])
