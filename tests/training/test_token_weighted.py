"""Weighted losses of language models: closed forms, ignored targets, and the agreement with what Hugging Face models compute."""

from __future__ import annotations

import math

import pytest
import torch

from steelyard.errors import ConfigError, TrainingError
from steelyard.language.tiny_lm import tiny_lm
from steelyard.training.objectives.token_weighted import TokenWeighted, sequence_losses, token_losses, token_weighted_loss

LOGITS = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([[0, 1, 2, 3], [4, 0, -100, -100], [-100, -100, -100, -100]])


def slow(weights: list[list[float]], mean: str) -> float:
    """The definition, token by token."""
    rows, total, learned = [], 0.0, 0
    for i in range(3):
        own = []
        for t in range(4):
            if TARGETS[i, t] != -100:
                own.append(weights[i][t] * -math.log(float(LOGITS[i, t].softmax(-1)[TARGETS[i, t]])))
        total, learned = total + sum(own), learned + len(own)
        rows += [sum(own) / len(own)] if own else []
    return total / learned if mean == "token" else sum(rows) / len(rows)


@pytest.mark.parametrize("mean", ["token", "sequence"])
def test_the_definition_token_by_token(mean: str) -> None:
    of_tokens = torch.rand(3, 4, generator=torch.Generator().manual_seed(1))
    of_rows = torch.tensor([2.0, 0.5, 3.0])
    assert float(token_weighted_loss(LOGITS, TARGETS, mean=mean)) == pytest.approx(slow([[1.0] * 4] * 3, mean), rel=1e-5)
    assert float(token_weighted_loss(LOGITS, TARGETS, of_tokens, mean=mean)) == pytest.approx(slow(of_tokens.tolist(), mean), rel=1e-5)
    both = TokenWeighted(mean)(LOGITS, TARGETS, of_rows, token_weights=of_tokens)
    assert float(both) == pytest.approx(slow((of_tokens * of_rows[:, None]).tolist(), mean), rel=1e-5)


def test_without_weights_it_is_the_loss_of_the_model_itself() -> None:
    model, _ = tiny_lm(["abc"], size="nano", tokens=258, context=8, steps=0)
    ids = torch.randint(0, 258, (3, 8), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        output = model(input_ids=ids, labels=ids)
    assert float(TokenWeighted()(output.logits[:, :-1], ids[:, 1:])) == pytest.approx(float(output.loss), rel=1e-6)


def test_sizes_and_losses_of_sequences() -> None:
    losses, sizes = sequence_losses(LOGITS, TARGETS)
    assert sizes.tolist() == [4, 2, 0]
    assert losses[2] == 0
    torch.testing.assert_close(
        losses[:2], torch.stack([token_losses(LOGITS, TARGETS)[0].mean(), token_losses(LOGITS, TARGETS)[1, :2].mean()])
    )


def test_half_precision_is_computed_in_single_and_nothing_to_learn_is_zero() -> None:
    assert token_losses(LOGITS.bfloat16(), TARGETS).dtype == torch.float32
    for mean in ("token", "sequence"):
        assert float(token_weighted_loss(LOGITS, torch.full_like(TARGETS, -100), mean=mean)) == 0


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="mean is 'row'"):
        TokenWeighted("row")  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="got \\(3, 4, 5\\) and \\(3, 3\\)"):
        token_losses(LOGITS, TARGETS[:, 1:])
    with pytest.raises(TrainingError, match="weights must be"):
        token_weighted_loss(LOGITS, TARGETS, torch.ones(4))
