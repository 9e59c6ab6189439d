"""A small network on the frozen features of an encoder, trained by minibatches with any objective.

Where `ProbeStudent` solves the convex case exactly, this is for the other losses and for a hidden layer; features are cached alike. The
loop is plain torch on the CPU: a step takes less than a millisecond, so whatever a trainer did around it would be most of the time.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from steelyard.errors import ConfigError, TrainingError
from steelyard.storage import atomic_path
from steelyard.targets import Targets
from steelyard.training.base import Student
from steelyard.training.early_stopping import EarlyStopping, agreement, hold_out, some_rows
from steelyard.training.objectives import Objective, SoftCrossEntropy
from steelyard.training.probe import describe_encoder, features_of, restore_encoder
from steelyard.training.rows import TrainingRows, length_of, matrix_of, texts_of, training_rows

_SHAPES = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}


class HeadStudent(Student):
    """A linear head or a two-layer network on frozen features.

    Parameters
    ----------
    encoder
        Anything with `encode(texts) -> (n, d)`, usually a `TextEncoder`. `None` where the data are feature rows already.
    objective
        The loss; `SoftCrossEntropy()` when left out.
    hidden
        Width of a hidden layer with ReLU; `None` for a linear head.
    zero_head
        Let the last layer start at zero and have no bias, so that the untrained student gives every class the same probability.
    epochs, batch_size, learning_rate, weight_decay
        AdamW; only matrices decay.
    warmup
        Share of the steps in which the learning rate rises.
    schedule
        What the rate does then: `"linear"` or `"cosine"` to zero, or `"constant"`.
    early_stopping
        Share of the rows held out to stop by, see `EarlyStopping`; 0 trains on all rows to the end.
    patience
        Epochs without a better check after which to stop.
    seed
        Decides the weights to start from and the order of the rows: the same seed gives the same bytes on the same machine.
    on
        Column of the texts where data is a table. Two-dimensional arrays of numbers are taken as features and bypass the encoder.

    Attributes
    ----------
    head_
        The trained `torch.nn.Module`.
    history_
        By epoch: step, mean loss, learning rate and the objective's terms in the last batch.
    stopped_
        Step whose weights were taken, where `early_stopping` is on.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(300, 2)).astype(np.float32)
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)  # no linear head can learn this
    >>> student = HeadStudent(hidden=32, epochs=40, learning_rate=1e-2).fit(x, Targets.from_labels(y, classes=["-", "+"]))
    >>> bool((student.predict(x) == y).mean() > 0.9)
    True
    """

    def __init__(
        self,
        encoder: Any = None,
        objective: Objective | None = None,
        *,
        hidden: int | None = None,
        zero_head: bool = False,
        epochs: float = 15,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        warmup: float = 0.0,
        schedule: Literal["linear", "cosine", "constant"] = "linear",
        early_stopping: float = 0.0,
        patience: int = 2,
        seed: int = 0,
        on: str = "text",
    ) -> None:
        self.encoder = encoder
        self.objective = objective
        self.hidden = hidden
        self.zero_head = zero_head
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.schedule = schedule
        self.early_stopping = early_stopping
        self.patience = patience
        self.seed = seed
        self.on = on

    def fit(self, data: Any, targets: Targets) -> Self:
        """Learn from texts or feature rows (n) and the targets of their rows.

        Raises
        ------
        ConfigError
            An option is out of range.
        TrainingError
            One class only, nothing to learn from, features that are not finite, or training diverged.
        """
        self._check_options()
        inputs = self._inputs(data)
        used = training_rows(length_of(inputs), targets, student="HeadStudent")
        judged = None
        if self.early_stopping:
            learned, held = hold_out(len(used.rows), self.early_stopping, self.seed)
            used, judged = some_rows(used, learned), some_rows(used, held)
        features = self._features(inputs, used.rows)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            head = _Head(features.shape[1], self.hidden, len(used.classes), zero=self.zero_head)
            self._train(head, features, used, None if judged is None else (self._features(inputs, judged.rows), judged))
        if not all(bool(torch.isfinite(parameter).all()) for parameter in head.parameters()):
            raise TrainingError(f"training diverged (weights are not finite); lower learning_rate ({self.learning_rate}) or raise warmup")
        self.head_, self.classes_ = head.eval(), used.classes
        return self

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Return (n, k) probabilities in the targets' class order."""
        self._check_fitted()
        with torch.inference_mode():
            logits = self.head_(self._features(self._inputs(data)))
        return np.asarray(logits.softmax(-1).numpy(), dtype=np.float32)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the head (safetensors) and its description (JSON); of the encoder only its name and settings."""
        self._check_fitted()
        state = {name: value.contiguous() for name, value in self.head_.state_dict().items()}
        with atomic_path(Path(folder) / "head.safetensors") as temporary:
            save_file(state, temporary)
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name not in ("encoder", "objective")}
        learned = {"history": self.history_, "stopped": getattr(self, "stopped_", None)}
        self._describe(Path(folder), encoder=describe_encoder(self.encoder), parameters=parameters, **learned)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a student that `save` wrote; an encoder of your own class must be set again as `student.encoder`."""
        folder = Path(folder)
        content = cls._description(folder)
        student = cls(restore_encoder(content["encoder"]), **content["parameters"])
        state = load_file(folder / "head.safetensors")
        student.classes_ = tuple(content["classes"])
        student.history_ = content["history"]
        if content["stopped"] is not None:
            student.stopped_ = content["stopped"]
        first = state["layers.0.weight"]
        student.head_ = _Head(first.shape[1], student.hidden, len(student.classes_), zero=student.zero_head).eval()
        student.head_.load_state_dict(state)
        return student

    def _train(self, head: _Head, features: torch.Tensor, used: TrainingRows, judged: tuple[torch.Tensor, TrainingRows] | None) -> None:
        n, targets, weights = len(features), torch.from_numpy(used.probabilities), torch.from_numpy(used.weights)
        objective = self.objective if self.objective is not None else SoftCrossEntropy()
        # One group is one call per step; biases are kept apart only where something decays.
        decaying, rest = ([p for p in head.parameters() if bool(self.weight_decay and p.ndim > 1) == flag] for flag in (True, False))
        groups = [{"params": decaying, "weight_decay": self.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW([group for group in groups if group["params"]], lr=self.learning_rate, fused=True)
        per_epoch = math.ceil(n / self.batch_size)
        steps = max(1, math.ceil(self.epochs * per_epoch))
        stopping = None if judged is None else EarlyStopping(_judge(*judged), per_epoch, self.patience)
        self.history_: list[dict[str, float]] = []
        total, order = 0.0, torch.empty(0, dtype=torch.int64)
        head.train()
        for step in range(steps):
            place = step % per_epoch
            if place == 0:
                order = torch.randperm(n)
            rows = order[place * self.batch_size : (place + 1) * self.batch_size]
            for group in optimiser.param_groups:
                group["lr"] = self._rate(step, steps)
            loss = objective(head(features[rows]), targets[rows], weights[rows], progress=step / steps)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
            done = step + 1
            if place == per_epoch - 1 or done == steps:
                terms = {name: float(value) for name, value in objective.log.items()}
                rate = self._rate(step, steps)
                self.history_.append({"epoch": done / per_epoch, "step": done, "loss": total / (place + 1), "learning_rate": rate, **terms})
                total = 0.0
            if stopping is not None and stopping.after_step(done, head):
                break
        if stopping is not None:
            stopping.restore(head)
            self.stopped_ = stopping.best_step

    def _rate(self, step: int, steps: int) -> float:
        rising = self.warmup * steps
        if step < rising:
            return self.learning_rate * (step + 1) / math.ceil(rising)
        return self.learning_rate * _SHAPES[self.schedule]((step - rising) / (steps - rising))

    def _check_options(self) -> None:
        if self.epochs <= 0 or self.batch_size < 1 or self.patience < 1:
            given = f"epochs={self.epochs}, batch_size={self.batch_size}, patience={self.patience}"
            raise ConfigError(f"HeadStudent: {given}: epochs must be positive, the others at least 1")
        if not 0.0 <= self.warmup < 1.0 or self.schedule not in _SHAPES:
            raise ConfigError(
                f"HeadStudent: warmup is {self.warmup}, a share in [0, 1); schedule is '{self.schedule}', of {', '.join(_SHAPES)}"
            )

    def _inputs(self, data: Any) -> Any:
        return matrix_of(data) if isinstance(data, np.ndarray) and data.ndim == 2 else texts_of(data, self.on)

    def _features(self, inputs: Any, rows: NDArray[np.int64] | None = None) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(features_of(self.encoder, inputs, rows), dtype=np.float32))


class _Head(nn.Module):
    def __init__(self, d: int, hidden: int | None, k: int, *, zero: bool) -> None:
        super().__init__()
        first = [] if hidden is None else [nn.Linear(d, hidden), nn.ReLU()]
        last = nn.Linear(d if hidden is None else hidden, k, bias=not zero)
        if zero:
            nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(*first, last)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(features)
        return logits


def _judge(features: torch.Tensor, rows: TrainingRows) -> Any:
    def score(head: nn.Module) -> float:
        with torch.no_grad():
            return agreement(head(features).argmax(-1).numpy(), rows)

    return score
