from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.errors import DataError, TrainingError
from steelyard.targets import Targets
from steelyard.training import TokenStudent, load_student
from steelyard.training.token_student import _fill, bio_spans
from tests.training.tiny_models import BLAME, NEUTRAL, PRAISE, bert

TAGS = ["O", "B-praise", "I-praise", "B-blame", "I-blame"]


def _documents(n: int, seed: int = 0, length: int = 12) -> tuple[list[list[str]], list[list[tuple[int, int, str]]]]:
    """Neutral words with one span of praise and one of blame, each of one or two words."""
    rng = np.random.default_rng(seed)
    documents, spans = [], []
    for _ in range(n):
        words = list(rng.choice(NEUTRAL, length))
        found = []
        for start, words_of_kind, kind in ((2, PRAISE, "praise"), (7, BLAME, "blame")):
            width = int(rng.integers(1, 3))
            words[start : start + width] = rng.choice(words_of_kind, width)
            found.append((start, start + width, kind))
        documents.append([str(word) for word in words])
        spans.append(found)
    return documents, spans


def _tags(documents, spans) -> np.ndarray:
    codes = []
    for document, found in zip(documents, spans, strict=True):
        row = np.zeros(len(document), dtype=int)
        for start, end, kind in found:
            row[start:end] = TAGS.index(f"I-{kind}")
            row[start] = TAGS.index(f"B-{kind}")
        codes.append(row)
    return np.concatenate(codes)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize(("tune", "rate"), [("full", 5e-3), ("lora", 2e-2)])
def test_spans_are_learned_from_soft_tags(tmp_path, tune, rate):
    documents, spans = _documents(160)
    soft = np.full((160 * 12, 5), 0.05)
    soft[np.arange(len(soft)), _tags(documents, spans)] = 0.8
    options = {"tune": tune, "epochs": 12, "learning_rate": rate, "batch_size": 8, "progress": False}
    student = TokenStudent(bert(5, tokens=True), output_dir=tmp_path / "run", **options).fit(documents, Targets(soft, classes=TAGS))
    unseen, truth = _documents(40, seed=1)
    found = student.predict_spans(unseen)
    assert np.mean([a == b for a, b in zip(found, truth, strict=True)]) > 0.9
    proba = student.predict_proba(unseen)
    assert proba.shape == (40 * 12, 5)
    assert abs(proba.max(1).mean() - 0.8) < 0.1  # as unsure as its targets
    assert load_student(tmp_path / "run").predict_proba(unseen).tobytes() == proba.tobytes()


def test_documents_longer_than_the_context_are_read_whole():
    documents, spans = _documents(100)
    options = {"epochs": 12, "learning_rate": 5e-3, "batch_size": 8, "progress": False}
    student = TokenStudent(bert(5, tokens=True), **options).fit(documents, Targets.from_labels(_tags(documents, spans), TAGS))
    long = [word for document in documents[:10] for word in document]  # 120 words, context 32
    proba = student.predict_proba([long, [], documents[0]])
    assert proba.shape == (132, 5)
    assert (proba[:120].argmax(1) == _tags(documents[:10], spans[:10])).mean() > 0.85
    assert student.predict_spans([long, [], documents[0]])[1:] == [[], spans[0]]


def test_words_without_targets_are_read_but_not_learned():
    documents, spans = _documents(120)
    tags = _tags(documents, spans)
    wrong = tags.copy()
    position = np.tile(np.arange(12), 120)
    wrong[position < 6] = 0  # the first half says O everywhere, and has no weight
    targets = Targets.from_labels(wrong, TAGS).with_weights((position >= 6).astype(float))
    options = {"epochs": 12, "learning_rate": 5e-3, "batch_size": 8, "progress": False}
    student = TokenStudent(bert(5, tokens=True), **options).fit(documents, targets)
    found = student.predict(documents)
    assert (found == tags)[position >= 6].mean() > 0.95
    assert (found == 0)[(position < 6) & (tags > 0)].mean() < 0.9  # praise was never labelled, so nothing taught O for it


def test_windows_hold_whole_words_and_all_of_them():
    sizes = np.array([3, 3, 3, 9, 1, 0, 1])
    assert list(_fill(sizes, 6)) == [(0, 2), (2, 3), (3, 4), (4, 7)]


def test_invalid_inputs_are_named():
    targets = Targets.from_labels([0, 1], TAGS)
    with pytest.raises(DataError, match="document 0 is not a list of words"):
        TokenStudent(bert(5, tokens=True)).fit(["good dog"], targets)
    with pytest.raises(TrainingError, match="1 rows of data but 2 rows of targets"):
        TokenStudent(bert(5, tokens=True)).fit([["good"]], targets)
    with pytest.raises(DataError, match="'praise' is not a BIO tag"):
        bio_spans(["praise"])
