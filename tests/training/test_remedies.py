"""Generative fine-tuning first, and the probe after: the model has read the texts, and the features have moved towards the task."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from steelyard.errors import TrainingError
from steelyard.training import GenerativeStart, ProbeAfter, StudentTrainer, load_student
from steelyard.training.generative_start import NextToken
from tests.training.tiny_models import bert, tokenizer, toy_task


@pytest.fixture
def decoder(tmp_path):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=24, n_embd=32, n_layer=1, n_head=2, n_positions=32, bos_token_id=2, eos_token_id=3)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tokenizer(special=False).save_pretrained(tmp_path / "gpt2")
    return str(tmp_path / "gpt2")


def test_reading_the_texts_lowers_the_next_token_loss_and_the_student_learns(decoder, tmp_path):
    texts, y, targets = toy_task(300)
    student = StudentTrainer(decoder, epochs=6, learning_rate=5e-3, batch_size=16, progress=False)
    started = GenerativeStart(student, epochs=6, learning_rate=5e-3, seed=1).fit(texts, targets)
    # Before reading, 24 tokens are about equally probable; words of the texts come from 16.
    assert started.losses_[0] > 2.5
    assert started.losses_[-1] < started.losses_[0] - 0.2
    assert (started.predict(texts) == y).mean() > 0.85
    started.save(tmp_path / "s")
    assert load_student(tmp_path / "s").predict_proba(texts).tobytes() == started.predict_proba(texts).tobytes()


def test_only_decoders_given_by_name_can_read(tmp_path):
    texts, _, targets = toy_task(20)
    with pytest.raises(TrainingError, match="name or folder"):
        GenerativeStart(StudentTrainer(bert())).fit(texts, targets)
    model, words = bert()
    model.save_pretrained(tmp_path / "bert")
    words.save_pretrained(tmp_path / "bert")
    with pytest.raises(TrainingError, match="is an encoder"):
        GenerativeStart(StudentTrainer(str(tmp_path / "bert"), progress=False)).fit(texts, targets)


def test_next_token_loss_weighs_tokens():
    logits, tokens = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    each = torch.nn.functional.cross_entropy(logits, tokens, reduction="none")
    assert float(NextToken()(logits, tokens, torch.tensor([2.0, 0.0]))) == pytest.approx(float(each[0]))


def test_a_probe_on_fine_tuned_features_beats_one_on_the_features_before(tmp_path):
    texts, y, targets = toy_task(500)
    model, words = bert()
    model.bert.save_pretrained(tmp_path / "bert")
    words.save_pretrained(tmp_path / "bert")
    student = StudentTrainer(str(tmp_path / "bert"), epochs=6, learning_rate=3e-3, progress=False)
    after = ProbeAfter(student, seed=2).fit(texts[:400], targets.take(np.arange(400)))
    before = StudentTrainer(str(tmp_path / "bert"), tune="probe").fit(texts[:400], targets.take(np.arange(400)))
    score = {name: (found.predict(texts[400:]) == y[400:]).mean() for name, found in (("after", after), ("before", before))}
    assert score["after"] > 0.9
    assert score["after"] >= score["before"]
    after.save(tmp_path / "s")
    np.testing.assert_allclose(load_student(tmp_path / "s").predict_proba(texts), after.predict_proba(texts), atol=1e-6)
