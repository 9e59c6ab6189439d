"""What every joint model has in common: frozen features and votes in, a student out that needs no votes, saved and read like any other.

A subclass says which network it trains, how, and, where it can, what it answers when the votes of a row are known too.
"""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self, TypedDict

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from steelyard.errors import ConfigError, TrainingError
from steelyard.storage import atomic_path
from steelyard.training.base import Student
from steelyard.training.early_stopping import EarlyStopping, agreement, hold_out
from steelyard.training.joint.descent import Descent
from steelyard.training.joint.networks import JointNetwork
from steelyard.training.joint.rows import CHUNK, JointBatch, JointRows, check_enough_gold, check_votes, checked_gold
from steelyard.training.probe import describe_encoder, features_of, restore_encoder
from steelyard.training.rows import TrainingRows, length_of, matrix_of, texts_of
from steelyard.votes import Votes


class JointOptions(TypedDict, total=False):
    """The parameters that all joint models share; see `JointStudent`."""

    hidden: int
    dropout: float
    epochs: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    early_stopping: float
    patience: int
    seed: int
    on: str
    progress: bool | None


class JointStudent(Student):
    """Base of the joint models.

    Parameters
    ----------
    encoder
        Anything with `encode(texts) -> (n, d)`, usually a `TextEncoder`, whose features are cached. `None` where the data are feature rows.
    hidden
        Width of the student's hidden layer, and of the networks that weigh votes.
    dropout
        Share in [0, 1) of hidden units left out while training.
    epochs, batch_size, learning_rate, weight_decay
        AdamW with a rate that falls to zero; only matrices decay. Methods with several phases train this long in each.
    early_stopping
        Share held out to stop by: of the gold rows where `y` has some, judged by gold; else of the rows with a vote, judged by their
        majority. 0 trains to the end.
    patience
        Epochs without a better check after which to stop.
    seed
        Decides starts, order and dropout: the same seed gives the same bytes on the same machine.
    on
        Column of the texts where data is a table. Two-dimensional arrays of numbers are taken as features and bypass the encoder.
    progress
        Draw a bar; by default on a terminal.

    Attributes
    ----------
    classes_, sources_
        Names of the classes (k) and sources (m) of the votes.
    network_
        The trained `torch.nn.Module`; its `student` is what `predict_proba(data)` asks.
    history_
        By phase and epoch: loss and terms.
    stopped_
        Step whose weights were taken, where `early_stopping` is on.
    """

    needs_gold: ClassVar[bool] = False
    """Whether `fit` must be given gold labels."""
    reads_silent_rows: ClassVar[bool] = True
    """Whether rows without vote and label take part in training."""

    def __init__(
        self,
        encoder: Any = None,
        *,
        hidden: int = 128,
        dropout: float = 0.2,
        epochs: float = 10,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        early_stopping: float = 0.0,
        patience: int = 2,
        seed: int = 0,
        on: str = "text",
        progress: bool | None = None,
    ) -> None:
        self.encoder = encoder
        self.hidden = hidden
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.patience = patience
        self.seed = seed
        self.on = on
        self.progress = progress

    @classmethod
    def _get_param_names(cls) -> list[str]:
        # A subclass names its own parameters and passes the rest on, which scikit-learn does not see by itself.
        own = super()._get_param_names()
        return own if cls is JointStudent else sorted({*own, *JointStudent._get_param_names()})

    # What a method is

    @abstractmethod
    def _network(self, d: int, m: int, k: int) -> JointNetwork:
        """The untrained network for d features, m sources and k classes."""

    @abstractmethod
    def _learn(self, network: Any, rows: JointRows, descent: Descent, **further: Any) -> None:
        """Train the network; `rows.features` are scaled."""

    def _with_votes(self, network: Any, batch: JointBatch) -> torch.Tensor:
        """(b, k) probabilities of rows whose votes are known."""
        raise TrainingError(f"{type(self).__name__} has no answer of its own from votes; call predict_proba(data) without them")

    # Learning

    def fit(self, data: Any, votes: Votes, y: ArrayLike | None = None) -> Self:  # type: ignore[override]  # learns from votes, not targets
        """Learn from texts or feature rows (n), the votes on them, and gold labels of some.

        Parameters
        ----------
        data
            n texts, a table with them, or (n, d) features.
        votes : Votes
            Of the same n rows, dense or CSR.
        y : (n,) int array, optional
            Class index, -1 = unknown. A known label takes the place of the row's votes as target.

        Raises
        ------
        ConfigError
            An option is out of range.
        TrainingError
            Votes or labels of other rows, votes of one class only, no gold labels where the method needs some, or training diverged.
        """
        return self._fit(data, votes, y)

    def _fit(self, data: Any, votes: Votes, y: ArrayLike | None, **further: Any) -> Self:
        name = type(self).__name__
        self._check_options()
        inputs = self._inputs(data)
        check_votes(length_of(inputs), votes, None, name)
        gold = checked_gold(y, votes, name)
        if self.needs_gold:
            check_enough_gold(gold, votes.classes, name)
        check_votes(length_of(inputs), votes, gold, name)
        used, judged = self._split(votes, gold)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            rows = self._rows(inputs, votes, gold, used)
            network = self._network(rows.features.shape[1], votes.n_sources, votes.n_classes)
            network.fit_scale(rows.features)
            rows.features.copy_(network.scaled(rows.features))
            descent = Descent(self.epochs, self.batch_size, self.learning_rate, self.weight_decay, self.progress)
            if judged is not None:
                held = self._rows(inputs, votes, gold, judged)
                held.features.copy_(network.scaled(held.features))
                descent.stopping = EarlyStopping(_judge(held), math.ceil(len(rows) / self.batch_size), self.patience)
            self._learn(network, rows, descent, **further)
        if not all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters()):
            raise TrainingError(f"{name}: training diverged (weights are not finite); lower learning_rate ({self.learning_rate})")
        self.network_, self.history_ = network.eval(), descent.history
        self.__dict__.pop("stopped_", None)
        if descent.stopping is not None:
            self.stopped_ = descent.stopping.best_step
        self.classes_, self.sources_, self.hierarchy_ = votes.classes, votes.sources, votes.hierarchy
        return self

    # Answering

    def predict_proba(self, data: Any, votes: Votes | None = None) -> NDArray[np.float32]:
        """Return (n, k) probabilities: of the student alone, or, with the votes on the same rows, of the whole model.

        Raises
        ------
        TrainingError
            Votes of other rows, sources or classes, or a method that has no answer from votes.
        """
        self._check_fitted()
        inputs = self._inputs(data)
        if votes is not None:
            self._check_same_sources(length_of(inputs), votes)
        features = torch.from_numpy(np.ascontiguousarray(features_of(self.encoder, inputs), dtype=np.float32))
        if features.shape[1] != len(self.network_.centre):
            learned = len(self.network_.centre)
            raise TrainingError(f"{type(self).__name__}: rows have {features.shape[1]} features, it was trained on {learned}")
        unknown = None if votes is None else torch.full((len(features),), -1)
        parts = [torch.zeros(0, len(self.classes_))]
        with torch.inference_mode():
            for start in range(0, len(features), CHUNK):
                part = self.network_.scaled(features[start : start + CHUNK])
                if votes is None or unknown is None:
                    parts.append(self.network_.student(part).softmax(-1))
                    continue
                some = JointRows(part, votes.take(slice(start, start + CHUNK)), unknown[start : start + CHUNK], torch.arange(len(part)))
                parts.append(self._with_votes(self.network_, some.batch(some.ids)))
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    def predict(self, data: Any, votes: Votes | None = None) -> NDArray[np.int64]:
        """Return (n,) indices of the most probable class; the first of equals."""
        return np.asarray(self.predict_proba(data, votes).argmax(axis=1), dtype=np.int64)

    # To and from disk

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the network (safetensors) and its description (JSON); of the encoder only its name and settings."""
        self._check_fitted()
        state = {name: value.contiguous() for name, value in self.network_.state_dict().items()}
        with atomic_path(Path(folder) / "network.safetensors") as temporary:
            save_file(state, temporary)
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name != "encoder"}
        learned = {"history": self.history_, "stopped": getattr(self, "stopped_", None)}
        votes = {"sources": list(self.sources_), "hierarchy": {parent: list(below) for parent, below in self.hierarchy_.items()}}
        self._describe(Path(folder), encoder=describe_encoder(self.encoder), parameters=parameters, **votes, **learned)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a student that `save` wrote; an encoder of your own class must be set again as `student.encoder`."""
        folder = Path(folder)
        content = cls._description(folder)
        student = cls(restore_encoder(content["encoder"]), **content["parameters"])
        student.classes_, student.sources_ = tuple(content["classes"]), tuple(content["sources"])
        student.hierarchy_ = {parent: tuple(below) for parent, below in content["hierarchy"].items()}
        student.history_ = content["history"]
        if content["stopped"] is not None:
            student.stopped_ = content["stopped"]
        state = load_file(folder / "network.safetensors")
        student.network_ = student._network(len(state["centre"]), len(student.sources_), len(student.classes_)).eval()
        student.network_.load_state_dict(state)
        return student

    # Helpers

    def _split(self, votes: Votes, gold: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        used = np.arange(votes.n_rows) if self.reads_silent_rows else np.flatnonzero(votes.coverage | (gold >= 0))
        if not self.early_stopping:
            return used, None
        pool = np.flatnonzero(gold >= 0) if (gold >= 0).any() else np.flatnonzero(votes.coverage)
        judged = pool[hold_out(len(pool), self.early_stopping, self.seed)[1]]
        used = np.setdiff1d(used, judged)
        if self.needs_gold:
            check_enough_gold(gold[used], votes.classes, f"{type(self).__name__} without the rows held out to stop by")
        return used, judged

    def _rows(self, inputs: Any, votes: Votes, gold: NDArray[np.int64], used: NDArray[np.int64]) -> JointRows:
        # A copy, since it is scaled in place.
        features = torch.from_numpy(np.array(features_of(self.encoder, inputs, used), dtype=np.float32))
        return JointRows(features, votes.take(used), torch.from_numpy(gold[used]), torch.from_numpy(used))

    def _inputs(self, data: Any) -> Any:
        return matrix_of(data) if isinstance(data, np.ndarray) and data.ndim == 2 else texts_of(data, self.on)

    def _check_same_sources(self, length: int, votes: Votes) -> None:
        check_votes(length, votes, None, type(self).__name__)
        if votes.sources != self.sources_ or votes.classes != self.classes_ or votes.hierarchy != self.hierarchy_:
            raise TrainingError(
                f"{type(self).__name__}: votes of {votes.n_sources} sources on {', '.join(votes.classes)} are not those it was trained "
                f"on ({len(self.sources_)} sources on {', '.join(self.classes_)}); give the same sources in the same order"
            )

    def _check_options(self) -> None:
        name = type(self).__name__
        if self.epochs <= 0 or min(self.batch_size, self.patience, self.hidden) < 1:
            given = f"epochs={self.epochs}, batch_size={self.batch_size}, patience={self.patience}, hidden={self.hidden}"
            raise ConfigError(f"{name}: {given}: epochs must be positive, the others at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"{name}: dropout is {self.dropout}; it is a share in [0, 1)")


def _judge(held: JointRows) -> Any:
    ones = np.ones(len(held), dtype=np.float32)
    rows = TrainingRows(held.ids.numpy(), held.targets.numpy(), ones, held.votes.classes)

    def score(trained: nn.Module) -> float:
        # Phases train the whole network or its student alone.
        student = trained.student if isinstance(trained, JointNetwork) else trained
        with torch.no_grad():
            return agreement(student(held.features).argmax(-1).numpy(), rows)

    return score
