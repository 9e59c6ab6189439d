"""Texts become a task: each once, gold where known, the test split kept apart, pools in proportion."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.jobs.text_task import load_text_task


def write(path, **columns):
    pl.DataFrame(columns).write_csv(path)
    return str(path)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_table_of_any_kind_with_any_columns(tmp_path, suffix):
    table = pl.DataFrame({"id": [1, 2, 3], "body": ["one two", "three", " one two "], "kind": ["x", "y", "x"]})
    file = tmp_path / f"t.{suffix}"
    {"csv": table.write_csv, "parquet": table.write_parquet, "jsonl": table.write_ndjson}[suffix](file)
    task = load_text_task(file, text="body", label="kind")
    assert task.texts == ["one two", "three"]
    assert task.y.tolist() == [0, 1]
    assert task.cleaning == {"rows": 3, "empty": 0, "kept": 2, "repeated": 1, "conflicting_items": 0, "conflicting_rows": 0}


def test_without_a_split_everything_is_drawn_and_unlabeled_rows_are_only_taught(tmp_path):
    n = 200
    labels = [["a", "b"][i % 2] if i < 150 else None for i in range(n)]
    file = write(tmp_path / "t.csv", text=[f"text {i}" for i in range(n)], label=labels)
    task = load_text_task(file)
    pools = task.pools(gold=0.2, unlabeled=None, test=0.4, seed=3)
    assert (len(pools.gold), len(pools.test), len(pools.unlabeled)) == (30, 60, 60 + 50)
    assert (task.y[np.concatenate([pools.gold, pools.test])] >= 0).all()
    assert np.bincount(task.y[pools.gold]).tolist() == [15, 15]
    assert len(task.pools(10, 20, None, 0).test) == round(0.25 * 150)


def test_a_test_split_measures_whatever_the_seed(tmp_path):
    n = 100
    split = ["test" if i % 4 == 0 else "train" for i in range(n)]
    file = write(tmp_path / "t.csv", text=[f"text {i}" for i in range(n)], label=["ab"[i % 2] for i in range(n)], split=split)
    task = load_text_task(file)
    first, second = (task.pools(20, None, None, seed) for seed in (0, 1))
    assert first.test.tolist() == second.test.tolist()
    assert {task.texts[row] for row in first.test} == {f"text {i}" for i in range(0, n, 4)}
    assert first.gold.tolist() != second.gold.tolist()
    assert len(task.pools(20, 30, 50, 0).test) == 50


def test_a_text_on_both_sides_only_measures(tmp_path):
    file = write(tmp_path / "t.csv", text=["seen", "seen", "b", "c"], label=["x", "x", "y", "x"], split=["train", "test", "train", "test"])
    with pytest.warns(UserWarning, match="1 texts lie both in the split 'test' and in another, for example 'seen'; they only measure"):
        task = load_text_task(file)
    assert sorted(task.texts) == ["b", "c", "seen"]
    assert task.is_test[task.texts.index("seen")]


def test_a_further_test_split_teaches_nobody_and_can_be_measured_on(tmp_path):
    parts = ["train"] * 40 + ["test"] * 20 + ["test_hard"] * 20
    texts = [f"{part} {i}" for i, part in enumerate(parts)]
    file = write(tmp_path / "t.csv", text=texts, label=["ab"[i % 2] for i in range(80)], split=parts)
    for measured, other in (("test", "test_hard"), ("test_hard", "test")):
        task = load_text_task(file, measured=measured)
        assert not any(text.startswith(f"{other} ") for text in task.texts)
        pools = task.pools(10, None, None, 0)
        assert {task.texts[row].split()[0] for row in pools.test} == {measured}
        assert {task.texts[row].split()[0] for row in np.concatenate([pools.gold, pools.unlabeled])} == {"train"}


def test_the_hard_test_split_of_a_published_set_is_apart(data_root):
    table = pl.read_parquet(data_root / "ethics" / "deontology.parquet")
    texts = table.select("split", text=pl.concat_str("scenario", "excuse", separator=" ").str.strip_chars())
    hard, others = (set(texts.filter(mask)["text"]) for mask in (pl.col("split") == "test_hard", pl.col("split") != "test_hard"))
    task = load_text_task("ethics/deontology")
    assert len(hard - others) > 3000
    assert not set(task.texts) & (hard - others)


def test_conflicts_and_empty_texts_are_left_out(tmp_path):
    file = write(tmp_path / "t.csv", text=["a", "a", None, "  ", "b"], label=["x", "y", "x", "y", "y"])
    with pytest.warns(UserWarning, match="1 items carry conflicting labels"):
        task = load_text_task(file)
    assert task.texts == ["b"]
    assert (task.cleaning["empty"], task.cleaning["conflicting_rows"]) == (2, 2)


def test_published_votes_follow_their_rows(data_root):
    with pytest.warns(UserWarning, match="8 items carry conflicting labels; their 16 rows"):
        task = load_text_task("trec")
    assert len(task.texts) == len(set(task.texts)) == 5872
    assert task.votes is not None
    table = pl.read_parquet(data_root / "ws_trec_questions" / "data.parquet")
    of_text = dict(zip(table["text"].str.strip_chars(), table["votes"].to_list(), strict=True))
    for row in (0, 1234, 5871):
        assert task.votes.codes[row].tolist() == of_text[task.texts[row]]


def test_what_is_no_task_of_texts_is_refused(tmp_path):
    with pytest.raises(DataError, match="reads texts"):
        load_text_task("wine")
    with pytest.raises(ConfigError, match="has its own text column"):
        load_text_task("docstrings", text="body")
    file = write(tmp_path / "t.csv", text=["a", "b"], label=["x", "y"])
    with pytest.raises(ConfigError, match="cannot be drawn from 2 rows"):
        load_text_task(file).pools(400, None, None, 0)
