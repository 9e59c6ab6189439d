"""Verifiers as sources: thresholds by the class balance, abstention on missing scores, answer agreement over whole queries."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from steelyard.errors import SourceError
from steelyard.sources import agreement, apply, verifier
from steelyard.verifier_scores import VerifierScores


@pytest.mark.parametrize("balance", [0.2, 0.6])
def test_a_verifier_says_right_on_the_share_that_is_right(balance: float) -> None:
    table = pl.DataFrame({"judge": np.random.default_rng(0).normal(size=2000) * 7})
    votes = apply([verifier("judge", balance=balance, scale=scale) for scale in ("range",)], table)  # type: ignore[arg-type]
    assert (votes.codes == 1).mean() == pytest.approx(balance, abs=2e-3)
    assert votes.confidences is not None
    assert votes.confidences.min() >= 0.5


def test_missing_scores_abstain_and_functions_score_rows() -> None:
    table = pl.DataFrame({"text": ["a", "bb", "cccc"], "judge": [None, 0.2, 0.9]})
    votes = apply(
        [verifier("judge", threshold=0.5), verifier(lambda t: t["text"].str.len_chars().to_numpy(), name="length", threshold=0.5)], table
    )
    assert votes.codes.T.tolist() == [[-1, 0, 1], [0, 0, 1]]


def test_agreement_is_the_majority_verifier_of_the_ensemble() -> None:
    queries, answers = list("aaaabbbcc"), ["1", "1", "2", "3", "x", "x", "x", "4", "5"]
    codes = apply([agreement()], pl.DataFrame({"query": queries, "answer": answers})).codes.ravel()
    scores = VerifierScores(np.zeros((9, 1)), [0, 4, 7, 9], ("x",), tuple(answers)).with_majority()
    np.testing.assert_array_equal(codes, scores.values[:, 1] >= 0.5)


def test_refusals() -> None:
    with pytest.raises(SourceError, match="the class balance is unknown"):
        verifier("judge")
    with pytest.raises(SourceError, match=r"balance is 1\.5"):
        verifier("judge", balance=1.5)
    with pytest.raises(SourceError, match="same score, so it chooses nothing"):
        apply([verifier("judge", balance=0.5)], pl.DataFrame({"judge": [1.0, 1.0]}))
    with pytest.raises(SourceError, match="holds String, not scores"):
        apply([verifier("judge", balance=0.5)], pl.DataFrame({"judge": ["1", "x"]}))
