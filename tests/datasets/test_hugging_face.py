"""A Hugging Face data set on disk: class names, splits, unlabeled rows, and what is missing in one sentence."""

from __future__ import annotations

import datasets as hugging_face
import pytest

from steelyard import datasets
from steelyard.errors import DataError


@pytest.fixture
def folder(tmp_path):
    features = hugging_face.Features({"body": hugging_face.Value("string"), "kind": hugging_face.ClassLabel(names=["ham", "spam"])})
    train = hugging_face.Dataset.from_dict({"body": ["see you", "free money", "who?"], "kind": [0, 1, -1]}, features=features)
    test = hugging_face.Dataset.from_dict({"body": ["free"], "kind": [1]}, features=features)
    hugging_face.DatasetDict({"train": train, "test": test}).save_to_disk(str(tmp_path / "mail"))
    return str(tmp_path / "mail")


def test_splits_names_and_unlabeled_rows(folder):
    found = datasets.from_hugging_face(folder, label="kind")
    assert found.classes == ("ham", "spam")
    assert found.on == "body"
    assert found.labels("train").tolist() == [0, 1, -1]
    assert found["test"]["body"].to_list() == ["free"]
    assert found.checksum == datasets.from_hugging_face(folder, label="kind").checksum


def test_load_takes_the_folder_and_says_what_is_missing(folder, tmp_path):
    with pytest.raises(DataError, match="has no column 'label'; its columns are body, kind"):
        datasets.load(folder)
    with pytest.raises(DataError, match="cannot be read"):
        datasets.from_hugging_face(str(tmp_path / "nothing"))


def test_a_single_split_and_plain_labels(tmp_path):
    rows = hugging_face.Dataset.from_dict({"text": ["a", "b"], "label": [3, 5]})
    rows.save_to_disk(str(tmp_path / "one"))
    found = datasets.load(str(tmp_path / "one"))
    assert list(found.splits) == ["all"]
    assert found.classes == ("3", "5")
