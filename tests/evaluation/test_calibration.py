"""Calibration has closed forms on small tables, and temperature scaling undoes a known temperature."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import DataError
from steelyard.evaluation import (
    TemperatureScaling,
    expected_calibration_error,
    log_loss,
    reliability_curve,
    risk_coverage,
    risk_scores,
)


def binary(confidence: list[float]) -> np.ndarray:
    c = np.array(confidence)
    return np.stack([c, 1 - c], axis=1)


def test_ece_of_a_known_table():
    # Ten rows at 0.95 of which 9 right, ten at 0.65 of which 4 right: (|0.90 − 0.95| + |0.40 − 0.65|) / 2.
    p = binary([0.95] * 10 + [0.65] * 10)
    y = np.array([0] * 9 + [1] + [0] * 4 + [1] * 6)
    assert expected_calibration_error(y, p) == pytest.approx(0.15)
    curve = reliability_curve(y, p)
    assert curve.confidence.tolist() == pytest.approx([0.65, 0.95])
    assert curve.accuracy.tolist() == [0.4, 0.9]
    assert curve.count.tolist() == [10, 10]
    assert (curve.low < curve.accuracy).all()
    assert (curve.accuracy < curve.high).all()


def test_bins_of_equal_width_are_open_to_the_left():
    curve = reliability_curve([0, 0, 0], binary([0.6, 0.7, 0.75]), n_bins=10)
    assert curve.count.tolist() == [1, 1, 1]
    assert reliability_curve([0, 0], binary([0.61, 0.7]), n_bins=10).count.tolist() == [2]


def test_bins_of_equal_mass_hold_equally_many_rows_and_keep_ties_together():
    rng = np.random.default_rng(0)
    p = binary(list(rng.uniform(0.5, 1, 100)))
    assert reliability_curve([0] * 100, p, n_bins=10, binning="mass").count.tolist() == [10] * 10
    assert reliability_curve([0] * 100, binary([0.8] * 100), n_bins=10, binning="mass").count.tolist() == [100]


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_calibrated_probabilities_have_small_error_and_sharpened_ones_large(binning: str):
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(4), 20_000)
    y = (p.cumsum(1) > rng.random((20_000, 1))).argmax(1)
    assert expected_calibration_error(y, p, binning=binning) < 0.015
    sharp = p**4 / (p**4).sum(1, keepdims=True)
    assert expected_calibration_error(y, sharp, binning=binning) > 0.15


def test_soft_truth_counts_by_its_probability():
    assert expected_calibration_error([[0.8, 0.2]], [[0.8, 0.2]]) == pytest.approx(0.0)


def test_risk_coverage_of_a_known_order():
    curve = risk_coverage([0, 1, 0, 1], binary([0.9, 0.8, 0.7, 0.6]))
    assert curve.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.area == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_risk_coverage_does_not_depend_on_the_order_of_ties():
    y, p = np.array([0, 1, 1, 0, 0]), binary([0.8, 0.8, 0.8, 0.6, 0.6])
    order = np.array([2, 4, 0, 3, 1])
    assert risk_coverage(y, p).risk.tolist() == pytest.approx(risk_coverage(y[order], p[order]).risk.tolist())


def test_risk_at_full_coverage_is_the_error_rate_also_after_thinning():
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(3), 1000)
    y = rng.integers(0, 3, 1000)
    thinned = risk_coverage(y, p).to_dict(n_points=20)
    assert len(thinned["risk"]) == 20
    assert thinned["risk"][-1] == pytest.approx((p.argmax(1) != y).mean())


def test_temperature_scaling_recovers_the_temperature():
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (20_000, 3))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = (p.cumsum(1) > rng.random((20_000, 1))).argmax(1)
    sharp = np.exp(2.5 * logits) / np.exp(2.5 * logits).sum(1, keepdims=True)
    scaling = TemperatureScaling().fit(sharp, y)
    assert scaling.temperature_ == pytest.approx(2.5, rel=0.05)
    fixed = scaling.transform(sharp)
    assert (fixed.argmax(1) == sharp.argmax(1)).all()
    assert log_loss(y, fixed) < log_loss(y, sharp)
    assert expected_calibration_error(y, fixed) < 0.02


def test_mistakes_are_named():
    with pytest.raises(DataError, match="not fitted"):
        TemperatureScaling().transform([[0.5, 0.5]])
    with pytest.raises(DataError, match="shape"):
        expected_calibration_error([0], [1])
    with pytest.raises(DataError, match="softmax"):
        expected_calibration_error([0], [[3.0, -2.0]])
    with pytest.raises(DataError, match="binning"):
        reliability_curve([0], [[1.0, 0.0]], binning="equal")


def test_risks_that_are_true_probabilities_score_well_and_shrunken_ones_keep_rank_but_lose_calibration():
    rng = np.random.default_rng(4)
    risk = rng.random(20_000)
    wrong = rng.random(20_000) < risk
    honest, shrunken = risk_scores(risk, wrong), risk_scores(0.2 * risk, wrong)
    assert honest.ece < 0.02
    assert honest.r2 > 0.98
    assert shrunken.auroc == honest.auroc
    assert shrunken.r2 == pytest.approx(honest.r2)  # a linear relation all the same
    assert shrunken.ece == pytest.approx(0.4, abs=0.02)


def test_risk_scores_equal_slow_definitions():
    rng = np.random.default_rng(5)
    risk = rng.random(900).round(2)
    wrong = rng.random(900) < risk**2
    scores = risk_scores(risk, wrong)
    pairs = [(a > b) + 0.5 * (a == b) for a in risk[wrong] for b in risk[~wrong]]
    assert scores.auroc == pytest.approx(np.mean(pairs))
    ece = sum(
        abs(risk[bin_].mean() - wrong[bin_].mean()) * bin_.mean()
        for b in range(10)
        if (bin_ := np.clip(np.ceil(risk * 10).astype(int) - 1, 0, 9) == b).any()
    )
    assert scores.ece == pytest.approx(ece)
    assert scores.coverage.risk[-1] == pytest.approx(wrong.mean())
    alike = [wrong[risk == value].mean() for value in risk]  # equal risks share their errors
    order = np.argsort(risk, kind="stable")
    x, y = (np.array(values)[order].reshape(30, 30).mean(axis=1) for values in (risk, alike))
    assert scores.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


def test_answers_without_a_risk_are_left_out_and_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(6)
    risk = rng.random(300).round(1)
    wrong = rng.random(300) < risk
    order = rng.permutation(300)
    a, b = risk_scores(risk, wrong), risk_scores(np.append(risk[order], np.nan), np.append(wrong[order], True))
    assert (a.ece, a.r2, a.auroc) == pytest.approx((b.ece, b.r2, b.auroc))


def test_one_risk_for_all_has_no_rank_and_mistakes_are_named():
    flat = risk_scores([0.5] * 40, [True, False] * 20)
    assert flat.ece == pytest.approx(0)
    assert np.isnan(flat.r2)
    assert np.isnan(risk_scores([0.1, 0.2], [False, False]).auroc)
    with pytest.raises(DataError, match="between 0 and 1"):
        risk_scores([1.5], [True])
    with pytest.raises(DataError, match="one list of n answers"):
        risk_scores([0.5, 0.5], [True])
