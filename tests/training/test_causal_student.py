from __future__ import annotations

import copy
import shutil

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from steelyard.completions import Completions
from steelyard.errors import ConfigError, TrainingError
from steelyard.preferences import Preferences
from steelyard.training import CausalStudent
from tests.training.arithmetic import counting_lm, sums


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def student(**options) -> CausalStudent:
    defaults = {"epochs": 20, "batch_size": 16, "learning_rate": 3e-3, "max_new_tokens": 4, "progress": False}
    return CausalStudent(counting_lm(), **{**defaults, **options})


def exact(policy: CausalStudent, asked: Completions) -> float:
    return float(
        np.mean([said == right for said, right in zip(policy.sample(asked.prompts, temperature=0).texts, asked.texts, strict=True)])
    )


def margin(policy: CausalStudent, pairs: Preferences) -> np.ndarray:
    return policy.logprob(pairs.prompts, pairs.chosen) - policy.logprob(pairs.prompts, pairs.rejected)


def gpt2() -> tuple[GPT2LMHeadModel, object]:
    """A model with absolute positions, where padding on the left is easily got wrong."""
    torch.manual_seed(0)
    tokenizer = counting_lm().tokenizer
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=1)
    return GPT2LMHeadModel(config).eval(), tokenizer


def test_fine_tuning_teaches_the_sums():
    asked = sums()
    before = {name: value.clone() for name, value in counting_lm().model.state_dict().items()}
    assert exact(student(), asked) < 0.1
    scores = [exact(student(epochs=12, seed=seed).fit(asked), asked) for seed in range(3)]
    assert min(scores) > 0.5
    assert all(torch.equal(value, before[name]) for name, value in counting_lm().model.state_dict().items())


def test_fit_starts_from_the_pretrained_weights_each_time():
    asked = sums(4)
    policy = student(epochs=2).fit(asked)
    first = policy.logprob(asked.prompts, asked.texts)
    np.testing.assert_array_equal(policy.fit(asked).logprob(asked.prompts, asked.texts), first)


@pytest.mark.parametrize("pair", [counting_lm, gpt2])
def test_log_probabilities_are_those_of_the_text_and_its_end_alone(pair):
    model, tokenizer = pair()
    policy = CausalStudent((model, tokenizer))
    prompts, texts = ["1+1=", "12 plus 30 is ", "7"], ["2", "42", ""]
    expected = []
    for prompt, text in zip(prompts, texts, strict=True):  # one by one, every token, no padding
        context, answer = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, text))
        tokens = [*context, *answer, tokenizer.eos_token_id]
        table = model(torch.tensor([tokens])).logits[0].log_softmax(-1).detach()
        expected.append(sum(float(table[place - 1, tokens[place]]) for place in range(len(context), len(tokens))))
    np.testing.assert_allclose(policy.logprob(prompts, texts), expected, rtol=1e-4)
    scores, lengths = policy.log_probabilities(prompts, texts)
    np.testing.assert_allclose(scores.detach().numpy(), expected, rtol=1e-4)
    assert lengths.tolist() == [2, 3, 1]
    assert scores.requires_grad


def test_weights_count_rows_and_zero_leaves_them_out():
    right = sums(3)
    wrong = Completions(right.prompts, ["x"] * len(right))
    both = Completions.concat([right, wrong])
    policy = student(epochs=10).fit(both, weights=np.repeat([1.0, 0.0], len(right)))
    alone = policy.sample(right.prompts, temperature=0).texts
    assert "x" not in "".join(alone)
    with pytest.raises(TrainingError, match="nothing to learn from"):
        student().fit(right, weights=np.zeros(len(right)))


def test_accumulated_small_batches_take_the_steps_of_a_large_batch():
    asked = sums(8)
    options = {"epochs": 2}
    large = student(batch_size=32, **options).fit(asked)
    small = student(batch_size=8, arguments={"gradient_accumulation_steps": 4}, **options).fit(asked)
    scores = [policy.logprob(asked.prompts, asked.texts) for policy in (large, small)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-3)


def test_mixed_precision_leaves_an_ordinary_model(tmp_path):
    asked = sums(4)
    policy = student(epochs=3, arguments={"bf16": True, "use_cpu": True}).fit(asked)
    policy.save(tmp_path / "s")
    loaded = CausalStudent.load(tmp_path / "s")
    np.testing.assert_array_equal(loaded.logprob(asked.prompts, asked.texts), policy.logprob(asked.prompts, asked.texts))


def test_lora_learns_and_leaves_an_ordinary_model():
    asked = sums(4)
    knows = student(learning_rate=1e-2).fit(Completions(asked.prompts, ["1"] * len(asked)))
    policy = CausalStudent(
        (knows.model_, knows.tokenizer_), tune="lora", lora_rank=8, epochs=10, batch_size=4, learning_rate=1e-2, progress=False
    )
    other = Completions(asked.prompts, ["11"] * len(asked))
    before = policy.logprob(other.prompts, other.texts).mean()
    policy.fit(other)
    assert policy.logprob(other.prompts, other.texts).mean() > before + 1
    assert type(policy.model_) is type(counting_lm().model)


def test_greedy_texts_depend_on_neither_batch_size_nor_order():
    asked = sums(6)
    policy = student(epochs=4).fit(asked)
    together = policy.sample(asked.prompts, temperature=0)
    policy.batch_size = 1
    assert policy.sample(asked.prompts, temperature=0).texts == together.texts
    assert policy.sample(asked.prompts[::-1], temperature=0).texts == together.texts[::-1]


def test_drawn_texts_are_reproducible_and_differ_between_seeds_and_numbers():
    policy = student(max_new_tokens=6)
    prompts = ["1 2 ", "7"]
    drawn = policy.sample(prompts, n=5, temperature=1.0, seed=3)
    policy.batch_size = 3
    again = policy.sample(prompts, n=5, temperature=1.0, seed=3)
    assert again.texts == drawn.texts
    np.testing.assert_allclose(again.logprobs, drawn.logprobs, rtol=1e-4)
    assert policy.sample(prompts, n=5, temperature=1.0, seed=4).texts != drawn.texts
    assert drawn.rows.tolist() == [0] * 5 + [1] * 5
    assert len(set(drawn.texts[:5])) > 1


def test_samples_follow_the_temperature():
    policy = student(max_new_tokens=1)
    model, tokenizer = counting_lm()
    logits = model(torch.tensor([tokenizer("1 ")["input_ids"]])).logits[0, -1].detach()
    digits = [tokenizer(digit)["input_ids"][0] for digit in "0123456789"]
    for temperature in (1.0, 0.5):
        drawn = policy.sample(["1 "], n=800, temperature=temperature, seed=1)
        p = float((logits / temperature).softmax(-1)[digits].sum())
        share = np.mean([text in "0123456789" and text != "" for text in drawn.texts])
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / 800)
    policy.top_p = 1e-6  # only the most probable token is left
    assert set(policy.sample(["1 "], n=20, seed=2).texts) == set(policy.sample(["1 "], temperature=0).texts)


def test_the_log_probability_of_a_finished_draw_is_the_one_it_is_scored_with():
    asked = sums(4)
    policy = student(epochs=8).fit(asked)
    drawn = policy.sample(asked.prompts, n=2, temperature=1.0, seed=0)
    tokens = counting_lm().tokenizer
    # Drawn bytes that are no letters cannot be told from the text, nor drawn padding from its name.
    same = drawn.finished & np.array([text.isascii() and len(tokens(text)["input_ids"]) == len(text) for text in drawn.texts])
    assert same.sum() > 10
    finished = drawn.take(same)
    np.testing.assert_allclose(finished.logprobs, policy.logprob(finished.prompts, finished.texts), atol=1e-3)


def test_a_text_stopped_by_its_length_is_marked():
    asked = sums(4)
    policy = student(epochs=10).fit(asked)
    assert policy.sample(asked.prompts, temperature=0).finished.all()
    policy.max_new_tokens = 1
    stopped = policy.sample(["3+3="], temperature=0)
    assert stopped.finished.tolist() == [False]
    assert len(stopped.texts[0]) == 1


def test_a_prompt_without_room_for_an_answer_is_refused():
    with pytest.raises(TrainingError, match="prompt 1 has 30 tokens"):
        student().sample(["1", "1" * 30])


def test_preferences_raise_the_margin_and_the_reference_stays():
    asked = sums(5)
    policy = student(epochs=8).fit(asked)
    wrong = [str(int(text) + 1) for text in asked.texts]
    pairs = Preferences(asked.prompts, asked.texts, wrong)
    reference = policy.copy()
    old = {name: value.clone() for name, value in reference.model_.state_dict().items()}
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    start = margin(policy, pairs)
    assert policy.prefer(pairs, "dpo", epochs=8, learning_rate=3e-3) is policy
    assert (margin(policy, pairs) - start).mean() > 1
    assert policy.preference_history_[-1]["margin"] > policy.preference_history_[0]["margin"]
    assert all(torch.equal(value, old[name]) for name, value in reference.model_.state_dict().items())


@pytest.mark.parametrize("method", ["dpo", "kto", "simpo", "orpo"])
def test_trl_has_the_same_losses_and_takes_the_same_steps(method):
    asked = sums(4)
    pairs = Preferences(asked.prompts, asked.texts, [str(int(text) + 1) for text in asked.texts])
    base = student(arguments={"logging_steps": 1})
    options = {"beta": 0.5, "learning_rate": 1e-3, "batch_size": 16, "epochs": 4, "seed": 5}
    ours, theirs = (copy.deepcopy(base).prefer(pairs, method, **options, through=through) for through in ("steelyard", "trl"))
    losses = [[line["loss"] for line in policy.preference_history_ if "loss" in line] for policy in (ours, theirs)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    assert losses[0][3] < losses[0][0] - 0.005
    np.testing.assert_allclose(margin(theirs, pairs), margin(ours, pairs), atol=1e-3)
    assert (margin(ours, pairs) - margin(base, pairs)).mean() > 0.05
    assert type(theirs.model_) is type(counting_lm().model)
    assert theirs.sample(["1+1="], temperature=0).texts == ours.sample(["1+1="], temperature=0).texts


@pytest.mark.parametrize("method", ["simpo", "orpo"])
def test_trl_has_the_same_anchor_and_margin(method):
    asked = sums(4)
    pairs = Preferences(asked.prompts, asked.texts, [text + "1" for text in asked.texts])
    options = {"beta": 1.5, "gamma": 0.3, "nll_weight": 0.7, "batch_size": len(pairs), "learning_rate": 1e-3}
    base = student(arguments={"logging_steps": 1})
    ours, theirs = (copy.deepcopy(base).prefer(pairs, method, **options, through=through) for through in ("steelyard", "trl"))
    assert theirs.preference_history_[0]["loss"] == pytest.approx(ours.preference_history_[0]["loss"], abs=1e-4)
    np.testing.assert_allclose(margin(theirs, pairs), margin(ours, pairs), atol=1e-3)


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_trl_fine_tunes_to_the_same_model(tune):
    asked = sums(4)
    options = {"tune": tune, "epochs": 5, "batch_size": len(asked), "arguments": {"logging_steps": 1}}
    ours, theirs = (student(**options).fit(asked, through=through) for through in ("steelyard", "trl"))
    losses = [[line["loss"] for line in policy.history_ if "loss" in line] for policy in (ours, theirs)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    np.testing.assert_allclose(theirs.logprob(asked.prompts, asked.texts), ours.logprob(asked.prompts, asked.texts), atol=2e-3)
    assert type(theirs.model_) is type(counting_lm().model)
    assert ours.logprob(asked.prompts, asked.texts).mean() > student().logprob(asked.prompts, asked.texts).mean() + 0.1


def test_a_run_through_trl_is_another_run_and_is_read_when_finished(tmp_path):
    asked = sums(4)
    first = student(epochs=1, output_dir=tmp_path).fit(asked, through="trl")
    again = student(epochs=1, output_dir=tmp_path).fit(asked, through="trl")
    assert again.logprob(asked.prompts, asked.texts).tobytes() == first.logprob(asked.prompts, asked.texts).tobytes()
    with pytest.raises(TrainingError, match="holds another run"):
        student(epochs=1, output_dir=tmp_path).fit(asked)


@pytest.mark.parametrize("through", ["steelyard", "trl"])
def test_adapters_learn_preferences_from_the_reference_that_they_cover(through):
    asked = sums(4)
    pairs = Preferences(asked.prompts, asked.texts, [str(int(text) + 1) for text in asked.texts])
    policy = student(tune="lora")
    before = margin(policy, pairs)
    policy.prefer(pairs, "dpo", epochs=10, learning_rate=1e-2, batch_size=16, through=through)
    assert (margin(policy, pairs) - before).mean() > 0.1
    assert type(policy.model_) is type(counting_lm().model)


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path):
    class Killed(CausalStudent):
        def save(self, folder):
            raise KeyboardInterrupt

    asked = sums(8)
    options = {"epochs": 3, "batch_size": 16, "learning_rate": 3e-3, "checkpoint_steps": 4, "progress": False, "max_new_tokens": 4}
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        Killed(counting_lm(), output_dir=folder, **options).fit(asked)
    for late in folder.glob("checkpoints/checkpoint-12"):
        shutil.rmtree(late)
    assert (folder / "checkpoints" / "checkpoint-8").exists()
    resumed = CausalStudent(counting_lm(), output_dir=folder, **options).fit(asked)
    undisturbed = CausalStudent(counting_lm(), **options).fit(asked)
    for name, value in undisturbed.model_.state_dict().items():
        assert value.equal(resumed.model_.state_dict()[name]), name
    finished = CausalStudent(counting_lm(), output_dir=folder, **options).fit(asked)
    assert finished.logprob(asked.prompts, asked.texts).tobytes() == resumed.logprob(asked.prompts, asked.texts).tobytes()
    assert not (folder / "checkpoints").exists()
    with pytest.raises(TrainingError, match="holds another run"):
        CausalStudent(counting_lm(), output_dir=folder, **{**options, "seed": 1}).fit(asked)
    loaded = CausalStudent.load(folder)
    assert loaded.sample(["1+1="], temperature=0).texts == resumed.sample(["1+1="], temperature=0).texts


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: student(tune="half").fit(sums(2)), ConfigError, "tune is 'half'"),
        (lambda: student().sample(["1"], n=0), ConfigError, "n is 0"),
        (lambda: student().prefer(Preferences(["1"], ["2"], ["3"]), through="vllm"), ConfigError, "through='vllm'"),
        (lambda: student().prefer(Preferences(["1"], ["2"], ["3"], probabilities=[0.8]), through="trl"), ConfigError, "certain pairs"),
        (lambda: student().prefer(Preferences(["1"], ["2"], ["3"]), "kto", nll_weight=1.0, through="trl"), ConfigError, "no anchor"),
        (lambda: student().fit(Completions(["1", "2"], ["2", "3"]), [1, 3], through="trl"), ConfigError, "without weights"),
        (lambda: student().fit(Completions([], [])), TrainingError, "nothing to learn from"),
        (lambda: student().fit(sums(2), weights=[1.0]), TrainingError, "4 texts need 4"),
        (lambda: student(learning_rate=1e30, epochs=5).fit(sums(4)), TrainingError, "diverged"),
    ],
)
def test_bad_input_is_named(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
