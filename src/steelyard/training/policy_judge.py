"""A policy trained by preferences, seen as a judge of pairs: the implicit reward of DPO, the mean log-probability of SimPO.

Rafailov et al. 2023, "Direct preference optimization"; Meng et al. 2024, "SimPO". The face is that of `RewardStudent`, so that reward
models and policies go through one pipeline.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, clone

from steelyard.completions import Completions
from steelyard.errors import ConfigError, TrainingError
from steelyard.preferences import Preferences
from steelyard.training.policy import Policy
from steelyard.training.preference_losses import BETAS


class PolicyJudge(BaseEstimator):
    """Fine-tunes a policy on the chosen texts, then on the hard order of the pairs.

    Parameters
    ----------
    policy
        An unfitted `Policy`; a copy of it learns, its own options deciding the fine-tuning.
    method
        `"dpo"`: the fine-tuned policy is the reference. `"simpo"`: no reference.
    beta, gamma
        Of the loss; `beta` is 0.1 ("dpo") or 2.0 ("simpo") when left out.
    alpha
        Weight of an explicit conflict, see `fit`.
    conflict
        What that conflict rewards: `"reverse"` (the order turned round) or `"sft"` (the likelihood of the worse text).
    epochs, learning_rate, batch_size, seed
        Of the preference training.

    Attributes
    ----------
    policy_, reference_
        The trained policy, and the frozen one it is compared with ("dpo").

    Examples
    --------
    >>> from steelyard.training import AnswerPolicy
    >>> policy = AnswerPolicy(classes=["no", "yes"], epochs=2)
    >>> pairs = Preferences(["up", "down"] * 4, ["yes", "no"] * 4, ["no", "yes"] * 4)
    >>> judge = PolicyJudge(policy, epochs=20, learning_rate=1e-2).fit(pairs)
    >>> bool((judge.probability(pairs) > 0.5).all())
    True
    """

    def __init__(
        self,
        policy: Policy,
        method: Literal["dpo", "simpo"] = "dpo",
        *,
        beta: float | None = None,
        gamma: float = 1.0,
        alpha: float = 0.5,
        conflict: Literal["reverse", "sft"] = "reverse",
        epochs: int = 1,
        learning_rate: float = 1e-6,
        batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        self.policy = policy
        self.method = method
        self.beta = beta
        self.gamma = gamma
        self.alpha = alpha
        self.conflict = conflict
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.seed = seed

    def fit(self, preferences: Preferences, *, gold: ArrayLike | None = None) -> Self:
        """Learn from n pairs; a probability below 1/2 turns the pair round.

        Parameters
        ----------
        preferences
            Pairs with P(chosen is better).
        gold
            (n,) simulates an explicit conflict, see `steelyard.training.preference.prefer`: 1 the chosen text of the pair as it is given is
            truly better, 0 the rejected one is, NaN none.

        Raises
        ------
        ConfigError
            The method is neither "dpo" nor "simpo".
        TrainingError
            What the policy's own training raises.
        """
        if self.method not in ("dpo", "simpo"):
            raise ConfigError(f"PolicyJudge: method is '{self.method}'; use 'dpo' or 'simpo'")
        hard, turned = preferences.harden(), preferences.probabilities < 0.5
        policy: Policy = clone(self.policy)
        if "seed" in policy.get_params(deep=False):
            policy.set_params(seed=self.seed)
        policy.fit(Completions(hard.prompts, hard.chosen))
        self.reference_ = policy.copy() if self.method == "dpo" else None
        options: dict[str, Any] = {}
        if gold is not None:
            truth = np.asarray(gold, dtype=np.float32)
            options = {"gold": np.where(turned, 1 - truth, truth), "alpha": self.alpha, "conflict": self.conflict}
        self.policy_ = policy.prefer(
            hard,
            self.method,
            beta=self.beta,
            gamma=self.gamma,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            seed=self.seed,
            **options,
        )
        return self

    def probability(self, preferences: Preferences) -> NDArray[np.float32]:
        """Return (n,) P(chosen is better) in the method's own measure: sigma of beta times the difference of the texts' rewards."""
        beta = BETAS[self.method] if self.beta is None else self.beta
        chosen, rejected = (self._reward(preferences.prompts, texts) for texts in (preferences.chosen, preferences.rejected))
        return np.asarray(expit(beta * (chosen - rejected)), dtype=np.float32)

    def _reward(self, prompts: Any, texts: Any) -> NDArray[np.float32]:
        if not hasattr(self, "policy_"):
            raise TrainingError("this PolicyJudge has learned nothing yet; call fit(preferences) first")
        if self.reference_ is not None:
            return np.asarray(self.policy_.logprob(prompts, texts) - self.reference_.logprob(prompts, texts), dtype=np.float32)
        return self._mean_log_probability(prompts, texts)

    def _mean_log_probability(self, prompts: Any, texts: Any) -> NDArray[np.float32]:
        """(n,) log p(text | prompt) per token of the text."""
        import torch

        score, size, means = self.policy_.prepared(prompts, texts), self.policy_.batch_size, np.zeros(len(texts), dtype=np.float32)
        with torch.no_grad():
            for start in range(0, len(texts), size):
                rows = np.arange(start, min(start + size, len(texts)))
                log_p, lengths = score(rows)
                means[rows] = (log_p / lengths).float().cpu().numpy()
        return means
