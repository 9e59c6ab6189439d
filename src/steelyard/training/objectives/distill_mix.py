"""SALT: a small language model's soft labels beside the next token at the beginning of pretraining, then the next token alone.

Rawat et al. 2024, "A Little Help Goes a Long Way: Efficient LLM Training by Leveraging Small LMs". Soft labels lower the variance and bring
the teacher's bias: they pay while the student is worse than its teacher, and harm when they go on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch.utils.checkpoint import checkpoint

from steelyard.causal_lm import load_causal_lm
from steelyard.errors import ConfigError, TrainingError
from steelyard.training.objectives.distillation import Distillation
from steelyard.training.objectives.objective import Objective
from steelyard.training.objectives.token_weighted import IGNORED, token_losses, token_weighted_loss

Teacher: TypeAlias = str | os.PathLike[str] | torch.nn.Module | Callable[[torch.Tensor], Any]
Transition: TypeAlias = Literal["step", "linear", "linear-ratio"]

_LOGITS_AT_ONCE = 1 << 24


class DistillMix(Objective):
    """`mean_t [(1 − ω) ce_t + ω kd_t]` with `kd_t = −Σ_v P(v) log p(v)`, P the teacher's distribution, ω falling to 0 on the way.

    Parameters
    ----------
    teacher
        Name or folder of a causal language model of the student's vocabulary, loaded when first needed and let go at the switch; a loaded
        model; or a function from tokens (b, t) to logits (b, t, v). `None` where the data bring soft labels, see `teacher_targets`.
    weight
        ω in [0, 1] at the start: 0 never distils, 1 distils alone.
    temperature
        ρ > 0 of the teacher alone, `P ∝ P^(1/ρ)`; the student is not tempered. 1 is safe; sharper ones (0.25) were used at scale.
    until
        Share of training in [0, 1] after which the teacher is gone. 1 is plain distillation to the end, 0 plain pretraining.
    transition
        "step": ω until the end of the stage. "linear": ω falls linearly. "linear-ratio": ω/(1 − ω) falls linearly.
    fall_from
        Share of training from which it falls.
    tail
        What becomes of the mass outside of stored soft labels: "spread" evenly over the other tokens, or "renormalise".

    Examples
    --------
    >>> mix = DistillMix(lambda tokens: torch.zeros(*tokens.shape, 4), weight=0.5, until=0.2)
    >>> logits, targets = torch.tensor([[[0.0, 0.0, 0.0, 2.0]]]), torch.tensor([[3]])
    >>> [round(float(mix(logits, targets, tokens=targets, progress=p)), 3) for p in (0.1, 0.2)]
    [1.091, 0.341]
    >>> [round(DistillMix(weight=0.5, until=0.4, transition="linear").weight_at(p), 3) for p in (0.0, 0.2, 0.4)]
    [0.5, 0.25, 0.0]
    """

    reads: ClassVar[tuple[str, ...]] = ("tokens", "soft_tokens", "soft_logprobs")

    def __init__(
        self,
        teacher: Teacher | None = None,
        *,
        weight: float = 2 / 3,
        temperature: float = 1.0,
        until: float = 0.2,
        transition: Transition = "step",
        fall_from: float = 0.0,
        tail: Literal["spread", "renormalise"] = "spread",
    ) -> None:
        super().__init__()
        if not 0.0 <= weight <= 1.0 or not 0.0 < temperature < float("inf"):
            raise ConfigError(f"DistillMix: weight ({weight}) must be in [0, 1] and temperature ({temperature}) positive")
        if not 0.0 <= fall_from <= until <= 1.0:
            raise ConfigError(f"DistillMix: fall_from ({fall_from}) and until ({until}) are shares of training, 0 ≤ fall_from ≤ until ≤ 1")
        if transition not in ("step", "linear", "linear-ratio") or tail not in ("spread", "renormalise"):
            raise ConfigError(
                f"DistillMix: transition '{transition}' must be 'step', 'linear' or 'linear-ratio', tail '{tail}' 'spread' or 'renormalise'"
            )
        if transition == "linear-ratio" and weight == 1.0:
            raise ConfigError("DistillMix: weight is 1, whose ratio to 0 is infinite and cannot fall linearly; use a smaller weight")
        # In a tuple: a teacher is no part of the loss's own weights.
        self._source = (teacher,)
        self._loaded: tuple[Any, ...] = ()
        self.weight = weight
        self.temperature = temperature
        self.until = until
        self.transition = transition
        self.fall_from = fall_from
        self.tail = tail
        self._divergence = Distillation(temperature=1.0, direction="forward")

    def weight_at(self, progress: float) -> float:
        """Return ω after this share of training."""
        if progress >= self.until:
            return 0.0
        if self.transition == "step" or progress < self.fall_from:
            return self.weight
        left = (self.until - progress) / (self.until - self.fall_from)
        if self.transition == "linear":
            return self.weight * left
        ratio = left * self.weight / (1 - self.weight)
        return ratio / (1 + ratio)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, **batch: Any) -> torch.Tensor:
        """Return the loss of logits (b, t, v) against next tokens (b, t).

        `tokens` (b, t) are what the teacher reads; stored soft labels come as `soft_tokens` and `soft_logprobs` (b, t, m) instead.
        """
        omega = self.weight_at(float(batch.get("progress", 0.0)))
        ce = token_weighted_loss(logits, targets, weights)
        if omega == 0.0:
            self._loaded = ()
            self.record(ce=ce, omega=torch.tensor(0.0))
            return ce
        learned = targets != IGNORED
        teacher = self._teacher_logprobs(logits, batch)[learned]  # (N, v) or (N, m) with their tokens
        places = batch["soft_tokens"][learned].long() if self._is_stored(batch) else None
        of_tokens = None if weights is None else weights[:, None].expand_as(targets)[learned]
        divergence, entropy = self._kd(logits[learned], teacher, places, of_tokens)
        kd = divergence + entropy
        with torch.no_grad():
            buckets = self._buckets(logits, targets, teacher, places, learned)
        self.record(ce=ce, kd=kd, divergence=divergence, omega=torch.tensor(omega), **buckets)
        return (1 - omega) * ce + omega * kd

    def _kd(
        self, logits: torch.Tensor, teacher: torch.Tensor, places: torch.Tensor | None, weights: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean KL(P ‖ p), with gradient, and mean entropy of P, over N tokens."""
        count, width = logits.shape
        rows = max(1, _LOGITS_AT_ONCE // width)
        divergence, entropy = logits.new_zeros((), dtype=torch.float32), logits.new_zeros((), dtype=torch.float32)

        def part(own: torch.Tensor, found: torch.Tensor, where: torch.Tensor | None, weigh: torch.Tensor | None) -> torch.Tensor:
            return self._divergence(own, self._distribution(found, where, width), weigh) * len(own)

        for start in range(0, count, rows):
            cut = slice(start, start + rows)
            where, weigh = (None if column is None else column[cut] for column in (places, weights))
            # Several parts are computed again going back, so that only one is ever whole in memory.
            made = part if count <= rows else lambda *given: checkpoint(part, *given, use_reentrant=False)
            divergence = divergence + made(logits[cut], teacher[cut], where, weigh)
            with torch.no_grad():
                entropies = torch.special.entr(self._distribution(teacher[cut], where, width)).sum(-1)
                entropy = entropy + (entropies if weigh is None else weigh * entropies).sum()
        return divergence / max(count, 1), entropy / max(count, 1)

    def _distribution(self, logprobs: torch.Tensor, places: torch.Tensor | None, width: int) -> torch.Tensor:
        """The teacher's tempered probabilities (n, v)."""
        if places is not None:
            kept = logprobs.exp()
            spare = width - places.shape[1]
            rest = (1 - kept.sum(-1, keepdim=True)).clamp(min=0) / max(spare, 1) if self.tail == "spread" else kept.new_zeros(len(kept), 1)
            logprobs = rest.log().expand(-1, width).scatter(1, places, logprobs)
        return (logprobs / self.temperature).softmax(-1)

    def _buckets(
        self, logits: torch.Tensor, targets: torch.Tensor, teacher: torch.Tensor, places: torch.Tensor | None, learned: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Losses of student and teacher on the thirds of the tokens that the teacher finds easy, medium and hard."""
        aims = targets[learned]
        if places is None:
            of_teacher = -teacher.gather(1, aims[:, None])[:, 0]
        else:
            hit = places == aims[:, None]
            missed = -(1 - teacher.exp().sum(-1)).clamp(min=1e-12).log()
            of_teacher = torch.where(hit.any(-1), -(teacher * hit).sum(-1), missed)
        own, order = token_losses(logits.detach(), targets)[learned], of_teacher.argsort()
        parts = dict(zip(("easy", "medium", "hard"), order.tensor_split(3), strict=True))
        losses = {"teacher": of_teacher, "ce": own}
        return {f"{who}_{name}": losses[who][part].mean() for name, part in parts.items() if len(part) for who in losses}

    def _is_stored(self, batch: dict[str, Any]) -> bool:
        return self._source[0] is None and "soft_tokens" in batch

    def _teacher_logprobs(self, logits: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
        if self._is_stored(batch):
            return batch["soft_logprobs"].float()
        if self._source[0] is None or "tokens" not in batch:
            raise TrainingError(
                "DistillMix: there are no soft labels; give a teacher and the batch's tokens, or soft_tokens and soft_logprobs"
            )
        if not self._loaded:
            source = self._source[0]
            named = isinstance(source, (str, os.PathLike))
            self._loaded = (load_causal_lm(os.fspath(source), dtype="auto")[0] if named else source,)  # type: ignore[arg-type]
            if isinstance(self._loaded[0], torch.nn.Module):
                self._loaded[0].to(logits.device).eval()
        with torch.no_grad():
            given = self._loaded[0](batch["tokens"])
            found = given if isinstance(given, torch.Tensor) else given["logits"]
        if found.shape != logits.shape:
            raise TrainingError(
                f"the teacher gives logits {tuple(found.shape)}, the student {tuple(logits.shape)}; both need one vocabulary"
            )
        return found.float().log_softmax(-1)

    def extra_repr(self) -> str:
        """The parameters, as the printed module shows them."""
        shown = f"weight={self.weight}, temperature={self.temperature}, until={self.until}, transition={self.transition!r}"
        return f"{self._teacher_name()}, {shown}, fall_from={self.fall_from}, tail={self.tail!r}"

    def _teacher_name(self) -> str:
        teacher = self._source[0]
        if isinstance(teacher, torch.nn.Module):
            # A run is named by what its loss shows: a model by its weights, not by its class.
            total = sum(float(value.double().abs().sum()) for value in teacher.state_dict().values() if value.is_floating_point())
            return f"teacher={type(teacher).__name__}:{total:.12g}"
        return f"teacher={getattr(teacher, '__qualname__', teacher)!r}"
