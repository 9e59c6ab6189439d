"""The training loop: Hugging Face's `Trainer` with the loss of an `Objective`, and nothing else of it changed.

So devices, mixed precision, accumulation, distributed runs and checkpoints are Hugging Face's own. Around it: sealed checkpoints, resuming
from the last whole one, a quiet console, and the objective's terms in the history.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from steelyard.encoders import quiet
from steelyard.errors import ConfigError, TrainingError
from steelyard.training.checkpoint import latest_whole, seal
from steelyard.training.early_stopping import EarlyStopping
from steelyard.training.objectives import Objective

_OURS = {"output_dir", "remove_unused_columns", "label_names"}


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train; `arguments` are further `transformers.TrainingArguments` and win over the rest."""

    epochs: float
    batch_size: int
    learning_rate: float
    warmup: float
    weight_decay: float
    seed: int
    checkpoint_steps: int = 500
    progress: bool | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.epochs <= 0 or self.batch_size < 1 or self.checkpoint_steps < 1:
            given = f"epochs={self.epochs}, batch_size={self.batch_size}, checkpoint_steps={self.checkpoint_steps}"
            raise ConfigError(f"{given}: epochs must be positive, the others at least 1")
        if not (0.0 < self.learning_rate < math.inf and 0.0 <= self.weight_decay < math.inf):
            given = f"learning_rate={self.learning_rate}, weight_decay={self.weight_decay}"
            raise ConfigError(f"{given}: the first must be a positive number, the second one that is not negative")
        if not 0.0 <= self.warmup < 1.0:
            raise ConfigError(f"warmup is {self.warmup}; it is the share of the steps in which the learning rate rises, in [0, 1)")
        if taken := _OURS & set(self.arguments):
            raise ConfigError(f"arguments may not set {', '.join(sorted(taken))}; the student does")


class ObjectiveTrainer(Trainer):
    """`transformers.Trainer` whose loss is an `Objective` of the logits.

    Batches hold the model's inputs plus `targets` (n, k) and `weights` (n,). Where the logits are (b, t, k), a mask `places` (b, t) with n
    true entries says which of them the targets belong to.
    """

    # The loss is a mean over the batch, which the Trainer divides by the number of accumulated batches.
    loss_is_scaled_for_ga = False

    def __init__(self, *positional: Any, objective: Objective, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.objective = objective

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """Return the objective's loss of one batch."""
        inputs = dict(inputs)
        targets, weights, places = inputs.pop("targets"), inputs.pop("weights"), inputs.pop("places", None)
        further = {name: inputs.pop(name) for name in self.objective.reads if name in inputs}
        outputs = model(**inputs)
        logits = outputs["logits"] if places is None else outputs["logits"][places]
        progress = self.state.global_step / max(self.state.max_steps, 1)
        loss = self.objective(logits, targets, weights, progress=progress, **further)
        return (loss, outputs) if return_outputs else loss


def train(
    model: Any,
    dataset: Dataset[Any],
    collate: Callable[[list[Any]], dict[str, torch.Tensor]],
    objective: Objective,
    schedule: Schedule,
    *,
    folder: Path | None = None,
    stopping: EarlyStopping | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place and return the history; with a `folder`, checkpoint there and go on from its last whole checkpoint.

    With `stopping` the model is left with the weights of the best check.

    Raises
    ------
    TrainingError
        The loss became NaN or infinite.
    """

    def build(arguments: TrainingArguments) -> Trainer:
        callbacks = [_Terms(objective), *([] if stopping is None else [_Stop(stopping)])]
        return ObjectiveTrainer(model, arguments, data_collator=collate, train_dataset=dataset, objective=objective, callbacks=callbacks)

    return run(build, schedule, folder=folder, stopping=stopping)


def run(
    build: Callable[[Any], Trainer],
    schedule: Schedule,
    *,
    folder: Path | None = None,
    stopping: EarlyStopping | None = None,
    kind: Any = TrainingArguments,
    **options: Any,
) -> list[dict[str, Any]]:
    """Run the trainer that `build` makes from its arguments, of class `kind`, and return the history; see `train`.

    Raises
    ------
    TrainingError
        The loss became NaN or infinite.
    """
    with quiet(), tempfile.TemporaryDirectory() if folder is None else nullcontext(str(folder)) as place:
        trainer = build(_arguments(schedule, Path(place), keep=folder is not None, kind=kind, options=options))
        trainer.add_callback(_Seal())
        trainer.remove_callback(PrinterCallback)
        if trainer.pop_callback(ProgressCallback) is not None:
            trainer.add_callback(_Bar)
        found = _checkpoint(folder)
        if stopping is not None and found is not None and (Path(found) / "best.json").exists():
            stopping.load(Path(found))
        trainer.train(resume_from_checkpoint=found)
        # Mixed precision leaves its wrapper around the model; what is predicted is to be what a loaded model predicts.
        trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        if stopping is not None:
            stopping.restore(trainer.model)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in trainer.model.parameters() if parameter.requires_grad):
        raise TrainingError(f"training diverged (weights are not finite); lower learning_rate ({schedule.learning_rate}) or raise warmup")
    return list(trainer.state.log_history)


def _checkpoint(folder: Path | None) -> str | None:
    found = latest_whole(folder) if folder is not None and folder.is_dir() else None
    return None if found is None else str(found)


def _arguments(schedule: Schedule, folder: Path, *, keep: bool, kind: Any, options: dict[str, Any]) -> Any:
    visible = schedule.progress if schedule.progress is not None else sys.stderr.isatty()
    defaults: dict[str, Any] = {
        "num_train_epochs": schedule.epochs,
        "per_device_train_batch_size": schedule.batch_size,
        "learning_rate": schedule.learning_rate,
        "warmup_steps": schedule.warmup,
        "weight_decay": schedule.weight_decay,
        "seed": schedule.seed,
        "save_strategy": "steps" if keep else "no",
        "save_steps": schedule.checkpoint_steps,
        # Two: while the newest is being written the one before must still be there.
        "save_total_limit": 2,
        "logging_steps": 25,
        "report_to": "none",
        "log_level": "error",
        "disable_tqdm": not visible,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    try:
        return kind(**{**defaults, **options, **schedule.arguments}, output_dir=str(folder), remove_unused_columns=False)
    except TypeError as error:
        raise ConfigError(f"arguments are not all known to {kind.__module__.split('.')[0]}.{kind.__name__}: {error}") from None


class _Terms(TrainerCallback):
    """Adds the objective's terms to each line of the history."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if "loss" in state.log_history[-1]:
            state.log_history[-1].update({name: float(value) for name, value in self.objective.log.items()})


class _Stop(TrainerCallback):
    """Judges the model after its steps; what was best so far goes into each checkpoint."""

    def __init__(self, stopping: EarlyStopping) -> None:
        self.stopping = stopping

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if self.stopping.after_step(state.global_step, model):
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero and self.stopping.weights:
            self.stopping.save(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class _Seal(TrainerCallback):
    """Seals each checkpoint once it is complete."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            # A pickle that nothing here reads: the arguments are the student's parameters.
            (folder / "training_args.bin").unlink(missing_ok=True)
            seal(folder)


class _Bar(ProgressCallback):
    """The progress bar with the loss in it instead of printed lines."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix(loss=f"{logs['loss']:.4f}")
