"""A small scorer distilled from a large ensemble: (prompt, response) → the ensemble's score, by squared error.

Saad-Falcon et al. 2025, "Shrinking the Generation-Verification Gap with Weak Verifiers": 30 verifiers are asked once, their weighted score
teaches one cross-encoder that is asked ever after.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import load_file, save_file
from sklearn.base import BaseEstimator
from transformers import AutoModelForSequenceClassification

from steelyard.encoders import OFFLINE, TextEncoder
from steelyard.errors import ConfigError, TrainingError
from steelyard.storage import atomic_path, read_json, write_json
from steelyard.training.base import DESCRIPTION
from steelyard.training.cls_scorer import ClsScorer, score_head
from steelyard.training.fine_tuning import add_lora, build, device_of, load_model, save_model
from steelyard.training.objective_trainer import Schedule, train
from steelyard.training.objectives import Objective
from steelyard.training.probe import describe_encoder, restore_encoder
from steelyard.training.token_rows import (
    PadBatch,
    SoftDataset,
    TokenRows,
    batches_by_length,
    context_length,
    ensure_padding,
    pad_rows,
    tokenize,
)

_LEARNING_RATES = {"mlp": 1e-3, "full": 3e-5, "lora": 2e-4}


class SquaredError(Objective):
    """Mean squared error of one output against one target, on whatever scale they have.

    Examples
    --------
    >>> float(SquaredError()(torch.tensor([[0.5], [1.0]]), torch.tensor([[0.0], [1.0]])))
    0.125
    """

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, **batch: Any) -> torch.Tensor:
        """Return the loss of logits (n, 1) against targets (n, 1) with weights (n,)."""
        squares = (logits[:, 0].float() - targets[:, 0]).square()
        loss = squares.mean() if weights is None else (weights * squares).mean()
        self.record(squared_error=loss)
        return loss


class ScoreStudent(BaseEstimator):
    """Learns the score of a response to a prompt.

    Parameters
    ----------
    model
        With `tune="ridge"` or `"mlp"` anything with `encode(texts) -> (n, d)`, or the name of an encoder; else the hub name or folder of an
        encoder that reads prompt and response together (a cross-encoder) with a `ClsScorer` on it, or a pair (model with one output,
        tokenizer), which is copied and keeps its own output.
    tune
        `"ridge"`: linear on frozen features of prompt and response (their products and absolute differences). `"mlp"`: `score_head` on
        these. `"full"`, `"lora"`: the model is fine-tuned.
    template
        What a cross-encoder reads.
    penalty
        Weight of the squared coefficients of the ridge, relative to the variance of the features.
    epochs, batch_size, learning_rate, warmup, weight_decay, seed
        AdamW. `learning_rate` is 1e-3 (`"mlp"`), 3e-5 (`"full"`) or 2e-4 (`"lora"`) when left out.
    max_length, progress, arguments
        As in `StudentTrainer`.

    Examples
    --------
    >>> prompts, texts = ["2+2", "2+2", "a fruit", "a fruit"], ["4", "a pear", "4", "a pear"]
    >>> student = ScoreStudent(tune="ridge").fit(prompts, texts, [0.9, 0.1, 0.1, 0.9])
    >>> right, wrong = student.score(["2+2", "2+2"], ["4", "a pear"])
    >>> bool(right > 0.8 and wrong < 0.2)
    True
    """

    def __init__(
        self,
        model: Any = OFFLINE,
        *,
        tune: Literal["ridge", "mlp", "full", "lora"] = "ridge",
        template: str = "{prompt}\n\n{text}",
        penalty: float = 1e-4,
        epochs: float = 5,
        batch_size: int = 64,
        learning_rate: float | None = None,
        warmup: float = 0.1,
        weight_decay: float = 0.01,
        seed: int = 0,
        max_length: int | None = None,
        progress: bool | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.tune = tune
        self.template = template
        self.penalty = penalty
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.seed = seed
        self.max_length = max_length
        self.progress = progress
        self.arguments = arguments

    def fit(self, prompts: Sequence[str], texts: Sequence[str], scores: ArrayLike) -> Self:
        """Learn from n prompts, responses and scores.

        Raises
        ------
        ConfigError
            `tune` is unknown.
        TrainingError
            Lengths differ, a score is not finite, or there is nothing to learn from.
        """
        target = np.asarray(scores, dtype=np.float32)
        if self.tune not in ("ridge", "mlp", "full", "lora"):
            raise ConfigError(f"ScoreStudent: tune is '{self.tune}'; use ridge, mlp, full or lora")
        if target.ndim != 1 or not len(target) == len(prompts) == len(texts) or not len(target):
            raise TrainingError(f"ScoreStudent: {len(prompts)} prompts, {len(texts)} responses and scores {target.shape}; give one each")
        if not np.isfinite(target).all():
            raise TrainingError(
                f"ScoreStudent: score {int(np.flatnonzero(~np.isfinite(target))[0])} is not finite; leave out such responses"
            )
        for name in ("weights_", "head_", "model_", "tokenizer_"):
            self.__dict__.pop(name, None)
        if self.tune in ("full", "lora"):
            self._fine_tune(prompts, texts, target)
        elif self.tune == "mlp":
            self._fit_network(self._features(prompts, texts), target)
        else:
            x = self._features(prompts, texts).astype(np.float64)
            center, mean = x.mean(axis=0), float(target.mean())
            gram = (x - center).T @ (x - center)
            ridge = self.penalty * gram.trace() * np.eye(len(gram))
            coefficients = np.linalg.solve(gram + ridge + 1e-12 * np.eye(len(gram)), (x - center).T @ (target - mean))
            self.weights_ = np.append(coefficients, mean - center @ coefficients)
        return self

    def score(self, prompts: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (n,) scores on the scale that was learned."""
        if hasattr(self, "weights_"):
            return np.asarray(self._features(prompts, texts) @ self.weights_[:-1] + self.weights_[-1], dtype=np.float32)
        if hasattr(self, "head_"):
            with torch.inference_mode():
                return np.asarray(self.head_(torch.from_numpy(self._features(prompts, texts)))[:, 0].numpy(), dtype=np.float32)
        if not hasattr(self, "model_"):
            raise TrainingError("this ScoreStudent has learned nothing yet; call fit(prompts, texts, scores) first")
        tokens = self._tokens(prompts, texts)
        found, device = np.zeros(len(tokens), dtype=np.float32), device_of(self.model_)
        self.model_.eval()
        with torch.inference_mode():
            for rows in batches_by_length(tokens, 2 * self.batch_size):
                batch = pad_rows([tokens[row] for row in rows], self.tokenizer_.pad_token_id)
                logits = self.model_(**{name: value.to(device) for name, value in batch.items()})["logits"]
                found[rows] = logits[:, 0].float().cpu().numpy()
        return found

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the weights (safetensors) and, last, the parameters (JSON); of a frozen encoder only its name and settings."""
        folder, kind = Path(folder), "frozen"
        if hasattr(self, "weights_") or hasattr(self, "head_"):
            state = {"weights": torch.from_numpy(self.weights_)} if hasattr(self, "weights_") else self.head_.state_dict()
            with atomic_path(folder / "head.safetensors") as temporary:
                save_file({name: value.contiguous() for name, value in state.items()}, temporary)
        elif not hasattr(self, "model_"):
            raise TrainingError("this ScoreStudent has learned nothing yet; call fit(prompts, texts, scores) before save")
        elif isinstance(self.model_, ClsScorer):
            self.model_.save(self.tokenizer_, folder)
            kind = "cls"
        else:
            save_model(self.model_, self.tokenizer_, folder)
            kind = "model"
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name not in ("model", "progress")}
        encoder = describe_encoder(self._encoder()) if kind == "frozen" else None
        write_json(folder / DESCRIPTION, {"kind": "ScoreStudent", "of": kind, "parameters": parameters, "encoder": encoder})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; an encoder of your own class must be set again as `student.model`.

        Raises
        ------
        TrainingError
            The folder holds no ScoreStudent, or its model is not readable.
        """
        folder = Path(folder)
        content = read_json(folder / DESCRIPTION)
        if not isinstance(content, dict) or content.get("kind") != "ScoreStudent":
            raise TrainingError(f"'{folder}' holds no ScoreStudent; write one with `save`")
        frozen = content["of"] == "frozen"
        student = cls(restore_encoder(content["encoder"]) if frozen else str(folder / "model"), **content["parameters"])
        if frozen:
            state = load_file(folder / "head.safetensors")
            if "weights" in state:
                student.weights_ = state["weights"].numpy()
            else:
                student.head_ = score_head(state["0.weight"].shape[1]).eval()
                student.head_.load_state_dict(state)
            return student
        read = ClsScorer.load(folder) if content["of"] == "cls" else load_model(AutoModelForSequenceClassification, folder)
        student.model_, student.tokenizer_ = read
        student.tokenizer_.truncation_side = "left"
        student.model_.to("cuda" if torch.cuda.is_available() else "cpu")
        return student

    def _encoder(self) -> Any:
        if isinstance(self.model, str | os.PathLike):
            return TextEncoder(os.fspath(self.model), progress=self.progress)
        return self.model

    def _features(self, prompts: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        encoder = self._encoder()
        asked, told = encoder.encode(list(prompts)), encoder.encode(list(texts))
        # Products of unit vectors are about 1 / d each; brought to the size of the differences' spread.
        return np.asarray(np.hstack([asked * told * np.sqrt(asked.shape[1]), np.abs(asked - told)]), dtype=np.float32)

    def _fit_network(self, features: NDArray[np.float32], target: NDArray[np.float32]) -> None:
        x, y = torch.from_numpy(features), torch.from_numpy(target)[:, None]
        objective, rng = SquaredError(), np.random.default_rng(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            head = score_head(x.shape[1])
            rate = _LEARNING_RATES["mlp"] if self.learning_rate is None else self.learning_rate
            optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=self.weight_decay)
            for _ in range(max(1, round(self.epochs))):
                for rows in torch.from_numpy(rng.permutation(len(x))).split(self.batch_size):
                    optimizer.zero_grad(set_to_none=True)
                    objective(head(x[rows]), y[rows]).backward()
                    optimizer.step()
        self.head_ = head.eval()

    def _fine_tune(self, prompts: Sequence[str], texts: Sequence[str], target: NDArray[np.float32]) -> None:
        lora, own = self.tune == "lora", isinstance(self.model, (tuple, list))
        if own:
            model, self.tokenizer_ = build(AutoModelForSequenceClassification, self.model, ["score"], seed=self.seed, lora=lora)
        else:
            model, self.tokenizer_ = ClsScorer.build(self.model, self.seed)
        ensure_padding(self.tokenizer_, model)
        self.tokenizer_.truncation_side = "left"
        self.model_ = model
        dataset = SoftDataset(self._tokens(prompts, texts), target[:, None], np.ones(len(target), dtype=np.float32))
        rate = _LEARNING_RATES[self.tune] if self.learning_rate is None else self.learning_rate
        timing = (self.epochs, self.batch_size, rate, self.warmup, self.weight_decay, self.seed)
        schedule = Schedule(*timing, progress=self.progress, arguments=self.arguments or {})
        tuned = model
        if lora and own:
            tuned = add_lora(model, "SEQ_CLS", 16)
        elif lora:
            model.body = add_lora(model.body, "FEATURE_EXTRACTION", 16)
        self.history_ = train(tuned, dataset, PadBatch(self.tokenizer_.pad_token_id), SquaredError(), schedule)
        if lora and own:
            tuned = tuned.merge_and_unload()
        elif lora:
            tuned.body = tuned.body.merge_and_unload()
        self.model_ = tuned

    def _tokens(self, prompts: Sequence[str], texts: Sequence[str]) -> TokenRows:
        rendered = [
            self.template.replace("{prompt}", prompt, 1).replace("{text}", text, 1) for prompt, text in zip(prompts, texts, strict=True)
        ]
        return tokenize(self.tokenizer_, rendered, context_length(self.tokenizer_, self.model_, self.max_length))
