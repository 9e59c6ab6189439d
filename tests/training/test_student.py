from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError, DataError, TrainingError
from steelyard.targets import Targets
from steelyard.training import StudentTrainer, load_student
from steelyard.training.token_rows import context_length, ensure_padding, tokenize
from tests.training.tiny_models import CLASSES, bert, gpt2_without_padding, tokenizer, toy_task


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize(("tune", "rate"), [("full", 2e-3), ("lora", 1e-2)])
def test_fine_tuning_learns_past_its_noisy_labels(tmp_path, tune, rate):
    texts, y, targets = toy_task(500, accuracy=0.8)
    model, words = bert()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    student = StudentTrainer((model, words), tune=tune, epochs=6, learning_rate=rate, seed=1, progress=False).fit(
        texts[:400], _first(targets, 400)
    )
    label_accuracy = (targets.harden() == y)[:400].mean()
    assert (student.predict(texts[400:]) == y[400:]).mean() > label_accuracy + 0.1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    student.save(tmp_path / "s")
    loaded = load_student(tmp_path / "s")
    assert loaded.predict_proba(texts).tobytes() == student.predict_proba(texts).tobytes()
    assert {file.name for file in (tmp_path / "s" / "model").iterdir()} >= {"model.safetensors", "config.json", "tokenizer.json"}
    assert json.loads((tmp_path / "s" / "model" / "config.json").read_text())["id2label"] == {"0": "blame", "1": "praise"}


def test_soft_targets_are_learned_as_probabilities():
    texts, _, _ = toy_task(300)
    targets = Targets(np.tile([0.7, 0.3], (300, 1)), classes=CLASSES)
    student = StudentTrainer(bert(), epochs=3, learning_rate=3e-3, progress=False).fit(texts, targets)
    np.testing.assert_allclose(student.predict_proba(texts[:50])[:, 0], 0.7, atol=0.08)


def test_weights_decide_between_contradicting_rows():
    texts, y, _ = toy_task(300)
    both = Targets(
        np.eye(2)[np.concatenate([y, 1 - y])],
        classes=CLASSES,
        weights=np.repeat([1.0, 0.1], 300),
    )
    student = StudentTrainer(bert(), epochs=5, learning_rate=3e-3, progress=False).fit(texts * 2, both)
    assert (student.predict(texts) == y).mean() > 0.95


def test_accumulated_small_batches_give_the_same_weights_as_a_large_batch():
    texts, _, targets = toy_task(64)
    model, words = bert()
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.0
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    options = {"epochs": 2, "learning_rate": 1e-3, "progress": False}
    large = StudentTrainer((model, words), batch_size=32, **options).fit(texts, targets)
    small = StudentTrainer((model, words), batch_size=8, arguments={"gradient_accumulation_steps": 4}, **options).fit(texts, targets)
    np.testing.assert_allclose(small.predict_proba(texts), large.predict_proba(texts), atol=1e-4)


def test_a_tokenizer_without_padding_borrows_its_end_of_text():
    texts, y, targets = toy_task(400)
    student = StudentTrainer(gpt2_without_padding(), epochs=6, learning_rate=5e-3, progress=False).fit(texts, targets)
    assert (student.predict(texts) == y).mean() > 0.9
    alone = np.concatenate([student.predict_proba([text]) for text in texts[:20]])
    np.testing.assert_allclose(student.predict_proba(texts[:20]), alone, atol=1e-5)


def test_a_tokenizer_with_nothing_to_pad_with_is_refused():
    words = tokenizer(pad=False)
    words.eos_token = words.unk_token = None
    with pytest.raises(TrainingError, match="no padding, end-of-text or unknown token"):
        ensure_padding(words, bert()[0])


def test_long_texts_are_cut_and_counted():
    texts, _, targets = toy_task(40)
    texts[3] = " ".join(["good"] * 100)
    texts[9] = " ".join(["bad"] * 30)  # 32 tokens with the special ones: just fits
    texts[11] = " ".join(["bad"] * 31)
    with pytest.warns(UserWarning, match="2 of 40 training texts are longer than 32 tokens"):
        student = StudentTrainer(bert(), epochs=1, progress=False).fit(texts, targets)
    assert student.truncated_ == 2
    assert student.predict_proba(["good " * 500]).shape == (1, 2)


def test_context_is_the_smallest_of_what_is_asked_and_what_fits():
    model, words = bert(positions=32)
    assert context_length(words, model, None) == 32
    assert context_length(words, model, 10) == 10
    assert context_length(words, model, 900) == 32


def test_empty_texts_have_one_token_and_order_is_kept():
    words = tokenizer(special=False)
    rows = tokenize(words, ["", "good bad", "dog"], 16)
    assert [row.tolist() for row in (rows[0], rows[1], rows[2])] == [[0], [4, 8], [13]]
    texts, _, targets = toy_task(40)
    texts[5] = ""
    student = StudentTrainer(bert(), epochs=1, progress=False).fit(texts, targets)
    backwards = student.predict_proba(texts[::-1])[::-1]
    np.testing.assert_allclose(student.predict_proba(texts), backwards, atol=1e-6)
    assert student.predict_proba([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tune": "half"}, ConfigError, "tune is 'half'"),
        ({"epochs": 0}, ConfigError, "epochs=0"),
        ({"warmup": 1.0}, ConfigError, "warmup is 1.0"),
        ({"learning_rate": -1.0}, ConfigError, "learning_rate=-1.0, weight_decay=0.01: the first must be a positive number"),
        ({"learning_rate": float("nan")}, ConfigError, "learning_rate=nan"),
        ({"output_dir": __file__}, DataError, "it is a file; name a folder"),
        ({"arguments": {"output_dir": "x"}}, ConfigError, "may not set output_dir"),
        ({"arguments": {"momentum": 1}}, ConfigError, "not all known"),
        ({"learning_rate": 1e20, "batch_size": 4}, TrainingError, "training diverged"),
    ],
)
def test_bad_options_are_named(options, error, message):
    texts, _, targets = toy_task(20)
    with pytest.raises(error, match=message):
        StudentTrainer(bert(), **{"epochs": 1, "progress": False, **options}).fit(texts, targets)


def test_bad_models_and_labels_are_named(tmp_path):
    texts, _, targets = toy_task(20)
    with pytest.raises(TrainingError, match="5 outputs but there are 2 classes"):
        StudentTrainer(bert(5)).fit(texts, targets)
    with pytest.raises(TrainingError, match="cannot be loaded"):
        StudentTrainer(str(tmp_path / "nothing")).fit(texts, targets)
    with pytest.raises(TrainingError, match="all 20 training rows are labelled 'praise'"):
        StudentTrainer(bert()).fit(texts, Targets.from_labels(np.ones(20, dtype=int), CLASSES))
    with pytest.raises(TrainingError, match="nothing to learn from"):
        StudentTrainer(bert()).fit([], targets)


def _first(targets: Targets, n: int) -> Targets:
    return targets.take(np.arange(n))
