"""The gap recovered is arithmetic, honest about noise, and undefined where there is no gap."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from steelyard.errors import DataError
from steelyard.evaluation import (
    UndefinedGap,
    agreement_by_supervisor_correctness,
    gap_over_rows,
    gap_over_seeds,
    performance_gap_recovered,
)


@pytest.mark.parametrize(
    ("weak", "student", "ceiling", "share"),
    [
        (0.566, 0.619, 0.645, 0.671),
        (0.566, 0.666, 0.740, 0.575),
        (0.6, 0.6, 0.8, 0.0),
        (0.6, 0.8, 0.8, 1.0),
        (0.6, 0.5, 0.8, -0.5),
        (0.6, 0.9, 0.8, 1.5),
    ],
)
def test_arithmetic_with_the_published_vision_numbers_and_no_clipping(weak: float, student: float, ceiling: float, share: float):
    assert performance_gap_recovered(weak, student, ceiling) == pytest.approx(share, abs=5e-4)


@pytest.mark.parametrize("ceiling", [0.7, 0.65])
def test_no_gap_is_nan_with_a_warning(ceiling: float):
    with pytest.warns(UndefinedGap, match="not better than the weak supervisor"):
        assert math.isnan(performance_gap_recovered(0.7, 0.72, ceiling))


def test_losses_are_read_downwards():
    assert performance_gap_recovered(0.75, 0.5, 0.25, metric="log_loss") == 0.5
    with pytest.warns(UndefinedGap):
        assert math.isnan(performance_gap_recovered(0.25, 0.5, 0.75, metric="log_loss"))


def test_arrays_are_taken_element_by_element_and_nan_passes_silently():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shares = performance_gap_recovered([0.5, math.nan], [0.6, 0.6], [0.7, 0.7])
    assert shares[0] == pytest.approx(0.5)
    assert math.isnan(shares[1])


def predictors(n: int, seed: int, skills: tuple[float, float, float]) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return y, *(np.where(rng.random(n) < skill, y, 1 - y) for skill in skills)


def test_interval_over_rows_covers_the_true_share():
    hits = []
    for seed in range(200):
        gap = gap_over_rows(*predictors(800, seed, (0.6, 0.75, 0.9)), n_resamples=300)
        hits.append(gap.pgr.low <= 0.5 <= gap.pgr.high)
    assert np.mean(hits) == pytest.approx(0.95, abs=0.05)


def test_a_gap_within_noise_has_no_interval_and_says_so():
    y, weak, student, ceiling = predictors(60, 1, (0.70, 0.72, 0.73))
    gap = gap_over_rows(y, weak, student, ceiling)
    assert math.isnan(gap.pgr.low)
    assert gap.note


def test_a_missing_gap_is_reported_without_a_share():
    y, weak, student, _ = predictors(500, 2, (0.8, 0.7, 0.5))
    gap = gap_over_rows(y, weak, student, 1 - y)
    assert math.isnan(gap.pgr.mean)
    assert "no gap" in gap.note


def test_gap_over_seeds_is_the_ratio_of_mean_gaps():
    gap = gap_over_seeds([0.60, 0.62, 0.64], [0.70, 0.71, 0.72], [0.80, 0.82, 0.81])
    assert gap.pgr.mean == pytest.approx((0.71 - 0.62) / (0.81 - 0.62))
    assert gap.pgr.low < gap.pgr.mean < gap.pgr.high
    assert "3 seeds" in gap.note
    assert (gap.over, gap.pgr.n) == ("seeds", 3)


def test_one_seed_has_a_share_but_no_interval():
    gap = gap_over_seeds([0.6], [0.7], [0.8])
    assert gap.pgr.mean == pytest.approx(0.5)
    assert math.isnan(gap.pgr.low)
    assert "one seed" in gap.note
    with pytest.raises(DataError, match="one number per seed"):
        gap_over_seeds([math.nan], [0.7], [0.8])


def test_artifact_is_json_shaped():
    artifact = gap_over_seeds([0.60, 0.62], [0.70, 0.71], [0.80, 0.82]).to_dict()
    assert set(artifact) == {"metric", "weak", "student", "ceiling", "pgr", "over", "n", "note"}
    assert {"mean", "low", "high"} <= set(artifact["student"])


def test_agreement_is_split_by_whether_the_supervisor_is_right():
    y = np.array([0, 0, 0, 0, 1, 1, 1, 1, -1])
    weak = np.array([0, 0, 0, 1, 1, 0, 0, 0, 0])
    student = np.array([0, 0, 1, 0, 1, 1, 1, 0, 0])
    split = agreement_by_supervisor_correctness(y, weak, student)
    assert (split.when_right.mean, split.when_right.n) == (0.75, 4)
    assert (split.when_wrong.mean, split.when_wrong.n) == (0.25, 4)
    assert split.overall == 0.5


def test_a_copy_of_the_supervisor_agrees_everywhere_and_a_perfect_supervisor_is_never_wrong():
    y = np.array([0, 1, 1, 0])
    weak = np.array([0, 1, 0, 1])
    copy = agreement_by_supervisor_correctness(y, weak, weak)
    assert (copy.when_right.mean, copy.when_wrong.mean) == (1.0, 1.0)
    assert math.isnan(agreement_by_supervisor_correctness(y, y, weak).when_wrong.mean)
