"""Pairwise tables agree with counting by hand, dense and sparse, with and without parents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from steelyard import Votes
from steelyard.errors import DataError
from steelyard.evaluation import accuracy_table, conflict_matrix, disagreement, overlap_matrix, worst_rows


def random_votes(n: int = 300, m: int = 5, k: int = 3, seed: int = 0) -> Votes:
    return Votes(np.random.default_rng(seed).integers(-1, k, (n, m)), classes=[f"c{i}" for i in range(k)])


def as_sparse(votes: Votes) -> Votes:
    return Votes(sparse.csr_array(votes.codes + 1), classes=votes.classes, sources=votes.sources)


def test_pair_tables_are_what_counting_gives():
    votes = random_votes()
    c = votes.codes
    both = (c[:, :, None] >= 0) & (c[:, None, :] >= 0)
    assert overlap_matrix(votes) == pytest.approx(both.mean(0))
    assert conflict_matrix(votes) == pytest.approx((both & (c[:, :, None] != c[:, None, :])).mean(0))


def test_pair_tables_agree_with_the_summary_for_two_sources():
    votes = random_votes(m=2)
    assert votes.summary()["overlap"].to_list() == pytest.approx([overlap_matrix(votes)[0, 1]] * 2)
    assert votes.summary()["conflict"].to_list() == pytest.approx([conflict_matrix(votes)[0, 1]] * 2)


def test_sparse_votes_give_the_same():
    votes = random_votes()
    assert (overlap_matrix(as_sparse(votes)) == overlap_matrix(votes)).all()
    assert (conflict_matrix(as_sparse(votes)) == conflict_matrix(votes)).all()
    assert (disagreement(as_sparse(votes)) == disagreement(votes)).all()


def test_a_parent_does_not_contradict_its_children():
    votes = Votes([[0, 3], [1, 3], [2, 3]], classes=["cat", "dog", "car"], hierarchy={"animal": ["cat", "dog"]})
    assert conflict_matrix(votes)[0, 1] == pytest.approx(1 / 3)
    assert disagreement(votes).tolist() == [0.0, 0.0, 0.5]


def test_accuracy_table_puts_belief_beside_measurement():
    votes = Votes([[0, 1, -1], [0, 0, -1], [1, 1, -1], [1, -1, -1]], classes=["a", "b"], sources=["x", "y", "z"])
    table = accuracy_table(votes, [0.8, 0.7, np.nan], y=[0, 0, 1, -1])
    assert table["accuracy"].to_list() == [1.0, pytest.approx(2 / 3), None]
    assert table["estimated_accuracy"].to_list() == [0.8, 0.7, None]
    x = table.row(0, named=True)
    assert x["low"] < 1.0 == x["high"]
    assert table["low"].to_list()[2] is None
    with pytest.raises(DataError, match="3 sources"):
        accuracy_table(votes, [0.5])


def test_worst_rows_are_the_least_certain_covered_ones():
    votes = Votes([[0, 1], [0, 0], [-1, -1], [0, -1]], classes=["a", "b"], sources=["x", "y"])
    p = [[0.5, 0.5], [0.99, 0.01], [0.5, 0.5], [0.7, 0.3]]
    rows = worst_rows(votes, p, ["first", "second", "third", "fourth"], k=2, y=[1, 0, 0, 0])
    assert [r["row"] for r in rows] == [0, 3]
    assert rows[0]["text"] == "first"
    assert rows[0]["gold"] == "b"
    assert rows[0]["disagreement"] == 0.5
    assert rows[0]["entropy"] == pytest.approx(np.log(2))
    assert rows[1]["votes"] == {"x": "a"}


def test_worst_rows_read_frames_and_order_by_disagreement():
    votes = Votes([[0, 0, 0], [0, 0, 1]], classes=["a", "b"])
    p = [[0.5, 0.5], [0.9, 0.1]]
    assert worst_rows(votes, p, pl.DataFrame({"text": ["s", "t"]}), k=1, by="disagreement")[0]["text"] == "t"
    assert worst_rows(votes, p, pl.DataFrame({"u": [1, 2]}), k=1)[0]["text"] == "u = 1"
    with pytest.raises(DataError, match="data has 1 rows and votes 2"):
        worst_rows(votes, p, ["one"])
    with pytest.raises(DataError, match="probabilities have shape"):
        worst_rows(votes, [[0.5, 0.5]])


def test_on_real_votes(data_root: Path):
    table = pl.read_parquet(data_root / "ws_youtube_spam" / "data.parquet").filter(pl.col("split") == "train")
    names = pl.read_parquet(data_root / "ws_youtube_spam" / "lfs.parquet")
    votes = Votes(np.array(table["votes"].to_list()), classes=["HAM", "SPAM"], sources=names["name"].to_list())
    measured = accuracy_table(votes, y=table["label"].to_numpy())
    assert measured["coverage"].to_list() == pytest.approx(names["coverage"].to_list())
    assert measured["accuracy"].to_list() == pytest.approx(names["accuracy_when_voting"].to_list())
    assert ((measured["low"] <= measured["accuracy"]) & (measured["accuracy"] <= measured["high"])).all()
