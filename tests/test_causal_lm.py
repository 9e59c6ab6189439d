from __future__ import annotations

from types import SimpleNamespace

import pytest

from steelyard.causal_lm import context_tokens, end_tokens, generate, load_causal_lm
from steelyard.errors import DataError
from tests.training.arithmetic import counting_lm

torch = pytest.importorskip("torch")


def test_greedy_generation_is_the_argmax_of_each_next_token():
    model, tokenizer = counting_lm()
    contexts = context_tokens(model, tokenizer, ["1 2", "3", "12 "])
    drawn = generate(model, tokenizer, contexts, max_new_tokens=4, batch_size=2)
    for context, text in zip(contexts, drawn, strict=True):
        tokens, logprob, finished = list(context), 0.0, False
        for _ in range(4):
            scores = model(torch.tensor([tokens])).logits[0, -1].log_softmax(-1).detach()
            best = int(scores.argmax())
            logprob += float(scores[best])
            if best == tokenizer.eos_token_id:
                finished = True
                break
            tokens.append(best)
        assert text.tokens == tokens[len(context) :]
        assert text.finished == finished
        assert text.logprob == pytest.approx(logprob, rel=1e-4)


def test_generation_settings_of_the_model_do_not_leak_in():
    model, tokenizer = counting_lm()
    contexts = context_tokens(model, tokenizer, ["1 2"])
    plain = generate(model, tokenizer, contexts, max_new_tokens=4)
    kept = model.generation_config
    try:
        model.generation_config = type(kept)(repetition_penalty=5.0, temperature=0.1, top_k=1, do_sample=True, eos_token_id=1)
        assert generate(model, tokenizer, contexts, max_new_tokens=4) == plain
    finally:
        model.generation_config = kept


def test_a_context_is_never_empty():
    model, tokenizer = counting_lm()
    assert context_tokens(model, tokenizer, ["", "7"]) == [[tokenizer.eos_token_id], tokenizer("7")["input_ids"]]
    assert context_tokens(model, tokenizer, []) == []


def test_every_end_token_ends_a_text():
    assert end_tokens(SimpleNamespace(generation_config=None), SimpleNamespace(eos_token_id=None)) == []
    assert end_tokens(SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=4)), SimpleNamespace(eos_token_id=2)) == [2, 4]


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be loaded"):
        load_causal_lm(str(tmp_path / "nothing"))
