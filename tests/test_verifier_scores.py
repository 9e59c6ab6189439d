"""Scores of verifiers: queries of any size, majority as a verifier, tables in any order, and clear sentences."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from steelyard.errors import DataError
from steelyard.score_scales import ScoreScale, balance_thresholds, scaled_within, votes_above
from steelyard.verifier_scores import VerifierScores


def test_a_table_in_any_order_gives_the_same_queries() -> None:
    table = pl.DataFrame({"query": ["b", "a", "b"], "answer": ["1", None, "2"], "label": [1, None, 0], "judge": [0.1, None, 0.3]})
    scores = VerifierScores.from_table(table)
    assert scores.offsets.tolist() == [0, 2, 3]
    assert scores.answers == ("1", "2", "")
    assert scores.labels is not None
    assert scores.labels.tolist() == [1, 0, -1]
    np.testing.assert_array_equal(scores.values[:, 0], [0.1, 0.3, np.nan])


def test_majority_is_scaled_within_the_query_and_no_answer_is_no_agreement() -> None:
    scores = VerifierScores(np.zeros((7, 1)), [0, 4, 6, 7], ("x",), ("7", "7", "8", "", "1", "2", "5"))
    assert scores.majority().tolist() == [0.5, 0.5, 0.25, 0.0, 0.5, 0.5, 1.0]
    assert scores.with_majority().values[:, 1].tolist() == [1, 1, 0.5, 0, 1, 1, 1]
    assert scores.distinct_answers().tolist() == [3, 2, 1]


def test_taking_queries_keeps_their_responses_together() -> None:
    scores = VerifierScores(np.arange(6.0)[:, None], [0, 1, 4, 6], ("x",), tuple("abcdef"), labels=[0, 1, 0, 1, 0, 1])
    part = scores.take([2, 0])
    assert part.values.ravel().tolist() == [4, 5, 0]
    assert part.answers == ("e", "f", "a")
    assert part.offsets.tolist() == [0, 2, 3]


def test_refusals() -> None:
    with pytest.raises(DataError, match="no column 'query'"):
        VerifierScores.from_table(pl.DataFrame({"judge": [1.0]}))
    with pytest.raises(DataError, match="column 'note' holds String"):
        VerifierScores.from_table(pl.DataFrame({"query": [1], "note": ["x"], "judge": [1.0]}))
    with pytest.raises(DataError, match="has no verifier"):
        VerifierScores.from_table(pl.DataFrame({"query": [1]}))
    with pytest.raises(DataError, match="verifier 'x' gave response 1 an infinite score"):
        VerifierScores([[0.0], [np.inf]], [0, 2], ("x",))
    with pytest.raises(DataError, match="at least one response per query"):
        VerifierScores([[0.0], [1.0]], [0, 0, 2], ("x",))
    with pytest.raises(DataError, match="these scores have none"):
        VerifierScores([[0.0]], [0, 1], ("x",)).majority()


@pytest.mark.parametrize("balance", [0.1, 0.35, 0.8])
def test_a_verifier_says_yes_as_often_as_responses_are_right(balance: float) -> None:
    x = np.random.default_rng(0).normal(size=(4000, 3)) * [1, 5, 0.1]
    scaled = ScoreScale.of(x).apply(x)
    np.testing.assert_allclose(votes_above(scaled, balance_thresholds(scaled, balance)).mean(axis=0), balance, atol=1e-3)


def test_scales_are_monotone_and_keep_missing_scores_missing() -> None:
    x = np.random.default_rng(1).lognormal(size=(500, 2))
    x[3, 0] = np.nan
    for how in ("range", "quantile", "winsorize"):
        scaled = ScoreScale.of(x, how).apply(x)  # type: ignore[arg-type]
        assert np.isnan(scaled[3, 0])
        assert np.nanmin(scaled) >= 0
        assert np.nanmax(scaled) <= 1
        assert (np.diff(scaled[np.argsort(x[:, 1]), 1]) >= 0).all()
    assert abs(np.nanmean(ScoreScale.of(x, "quantile").apply(x)) - 0.5) < 0.01
    with pytest.raises(DataError, match="verifier 1 has no score at all"):
        ScoreScale.of([[0.0, np.nan]])


def test_scaling_within_a_query_ignores_the_others() -> None:
    x = np.array([[1.0], [2.0], [np.nan], [100.0], [300.0]])
    np.testing.assert_array_equal(scaled_within(x, np.array([0, 3, 5])).ravel(), [0, 1, np.nan, 0, 1])
