from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from steelyard import ABSTAIN, Votes, VoteStatistics, vote_moments
from steelyard.errors import DataError, VotesError
from steelyard.label_models import MajorityVote, MeTaL

CLASSES = ["a", "b", "c"]


@st.composite
def any_votes(draw: st.DrawFn) -> Votes:
    """Every legal shape: no rows, no sources, one class, silent rows and columns, NaN confidences, sparse or dense."""
    k = draw(st.integers(1, 4))
    shape = draw(st.tuples(st.integers(0, 12), st.integers(0, 5)))
    codes = draw(hnp.arrays(np.int8, shape, elements=st.integers(-1, k - 1)))
    confidences = draw(st.none() | hnp.arrays(np.float32, shape, elements=st.floats(0, 1, width=32) | st.just(np.nan)))
    cuts = sorted(draw(st.lists(st.integers(0, shape[0]), max_size=3)))
    groups = draw(st.sampled_from([None, [0, *cuts, shape[0]]]))
    names = [f"class {c}" for c in range(k)]
    if draw(st.booleans()) and confidences is None:
        return Votes(sparse.csr_array(codes + 1), classes=names, groups=groups)
    return Votes(codes, classes=names, confidences=confidences, groups=groups)


@given(any_votes())
@settings(max_examples=60, deadline=None)
def test_arrow_round_trip(votes: Votes) -> None:
    assert Votes.from_arrow(votes.to_arrow()) == votes


@given(any_votes(), st.data())
@settings(max_examples=60, deadline=None)
def test_cutting_and_stacking_gives_back_the_votes(votes: Votes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, votes.n_rows))
    whole = Votes.concat([votes[:cut], votes[cut:]])
    assert np.array_equal(whole.codes, votes.codes)


@given(any_votes(), st.data())
@settings(max_examples=80, deadline=None)
def test_statistics_are_a_commutative_monoid(votes: Votes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, votes.n_rows), min_size=2, max_size=2)))
    gold = data.draw(hnp.arrays(np.int64, votes.n_rows, elements=st.integers(-1, votes.n_classes - 1)))
    for keep in ("patterns", "moments"):
        parts = [
            VoteStatistics.from_votes(votes[lo:hi], gold[lo:hi], keep=keep)
            for lo, hi in zip([0, *cuts], [*cuts, votes.n_rows], strict=True)
        ]
        a, b, c = parts
        whole = VoteStatistics.from_votes(votes, gold, keep=keep)
        assert a + b == b + a
        assert (a + b) + c == a + (b + c) == whole
        assert whole + VoteStatistics.identity(votes, keep=keep) == whole


@given(any_votes())
@settings(max_examples=60, deadline=None)
def test_patterns_multiply_out_to_the_votes(votes: Votes) -> None:
    statistics = VoteStatistics.from_votes(votes)
    rows = np.repeat(statistics.patterns, statistics.counts, axis=0)
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, votes.codes.tolist()))
    assert statistics.as_votes().sources == votes.sources


@given(any_votes())
@settings(max_examples=60, deadline=None)
def test_bit_counted_moments_are_the_moments_of_the_patterns(votes: Votes) -> None:
    kept = VoteStatistics.from_votes(votes, keep="moments").moments
    derived = VoteStatistics.from_votes(votes).moments
    assert np.array_equal(kept.pairs, derived.pairs)
    assert np.array_equal(kept.gold_columns, derived.gold_columns)
    whole = VoteStatistics.from_votes(votes)
    assert np.array_equal(whole.votes_for, VoteStatistics.from_votes(votes, keep="moments").votes_for)


@given(any_votes())
@settings(max_examples=60, deadline=None)
def test_summary_is_what_counting_by_hand_gives(votes: Votes) -> None:
    table = votes.summary()
    codes = votes.codes.tolist()
    n = max(votes.n_rows, 1)
    for j in range(votes.n_sources):
        others = [[c for i, c in enumerate(row) if i != j and c >= 0] for row in codes]
        spoke = [row[j] >= 0 for row in codes]
        assert table["coverage"][j] == pytest.approx(sum(spoke) / n)
        assert table["overlap"][j] == pytest.approx(sum(s and bool(o) for s, o in zip(spoke, others, strict=True)) / n)
        contradicted = sum(s and any(c != row[j] for c in o) for s, o, row in zip(spoke, others, codes, strict=True))
        assert table["conflict"][j] == pytest.approx(contradicted / n)


def test_empirical_accuracy_counts_only_judged_votes() -> None:
    votes = Votes([[0, 1], [0, ABSTAIN], [1, 1], [2, ABSTAIN]], classes=CLASSES)
    table = votes.summary([0, 1, -1, 2])
    assert table["correct"].to_list() == [2, 0]
    assert table["accuracy"].to_list() == [pytest.approx(2 / 3), 0.0]


def test_a_parent_vote_contradicts_only_what_lies_outside_it() -> None:
    votes = Votes([[3, 0], [3, 1], [3, 2]], classes=CLASSES, hierarchy={"b or c": ["b", "c"]})
    assert votes.parents == ("b or c",)
    assert votes.support[3].tolist() == [False, True, True]
    assert votes.summary()["conflict"].to_list() == [pytest.approx(1 / 3)] * 2
    assert votes.summary([1, 1, 1])["accuracy"].to_list() == [1.0, pytest.approx(1 / 3)]


def test_nested_parents_reach_the_leaves() -> None:
    votes = Votes([[4]], classes=CLASSES, hierarchy={"bc": ["b", "c"], "all": ["a", "bc"]})
    assert votes.support[4].all()
    with pytest.raises(VotesError, match="cycle"):
        Votes([[0]], classes=CLASSES, hierarchy={"x": ["y"], "y": ["x"]})


class TestNoCopies:
    def test_a_fitting_array_is_shared(self) -> None:
        codes = np.asfortranarray(np.zeros((10, 3), np.int8))
        votes = Votes(codes, classes=CLASSES)
        assert np.shares_memory(votes.codes, codes)
        assert codes.flags.writeable
        assert not votes.codes.flags.writeable

    def test_arrow_and_polars_and_pandas_look_at_the_same_memory(self) -> None:
        votes = Votes(np.asfortranarray(np.ones((10, 3), np.int8)), classes=CLASSES)
        address = votes.codes.__array_interface__["data"][0]
        assert votes.to_arrow()["source_0"].chunk(0).buffers()[1].address == address
        assert np.shares_memory(votes.to_pandas().to_numpy(), votes.codes)
        assert votes.to_polars()["source_2"].to_list() == [1] * 10

    def test_the_smallest_type_that_fits_is_chosen(self) -> None:
        assert Votes(np.zeros((2, 2), int), classes=CLASSES).codes.dtype == np.int8
        assert Votes(np.zeros((2, 2), int), classes=[str(i) for i in range(300)]).codes.dtype == np.int16


def test_parquet_keeps_everything(tmp_path: Path) -> None:
    votes = Votes(
        [[0, -1], [3, 1]],
        classes=CLASSES,
        sources=["x", "ein Wörterbuch"],
        confidences=[[0.5, np.nan], [1, 0.25]],
        groups=[0, 0, 2, 2],
        hierarchy={"b or c": ["b", "c"]},
        metadata={"faults": {"x": {"count": 2}}},
    )
    votes.to_parquet(tmp_path / "votes.parquet")
    again = Votes.from_parquet(tmp_path / "votes.parquet")
    assert again == votes
    assert again.metadata == votes.metadata
    assert again.groups.tolist() == [0, 0, 2, 2]


def test_wrench_split(tmp_path: Path) -> None:
    rows = {"0": {"label": 1, "weak_labels": [1, -1], "data": {}}, "1": {"label": 0, "weak_labels": [0, 0], "data": {}}}
    (tmp_path / "train.json").write_text(json.dumps(rows))
    (tmp_path / "label.json").write_text('{"0": "HAM", "1": "SPAM"}')
    votes, y = Votes.from_wrench(tmp_path / "train.json")
    assert votes.classes == ("HAM", "SPAM")
    assert votes.codes.tolist() == [[1, -1], [0, 0]]
    assert y.tolist() == [1, 0]
    rows["1"]["label"] = 2
    (tmp_path / "train.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match="has labels from 1 to 2, but 2 classes; -1 is unknown"):
        Votes.from_wrench(tmp_path / "train.json")
    rows["1"]["weak_labels"] = [0]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match="ragged"):
        Votes.from_wrench(tmp_path / "train.json")


def test_long_crowd_table() -> None:
    table = {"task": [7, 7, 3], "worker": ["w", "v", "v"], "label": ["yes", "no", "yes"]}
    votes, tasks = Votes.from_long(table)
    assert tasks.to_list() == [7, 3]
    assert votes.sources == ("w", "v")
    assert votes.codes.tolist() == [[1, 0], [-1, 1]]
    with pytest.raises(DataError, match="more than once"):
        Votes.from_long({"task": [1, 1], "worker": ["w", "w"], "label": ["yes", "no"]})
    with pytest.raises(DataError, match="no column 'worker'"):
        Votes.from_long(pl.DataFrame({"task": [1], "label": ["x"]}))


def test_long_table_of_many_workers_is_sparse() -> None:
    votes, _ = Votes.from_long({"task": list(range(50)), "worker": [f"w{i}" for i in range(50)], "label": ["x", "y"] * 25})
    assert votes.is_sparse
    assert votes.coverage.all()


def test_joining_sources_keeps_confidences() -> None:
    left = Votes([[0], [1]], classes=CLASSES, sources=["x"], confidences=[[0.5], [0.25]])
    both = left.with_sources(Votes([[2], [-1]], classes=CLASSES, sources=["y"]))
    assert both.sources == ("x", "y")
    assert both.confidences.tolist() == [[0.5, 1.0], [0.25, 1.0]]


def test_stacking_dense_on_sparse_votes_keeps_confidences() -> None:
    dense = Votes([[0, -1], [1, 2]], classes=CLASSES, confidences=[[0.5, 1], [0.25, 0.75]])
    both = Votes.concat([dense, Votes(sparse.csr_array([[0, 3]]), classes=CLASSES)])
    assert both.is_sparse
    assert both.stored_confidences.tolist() == [0.5, 0.25, 0.75, 1.0]


def test_a_part_shares_nothing_that_can_be_changed() -> None:
    votes = Votes([[0, 1], [1, 2]], classes=CLASSES, metadata={"faults": {}})
    part = votes[[1]]
    part.metadata["note"] = "only here"
    assert "note" not in votes.metadata
    assert not part.codes.flags.writeable


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Votes([[0, 1]], classes=CLASSES)[0], "slice, a mask or a list"),
        (lambda: Votes([[0, 3]], classes=CLASSES), "row 0, column 1"),
        (lambda: Votes([[0, -2]], classes=CLASSES), "out of range"),
        (lambda: Votes([[0], [0, 1]], classes=CLASSES), "ragged"),
        (lambda: Votes([0, 1], classes=CLASSES), "matrix"),
        (lambda: Votes([[0.5]], classes=CLASSES), "integers"),
        (lambda: Votes([[0]], classes=["a", "a"]), "class name 'a'"),
        (lambda: Votes([[0]], classes=[]), "no classes"),
        (lambda: Votes([[0]], classes="ab"), "single string"),
        (lambda: Votes([[0, 1]], classes=CLASSES, sources=["s", "s"]), "source name 's'"),
        (lambda: Votes([[0, 1]], classes=CLASSES, sources=["s"]), "one name per column"),
        (lambda: Votes([[0]], classes=CLASSES, confidences=[[1.5]]), r"\[0, 1\]"),
        (lambda: Votes([[0]], classes=CLASSES, confidences=[[1, 1]]), "one confidence per vote"),
        (lambda: Votes([[0]], classes=CLASSES, groups=[0, 2]), "number of rows"),
        (lambda: Votes([[0], [0]], classes=CLASSES, groups=[0, 2, 1, 2]), "rise"),
        (lambda: Votes([[0]], classes=CLASSES, hierarchy={"p": ["z"]}), "'z'"),
        (lambda: Votes([[0]], classes=CLASSES).column("nobody"), "no source named 'nobody'"),
        (lambda: Votes([[0]], classes=CLASSES).select([3]), "no source 3; there are 1, counted from 0"),
        (lambda: Votes([[0]], classes=CLASSES).summary([0, 1]), "one label per row"),
        (lambda: Votes([[0]], classes=CLASSES).summary([7]), "allowed"),
        (lambda: Votes.concat([]), "at least one"),
        (lambda: VoteStatistics.merge([]), "at least one"),
        (lambda: VoteStatistics.from_votes(Votes([[0]], classes=CLASSES), keep="rows"), "keep must be"),
    ],
)
def test_one_clear_sentence(make, sentence: str) -> None:
    with pytest.raises(VotesError, match=sentence):
        make()


def test_files_that_are_not_votes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        Votes.from_parquet(tmp_path / "none.parquet")
    Votes([[0]], classes=CLASSES).to_parquet(tmp_path / "v.parquet")
    content = (tmp_path / "v.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="truncated"):
        Votes.from_parquet(tmp_path / "cut.parquet")
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(VotesError, match="does not hold votes"):
        Votes.from_parquet(tmp_path / "other.parquet")


def test_wide_tables_of_pairs_are_sparse_and_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(-1, 4, (60, 5))
    y = rng.integers(-1, 4, 60)
    votes = Votes(codes, classes=list("abcd"))
    dense = VoteStatistics.from_votes(votes, y, keep="moments")
    majority = MajorityVote().fit(votes)
    monkeypatch.setattr(vote_moments, "MOST_MOMENT_COLUMNS", 10)
    wide = VoteStatistics.from_votes(votes, y, keep="moments")
    assert dense.kept_moments is not None
    assert wide.kept_moments is not None
    np.testing.assert_array_equal(wide.kept_moments.table.toarray(), dense.kept_moments.table)
    np.testing.assert_array_equal(wide.votes_for, dense.votes_for)
    parts = [VoteStatistics.from_votes(votes[i : i + 20], y[i : i + 20], keep="moments") for i in (0, 20, 40)]
    assert VoteStatistics.merge(parts) == wide
    assert wide != VoteStatistics.from_votes(votes[::-1], y, keep="moments")
    np.testing.assert_allclose(MajorityVote().fit(votes).confusions_, majority.confusions_)
    with pytest.raises(VotesError, match="use a pattern model"):
        MeTaL().fit(votes)
