"""Which pairs a model keeps by its own judgement: those it is sure of, or those it calls better in both orders.

Between sampling and preference training of self-reinforcement; nobody else judges and no gold is read. Tong et al. 2024, "Optimizing
Language Model's Reasoning Abilities with Weak Supervision"; swapping the order against position bias as in Zheng et al. 2023, "MT-Bench".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from steelyard.completions import Completions
from steelyard.errors import ConfigError
from steelyard.training.policy import Policy

QUESTION = (
    "{prompt}\n\nResponse A: {first}\n\nResponse B: {second}\n\n"
    "Which response keeps to the question, is coherent, complete and right? Say A or B.\nThe better response is "
)


@dataclass(frozen=True)
class Judgement:
    """What a filter says about n pairs.

    Parameters
    ----------
    keep : (n,) bool array
    scores : (n,) float32 array
        The higher, the surer that the preferred text is the better.
    agreement : float
        Share of the pairs judged alike in both orders; NaN where nothing was compared.
    """

    keep: NDArray[np.bool_]
    scores: NDArray[np.float32]
    agreement: float = math.nan

    @staticmethod
    def of_all(n: int) -> Judgement:
        """Keep all n pairs unjudged."""
        return Judgement(np.ones(n, dtype=np.bool_), np.full(n, np.nan, dtype=np.float32))


class SelfFilter(Protocol):
    """Judges n pairs with the current policy."""

    def __call__(self, policy: Policy, preferred: Completions, dispreferred: Completions) -> Judgement:
        """Say which pairs are kept."""


@dataclass(frozen=True)
class ConfidenceFilter:
    """Keep what the policy finds probable: exp(log p(preferred | prompt) / tokens), in (0, 1], at least `threshold`.

    Examples
    --------
    >>> from steelyard.training import AnswerPolicy
    >>> policy = AnswerPolicy(classes=["no", "yes"]).fit(Completions(["up", "down"] * 20, ["yes", "no"] * 20))
    >>> ConfidenceFilter(0.8)(policy, Completions(["up"] * 2, ["yes", "no"]), Completions(["up"] * 2, ["no", "yes"])).keep
    array([ True, False])
    """

    threshold: float = 0.8

    def __call__(self, policy: Policy, preferred: Completions, dispreferred: Completions) -> Judgement:
        """Judge the preferred texts alone."""
        if not 0.0 <= self.threshold <= 1.0:
            raise ConfigError(f"ConfidenceFilter: threshold is {self.threshold}; it must be in [0, 1]")
        scores = np.exp(mean_logprob(policy, preferred.prompts, preferred.texts)).astype(np.float32)
        return Judgement(scores >= self.threshold, scores)


@dataclass(frozen=True)
class SelfJudge:
    """The policy itself says which of two responses is better; for policies that can read a question about responses.

    Parameters
    ----------
    question : str
        With ``{prompt}``, ``{first}`` and ``{second}`` in their places.
    words : pair of str
        What the policy would say for the first and for the second.
    both_orders : bool
        Ask again with the responses swapped and keep a pair only where the preferred text wins both times.
    """

    question: str = QUESTION
    words: tuple[str, str] = ("A", "B")
    both_orders: bool = True

    def __call__(self, policy: Policy, preferred: Completions, dispreferred: Completions) -> Judgement:
        """Compare the two texts of each pair; the score is the mean log-odds of the preferred one."""
        margins = self._margins(policy, preferred.prompts, preferred.texts, dispreferred.texts)
        if not self.both_orders:
            return Judgement(margins > 0, margins)
        swapped = -self._margins(policy, preferred.prompts, dispreferred.texts, preferred.texts)
        agreement = float(((margins > 0) == (swapped > 0)).mean()) if len(margins) else math.nan
        return Judgement((margins > 0) & (swapped > 0), ((margins + swapped) / 2).astype(np.float32), agreement)

    def _margins(self, policy: Policy, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> NDArray[np.float32]:
        """log p(first word) − log p(second word), (n,)."""
        asked = [
            self.question.replace("{prompt}", prompt.strip()).replace("{first}", one).replace("{second}", other)
            for prompt, one, other in zip(prompts, first, second, strict=True)
        ]
        scores = [policy.logprob(asked, [word] * len(asked)) for word in self.words]
        return np.asarray(scores[0] - scores[1], dtype=np.float32)


def mean_logprob(policy: Policy, prompts: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
    """Return log p(text | prompt) per token, (n,) float32, without gradients."""
    score = policy.prepared(prompts, texts)
    scores = np.zeros(len(prompts), dtype=np.float32)
    with torch.no_grad():
        for start in range(0, len(prompts), policy.batch_size):
            rows = np.arange(start, min(start + policy.batch_size, len(prompts)))
            log_p, lengths = score(rows)
            scores[rows] = (log_p.float() / lengths.to(log_p.device)).cpu().numpy()
    return scores
