"""A policy over K one-word answers: a small network on the frozen features of the prompt, sampled and trained like a language model.

The proofs of the language-model systems run on it in seconds; SFT, sampling, majority votes and DPO are those of a causal model whose
vocabulary is the K answers.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from steelyard.completions import Completions
from steelyard.encoders import offline_encoder
from steelyard.errors import ConfigError, TrainingError
from steelyard.storage import atomic_path, read_json, write_json
from steelyard.targets import Targets
from steelyard.training.objectives import soft_cross_entropy
from steelyard.training.policy import LogProbabilities, Policy
from steelyard.training.probe import describe_encoder, features_of, restore_encoder


class AnswerPolicy(Policy):
    """p(answer | prompt): a two-layer network on frozen features, its K classes the texts it can write.

    Parameters
    ----------
    encoder
        Anything with `encode(texts) -> (n, d)`; the packaged MiniLM when left out.
    classes
        The K answers, at least two.
    hidden
        Width of the hidden layer (ReLU); `None` for a linear policy.
    epochs, batch_size, learning_rate, weight_decay
        AdamW at a constant rate over shuffled minibatches, in `fit`.
    seed
        Decides the first weights and the order of the rows.

    Attributes
    ----------
    head_
        The network, from `fit` on.
    history_
        Mean loss of each epoch of `fit`.

    Examples
    --------
    >>> policy = AnswerPolicy(classes=["sea", "land"], epochs=30)
    >>> _ = policy.fit(Completions(["a whale", "a ship", "a cow", "a tree"], ["sea", "sea", "land", "land"]))
    >>> policy.sample(["a shark", "a horse"], temperature=0).texts
    ('sea', 'land')
    """

    def __init__(
        self,
        encoder: Any = None,
        classes: Sequence[str] = (),
        *,
        hidden: int | None = 128,
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        self.classes = classes
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.seed = seed

    def fit(self, completions: Completions, weights: ArrayLike | None = None) -> Self:
        """Learn which of the K answers follows each prompt, from fresh weights.

        Raises
        ------
        TrainingError
            A text is none of the answers, or there is nothing to learn from.
        """
        return self.fit_targets(
            completions.prompts,
            Targets(np.eye(self._k, dtype=np.float32)[self._codes(completions.texts)], classes=self.classes, weights=weights),
        )

    def fit_targets(self, prompts: Sequence[str], targets: Targets) -> Self:
        """Learn a distribution over the answers for each prompt (n), from fresh weights.

        Parameters
        ----------
        prompts
            The prompts that the targets were made for: `targets.rows` says which, or there are as many as targets.
        targets
            Probabilities over the same classes, weights not negative.
        """
        if tuple(targets.classes) != tuple(self.classes):
            raise TrainingError(f"the targets' classes {tuple(targets.classes)} are not the policy's {tuple(self.classes)}")
        if len(targets) and int(targets.rows.max()) < len(prompts):
            prompts = [prompts[row] for row in targets.rows]
        if len(prompts) != len(targets) or not (targets.weights > 0).any():
            raise TrainingError(f"AnswerPolicy: {len(prompts)} prompts and {len(targets)} targets; give as many, some of positive weight")
        features = self._features(prompts)
        self.history_ = self._learn(
            features, torch.from_numpy(targets.probabilities), torch.from_numpy(targets.weights / targets.weights.mean())
        )
        return self

    def predict_proba(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return (n, K) probabilities of the answers."""
        with torch.no_grad():
            return np.asarray(self._network()(self._features(prompts)).softmax(-1).numpy(), dtype=np.float32)

    def predict(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Return (n,) indices of the most probable answer."""
        return np.asarray(self.predict_proba(prompts).argmax(axis=1), dtype=np.int64)

    def sample(self, prompts: Sequence[str], n: int = 1, *, temperature: float = 1.0, seed: int = 0) -> Completions:
        """Draw n answers per prompt; see `Policy.sample`."""
        if n < 1 or temperature < 0:
            raise ConfigError(f"sample: n is {n} and temperature {temperature}; n must be at least 1, temperature not negative")
        with np.errstate(divide="ignore"):
            log_p = np.log(self.predict_proba(prompts))  # (q, K)
        keys = np.repeat(log_p[:, None], n, axis=1)  # (q, n, K)
        if temperature > 0:
            # The largest of log p / T plus Gumbel noise is a draw from p^(1/T).
            keys = keys / temperature + np.random.default_rng(seed).gumbel(size=keys.shape)
        codes: NDArray[np.int64] = keys.argmax(axis=2).ravel()
        rows = np.repeat(np.arange(len(prompts)), n)
        return Completions(
            [prompts[int(row)] for row in rows],
            [self.classes[int(code)] for code in codes],
            rows=rows,
            logprobs=log_p[rows, codes],
            finished=np.ones(len(rows), dtype=bool),
        )

    def log_probabilities(self, prompts: Sequence[str], texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log p(answer | prompt), (n,) with gradients, and lengths of 1."""
        return self.prepared(prompts, texts)(np.arange(len(prompts)))

    def prepared(self, prompts: Sequence[str], texts: Sequence[str]) -> LogProbabilities:
        """Embed the prompts once; see `Policy.prepared`."""
        head, features, codes = self._network(), self._features(prompts), torch.from_numpy(self._codes(texts))

        def score(rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
            index = torch.from_numpy(rows)
            log_p = head(features[index]).log_softmax(-1).gather(1, codes[index, None])[:, 0]
            return log_p, torch.ones(len(rows))

        return score

    def parameters(self) -> list[nn.Parameter]:
        """Return the weights of the network."""
        return list(self._network().parameters())

    def copy(self) -> Self:
        """Return a frozen copy that shares the encoder; see `Policy.copy`."""
        twin = copy.copy(self)
        twin.head_ = copy.deepcopy(self._network()).requires_grad_(False)
        return twin

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the network (safetensors) and the description (JSON, last); of the encoder only its name and settings."""
        state = {name: value.contiguous() for name, value in self._network().state_dict().items()}
        with atomic_path(Path(folder) / "head.safetensors") as temporary:
            save_file(state, temporary)
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name != "encoder"}
        content = {"kind": "AnswerPolicy", "encoder": describe_encoder(self.encoder), "parameters": parameters, "history": self.history_}
        write_json(Path(folder) / "policy.json", {**content, "features": self.head_[0].in_features})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a policy that `save` wrote; an encoder of your own class must be set again as `policy.encoder`."""
        content = read_json(Path(folder) / "policy.json")
        if not isinstance(content, dict) or content.get("kind") != "AnswerPolicy":
            raise TrainingError(f"'{folder}' holds no AnswerPolicy; write one with AnswerPolicy.save")
        policy = cls(restore_encoder(content["encoder"]), **content["parameters"])
        policy.head_ = policy._fresh(content["features"])
        policy.head_.load_state_dict(load_file(Path(folder) / "head.safetensors"))
        policy.history_ = content["history"]
        return policy

    @property
    def _k(self) -> int:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ConfigError(f"AnswerPolicy: classes are {list(self.classes)}; give at least two different answers")
        return len(self.classes)

    def _codes(self, texts: Sequence[str]) -> NDArray[np.int64]:
        known = {name: code for code, name in enumerate(self.classes)}
        codes = np.array([known.get(text, -1) for text in texts], dtype=np.int64)
        if (codes < 0).any():
            row = int(np.flatnonzero(codes < 0)[0])
            raise TrainingError(f"AnswerPolicy: text {row} is {texts[row]!r}; it can only be one of {', '.join(self.classes)}")
        return codes

    def _features(self, prompts: Sequence[str]) -> torch.Tensor:
        if self.encoder is None and not hasattr(self, "_offline"):
            self._offline = offline_encoder()
        encoder = self._offline if self.encoder is None else self.encoder
        return torch.from_numpy(np.ascontiguousarray(features_of(encoder, list(prompts)), dtype=np.float32))

    def _network(self) -> Any:
        if not hasattr(self, "head_"):
            raise TrainingError("this AnswerPolicy has learned nothing yet; call fit(completions) or load(folder) first")
        return self.head_

    def _fresh(self, d: int) -> nn.Sequential:
        if self.hidden is None:
            return nn.Sequential(nn.Linear(d, self._k))
        return nn.Sequential(nn.Linear(d, self.hidden), nn.ReLU(), nn.Linear(self.hidden, self._k))

    def _learn(self, features: torch.Tensor, probabilities: torch.Tensor, weights: torch.Tensor) -> list[float]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.head_ = self._fresh(features.shape[1])
        optimizer = torch.optim.AdamW(self.head_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        rng = np.random.default_rng(self.seed)
        n, history = len(features), []
        for _ in range(self.epochs):
            total = 0.0
            for rows in torch.from_numpy(rng.permutation(n)).split(self.batch_size):
                loss = soft_cross_entropy(self.head_(features[rows]), probabilities[rows], weights[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)
            history.append(total / n)
        return history
