"""Statistics in slices: from memory, from files, and where they must refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steelyard import Votes, VoteStatistics
from steelyard.errors import DataError, LabelModelError, VotesError
from steelyard.label_models import DawidSkene, MeTaL, summarize, summarizing
from tests.label_models.check_estimator import simulate


@pytest.mark.parametrize("keep", ["patterns", "moments"])
@pytest.mark.parametrize("sparse", [False, True])
def test_slices_of_files_add_up_to_one_pass(tmp_path: Path, keep: str, sparse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summarizing, "SLICE", 7)
    votes, _ = simulate(100, 5, 3, seed=0)
    if sparse:
        votes = Votes(votes.csr, classes=votes.classes, sources=votes.sources)
    votes[:60].to_parquet(tmp_path / "a.parquet")
    votes[60:].to_parquet(tmp_path / "b.parquet")
    whole = VoteStatistics.from_votes(votes, keep=keep)
    assert summarize(tmp_path, keep=keep) == whole
    assert summarize([tmp_path / "b.parquet", tmp_path / "a.parquet"], keep=keep) == whole
    assert summarize(votes, keep=keep, workers=2) == whole


@pytest.mark.parametrize("model", [DawidSkene(), MeTaL()])
def test_a_model_fitted_from_files_is_the_model_fitted_from_rows(tmp_path: Path, model: DawidSkene | MeTaL) -> None:
    votes, y = simulate(400, 5, 2, seed=1)
    for i in range(4):
        votes[100 * i : 100 * (i + 1)].to_parquet(tmp_path / f"{i}.parquet")
    expected = type(model)().fit(votes).confusions_
    np.testing.assert_array_equal(model.fit(summarize(tmp_path, keep=model.keep)).confusions_, expected)
    known = np.where(np.arange(400) < 50, y, -1)
    with_gold = type(model)().fit(votes, known).confusions_
    np.testing.assert_array_equal(model.fit(summarize(votes, known, keep=model.keep)).confusions_, with_gold)


def test_too_many_patterns_name_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summarizing, "MOST_PATTERNS", 5)
    monkeypatch.setattr(summarizing, "SLICE", 20)
    votes, _ = simulate(100, 5, 3, seed=0)
    votes.to_parquet(tmp_path / "votes.parquet")
    with pytest.raises(LabelModelError, match="keep='moments'"):
        summarize(tmp_path / "votes.parquet")
    assert summarize(tmp_path / "votes.parquet", keep="moments").n_rows == 100


def test_what_cannot_be_sliced_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no Parquet files"):
        summarize(tmp_path)
    with pytest.raises(DataError, match=r"missing\.parquet"):
        summarize(tmp_path / "missing.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="truncated"):
        summarize(tmp_path / "torn.parquet")
    Votes([[0], [1]], classes=["a", "b"], groups=[0, 2]).to_parquet(tmp_path / "tokens.parquet")
    with pytest.raises(VotesError, match="documents"):
        summarize(tmp_path / "tokens.parquet")
    with pytest.raises(LabelModelError, match="in memory"):
        summarize(tmp_path / "tokens.parquet", [0, 1])
