from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from steelyard.completions import Completions
from steelyard.errors import TrainingError
from steelyard.training import CausalStudent
from steelyard.training.completion_rows import CompletionDataset, PadCompletions, completion_rows
from tests.training.arithmetic import counting_lm

OPENING = "{% for m in messages %}{% if m.role == 'user' %}<u>{{ m.content }}</u>{% else %}"
CLOSING = "{% endif %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
WHOLE = OPENING + "<a>{{ m.content }}<|end|>" + CLOSING
STRIPPING = OPENING + "<a>{{ m.content.split('</think>')[-1] }}<|end|>" + CLOSING
TRACE = "<think>two and two are four</think>4"


def chat(template: str):
    tokenizer = copy.deepcopy(counting_lm().tokenizer)
    tokenizer.chat_template = template
    return tokenizer


def rows(tokenizer, prompts, texts, **options):
    return completion_rows(counting_lm().model, tokenizer, prompts, texts, **{"limit": 200, **options})


def learned(tokenizer, made, row: int) -> str:
    return tokenizer.decode(made.tokens[row][-int(made.lengths[row]) :])


def test_the_text_and_the_end_token_are_learned_and_nothing_else():
    tokenizer = counting_lm().tokenizer
    made = rows(tokenizer, ["1+1=", "12+30="], ["2", "42"])
    assert [learned(tokenizer, made, row) for row in range(2)] == ["2<|end|>", "42<|end|>"]
    assert [tokenizer.decode(made.tokens[row]) for row in range(2)] == ["1+1=2<|end|>", "12+30=42<|end|>"]


def test_a_raw_trace_keeps_its_reasoning_whatever_the_template_does_to_assistants():
    for template in (WHOLE, STRIPPING):
        tokenizer = chat(template)
        made = rows(tokenizer, ["2+2?"], [TRACE])
        assert tokenizer.decode(made.tokens[0]) == f"<u>2+2?</u><a>{TRACE}<|end|>"
        assert learned(tokenizer, made, 0) == f"{TRACE}<|end|>"


def test_a_template_that_strips_the_reasoning_is_refused():
    with pytest.raises(TrainingError, match="row 0: the chat template dropped the beginning of the text"):
        rows(chat(STRIPPING), ["2+2?"], [TRACE], rendering="template")
    with pytest.raises(TrainingError, match="dropped the beginning"):
        CausalStudent((counting_lm().model, chat(STRIPPING)), rendering="template", max_length=200).fit(Completions(["2+2?"], [TRACE]))


def test_a_faithful_template_writes_the_same_turn():
    tokenizer = chat(WHOLE)
    raw, templated = (rows(tokenizer, ["2+2?"], [TRACE], rendering=rendering) for rendering in ("raw", "template"))
    assert raw.tokens[0].tolist() == templated.tokens[0].tolist()
    assert raw.lengths.tolist() == templated.lengths.tolist()


def test_a_template_that_rewrites_an_answered_prompt_is_refused():
    changing = "{{ messages | length }}" + WHOLE
    with pytest.raises(TrainingError, match="renders the prompt in another way"):
        rows(chat(changing), ["2+2?"], [TRACE], rendering="template")
    with pytest.raises(TrainingError, match="needs a tokenizer with a chat template"):
        rows(counting_lm().tokenizer, ["2+2?"], [TRACE], rendering="template")


def test_a_text_that_does_not_fit_is_refused_dropped_or_keeps_its_end():
    tokenizer = counting_lm().tokenizer
    prompts, texts = ["1" * 30, "1+1=", "5"], ["2", "2", "9" * 40]
    with pytest.raises(TrainingError, match=r"row 0 needs 32 tokens \(30 of the prompt\), the model reads 20"):
        rows(tokenizer, prompts, texts, limit=20)
    dropped = rows(tokenizer, prompts, texts, limit=20, overlong="drop")
    assert dropped.kept.tolist() == [1]
    cut = rows(tokenizer, prompts[:2], texts[:2], limit=20, overlong="cut_prompt")
    assert tokenizer.decode(cut.tokens[0]) == "1" * 18 + "2<|end|>"
    with pytest.raises(TrainingError, match="row 2 needs 42"):  # a text is never cut
        rows(tokenizer, prompts, texts, limit=20, overlong="cut_prompt")


def test_the_student_counts_what_it_left_out():
    student = CausalStudent(counting_lm(), epochs=1, overlong="drop", progress=False)
    with pytest.warns(UserWarning, match="1 of 3 texts are too long"):
        student.fit(Completions(["1", "2", "3"], ["1", "2" * 90, "3"]), weights=[1.0, 5.0, 1.0])
    assert student.dropped_ == 1
    with pytest.raises(TrainingError, match="row 1 needs"):
        CausalStudent(counting_lm(), epochs=1).fit(Completions(["1", "2"], ["1", "2" * 90]))


def test_what_the_model_thinks_of_the_prompt_does_not_matter():
    """The loss has no gradient by any logit before the first token of the text."""
    model, tokenizer = counting_lm()
    made = rows(tokenizer, ["1+1=", "12+30="], ["2", "42"])
    batch = PadCompletions(0)([CompletionDataset(made, np.ones(2, np.float32))[row] for row in range(2)])
    logits = model(input_ids=batch["ids"], attention_mask=batch["mask"]).logits.detach().requires_grad_(True)

    class Fixed(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            return type("Output", (), {"logits": logits})

    from steelyard.causal_lm import completion_log_probabilities

    completion_log_probabilities(Fixed(), batch["ids"], batch["mask"], batch["lengths"]).sum().backward()
    touched = logits.grad.abs().sum(-1) > 0  # (b, t)
    assert touched.tolist() == [[False] * 6 + [True] * 2 + [False], [False] * 5 + [True] * 3 + [False]]


def test_a_tokenizer_without_an_end_is_refused():
    tokenizer = copy.deepcopy(counting_lm().tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(TrainingError, match="no end-of-text token"):
        rows(tokenizer, ["1"], ["2"])
