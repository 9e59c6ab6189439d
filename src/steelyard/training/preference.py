"""Learning from pairs: one training loop for any `Policy`, over the losses of `preference_losses`.

The stage after fine-tuning: pairs come from majority votes, older checkpoints or weak judges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import ConfigError, TrainingError
from steelyard.preferences import Preferences
from steelyard.training.preference_losses import BETAS, dpo_loss, kto_loss, orpo_loss, simpo_loss

if TYPE_CHECKING:
    from steelyard.training.policy import Method, Policy

PolicyType = TypeVar("PolicyType", bound="Policy")
Conflict = Literal["reverse", "sft"]

__all__ = ["dpo_loss", "kto_loss", "orpo_loss", "prefer", "simpo_loss"]


def prefer(
    policy: PolicyType,
    preferences: Preferences,
    method: Method = "dpo",
    *,
    beta: float | None = None,
    gamma: float = 1.0,
    nll_weight: float = 0.0,
    epochs: int = 1,
    learning_rate: float = 1e-4,
    batch_size: int = 32,
    seed: int = 0,
    reference: Policy | None = None,
    gold: ArrayLike | None = None,
    alpha: float = 0.5,
    conflict: Conflict = "reverse",
) -> PolicyType:
    """Train `policy` in place on n pairs and return it.

    The loss of a pair with q = P(chosen is better) is `q L(c, r) + (1 - q) L(r, c)`, plus `nll_weight` times the mean
    −log p per token of the better text (weighted alike), the anchor that keeps pure DPO from lowering both likelihoods.

    Parameters
    ----------
    policy
        Trained from the weights it has.
    preferences
        n pairs.
    method, beta, gamma
        See the losses; `beta` is the published one (`BETAS`) when left out.
    epochs, learning_rate, batch_size, seed
        AdamW without weight decay at a constant rate, gradients clipped to length 1; the seed shuffles the pairs.
    reference
        The frozen policy that "dpo" and "kto" compare with; the policy as it is now when left out. Its log-probabilities are taken
        once, before the first step, so no second model stays in memory.
    gold
        (n,) simulates an explicit conflict of interest (a red-team instrument, never a recipe): 1 where the chosen text truly is the
        better, 0 where the rejected one is, NaN where no conflict is put. On pairs where the policy at that moment prefers the worse
        text, `alpha` times a reward for it is added to the loss.
    alpha
        Weight of that reward for the worse text.
    conflict
        What the reward is: `"reverse"`, the loss with the worse text as the chosen one; `"sft"`, the worse text's −log p per token.

    Returns
    -------
    The policy; its attribute `preference_history_` holds, per epoch, the mean loss, the share and size of margins in favour of the chosen
    text, and the mean log-probabilities of both.

    Raises
    ------
    ConfigError
        An unknown method or an option out of range.
    TrainingError
        No pairs, or the loss became NaN or infinite.

    Examples
    --------
    >>> from steelyard.completions import Completions
    >>> from steelyard.training import AnswerPolicy
    >>> policy = AnswerPolicy(classes=["no", "yes"], epochs=5).fit(Completions(["up", "down"], ["yes", "no"]))
    >>> before = policy.logprob(["up"], ["no"])
    >>> _ = prefer(policy, Preferences(["up"], ["no"], ["yes"]), epochs=5)
    >>> bool((policy.logprob(["up"], ["no"]) > before)[0])
    True
    """
    n = len(preferences)
    _check(n, method, epochs, batch_size, nll_weight)
    if conflict not in get_args(Conflict):
        raise ConfigError(f"conflict is '{conflict}'; use {' or '.join(map(repr, get_args(Conflict)))}")
    truth = _conflicts(gold, n)
    better = torch.from_numpy(preferences.probabilities.copy())
    prompts, texts = [*preferences.prompts] * 2, [*preferences.chosen, *preferences.rejected]
    start = torch.from_numpy((policy if reference is None else reference).logprob(prompts, texts)) if method in ("dpo", "kto") else None
    rng = np.random.default_rng(seed)
    mismatch = _Mismatch(policy, reference, prompts, texts, rng) if method == "kto" else None
    score = policy.prepared(prompts, texts)
    parameters = policy.parameters()
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    strength = BETAS[method] if beta is None else beta
    history: list[dict[str, float]] = []
    for epoch in range(epochs):
        order = rng.permutation(n)
        sums: dict[str, float] = {}
        for first in range(0, n, batch_size):
            rows = order[first : first + batch_size]
            both = np.concatenate([rows, rows + n])
            log_p, lengths = score(both)
            batch = _Batch.of(log_p, lengths, start if start is None else start[both], 0.0 if mismatch is None else mismatch.kl(rows))
            q = better[rows].to(log_p.device)
            losses = q * batch.losses(method, strength, gamma) + (1 - q) * batch.swapped().losses(method, strength, gamma)
            if nll_weight:
                losses = losses + nll_weight * (q * batch.nll() + (1 - q) * batch.swapped().nll())
            if truth is not None:
                losses = losses + alpha * _worse_rewarded(batch, truth[rows].to(log_p.device), method, strength, gamma, conflict)
            optimizer.zero_grad(set_to_none=True)
            losses.mean().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            _add(sums, batch, losses, method)
        history.append({"epoch": epoch + 1, **{name: value / n for name, value in sums.items()}})
        if not np.isfinite(history[-1]["loss"]) or not all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
            raise TrainingError(f"preference training diverged in epoch {epoch + 1}; lower learning_rate ({learning_rate})")
    policy.preference_history_ = history
    return policy


def another_row(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each of n rows another one, every row once (itself where n is 1): whose text KTO takes to answer the wrong prompt.

    Examples
    --------
    >>> other = another_row(5, np.random.default_rng(0))
    >>> sorted(other.tolist()), bool((other == np.arange(5)).any())
    ([0, 1, 2, 3, 4], False)
    """
    order = rng.permutation(n)
    other = np.empty(n, dtype=np.int64)
    other[order] = np.roll(order, 1)
    return other


@dataclass(frozen=True)
class _Batch:
    """What a loss may need of b pairs."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_lengths: torch.Tensor
    rejected_lengths: torch.Tensor
    reference_chosen: torch.Tensor | None
    reference_rejected: torch.Tensor | None
    kl: torch.Tensor | float

    @staticmethod
    def of(log_p: torch.Tensor, lengths: torch.Tensor, reference: torch.Tensor | None, kl: torch.Tensor | float) -> _Batch:
        """From (2b,) arrays whose first half belongs to the chosen texts."""
        (chosen, rejected), (chosen_lengths, rejected_lengths) = log_p.chunk(2), lengths.chunk(2)
        old = (None, None) if reference is None else reference.to(log_p.device).chunk(2)
        return _Batch(chosen, rejected, chosen_lengths, rejected_lengths, old[0], old[1], kl)

    def swapped(self) -> _Batch:
        lengths, references = (self.rejected_lengths, self.chosen_lengths), (self.reference_rejected, self.reference_chosen)
        return _Batch(self.rejected, self.chosen, *lengths, *references, self.kl)

    def losses(self, method: str, beta: float, gamma: float) -> torch.Tensor:
        if method == "simpo":
            return simpo_loss(self.chosen, self.rejected, self.chosen_lengths, self.rejected_lengths, beta=beta, gamma=gamma)
        if method == "orpo":
            return orpo_loss(self.chosen, self.rejected, self.chosen_lengths, self.rejected_lengths, beta=beta)
        assert self.reference_chosen is not None
        assert self.reference_rejected is not None
        four = (self.chosen, self.rejected, self.reference_chosen, self.reference_rejected)
        return dpo_loss(*four, beta=beta) if method == "dpo" else kto_loss(*four, beta=beta, kl=self.kl)

    def nll(self) -> torch.Tensor:
        return -self.chosen / self.chosen_lengths

    def margin(self, method: str) -> torch.Tensor:
        """By how much the policy prefers the chosen text, in the method's own measure."""
        if self.reference_chosen is None or self.reference_rejected is None:
            return self.chosen / self.chosen_lengths - self.rejected / self.rejected_lengths
        return (self.chosen - self.reference_chosen) - (self.rejected - self.reference_rejected)


class _Mismatch:
    """KTO's reference point: the mean log ratio of texts that answer another prompt, estimated afresh in each batch."""

    def __init__(self, policy: Policy, reference: Policy | None, prompts: list[str], texts: list[str], rng: np.random.Generator) -> None:
        n = len(prompts) // 2
        other = another_row(n, rng)
        foreign = [texts[row] for row in np.concatenate([other, other + n])]
        self.n = n
        self.score = policy.prepared(prompts, foreign)
        self.start = (policy if reference is None else reference).logprob(prompts, foreign)

    def kl(self, rows: NDArray[np.int64]) -> torch.Tensor:
        both = np.concatenate([rows, rows + self.n])
        with torch.no_grad():
            log_p = self.score(both)[0]
        return (log_p - torch.from_numpy(self.start[both]).to(log_p.device)).mean().clamp(min=0)


def _worse_rewarded(batch: _Batch, truth: torch.Tensor, method: str, beta: float, gamma: float, conflict: Conflict) -> torch.Tensor:
    """Per pair, the loss that draws the policy to the truly worse text, where it prefers it now; 0 elsewhere."""
    margin = batch.margin(method).detach()
    rejected_rewarded, chosen_rewarded = (
        one.nll() if conflict == "sft" else one.losses(method, beta, gamma) for one in (batch.swapped(), batch)
    )
    none = torch.zeros_like(margin)
    return torch.where((truth == 1) & (margin < 0), rejected_rewarded, torch.where((truth == 0) & (margin > 0), chosen_rewarded, none))


def _conflicts(gold: ArrayLike | None, n: int) -> torch.Tensor | None:
    if gold is None:
        return None
    truth = np.asarray(gold, dtype=np.float32)
    if truth.shape != (n,) or not (np.isnan(truth) | (truth == 0) | (truth == 1)).all():
        raise ConfigError(f"gold must hold 1, 0 or NaN for each of the {n} pairs, got shape {truth.shape}")
    return torch.from_numpy(truth)


def _check(n: int, method: str, epochs: int, batch_size: int, nll_weight: float) -> None:
    if method not in BETAS:
        raise ConfigError(f"preference method '{method}' is unknown; use {', '.join(map(repr, BETAS))}")
    if n == 0:
        raise TrainingError("there are no preference pairs to learn from")
    if epochs < 1 or batch_size < 1 or nll_weight < 0:
        raise ConfigError(f"epochs={epochs} and batch_size={batch_size} must be at least 1 and nll_weight={nll_weight} not negative")


def _add(sums: dict[str, Any], batch: _Batch, losses: torch.Tensor, method: str) -> None:
    margin = batch.margin(method).detach()
    terms = {
        "loss": losses,
        "margin": margin,
        "accuracy": (margin > 0).float(),
        "chosen_logprob": batch.chosen,
        "rejected_logprob": batch.rejected,
    }
    for name, values in terms.items():
        sums[name] = sums.get(name, 0.0) + float(values.detach().sum())
