"""One template for every row: what the pools read is the same text at training and at test; cleaning, splits, mistakes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.jobs.templated_task import load_templated_task

TEMPLATE = "Is the clause relevant? Question: {question} [SEP] Clause: {clause}"


def table(folder, rows, name="t.csv", columns=("question", "clause", "answer")):
    file = folder / name
    pl.DataFrame(rows, schema=list(columns), orient="row").write_csv(file)
    return file


def test_every_row_is_written_by_the_template(tmp_path):
    rows = [(f"q {i % 3}", f" c {i} ", ["Relevant", "Irrelevant"][i % 2]) for i in range(40)]
    task = load_templated_task(table(tmp_path, rows), TEMPLATE, label="answer")
    expected = {f"Is the clause relevant? Question: q {i % 3} [SEP] Clause: c {i}": 1 - i % 2 for i in range(40)}
    assert task.classes == ("Irrelevant", "Relevant")
    assert dict(zip(task.texts, task.y.tolist(), strict=True)) == expected
    pools = task.pools(10, 20, 10, seed=0)
    start = TEMPLATE.partition("{")[0]
    assert all(task.texts[row].startswith(start) for pool in (pools.gold, pools.unlabeled, pools.test) for row in pool)


def test_repetitions_conflicts_and_holes_are_counted(tmp_path):
    rows = [("a", "b", "x"), ("a", "b ", "x"), ("a", "c", "x"), ("a", "c", "y"), ("", "d", "y"), ("b", "a", "y")]
    with pytest.warns(UserWarning, match="1 items carry conflicting labels"):
        task = load_templated_task(table(tmp_path, rows), "{question} / {clause}", label="answer")
    assert task.texts == ["a / b", "b / a"]
    assert task.cleaning == {"rows": 6, "empty": 1, "kept": 2, "repeated": 1, "conflicting_items": 1, "conflicting_rows": 2}


def test_a_test_split_is_kept_and_never_teaches(tmp_path):
    rows = [("q", f"c {i}", "xy"[i % 2], "train") for i in range(8)] + [("q", f"c {i}", "xy"[i % 2], "test") for i in range(6, 12)]
    task = load_templated_task(table(tmp_path, rows, columns=("question", "clause", "label", "split")), "{question} {clause}")
    assert sorted(np.array(task.texts)[task.is_test]) == sorted(f"q c {i}" for i in range(6, 12))
    assert len(task.pools(2, None, None, seed=0).test) == 6


def test_a_named_set_has_its_own_columns(data_root):
    task = load_templated_task("ethics/deontology", "Request: {scenario} [SEP] Excuse: {excuse}")
    assert task.classes == ("unreasonable", "reasonable")
    assert task.is_test.sum() > 3000
    assert task.about["licence"] == "MIT"
    assert all(text.startswith("Request: ") and " [SEP] Excuse: " in text for text in task.texts)


def test_a_hugging_face_data_set_with_splits(tmp_path):
    hub = pytest.importorskip("datasets")
    rows = {"question": ["q"] * 6, "text": [f"c {i}" for i in range(6)], "answer": ["Relevant", "Irrelevant"] * 3}
    parts = {"train": hub.Dataset.from_dict(rows).select(range(4)), "test": hub.Dataset.from_dict(rows).select([4, 5])}
    hub.DatasetDict(parts).save_to_disk(tmp_path / "qa")
    task = load_templated_task(tmp_path / "qa", "Question: {question} [SEP] Clause: {text}", label="answer")
    assert task.classes == ("Irrelevant", "Relevant")
    assert [task.texts[row] for row in np.flatnonzero(task.is_test)] == ["Question: q [SEP] Clause: c 4", "Question: q [SEP] Clause: c 5"]


def test_mistakes_are_one_sentence(tmp_path):
    file = table(tmp_path, [("a", "b", "x"), ("c", "d", "y")])
    for template, message in (("Question", "names no column"), ("{question", "cannot be read"), ("{} {}", "names no column")):
        with pytest.raises(ConfigError, match=message):
            load_templated_task(file, template, label="answer")
    with pytest.raises(DataError, match="no column 'paragraph' for the template; its columns are question, clause, answer"):
        load_templated_task(file, "{question} {paragraph}", label="answer")
    with pytest.raises(DataError, match="no row in which question, clause are filled"):
        load_templated_task(table(tmp_path, [("a", None, "x"), (None, "d", "y")], "h.csv"), "{question} {clause}", label="answer")
    with pytest.raises(ConfigError, match="reads the column 'answer', which is the label"):
        load_templated_task(file, "{question} {answer}", label="answer")
    with pytest.raises(DataError, match="no data set named"):
        load_templated_task("policies", TEMPLATE)
