"""The votes of one source, and the faults it counts."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from steelyard.errors import SourceError
from steelyard.sources.base import SourceVotes, check_columns
from steelyard.sources.faults import Faults


def test_names_become_codes_in_declared_then_observed_order() -> None:
    votes = SourceVotes.from_names(["b", None, "c", "a"], labels=["a", "b"])
    assert votes.labels == ("a", "b", "c")
    assert votes.codes.tolist() == [1, -1, 2, 0]


def test_a_null_mask_abstains() -> None:
    assert SourceVotes.where(pl.Series([True, None, False]), "X").codes.tolist() == [0, -1, -1]
    assert SourceVotes.where(np.array([True, False]), "X").codes.tolist() == [0, -1]


def test_probabilities_vote_above_the_threshold_and_never_on_nan() -> None:
    votes = SourceVotes.from_probabilities(np.array([[0.9, 0.1], [0.45, 0.55], [np.nan, 0.5]]), ["a", "b"], threshold=0.6)
    assert votes.codes.tolist() == [0, -1, -1]
    assert votes.confidences is not None
    np.testing.assert_allclose(votes.confidences, [0.9, 0.55, np.nan], rtol=1e-6)


def test_faults_add_up_and_keep_the_earliest() -> None:
    first, later = Faults(2, 3, "first", "t"), Faults(5, 9, "later", "t")
    assert Faults.total([None, later, first, None]) == Faults(7, 3, "first", "t")
    assert Faults.total([None]) is None
    assert first + later == later + first


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SourceError, match="source 's' reads the column 'b', which the data lacks; its columns are a, c"):
        check_columns("s", ["a", "b"], ["a", "c"])
