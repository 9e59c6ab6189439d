"""Pretraining on plain text: what is read when, one run over two losses, resuming in either stage, any causal model."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from steelyard.errors import ConfigError, TrainingError
from steelyard.language.tiny_lm import tiny_lm
from steelyard.training.objectives import DistillMix, TokenWeighted
from steelyard.training.pretraining import CausalPretrainer, mean_loss
from steelyard.training.selection.loss_reweighting import LossReweighter, ReweightedLoss
from steelyard.training.teacher_targets import teacher_targets
from steelyard.training.text_windows import OrderedWindows, TextWindows, reading_order, text_windows

TEXTS = ["the cat sat on the mat and the dog sat on the log. " * 12, "how now brown cow " * 10]
START = tiny_lm(TEXTS, size="nano", tokens=258, context=16, steps=0)
OPTIONS = {"steps": 12, "batch_size": 4, "learning_rate": 1e-2, "progress": False}


def weights(trained: CausalPretrainer) -> dict[str, torch.Tensor]:
    return trained.model_.state_dict()


def same(one: CausalPretrainer, other: CausalPretrainer) -> bool:
    return all(value.equal(weights(other)[name]) for name, value in weights(one).items())


def test_windows_hold_every_token_once_as_something_to_foretell() -> None:
    windows = text_windows(START.tokenizer, TEXTS, 7)
    end = START.tokenizer.eos_token_id
    stream = [token for text in TEXTS for token in [*START.tokenizer(text)["input_ids"], end]]
    learned = windows.ids[:, 1:][windows.ids[:, 1:] != -100]
    assert learned.tolist() == stream[1:]
    assert (windows.ids[1:, 0] == windows.ids[:-1, -1]).all()
    read, targets = windows.batch([len(windows) - 1])
    assert read.min() >= 0
    assert targets.shape == (1, 7)


def test_the_order_is_whole_passes_and_chosen_windows_come_first_once_each() -> None:
    order = reading_order(10, 25, seed=3)
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert not np.array_equal(order[:10], reading_order(10, 25, seed=4)[:10])
    first = reading_order(10, 25, seed=3, first=[1, 5, 7])
    assert sorted(first[:3]) == [1, 5, 7]
    assert first[3:].tolist() == order[3:].tolist()
    with pytest.raises(ConfigError, match="positions from 0 to 9"):
        reading_order(10, 25, seed=3, first=[10])


def test_a_batch_brings_what_the_objective_reads() -> None:
    windows = text_windows(START.tokenizer, TEXTS, 8)
    data = OrderedWindows(windows, np.arange(len(windows)), {"token_weights": np.ones((len(windows), 8), dtype=np.float32)})
    assert set(data.collate(())([0, 1])) == {"input_ids", "targets", "weights"}
    assert set(data.collate(("tokens", "token_weights"))([0, 1])) == {"input_ids", "targets", "weights", "tokens", "token_weights"}


def test_held_out_losses_are_measured_as_it_goes_and_the_model_learns() -> None:
    trained = CausalPretrainer(START, evaluate_steps=5, **OPTIONS).fit(TEXTS, held_out=["the cat sat on the log. "])
    lines = [line for line in trained.history_ if "held_out" in line]
    assert [line["step"] for line in lines] == [5, 10, 12]
    assert lines[-1]["held_out"] == pytest.approx(trained.loss(["the cat sat on the log. "]), rel=1e-5)
    assert trained.loss(TEXTS) < CausalPretrainer(START).loss(TEXTS) - 1


def test_a_loss_by_windows_is_the_mean_over_tokens() -> None:
    windows = text_windows(START.tokenizer, TEXTS, 16)
    total, count = 0.0, 0
    for row in range(len(windows)):
        read, targets = windows.batch([row])
        with torch.no_grad():
            logp = START.model(input_ids=read)["logits"].log_softmax(-1)[0]
        for t, target in enumerate(targets[0].tolist()):
            if target != -100:
                total, count = total - float(logp[t, target]), count + 1
    assert mean_loss(START.model, windows, batch_size=5) == pytest.approx(total / count, rel=1e-5)


def test_no_first_stage_is_the_baseline_to_the_bit_and_arms_read_the_same() -> None:
    teacher = tiny_lm(TEXTS, size="nano", tokens=258, context=16, steps=20).model
    baseline = CausalPretrainer(START, TokenWeighted(), **OPTIONS).fit(TEXTS)
    assert same(baseline, CausalPretrainer(START, DistillMix(teacher, until=0.0), **OPTIONS).fit(TEXTS))
    seen: list[list[torch.Tensor]] = []
    for until in (0.0, 1.0):
        tokens: list[torch.Tensor] = []

        class Watched(DistillMix):
            def forward(self, logits, targets, weights=None, _tokens=tokens, **batch):
                _tokens.append(targets.clone())
                return super().forward(logits, targets, weights, **batch)

        CausalPretrainer(START, Watched(teacher, until=until), **OPTIONS).fit(TEXTS)
        seen.append(tokens)
    assert len(seen[0]) == 12
    assert all(one.equal(other) for one, other in zip(*seen, strict=True))


def test_stored_soft_labels_train_what_the_teacher_trains() -> None:
    teacher = tiny_lm(TEXTS, size="nano", tokens=258, context=16, steps=20).model
    windows = text_windows(START.tokenizer, TEXTS, 16)
    live = CausalPretrainer(START, DistillMix(teacher, until=0.5), **OPTIONS).fit(windows)
    columns = teacher_targets(teacher, windows, 258)
    stored = CausalPretrainer(START, DistillMix(until=0.5), **OPTIONS).fit(windows, columns=columns)
    for name, value in weights(live).items():
        torch.testing.assert_close(weights(stored)[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("until", [0.9, 0.5])
def test_a_killed_run_goes_on_in_its_stage_to_the_same_weights(tmp_path, until: float) -> None:
    """It goes on from step 8: in the first stage where that lasts to step 10, in the second where it lasted to step 6."""

    class Killed(CausalPretrainer):
        def save(self, folder):
            raise KeyboardInterrupt

    START.save(tmp_path / "teacher")
    objective = DistillMix(str(tmp_path / "teacher" / "model"), until=until)
    options = {**OPTIONS, "checkpoint_steps": 4, "evaluate_steps": 4}
    held = ["the dog sat on the mat. "]
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        Killed(START, objective, output_dir=folder, **options).fit(TEXTS, held_out=held)
    shutil.rmtree(folder / "checkpoints" / "checkpoint-12")
    assert (folder / "checkpoints" / "checkpoint-8").exists()
    resumed = CausalPretrainer(START, objective, output_dir=folder, **options).fit(TEXTS, held_out=held)
    undisturbed = CausalPretrainer(START, objective, **options).fit(TEXTS, held_out=held)
    assert same(resumed, undisturbed)
    assert [line for line in resumed.history_ if "held_out" in line] == [line for line in undisturbed.history_ if "held_out" in line]
    assert same(CausalPretrainer(START, objective, output_dir=folder, **options).fit(TEXTS, held_out=held), resumed)
    with pytest.raises(TrainingError, match="holds another run"):
        CausalPretrainer(START, TokenWeighted(), output_dir=folder, **options).fit(TEXTS, held_out=held)


def test_any_causal_model_learns() -> None:
    config = GPT2Config(vocab_size=len(START.tokenizer), n_layer=1, n_embd=32, n_head=2, n_positions=16)
    torch.manual_seed(0)
    pair = (GPT2LMHeadModel(config), START.tokenizer)
    reweighted = ReweightedLoss(LossReweighter(warmup=0.1))
    trained = CausalPretrainer(pair, reweighted, arguments={"gradient_accumulation_steps": 2}, **OPTIONS).fit(TEXTS)
    assert trained.loss(TEXTS) < CausalPretrainer(pair).loss(TEXTS) - 0.5
    assert "ess" in next(line for line in trained.history_ if "loss" in line)


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: CausalPretrainer(START, steps=0).fit(TEXTS), ConfigError, "steps is 0"),
        (lambda: CausalPretrainer(START, **OPTIONS).fit([""]), TrainingError, "hold 0 tokens"),
        (lambda: CausalPretrainer(START, **OPTIONS).fit("one text"), TrainingError, "one string"),
        (lambda: CausalPretrainer(START, **OPTIONS).fit(TEXTS, columns={"soft_tokens": np.zeros((1, 2))}), TrainingError, "has 1 rows"),
        (lambda: text_windows(START.tokenizer, TEXTS, 0), ConfigError, "context is 0"),
        (lambda: CausalPretrainer(START, **{**OPTIONS, "learning_rate": 1e30}).fit(TEXTS), TrainingError, "diverged"),
    ],
)
def test_bad_input_is_named(make, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        make()


def test_windows_can_be_chosen() -> None:
    windows = TextWindows(np.arange(12, dtype=np.int32).reshape(3, 4))
    assert windows.take([2, 0]).ids[:, 0].tolist() == [8, 0]
