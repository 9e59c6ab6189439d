"""Policy: the one protocol of everything that writes text. Samples, scores and is trained by texts or by preferences.

Causal language models and the small models of the proofs implement it alike, so that majority votes, pass@k, fine-tuning and
preference training run unchanged at both scales.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from steelyard.completions import Completions
from steelyard.preferences import Preferences

if TYPE_CHECKING:
    import torch

Method = Literal["dpo", "simpo", "orpo", "kto"]
LogProbabilities = Callable[[NDArray[np.int64]], "tuple[torch.Tensor, torch.Tensor]"]


class Policy(BaseEstimator, ABC):
    """Base of the policies. A subclass writes `sample`, `fit`, `log_probabilities` and `parameters`.

    A policy can be sampled and scored before any `fit` where it starts from pretrained weights. `fit` always starts from those weights
    again; `prefer` goes on from where the policy is.
    """

    batch_size: int = 64

    @abstractmethod
    def sample(self, prompts: Sequence[str], n: int = 1, *, temperature: float = 1.0, seed: int = 0) -> Completions:
        """Write n texts for each of q prompts.

        Parameters
        ----------
        prompts
            q strings.
        n
            Texts per prompt.
        temperature
            Divides the logits; 0 takes the most probable token each time (then all n texts are equal).
        seed
            Decides every draw: the same call gives the same texts.

        Returns
        -------
        Completions of n·q texts
            Prompt by prompt, `rows` = index of the prompt: ``0, …, 0, 1, …, 1, …``; with `logprobs` (at temperature 1) and `finished`.
        """

    @abstractmethod
    def fit(self, completions: Completions, weights: ArrayLike | None = None) -> Self:
        """Fine-tune on texts: minimise −(1/n) Σ w_i log p(text_i | prompt_i) from the pretrained weights; the prompts are not learned.

        Parameters
        ----------
        completions
            n prompts and texts; their answers and rows are not looked at.
        weights
            (n,) non-negative importance of each row; 1 when left out.
        """

    @abstractmethod
    def log_probabilities(self, prompts: Sequence[str], texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log p(text | prompt) summed over the text's tokens, (n,) with gradients, and the numbers of these tokens, (n,).

        Everything goes through the model as one batch, without dropout.
        """

    @abstractmethod
    def parameters(self) -> list[torch.nn.Parameter]:
        """Return the weights that preference training may change."""

    def prepared(self, prompts: Sequence[str], texts: Sequence[str]) -> LogProbabilities:
        """Return a function from positions (b,) to `log_probabilities` of these rows.

        Training asks for the same rows again and again; a policy that reads or encodes texts does so here, once.
        """
        return lambda rows: self.log_probabilities([prompts[row] for row in rows], [texts[row] for row in rows])

    def logprob(self, prompts: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        """Return log p(text | prompt), (n,) float32, summed over the text's tokens; batch by batch, without gradients."""
        import torch

        score = self.prepared(prompts, texts)
        scores = np.zeros(len(prompts), dtype=np.float32)
        with torch.no_grad():
            for start in range(0, len(prompts), self.batch_size):
                rows = np.arange(start, min(start + self.batch_size, len(prompts)))
                scores[rows] = score(rows)[0].float().cpu().numpy()
        return scores

    def copy(self) -> Self:
        """Return an independent copy with gradients off: the reference of preference training, or the policy of an earlier round.

        No training of the original moves it. Training the copy itself makes it an ordinary policy again.
        """
        twin = copy.deepcopy(self)
        for parameter in twin.parameters():
            parameter.requires_grad_(False)
        return twin

    def prefer(
        self,
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
        **options: Any,
    ) -> Self:
        """Learn from n pairs, starting from the weights as they are; see `steelyard.training.preference.prefer`.

        Parameters
        ----------
        preferences
            Pairs with P(chosen is better); a probability below 1 mixes the loss of both orders. `harden()` first for a hard order.
        method
            "dpo" and "kto" keep to a frozen copy of the policy as it is when called; "simpo" and "orpo" need no reference.
        beta
            Strength; when left out 0.1 ("dpo", "kto", "orpo": the weight of the odds ratio) or 2.0 ("simpo").
        gamma
            Target margin of "simpo".
        nll_weight
            Weight of −log p(chosen) per token, an anchor against both likelihoods falling.
        epochs, learning_rate, batch_size, seed
            AdamW over shuffled minibatches.
        **options
            Further options of `steelyard.training.preference.prefer`.
        """
        from steelyard.training.preference import prefer

        return prefer(
            self,
            preferences,
            method,
            beta=beta,
            gamma=gamma,
            nll_weight=nll_weight,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            seed=seed,
            **options,
        )
