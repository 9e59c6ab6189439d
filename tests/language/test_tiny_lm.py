from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError, TrainingError
from steelyard.language.tiny_lm import SIZES, TinyLM, tiny_lm
from steelyard.training import CausalStudent

LINES = [f"{a}>{chr(97 + a)}" for a in range(10)] * 20


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_the_model_learns_its_texts_and_where_they_end():
    made = tiny_lm(LINES, size="nano", tokens=258, context=16, steps=150, learning_rate=1e-2)
    drawn = CausalStudent(made, max_new_tokens=3).sample([f"{a}>" for a in range(10)], temperature=0)
    assert np.mean([text == chr(97 + a) for a, text in enumerate(drawn.texts)]) > 0.8
    assert drawn.finished.mean() > 0.8


def test_the_same_seed_gives_the_same_model():
    one, two, other = (tiny_lm(LINES, size="nano", steps=3, seed=seed).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    tiny_lm(LINES, size="nano", steps=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("tokens", [258, 300])
def test_any_text_survives_the_tokenizer(tokens):
    tokenizer = tiny_lm(LINES, size="nano", tokens=tokens, steps=0).tokenizer
    for text in ("12+7=19", "naïve – ünïcode 漢字\n\t", "", " two  spaces "):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) <= tokens
    assert tokenizer("1234")["input_ids"] == [tokenizer(digit)["input_ids"][0] for digit in "1234"]


def test_sizes_are_what_they_say():
    weights = {
        name: sum(value.numel() for value in tiny_lm(LINES, size=name, steps=0).model.parameters())
        for name in SIZES
        if name not in ("base", "large")
    }
    assert weights["nano"] < 0.1e6
    assert weights["micro"] < 0.2e6
    assert 0.5e6 < weights["mini"] < 1e6
    assert 4e6 < weights["small"] < 6e6


def test_a_saved_model_reads_back_and_loads_by_its_folder(tmp_path):
    made = tiny_lm(LINES, size="nano", context=16, steps=10)
    made.save(tmp_path / "lm")
    loaded = TinyLM.load(tmp_path / "lm")
    prompts, texts = ["1>", "2>"], ["b", "x"]
    expected = CausalStudent(made).logprob(prompts, texts)
    np.testing.assert_array_equal(CausalStudent(loaded).logprob(prompts, texts), expected)
    np.testing.assert_array_equal(CausalStudent(str(tmp_path / "lm" / "model")).logprob(prompts, texts), expected)
    assert not list((tmp_path / "lm").rglob("*.bin"))


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"size": "giant"}, ConfigError, "size is 'giant'"),
        ({"tokens": 100}, ConfigError, "tokens=100"),
        ({"texts": ["", ""]}, TrainingError, "no text to learn from"),
    ],
)
def test_bad_input_is_named(options, error, sentence):
    with pytest.raises(error, match=sentence):
        tiny_lm(**{"texts": LINES, "steps": 1, **options})
