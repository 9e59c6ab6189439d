"""A reward model: one number for a prompt and a text, learned from pairs and their probabilities.

The verifier and the preference model of the weak-to-strong systems; a small network on frozen features, or a fine-tuned Hugging Face
model with one output.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import load_file, save_file
from scipy.special import expit
from sklearn.base import BaseEstimator
from torch import nn
from torch.utils.data import Dataset
from transformers import AutoModelForSequenceClassification

from steelyard.encoders import OFFLINE, TextEncoder
from steelyard.errors import ConfigError, TrainingError
from steelyard.preferences import Preferences
from steelyard.storage import atomic_path, read_json, write_json
from steelyard.training.base import DESCRIPTION
from steelyard.training.fine_tuning import add_lora, build, device_of, load_model, save_model, start_at_zero
from steelyard.training.objective_trainer import Schedule, train
from steelyard.training.objectives.pairwise import PairwiseBCE
from steelyard.training.probe import describe_encoder, features_of, restore_encoder
from steelyard.training.token_rows import TokenRows, batches_by_length, context_length, ensure_padding, pad_rows, tokenize

_LEARNING_RATES = {"probe": 5e-4, "full": 1e-5, "lora": 1e-4}


class RewardStudent(BaseEstimator):
    """r(prompt, text), trained so that σ(r(chosen) − r(rejected)) is P(chosen is better).

    Parameters
    ----------
    model
        With `tune="probe"` anything with `encode(texts) -> (n, d)`, or the name of an encoder; else the hub name or folder of a model, or
        a pair (model with one output, tokenizer), which is copied.
    tune
        `"probe"`: a two-layer network on frozen features. `"full"`, `"lora"`: the model is fine-tuned.
    objective
        `PairwiseBCE()` when left out.
    template
        What is read of prompt and text; `"{text}"` judges the text alone.
    hidden
        Width of the probe's hidden layer; `None` for a linear one.
    epochs, batch_size, learning_rate, warmup, weight_decay, seed
        AdamW over shuffled pairs. `learning_rate` is 5e-4 (`"probe"`), 1e-5 (`"full"`) or 1e-4 (`"lora"`) when left out; a probe keeps it
        constant. `warmup` is for fine-tuning.
    max_length
        Tokens that are read: the first of a longer text by a probe's encoder, the last (so that the prompt is cut) by a fine-tuned model.
        How many training texts were cut is told in a warning.
    zero_head, lora_rank, progress, arguments
        As in `StudentTrainer`: with `zero_head` the untrained judge finds no text better than another.

    Attributes
    ----------
    model_, tokenizer_
        The fine-tuned model.
    head_
        The trained probe.
    history_
        Loss by epoch (probe) or step.

    Examples
    --------
    >>> kind, rude = ["thank you", "well done", "welcome", "please"], ["get lost", "you fool", "shut up", "go away"]
    >>> pairs = Preferences(["Be kind."] * 4, kind, rude)
    >>> judge = RewardStudent(template="{text}", epochs=20).fit(pairs)
    >>> better, worse = judge.score(["Be kind."] * 2, ["many thanks", "you idiot"])
    >>> bool(better > worse)
    True
    """

    def __init__(
        self,
        model: Any = OFFLINE,
        *,
        tune: Literal["probe", "full", "lora"] = "probe",
        objective: PairwiseBCE | None = None,
        template: str = "{prompt}\n\n{text}",
        hidden: int | None = 128,
        epochs: float = 20,
        batch_size: int = 32,
        learning_rate: float | None = None,
        warmup: float = 0.1,
        weight_decay: float = 0.01,
        seed: int = 0,
        max_length: int | None = None,
        zero_head: bool = False,
        lora_rank: int = 16,
        progress: bool | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.tune = tune
        self.objective = objective
        self.template = template
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.seed = seed
        self.max_length = max_length
        self.zero_head = zero_head
        self.lora_rank = lora_rank
        self.progress = progress
        self.arguments = arguments

    def fit(self, preferences: Preferences, weights: ArrayLike | None = None, *, gold: ArrayLike | None = None) -> Self:
        """Learn from n pairs, from fresh or pretrained weights.

        Parameters
        ----------
        preferences
            Pairs with P(chosen is better), which may be soft.
        weights
            (n,) non-negative importance of each pair; 1 when left out.
        gold
            (n,) simulates an explicit conflict, see `PairwiseBCE`: 1 the chosen text is truly better, 0 the rejected one is, NaN none.

        Raises
        ------
        TrainingError
            Nothing to learn from, weights that do not fit, a model with more than one output, divergence.
        """
        n = len(preferences)
        if self.tune not in _LEARNING_RATES:
            raise ConfigError(f"RewardStudent: tune is '{self.tune}'; use {', '.join(map(repr, _LEARNING_RATES))}")
        given = np.ones(n, dtype=np.float32) if weights is None else np.asarray(weights, dtype=np.float32)
        if given.shape != (n,) or not (given > 0).any() or not (given >= 0).all():
            raise TrainingError(f"RewardStudent: {n} pairs need {n} weights that are not negative, some positive; got shape {given.shape}")
        columns = {
            "targets": np.column_stack([preferences.probabilities, 1 - preferences.probabilities]),
            "weights": np.asarray(given / given.mean(dtype=np.float64), dtype=np.float32),
        }
        if gold is not None:
            columns["gold"] = np.asarray(gold, dtype=np.float32)
            if columns["gold"].shape != (n,):
                raise TrainingError(f"RewardStudent: {n} pairs need {n} values of gold, got shape {columns['gold'].shape}")
        texts = self._texts([*preferences.prompts] * 2, [*preferences.chosen, *preferences.rejected])
        for name in ("head_", "model_", "tokenizer_"):
            self.__dict__.pop(name, None)
        objective = self.objective if self.objective is not None else PairwiseBCE()
        (self._fit_probe if self.tune == "probe" else self._fine_tune)(texts, columns, objective)
        return self

    def score(self, prompts: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (n,) rewards; only their differences for one prompt mean something."""
        rendered = self._texts(prompts, texts)
        if hasattr(self, "head_"):
            features = torch.from_numpy(np.asarray(features_of(self._encoder(), rendered), dtype=np.float32))
            with torch.no_grad():
                return np.asarray(self.head_(features)[:, 0].numpy(), dtype=np.float32)
        if not hasattr(self, "model_"):
            raise TrainingError("this RewardStudent has learned nothing yet; call fit(preferences) or load(folder) first")
        tokens = self._tokens(rendered)
        scores, device = np.zeros(len(tokens), dtype=np.float32), device_of(self.model_)
        self.model_.eval()
        with torch.inference_mode():
            for rows in batches_by_length(tokens, 2 * self.batch_size):
                batch = pad_rows([tokens[row] for row in rows], self.tokenizer_.pad_token_id)
                logits = self.model_(**{name: value.to(device) for name, value in batch.items()})["logits"]
                scores[rows] = logits[:, 0].float().cpu().numpy()
        return scores

    def probability(self, preferences: Preferences) -> NDArray[np.float32]:
        """Return (n,) P(chosen is better) as the model sees it; the pairs' own probabilities are not looked at."""
        chosen = self.score(preferences.prompts, preferences.chosen)
        rejected = self.score(preferences.prompts, preferences.rejected)
        return np.asarray(expit(chosen - rejected), dtype=np.float32)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the weights (safetensors) and, last, the parameters (JSON); of a probe's encoder only its name and settings."""
        folder = Path(folder)
        if hasattr(self, "head_"):
            with atomic_path(folder / "head.safetensors") as temporary:
                save_file({name: value.contiguous() for name, value in self.head_.state_dict().items()}, temporary)
        elif hasattr(self, "model_"):
            save_model(self.model_, self.tokenizer_, folder)
        else:
            raise TrainingError("this RewardStudent has learned nothing yet; call fit(preferences) first")
        apart = {"model", "objective", "progress"}
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name not in apart}
        encoder = describe_encoder(self._encoder()) if hasattr(self, "head_") else None
        write_json(folder / DESCRIPTION, {"kind": "RewardStudent", "parameters": parameters, "encoder": encoder, "history": self.history_})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; an encoder of your own class must be set again as `student.model`."""
        folder = Path(folder)
        content = read_json(folder / DESCRIPTION)
        if not isinstance(content, dict) or content.get("kind") != "RewardStudent":
            raise TrainingError(f"'{folder}' holds no RewardStudent; use load_student(folder) for other students")
        probe = content["parameters"]["tune"] == "probe"
        student = cls(restore_encoder(content["encoder"]) if probe else str(folder / "model"), **content["parameters"])
        if probe:
            state = load_file(folder / "head.safetensors")
            student.head_ = _head(state["0.weight"].shape[1], student.hidden)
            student.head_.load_state_dict(state)
        else:
            student.model_, student.tokenizer_ = load_model(AutoModelForSequenceClassification, folder)
            student.model_.to("cuda" if torch.cuda.is_available() else "cpu")
        student.history_ = content["history"]
        return student

    def _fit_probe(self, texts: list[str], columns: dict[str, NDArray[np.float32]], objective: PairwiseBCE) -> None:
        features = torch.from_numpy(np.asarray(features_of(self._encoder(), texts), dtype=np.float32))
        n = len(features) // 2
        tensors = {name: torch.from_numpy(np.asarray(values, dtype=np.float32)) for name, values in columns.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            head = _head(features.shape[1], self.hidden)
        if self.zero_head:
            nn.init.zeros_(head[-1].weight)
            nn.init.zeros_(head[-1].bias)
        rate = _LEARNING_RATES["probe"] if self.learning_rate is None else self.learning_rate
        optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=self.weight_decay)
        rng, steps, history = np.random.default_rng(self.seed), round(self.epochs * -(-n // self.batch_size)), []
        while steps > 0:
            total = 0.0
            for rows in torch.from_numpy(rng.permutation(n)).split(self.batch_size)[:steps]:
                rewards = torch.column_stack([head(features[rows]), head(features[rows + n])])
                loss = objective(rewards, **{name: values[rows] for name, values in tensors.items()})
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)
                steps -= 1
            history.append({"loss": total / n})
        if not all(bool(torch.isfinite(weight).all()) for weight in head.parameters()):
            raise TrainingError(f"RewardStudent: training diverged; lower learning_rate ({rate})")
        self.head_, self.history_ = head, history

    def _fine_tune(self, texts: list[str], columns: dict[str, NDArray[np.float32]], objective: PairwiseBCE) -> None:
        lora = self.tune == "lora"
        model, self.tokenizer_ = build(AutoModelForSequenceClassification, self.model, ["reward"], seed=self.seed, lora=lora)
        ensure_padding(self.tokenizer_, model)
        self.tokenizer_.truncation_side = "left"
        self.model_ = model
        tokens = self._tokens(texts)
        if tokens.truncated:
            limit = context_length(self.tokenizer_, model, self.max_length)
            warnings.warn(f"{tokens.truncated} of {len(texts)} texts are longer than {limit} tokens and lose their beginning", stacklevel=3)
        dataset = _PairRows(tokens, columns)
        schedule = Schedule(
            self.epochs,
            self.batch_size,
            _LEARNING_RATES[self.tune] if self.learning_rate is None else self.learning_rate,
            self.warmup,
            self.weight_decay,
            self.seed,
            progress=self.progress,
            arguments=self.arguments or {},
        )
        tuned = add_lora(model, "SEQ_CLS", self.lora_rank) if lora else model
        if self.zero_head:
            start_at_zero(tuned)
        self.history_ = train(tuned, dataset, _PadPairs(self.tokenizer_.pad_token_id), objective, schedule)
        self.model_ = tuned.merge_and_unload() if lora else tuned

    def _tokens(self, texts: list[str]) -> TokenRows:
        return tokenize(self.tokenizer_, texts, context_length(self.tokenizer_, self.model_, self.max_length))

    def _texts(self, prompts: Sequence[str], texts: Sequence[str]) -> list[str]:
        if "{text}" not in self.template:
            raise ConfigError(f"RewardStudent: the template {self.template!r} has no {{text}}")
        # Split first: a text may itself hold "{prompt}".
        parts = re.split(r"(\{prompt\}|\{text\})", self.template)
        return [
            "".join({"{prompt}": prompt, "{text}": text}.get(part, part) for part in parts)
            for prompt, text in zip(prompts, texts, strict=True)
        ]

    def _encoder(self) -> Any:
        if not isinstance(self.model, str | os.PathLike):
            return self.model
        if not hasattr(self, "_named"):
            options: dict[str, Any] = {} if self.max_length is None else {"max_length": self.max_length}
            self._named = TextEncoder(os.fspath(self.model), progress=self.progress, **options)
        return self._named


def _head(d: int, hidden: int | None) -> nn.Sequential:
    if hidden is None:
        return nn.Sequential(nn.Linear(d, 1))
    return nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, 1))


class _PairRows(Dataset[Any]):
    """n pairs out of 2n rows of tokens, the chosen texts first, with their columns."""

    def __init__(self, tokens: TokenRows, columns: dict[str, NDArray[np.float32]]) -> None:
        self.tokens = tokens
        self.columns = columns

    def __len__(self) -> int:
        return len(self.tokens) // 2

    def __getitem__(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.int32], dict[str, Any]]:
        return self.tokens[row], self.tokens[row + len(self)], {name: values[row] for name, values in self.columns.items()}


class _PadPairs:
    """Collates pairs into a batch of 2b rows, chosen and rejected in turns."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: list[Any]) -> dict[str, torch.Tensor]:
        batch = pad_rows([tokens for chosen, rejected, _ in rows for tokens in (chosen, rejected)], self.pad)
        for name in rows[0][2]:
            batch[name] = torch.from_numpy(np.array([columns[name] for _, _, columns in rows], dtype=np.float32))
        return batch
