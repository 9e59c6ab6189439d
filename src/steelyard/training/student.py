"""Fine-tune a strong pretrained text model on probabilistic labels: the step in which it may outgrow its supervisors.

Burns et al. 2023, "Weak-to-strong generalization", with Hugging Face's `Trainer` beneath; any `Objective` above.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from transformers import AutoModelForSequenceClassification

from steelyard.encoders import TextEncoder
from steelyard.errors import ConfigError, TrainingError
from steelyard.targets import Targets
from steelyard.training.early_stopping import EarlyStopping, agreement, hold_out, some_rows
from steelyard.training.fine_tuning import FineTunedStudent, add_lora, build, device_of, start_at_zero, without_dropout
from steelyard.training.head import HeadStudent
from steelyard.training.objective_trainer import Schedule, train
from steelyard.training.objectives import Objective, SoftCrossEntropy
from steelyard.training.probe import ProbeStudent
from steelyard.training.rows import TrainingRows, texts_of, training_rows
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


class StudentTrainer(FineTunedStudent):
    """A Hugging Face text classifier trained on probabilistic labels.

    Parameters
    ----------
    model
        Hub name, local folder, `"minilm-offline"`, or a pair (model with a classification head, tokenizer), which is copied, not changed.
    objective
        The loss; `SoftCrossEntropy()` when left out.
    tune
        `"full"`: all weights. `"lora"`: low-rank updates and the head, merged into the weights at the end. `"probe"`: the encoder is
        frozen and its mean-pooled features are cached on disk; with the plain loss the head is `ProbeStudent`'s exact solution, else
        `HeadStudent`'s.
    epochs, batch_size, learning_rate, warmup, weight_decay
        AdamW with a linear schedule; `warmup` is the share of the steps in which the rate rises. `learning_rate` is 2e-5 for `"full"`,
        2e-4 for `"lora"` and 1e-3 for a trained probe when left out.
    zero_head
        Let the new output layer start at zero and have no bias: the untrained student gives every class the same probability, and nothing
        of the outcome hangs on a random head. With a decoder it reads the last token that is not padding.
    dropout
        `False` switches all dropout off while training.
    early_stopping
        Share of the rows held out to stop by, see `EarlyStopping`; 0 trains on all rows to the end.
    patience
        Epochs without a better check after which to stop.
    seed
        Decides the new head, the order of the rows and dropout: the same seed gives the same weights on the same machine.
    max_length
        Tokens after which a text is cut; by default what the model can take. How many texts were cut is `truncated_`, with a warning.
    output_dir
        Run folder: checkpoints while training, the student at the end. `fit` on the same data goes on after a kill, to the same weights,
        and reads a finished run instead of repeating it. `None` keeps nothing on disk.
    checkpoint_steps
        Optimiser steps between two checkpoints.
    lora_rank
        Rank of the updates.
    on
        Column of the texts where data is a table.
    progress
        Draw a bar; by default on a terminal.
    arguments
        Further `transformers.TrainingArguments`, such as `{"bf16": True, "gradient_accumulation_steps": 4, "lr_scheduler_type": "cosine"}`;
        not for a probe.

    Attributes
    ----------
    model_, tokenizer_
        The trained model and its tokenizer (`"full"`, `"lora"`).
    head_
        The trained probe (`"probe"`).
    truncated_
        Number of training texts that were cut.
    history_
        Loss, learning rate and the objective's terms by step.
    stopped_
        Step whose weights were taken, where `early_stopping` is on.

    Raises
    ------
    TrainingError
        From `fit`: one class only, nothing to learn from, a model that cannot be loaded or padded, an `output_dir` that holds another
        run, divergence.

    Examples
    --------
    >>> texts = ["great fun", "truly great", "dull stuff", "so dull"] * 8
    >>> targets = Targets([[0.1, 0.9], [0.2, 0.8], [0.8, 0.2], [0.9, 0.1]] * 8, classes=["bad", "good"])
    >>> student = StudentTrainer("minilm-offline", tune="probe").fit(texts, targets)
    >>> student.predict(["what a great day", "what a dull day"])
    array([1, 0])
    """

    auto = AutoModelForSequenceClassification
    learning_rates: ClassVar[dict[str, float]] = {"full": 2e-5, "lora": 2e-4, "probe": 1e-3}

    def __init__(
        self,
        model: Any,
        objective: Objective | None = None,
        *,
        tune: Literal["full", "lora", "probe"] = "full",
        epochs: float = 3,
        batch_size: int = 32,
        learning_rate: float | None = None,
        warmup: float = 0.1,
        weight_decay: float = 0.01,
        zero_head: bool = False,
        dropout: bool = True,
        early_stopping: float = 0.0,
        patience: int = 2,
        seed: int = 0,
        max_length: int | None = None,
        output_dir: str | os.PathLike[str] | None = None,
        checkpoint_steps: int = 500,
        lora_rank: int = 8,
        on: str = "text",
        progress: bool | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.objective = objective
        self.tune = tune
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.zero_head = zero_head
        self.dropout = dropout
        self.early_stopping = early_stopping
        self.patience = patience
        self.seed = seed
        self.max_length = max_length
        self.output_dir = output_dir
        self.checkpoint_steps = checkpoint_steps
        self.lora_rank = lora_rank
        self.on = on
        self.progress = progress
        self.arguments = arguments

    def fit(self, data: Any, targets: Targets) -> Self:
        """Learn from texts (n) and the targets of their rows; see `training_rows` for how they are matched."""
        schedule = self._schedule()
        texts = texts_of(data, self.on)
        used = training_rows(len(texts), targets, student="StudentTrainer")
        objective = self.objective if self.objective is not None else SoftCrossEntropy()
        if self.tune == "probe":
            return self._fit_probe(texts, targets, objective, schedule)
        for name in ("head_", "model_"):
            self.__dict__.pop(name, None)
        chosen = [texts[row] for row in used.rows]
        return self._fit_in_folder(chosen, used, objective, lambda folder: self._fine_tune(chosen, used, objective, schedule, folder))

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Return (n, k) probabilities in the targets' class order."""
        self._check_fitted()
        texts = texts_of(data, self.on)
        if hasattr(self, "head_"):
            return self.head_.predict_proba(texts)
        tokens = tokenize(self.tokenizer_, texts, context_length(self.tokenizer_, self.model_, self.max_length))
        return np.asarray(softmax(self._logits(self.model_, self.tokenizer_, tokens), axis=1), dtype=np.float32)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the student: weights as safetensors, everything else as JSON; a probe writes its head and its encoder's name."""
        self._check_fitted()
        if hasattr(self, "head_"):
            self.head_.save(folder)
        else:
            super().save(folder)

    def _fine_tune(self, texts: list[str], used: TrainingRows, objective: Objective, schedule: Schedule, folder: Path | None) -> None:
        lora = self.tune == "lora"
        model, tokenizer = build(AutoModelForSequenceClassification, self.model, used.classes, seed=self.seed, lora=lora)
        ensure_padding(tokenizer, model)
        limit = context_length(tokenizer, model, self.max_length)
        tokens = tokenize(tokenizer, texts, limit)
        if tokens.truncated:
            warnings.warn(f"{tokens.truncated} of {len(texts)} training texts are longer than {limit} tokens and were cut", stacklevel=3)
        if lora:
            model = add_lora(model, "SEQ_CLS", self.lora_rank)
        if self.zero_head:
            start_at_zero(model)
        if not self.dropout:
            without_dropout(model)
        stopping = None
        if self.early_stopping:
            learned, judged = hold_out(len(tokens), self.early_stopping, self.seed)
            held, answers = tokens.take(judged), some_rows(used, judged)
            tokens, used = tokens.take(learned), some_rows(used, learned)
            stopping = EarlyStopping(
                lambda model: agreement(self._logits(model, tokenizer, held).argmax(axis=1), answers),
                math.ceil(len(tokens) / self.batch_size),
                self.patience,
            )
        dataset = SoftDataset(tokens, used.probabilities, used.weights)
        self.history_ = train(model, dataset, PadBatch(tokenizer.pad_token_id), objective, schedule, folder=folder, stopping=stopping)
        if stopping is not None:
            self.stopped_ = stopping.best_step
        self.model_ = model.merge_and_unload() if lora else model
        self.tokenizer_, self.truncated_, self.classes_ = tokenizer, tokens.truncated, used.classes

    def _logits(self, model: Any, tokenizer: Any, tokens: TokenRows) -> NDArray[np.float32]:
        """(n, k) outputs of the model, without dropout."""
        logits = np.zeros((len(tokens), len(model.config.id2label)), dtype=np.float32)
        device = device_of(model)
        model.eval()
        with torch.inference_mode():
            for rows in batches_by_length(tokens, 2 * self.batch_size):
                batch = pad_rows([tokens[row] for row in rows], tokenizer.pad_token_id)
                output = model(**{name: value.to(device) for name, value in batch.items()})["logits"]
                logits[rows] = output.float().cpu().numpy()
        return logits

    def _fit_probe(self, texts: list[str], targets: Targets, objective: Objective, schedule: Schedule) -> Self:
        if isinstance(self.model, (tuple, list)):
            raise TrainingError("tune='probe' needs the name or folder of the model, by which its features are cached; not a built model")
        options: dict[str, Any] = {} if self.max_length is None else {"max_length": self.max_length}
        encoder = TextEncoder(os.fspath(self.model), progress=self.progress, **options)
        if schedule.arguments:
            raise ConfigError("StudentTrainer: arguments are for fine-tuning; a probe takes none")
        head: ProbeStudent | HeadStudent
        if type(objective) is SoftCrossEntropy and not self.early_stopping:
            head = ProbeStudent(encoder, label_smoothing=objective.label_smoothing)
        else:
            timing = {name: getattr(schedule, name) for name in ("epochs", "batch_size", "learning_rate", "warmup", "weight_decay", "seed")}
            head = HeadStudent(
                encoder, objective, zero_head=self.zero_head, early_stopping=self.early_stopping, patience=self.patience, **timing
            )
        self.head_ = head.fit(texts, targets)
        self.classes_ = head.classes_
        if self.output_dir is not None:
            self.save(self.output_dir)
        return self
