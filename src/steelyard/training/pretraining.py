"""Pretraining: any Hugging Face causal language model on plain text with any `Objective` of tokens; losses on held-out text as it goes.

One continuous run on `transformers.Trainer`: devices, precision, accumulation, distributed runs, checkpoints and resuming are its own.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from torch.nn import functional
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, set_seed

from steelyard.causal_lm import device_of, load_causal_lm
from steelyard.encoders import fingerprint, quiet
from steelyard.errors import ConfigError, TrainingError
from steelyard.storage import config_hash, read_json, write_json
from steelyard.training.base import DESCRIPTION
from steelyard.training.fine_tuning import load_model, model_digest, run_in_folder, save_model
from steelyard.training.objective_trainer import ObjectiveTrainer, Schedule, run
from steelyard.training.objectives.objective import Objective
from steelyard.training.objectives.token_weighted import IGNORED, TokenWeighted
from steelyard.training.text_windows import OrderedWindows, TextWindows, reading_order, text_windows
from steelyard.training.token_rows import context_length


class CausalPretrainer(BaseEstimator):
    """A causal language model that learns plain text.

    Parameters
    ----------
    model
        Hub name, local folder, or a pair (model, tokenizer), which is copied, not changed. Training starts from its weights; give a
        freshly built model to start from scratch.
    objective
        The loss of logits (b, c, v) and next tokens (b, c); `TokenWeighted()`, the ordinary mean, when left out.
    steps, batch_size, learning_rate, warmup, weight_decay
        AdamW with a cosine schedule; `warmup` is the share of the steps in which the rate rises; a step reads `batch_size` windows.
    context
        Tokens of a window; by default what the model can take.
    seed
        Decides the order of the windows and dropout: the same seed gives the same weights on the same machine, and two objectives with
        the same seed read the same windows at every step.
    evaluate_steps
        Steps between two measurements on the held-out text; 0 measures at the end alone.
    output_dir
        Run folder: checkpoints while training, the model at the end. `fit` on the same data goes on after a kill, to the same weights,
        and reads a finished run instead of repeating it. `None` keeps nothing on disk.
    checkpoint_steps
        Steps between two checkpoints.
    progress
        Draw a bar; by default on a terminal.
    arguments
        Further `transformers.TrainingArguments`, such as `{"bf16": True, "gradient_accumulation_steps": 4}`; with accumulation or several
        devices a step reads that many times `batch_size` windows.

    Attributes
    ----------
    model_, tokenizer_
        The trained model and its tokenizer.
    history_
        By step: loss, learning rate, the objective's terms; `held_out` in nats per token where text was held out.

    Examples
    --------
    >>> from steelyard.language.tiny_lm import tiny_lm
    >>> start = tiny_lm(["ab"], size="nano", tokens=258, context=16, steps=0)
    >>> trained = CausalPretrainer(start, steps=20, batch_size=8, learning_rate=1e-2).fit(["abcd" * 200])
    >>> trained.loss(["abcd" * 20]) < 4.0 < CausalPretrainer(start).loss(["abcd" * 20])
    True
    """

    def __init__(
        self,
        model: Any,
        objective: Objective | None = None,
        *,
        steps: int = 1000,
        batch_size: int = 32,
        learning_rate: float = 5e-4,
        warmup: float = 0.05,
        weight_decay: float = 0.01,
        context: int | None = None,
        seed: int = 0,
        evaluate_steps: int = 0,
        output_dir: str | os.PathLike[str] | None = None,
        checkpoint_steps: int = 500,
        progress: bool | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.objective = objective
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.context = context
        self.seed = seed
        self.evaluate_steps = evaluate_steps
        self.output_dir = output_dir
        self.checkpoint_steps = checkpoint_steps
        self.progress = progress
        self.arguments = arguments

    def fit(
        self,
        texts: Sequence[str] | TextWindows,
        *,
        held_out: Sequence[str] | TextWindows | None = None,
        first: ArrayLike | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> Self:
        """Learn from texts, or from windows that `windows` made of them.

        Parameters
        ----------
        held_out
            Text that the model is measured on and never learns.
        first
            Positions of windows to read before all others, see `reading_order`.
        columns
            Further arrays (w, …) that the objective reads, by name; they need `texts` as windows.

        Raises
        ------
        ConfigError, TrainingError
            An option is out of range, there is no text, the loss is not finite any more, `output_dir` holds another run.
        """
        if self.steps < 1:
            raise ConfigError(f"CausalPretrainer: steps is {self.steps}; it must be at least 1")
        network, tokenizer = self._start()
        windows, measured = (self._windows(network, tokenizer, part) if part is not None else None for part in (texts, held_out))
        assert windows is not None
        for name, column in (columns or {}).items():
            if len(column) != len(windows):
                raise TrainingError(f"column '{name}' has {len(column)} rows but there are {len(windows)} windows")
        # One process with several devices spreads a batch over all of them, several processes have one each.
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        copies = max(processes, 1 if processes > 1 else torch.cuda.device_count(), 1)
        accumulated = int((self.arguments or {}).get("gradient_accumulation_steps", 1))
        order = reading_order(len(windows), self.steps * self.batch_size * accumulated * copies, self.seed, first)
        dataset = OrderedWindows(windows, order, dict(columns or {}))

        def learn(folder: Path | None) -> None:
            set_seed(self.seed)
            self.model_, self.tokenizer_ = network.requires_grad_(True), tokenizer
            self.history_ = self._learn(network, dataset, measured, folder)
            network.eval()

        if self.output_dir is None:
            learn(None)
        elif run_in_folder(Path(self.output_dir), self._run_name(windows, order, columns), learn, self.save):
            self.__dict__.update({name: value for name, value in vars(self.load(self.output_dir)).items() if name.endswith("_")})
        return self

    def loss(self, texts: Sequence[str] | TextWindows) -> float:
        """Mean of −log p over the tokens of `texts`, in nats."""
        network, tokenizer = (self.model_, self.tokenizer_) if hasattr(self, "model_") else self._start()
        return mean_loss(network, self._windows(network, tokenizer, texts), self.batch_size)

    def windows(self, texts: Sequence[str]) -> TextWindows:
        """The windows that `fit` makes of texts."""
        return self._windows(*self._start(), texts)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model (safetensors), its tokenizer and, last, the parameters as JSON."""
        save_model(self.model_, self.tokenizer_, Path(folder))
        content = {"kind": "CausalPretrainer", "parameters": self._parameters(), "history": self.history_}
        write_json(Path(folder) / DESCRIPTION, content)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` or a finished run wrote; `folder/model` is also what every other user of causal models takes by name."""
        content = read_json(Path(folder) / DESCRIPTION)
        if not isinstance(content, dict) or content.get("kind") != "CausalPretrainer":
            raise TrainingError(f"'{folder}' holds no CausalPretrainer; name the folder that its output_dir was")
        trained = cls(str(Path(folder) / "model"), **content["parameters"])
        trained.model_, trained.tokenizer_ = load_model(AutoModelForCausalLM, Path(folder))
        trained.history_ = content["history"]
        return trained

    def _learn(self, network: Any, dataset: OrderedWindows, measured: TextWindows | None, folder: Path | None) -> list[dict[str, Any]]:
        objective = self.objective if self.objective is not None else TokenWeighted()
        # The dataset is in reading order already, and of just the right length.
        options = {"lr_scheduler_type": "cosine", "train_sampling_strategy": "sequential", "max_steps": self.steps, "logging_steps": 10}
        schedule = Schedule(
            epochs=1,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            seed=self.seed,
            checkpoint_steps=self.checkpoint_steps,
            progress=self.progress,
            arguments={**options, **(self.arguments or {})},
        )

        def build(arguments: Any) -> Trainer:
            callbacks = [_Watch(objective, measured, self.evaluate_steps, self.batch_size)]
            collate = dataset.collate(objective.reads)
            return ObjectiveTrainer(
                network, arguments, data_collator=collate, train_dataset=dataset, objective=objective, callbacks=callbacks
            )

        return run(build, schedule, folder=folder)

    def _start(self) -> tuple[Any, Any]:
        if isinstance(self.model, (tuple, list)):
            network, tokenizer = (copy.deepcopy(part) for part in self.model)
        else:
            with quiet():
                network, tokenizer = load_causal_lm(os.fspath(self.model), dtype=torch.float32)
        return network.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer

    def _windows(self, network: Any, tokenizer: Any, texts: Sequence[str] | TextWindows) -> TextWindows:
        if isinstance(texts, TextWindows):
            return texts
        if isinstance(texts, str):
            raise TrainingError("texts is one string; give a list of texts")
        return text_windows(tokenizer, texts, context_length(tokenizer, network, self.context))

    def _parameters(self) -> dict[str, Any]:
        apart = {"model", "objective", "output_dir", "progress", "checkpoint_steps"}
        return {name: value for name, value in self.get_params(deep=False).items() if name not in apart}

    def _run_name(self, windows: TextWindows, order: Any, columns: Mapping[str, Any] | None) -> str:
        digest = hashlib.sha256(windows.ids.tobytes() + order.tobytes())
        for name, column in sorted((columns or {}).items()):
            digest.update(name.encode() + np.ascontiguousarray(column).tobytes())
        is_pair = isinstance(self.model, (tuple, list))
        start = [repr(self.model[0].config), model_digest(self.model[0])] if is_pair else fingerprint(os.fspath(self.model))
        return config_hash({"model": start, "objective": repr(self.objective), "data": digest.hexdigest(), **self._parameters()})


def mean_loss(network: Any, windows: TextWindows, batch_size: int = 32) -> float:
    """Mean of −log p over the learned tokens of `windows`, in nats, without gradients or dropout.

    Examples
    --------
    >>> from steelyard.language.tiny_lm import tiny_lm
    >>> model, tokenizer = tiny_lm(["abab" * 30], size="nano", tokens=258, context=8, steps=30)
    >>> mean_loss(model, text_windows(tokenizer, ["abab" * 10], 8)) < 4.0
    True
    """
    training, total = network.training, 0.0
    network.eval()
    with torch.no_grad():
        for start in range(0, len(windows), batch_size):
            read, targets = (part.to(device_of(network)) for part in windows.batch(slice(start, start + batch_size)))
            logits = network(input_ids=read)["logits"].float()
            total += float(functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"))
    network.train(training)
    return total / windows.learned


class _Watch(TrainerCallback):
    """Adds the objective's terms to each line of the history, and lines with the loss on held-out text."""

    def __init__(self, objective: Objective, measured: TextWindows | None, every: int, batch_size: int) -> None:
        self.objective = objective
        self.measured = measured
        self.every = every
        self.batch_size = batch_size

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if "loss" in state.log_history[-1]:
            state.log_history[-1].update({name: float(value) for name, value in self.objective.log.items()})

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        due = state.global_step == state.max_steps or (self.every and state.global_step % self.every == 0)
        if self.measured is not None and due:
            loss = mean_loss(getattr(model, "module", model), self.measured, self.batch_size)
            state.log_history.append({"step": state.global_step, "held_out": loss})
