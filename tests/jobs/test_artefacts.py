"""An artefact is made once per content of its parts, survives a torn file, and is never kept under a name that could be another's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from steelyard.jobs.artefacts import Artefacts, Nameless, identity, texts_digest
from steelyard.training import ConfidenceLoss, HeadStudent, SklearnStudent


def test_equal_parts_are_made_once_and_another_part_anew(tmp_path):
    first, second = Artefacts(tmp_path), Artefacts(tmp_path)
    parts = {"x": np.arange(3.0), "seed": 1}
    made = first.array("a", parts, lambda: np.full((2, 2), 7, dtype=np.float32))
    found = second.array("a", {"seed": 1, "x": np.arange(3.0)}, lambda: pytest.fail("made twice"))
    assert found.tobytes() == made.tobytes()
    assert found.dtype == np.float32
    assert (second.made_, second.found_) == (0, 1)
    for other in ({"x": np.arange(3.0), "seed": 2}, {"x": np.arange(3), "seed": 1}, {"x": np.arange(4.0), "seed": 1}):
        assert second.array("a", other, lambda: np.zeros(1)).tolist() == [0.0]
    assert second.array("b", parts, lambda: np.ones(1)).tolist() == [1.0]


def test_a_torn_file_is_made_again(tmp_path):
    artefacts = Artefacts(tmp_path)
    artefacts.array("a", {"n": 1}, lambda: np.arange(1000))
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:50])
    assert artefacts.array("a", {"n": 1}, lambda: np.arange(1000)).tolist() == list(range(1000))
    assert artefacts.made_ == 2


def test_nothing_is_kept_without_a_folder_or_a_name(tmp_path):
    nowhere, somewhere = Artefacts(False), Artefacts(tmp_path)
    for artefacts, parts in ((nowhere, {"n": 1}), (somewhere, {"f": lambda: None})):
        for _ in range(2):
            artefacts.array("a", parts, lambda: np.zeros(1))
        assert artefacts.made_ == 2
    assert not list(tmp_path.iterdir())


def test_models_and_losses_are_named_by_what_they_are():
    def pipeline(words):
        return make_pipeline(TfidfVectorizer(max_features=words), LogisticRegression())

    assert identity(pipeline(60)) == identity(pipeline(60)) != identity(pipeline(61))
    assert identity(SklearnStudent(pipeline(60))) != identity(pipeline(60))
    assert identity(HeadStudent(objective=ConfidenceLoss(0.5))) != identity(HeadStudent(objective=ConfidenceLoss(0.75)))
    assert identity(HeadStudent(seed=0)) != identity(HeadStudent(seed=1))
    with pytest.raises(Nameless):
        identity([print])


def test_long_lists_of_texts_become_a_digest():
    texts = [f"text {i}" for i in range(200)]
    assert identity(texts)[:2] == ["texts", 200]
    assert texts_digest(texts) != texts_digest([*texts[:-1], "text"])
    assert texts_digest(["\ud800"]) != texts_digest([""])
