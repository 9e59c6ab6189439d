from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import ConfigError
from steelyard.targets import Targets
from steelyard.training.selection import select_confident


def _targets(n: int, k: int, seed: int) -> Targets:
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(k), n)
    return Targets(probabilities, classes=[f"c{i}" for i in range(k)])


@given(st.integers(1, 60), st.integers(2, 5), st.floats(0.05, 1), st.integers(0, 99))
def test_fraction_keeps_the_most_confident_in_order(n, k, fraction, seed):
    targets = _targets(n, k, seed)
    kept = select_confident(targets, fraction=fraction)
    assert len(kept) == round(fraction * n)
    assert (np.diff(kept.rows) > 0).all()
    left_out = np.setdiff1d(np.arange(n), kept.rows)
    if len(kept) and len(left_out):
        assert kept.confidence.min() >= targets.confidence[left_out].max()


@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 99))
def test_balanced_selection_has_equal_counts(n, k, seed):
    targets = _targets(n, k, seed)
    kept = targets.take(select_confident(targets, balanced=True).rows)
    counts = np.bincount(targets.harden()[kept.rows], minlength=k)
    assert len(set(counts[counts > 0])) == 1


def test_threshold_is_inclusive_and_rows_compose_with_earlier_filters():
    targets = Targets([[0.5, 0.5], [0.75, 0.25], [0.1, 0.9], [0.8, 0.2]], classes=["a", "b"]).take([1, 2, 3])
    assert select_confident(targets, threshold=0.75, fraction=2 / 3).rows.tolist() == [2, 3]
    assert select_confident(targets, threshold=0.75).rows.tolist() == [1, 2, 3]


def test_a_class_with_few_candidates_keeps_them_all():
    confident = np.array([0.99, 0.98, 0.97, 0.96, 0.95, 0.6])
    targets = Targets(np.column_stack([confident, 1 - confident])[:, [0, 1]], classes=["a", "b"])
    flipped = Targets(np.vstack([targets.probabilities[:5], targets.probabilities[5, ::-1]]), classes=["a", "b"])
    assert select_confident(flipped, fraction=0.67, balanced=True).rows.tolist() == [0, 1, 5]


def test_empty_selections_stay_targets():
    targets = _targets(5, 3, 0)
    assert len(select_confident(targets, threshold=1.0, balanced=True)) == 0


@pytest.mark.parametrize("options", [{"threshold": 1.5}, {"fraction": 0.0}, {"fraction": 1.2}])
def test_ranges_are_checked(options):
    with pytest.raises(ConfigError):
        select_confident(_targets(3, 2, 0), **options)
