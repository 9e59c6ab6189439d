"""A small network on the frozen features of an encoder, trained by minibatches with any objective.

Where `ProbeStudent` solves the convex case exactly, this is for the other losses and for a hidden layer; features are cached alike.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset
from transformers import set_seed

from steelyard.storage import atomic_path
from steelyard.targets import Targets
from steelyard.training.base import Student
from steelyard.training.objective_trainer import Schedule, train
from steelyard.training.objectives import Objective, SoftCrossEntropy
from steelyard.training.probe import describe_encoder, features_of, restore_encoder
from steelyard.training.rows import length_of, matrix_of, texts_of, training_rows


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
    epochs, batch_size, learning_rate, warmup, weight_decay, seed, progress, arguments
        As in `StudentTrainer`.
    on
        Column of the texts where data is a table. Two-dimensional arrays of numbers are taken as features and bypass the encoder.

    Attributes
    ----------
    head_
        The trained `torch.nn.Module`.
    history_
        Loss, learning rate and the objective's terms by step.

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
        epochs: float = 15,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        warmup: float = 0.0,
        weight_decay: float = 0.0,
        seed: int = 0,
        on: str = "text",
        progress: bool | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.encoder = encoder
        self.objective = objective
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.seed = seed
        self.on = on
        self.progress = progress
        self.arguments = arguments

    def fit(self, data: Any, targets: Targets) -> Self:
        """Learn from texts or feature rows (n) and the targets of their rows.

        Raises
        ------
        TrainingError
            One class only, nothing to learn from, features that are not finite.
        """
        inputs = self._inputs(data)
        used = training_rows(length_of(inputs), targets, student="HeadStudent")
        features = np.asarray(features_of(self.encoder, inputs, used.rows), dtype=np.float32)
        schedule = Schedule(
            self.epochs,
            self.batch_size,
            self.learning_rate,
            self.warmup,
            self.weight_decay,
            self.seed,
            progress=self.progress,
            arguments=self.arguments or {},
        )
        set_seed(self.seed)
        head = _Head(features.shape[1], self.hidden, len(used.classes))
        objective = self.objective if self.objective is not None else SoftCrossEntropy()
        self.history_ = train(head, _FeatureRows(features, used.probabilities, used.weights), _stack, objective, schedule)
        self.head_, self.classes_ = head, used.classes
        return self

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Return (n, k) probabilities in the targets' class order."""
        self._check_fitted()
        features = torch.from_numpy(np.asarray(features_of(self.encoder, self._inputs(data)), dtype=np.float32))
        self.head_.eval()
        with torch.inference_mode():
            logits = self.head_(features.to(next(self.head_.parameters()).device))["logits"]
        return np.asarray(logits.softmax(-1).cpu().numpy(), dtype=np.float32)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the head (safetensors) and its description (JSON); of the encoder only its name and settings."""
        self._check_fitted()
        state = {name: value.cpu().contiguous() for name, value in self.head_.state_dict().items()}
        with atomic_path(Path(folder) / "head.safetensors") as temporary:
            save_file(state, temporary)
        apart = {"encoder", "objective", "progress"}
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name not in apart}
        self._describe(Path(folder), encoder=describe_encoder(self.encoder), parameters=parameters, history=self.history_)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a student that `save` wrote; an encoder of your own class must be set again as `student.encoder`."""
        folder = Path(folder)
        content = cls._description(folder)
        student = cls(restore_encoder(content["encoder"]), **content["parameters"])
        state = load_file(folder / "head.safetensors")
        student.classes_ = tuple(content["classes"])
        student.history_ = content["history"]
        first = state["layers.weight" if student.hidden is None else "layers.0.weight"]
        student.head_ = _Head(first.shape[1], student.hidden, len(student.classes_))
        student.head_.load_state_dict(state)
        return student

    def _inputs(self, data: Any) -> Any:
        return matrix_of(data) if isinstance(data, np.ndarray) and data.ndim == 2 else texts_of(data, self.on)


class _Head(nn.Module):
    def __init__(self, d: int, hidden: int | None, k: int) -> None:
        super().__init__()
        self.layers = nn.Linear(d, k) if hidden is None else nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, k))

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.layers(features)}


class _FeatureRows(Dataset[Any]):
    """Hands out whole batches at once: indexing a matrix by a list beats stacking its rows."""

    def __init__(self, features: NDArray[np.float32], probabilities: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        self.columns = [torch.from_numpy(np.ascontiguousarray(part)) for part in (features, probabilities, weights)]

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, row: int) -> Any:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Any:
        return [column[rows] for column in self.columns]


def _stack(columns: Any) -> dict[str, torch.Tensor]:
    return dict(zip(("features", "targets", "weights"), columns, strict=True))
