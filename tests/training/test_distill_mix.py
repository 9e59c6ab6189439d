"""SALT's loss: the published mix token by token, its schedule, stored soft labels, and what happens to the teacher."""

from __future__ import annotations

import math

import pytest
import torch

from steelyard.errors import ConfigError, TrainingError
from steelyard.language.tiny_lm import tiny_lm
from steelyard.training.objectives import distill_mix
from steelyard.training.objectives.distill_mix import DistillMix
from steelyard.training.objectives.token_weighted import TokenWeighted

G = torch.Generator().manual_seed(0)
LOGITS, TEACHER = torch.randn(2, 4, 6, generator=G), torch.randn(2, 4, 6, generator=G)
TARGETS = torch.tensor([[0, 1, 2, 3], [4, 5, -100, -100]])
TOKENS = torch.zeros(2, 4, dtype=torch.int64)


def slow(omega: float, rho: float) -> float:
    """The definition: mean over tokens of (1 − ω) ce + ω kd, the teacher alone tempered."""
    total, count = 0.0, 0
    for i in range(2):
        for t in range(4):
            if TARGETS[i, t] == -100:
                continue
            student = LOGITS[i, t].log_softmax(-1).tolist()
            odds = [math.exp(value / rho) for value in TEACHER[i, t].tolist()]
            kd = -sum(value / sum(odds) * own for value, own in zip(odds, student, strict=True))
            total, count = total + (1 - omega) * -student[int(TARGETS[i, t])] + omega * kd, count + 1
    return total / count


@pytest.mark.parametrize(("omega", "rho"), [(0.667, 1.0), (1.0, 0.25), (0.3, 2.0)])
def test_the_mix_token_by_token(omega: float, rho: float) -> None:
    mix = DistillMix(lambda tokens: TEACHER, weight=omega, temperature=rho)
    assert float(mix(LOGITS, TARGETS, tokens=TOKENS, progress=0.1)) == pytest.approx(slow(omega, rho), rel=1e-4)
    assert float(mix.log["kd"]) == pytest.approx(slow(1.0, rho), rel=1e-4)
    assert float(mix.log["divergence"]) < float(mix.log["kd"])


def test_the_gradient_is_that_of_the_mixed_targets() -> None:
    logits = LOGITS.clone().requires_grad_()
    DistillMix(lambda tokens: TEACHER, weight=0.4)(logits, TARGETS, tokens=TOKENS, progress=0.0).backward()
    learned = TARGETS != -100
    one_hot = torch.nn.functional.one_hot(TARGETS.clamp(min=0), 6).float()
    expected = (LOGITS.softmax(-1) - 0.6 * one_hot - 0.4 * TEACHER.softmax(-1)) / learned.sum() * learned[..., None]
    torch.testing.assert_close(logits.grad, expected)


def test_without_a_first_stage_it_is_ordinary_pretraining_to_the_bit() -> None:
    for mix in (DistillMix(until=0.0), DistillMix(weight=0.0)):
        assert mix(LOGITS, TARGETS, progress=0.0).equal(TokenWeighted()(LOGITS, TARGETS))
    assert DistillMix(lambda tokens: TEACHER, until=0.2)(LOGITS, TARGETS, tokens=TOKENS, progress=0.2).equal(
        TokenWeighted()(LOGITS, TARGETS)
    )


def test_the_switch_falls_on_the_step_that_was_asked_for() -> None:
    mix = DistillMix(until=0.2)
    assert [mix.weight_at(step / 600) > 0 for step in (118, 119, 120, 121)] == [True, True, False, False]


def test_transitions() -> None:
    linear = DistillMix(weight=0.8, until=0.6, fall_from=0.2, transition="linear")
    assert [linear.weight_at(p) for p in (0.0, 0.2, 0.4, 0.6)] == pytest.approx([0.8, 0.8, 0.4, 0.0])
    ratio = DistillMix(weight=0.8, until=0.6, fall_from=0.2, transition="linear-ratio")
    falls = [w / (1 - w) for w in map(ratio.weight_at, (0.2, 0.3, 0.4, 0.5))]
    assert falls == pytest.approx([4.0, 3.0, 2.0, 1.0])


def test_parts_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for at_once in (1 << 24, 12):
        monkeypatch.setattr(distill_mix, "_LOGITS_AT_ONCE", at_once)
        logits = LOGITS.clone().requires_grad_()
        weights = torch.tensor([2.0, 0.5])
        loss = DistillMix(lambda tokens: TEACHER)(logits, TARGETS, weights, tokens=TOKENS, progress=0.0)
        loss.backward()
        found.append((loss.detach(), logits.grad))
    torch.testing.assert_close(found[0], found[1])


def stored(top: int) -> dict[str, torch.Tensor]:
    best = TEACHER.log_softmax(-1).topk(top, dim=-1)
    return {"soft_tokens": best.indices.int(), "soft_logprobs": best.values}


def test_stored_soft_labels_are_exact_where_all_are_kept_and_share_out_the_rest() -> None:
    live = DistillMix(lambda tokens: TEACHER, temperature=0.5)(LOGITS, TARGETS, tokens=TOKENS, progress=0.0)
    torch.testing.assert_close(DistillMix(temperature=0.5)(LOGITS, TARGETS, **stored(6), progress=0.0), live)
    p = TEACHER.softmax(-1)
    kept = p.topk(2, dim=-1)
    left = (1 - kept.values.sum(-1, keepdim=True)) / 4
    for tail, rebuilt in (
        ("spread", left.expand(-1, -1, 6).scatter(2, kept.indices, kept.values)),
        ("renormalise", torch.zeros_like(p).scatter(2, kept.indices, kept.values / kept.values.sum(-1, keepdim=True))),
    ):
        mix = DistillMix(weight=1.0, tail=tail)  # type: ignore[arg-type]
        loss = mix(LOGITS, TARGETS, **stored(2), progress=0.0)
        learned = TARGETS != -100
        torch.testing.assert_close(loss, -(rebuilt * LOGITS.log_softmax(-1)).sum(-1)[learned].mean())


def test_what_is_logged_by_how_hard_tokens_are_for_the_teacher() -> None:
    mix = DistillMix(lambda tokens: TEACHER)
    mix(LOGITS, TARGETS, tokens=TOKENS, progress=0.0)
    easy, medium, hard = (float(mix.log[f"teacher_{name}"]) for name in ("easy", "medium", "hard"))
    assert easy < medium < hard
    everything = -TEACHER.log_softmax(-1).gather(2, TARGETS.clamp(min=0)[..., None])[..., 0][TARGETS != -100]
    assert (easy + medium + hard) / 3 == pytest.approx(float(everything.mean()), rel=1e-4)
    mix(LOGITS, TARGETS, progress=0.9)
    assert set(mix.log) == {"ce", "omega"}


def test_a_teacher_by_name_is_loaded_when_needed_and_let_go_at_the_switch(tmp_path) -> None:
    made = tiny_lm(["abab"], size="nano", tokens=258, context=4, steps=0)
    made.save(tmp_path)
    tokens = torch.randint(0, 258, (2, 4), generator=torch.Generator().manual_seed(1))
    logits = torch.zeros(2, 4, 258)
    by_name, by_model = DistillMix(str(tmp_path / "model")), DistillMix(made.model)
    assert not by_name._loaded
    first = [mix(logits, TARGETS, tokens=tokens, progress=0.0) for mix in (by_name, by_model)]
    torch.testing.assert_close(*first)
    assert by_name._loaded
    by_name(logits, TARGETS, tokens=tokens, progress=0.5)
    assert not by_name._loaded
    assert not list(by_model.parameters()), "a teacher is no part of what is trained or saved with the loss"
    assert repr(by_model) != repr(DistillMix(tiny_lm(["abab"], size="nano", tokens=258, context=4, steps=0, seed=1).model))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"weight": 1.2}, "weight"),
        ({"temperature": 0.0}, "temperature"),
        ({"until": 0.2, "fall_from": 0.3}, "fall_from"),
        ({"transition": "soft"}, "transition 'soft'"),
        ({"transition": "linear-ratio", "weight": 1.0}, "infinite"),
    ],
)
def test_options_out_of_range(options: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        DistillMix(**options)


def test_a_missing_teacher_and_another_vocabulary() -> None:
    with pytest.raises(TrainingError, match="there are no soft labels"):
        DistillMix()(LOGITS, TARGETS, tokens=TOKENS, progress=0.0)
    with pytest.raises(TrainingError, match="both need one vocabulary"):
        DistillMix(lambda tokens: torch.zeros(2, 4, 7))(LOGITS, TARGETS, tokens=TOKENS, progress=0.0)
