"""Challenging yet learnable windows, and soft labels made once: the definitions, slowly, and who may teach."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError, TrainingError
from steelyard.language.tiny_lm import tiny_lm
from steelyard.training.selection.difficulty import difficulty_scores, median_score, select_challenging
from steelyard.training.teacher_targets import check_teacher, teacher_targets, unigram_loss
from steelyard.training.text_windows import TextWindows, text_windows

TEXTS = ["the cat sat on the mat and the dog sat on the log. " * 8, "xq zj vw kp! " * 9]


@pytest.fixture(scope="module")
def teacher():
    return tiny_lm(TEXTS[:1], size="nano", tokens=258, context=12, steps=60, learning_rate=1e-2)


def test_the_definition_token_by_token() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(5, 7, 9, generator=generator), torch.randint(0, 9, (5, 7), generator=generator)
    targets[1, 4:], targets[2, :] = -100, -100
    expected = []
    for i in range(5):
        values = []
        for t in range(7):
            if targets[i, t] != -100:
                logp = logits[i, t].log_softmax(-1)
                among = targets[i, t] in logp.topk(3).indices
                values.append(-float(logp[targets[i, t]]) if among else 0.0)
        expected.append(np.median(values) if values else -np.inf)
    np.testing.assert_allclose(median_score(logits, targets, top_k=3), expected, rtol=1e-5, atol=1e-6)


def test_batches_do_not_matter_and_noise_counts_nothing(teacher) -> None:
    windows = text_windows(teacher.tokenizer, TEXTS, 12)
    scores = difficulty_scores(teacher.model, windows, top_k=10, batch_size=5)
    np.testing.assert_allclose(difficulty_scores(teacher.model, windows, top_k=10, batch_size=64), scores, rtol=1e-3, atol=1e-5)
    known = len(text_windows(teacher.tokenizer, TEXTS[:1], 12)) - 1
    assert np.median(scores[known + 2 :]) == 0, "letters that the teacher holds impossible are noise"
    assert scores[:known].max() > 0


def test_equal_scores_are_taken_in_order() -> None:
    assert select_challenging([1.0, 2.0, 1.0, -np.inf, 2.0], 3).tolist() == [1, 4, 0]
    assert select_challenging([1.0, -np.inf], 5).tolist() == [0]


def test_soft_labels_are_the_teachers_own(teacher) -> None:
    windows = text_windows(teacher.tokenizer, TEXTS, 12)
    columns = teacher_targets(teacher.model, windows, top=258, batch_size=7)
    with torch.no_grad():
        own = teacher.model(input_ids=windows.batch(slice(3, 5))[0])["logits"].log_softmax(-1).numpy()
    found = np.zeros_like(own)
    np.put_along_axis(found, columns["soft_tokens"][3:5].astype(np.int64), columns["soft_logprobs"][3:5], axis=-1)
    np.testing.assert_allclose(found, own, atol=1e-4)
    assert (np.diff(columns["soft_logprobs"], axis=-1) <= 0).all()


def test_a_teacher_must_know_more_than_frequencies_and_the_same_tokens(teacher) -> None:
    windows = text_windows(teacher.tokenizer, TEXTS[:1], 12)
    assert check_teacher(teacher.model, windows) < unigram_loss(windows, 258)
    fresh = tiny_lm(TEXTS, size="nano", tokens=258, context=12, steps=0)
    with pytest.raises(TrainingError, match="no better than the"):
        check_teacher(fresh.model, windows)
    with pytest.raises(TrainingError, match="the teacher knows 258 tokens, the text has token 300"):
        check_teacher(teacher.model, TextWindows(np.array([[1, 300]], dtype=np.int32)))


def test_refusals(teacher) -> None:
    windows = text_windows(teacher.tokenizer, TEXTS, 12)
    with pytest.raises(ConfigError, match="top_k is 0"):
        difficulty_scores(teacher.model, windows, top_k=0)
    with pytest.raises(ConfigError, match="budget is 0"):
        select_challenging([1.0], 0)
    with pytest.raises(ConfigError, match="top is 259"):
        teacher_targets(teacher.model, windows, 259)
