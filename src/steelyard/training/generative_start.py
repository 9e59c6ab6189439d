"""Generative fine-tuning first: the language model reads the task's texts without labels, then learns the task from weak labels.

Burns et al. 2023, "Weak-to-strong generalization", section 5.2.2: it makes the task more salient to the strong model.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM

from steelyard.encoders import TextEncoder
from steelyard.errors import TrainingError
from steelyard.targets import Targets
from steelyard.training.base import Student
from steelyard.training.fine_tuning import build, save_model
from steelyard.training.objective_trainer import Schedule, train
from steelyard.training.objectives import Objective
from steelyard.training.rows import length_of, texts_of, training_rows
from steelyard.training.student import StudentTrainer
from steelyard.training.token_rows import TokenRows, context_length, ensure_padding, pad_rows, tokenize


class GenerativeStart(Student):
    """A `StudentTrainer` whose decoder is first trained to predict the next token of the training texts.

    Parameters
    ----------
    student : StudentTrainer
        What learns from the targets afterwards; its `model` must be the name or folder of a decoder.
    epochs, learning_rate
        Of the generative part; batch size and seed are the student's.

    Attributes
    ----------
    student_
        The fitted student.
    losses_
        Mean next-token loss while reading, one per logged stretch of steps.

    Raises
    ------
    TrainingError
        From `fit`: the model is no causal language model, or is given as a built pair.
    """

    def __init__(self, student: StudentTrainer, *, epochs: float = 1, learning_rate: float = 5e-5, seed: int = 0) -> None:
        self.student = student
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.seed = seed

    def fit(self, data: Any, targets: Targets) -> Self:
        """Read the texts of the training rows, then learn from their targets."""
        texts = texts_of(data, self.student.on)
        used = training_rows(length_of(texts), targets, student="GenerativeStart")
        with tempfile.TemporaryDirectory() as folder:
            self.losses_ = self._read([texts[row] for row in used.rows], Path(folder))
            student = clone(self.student).set_params(model=str(Path(folder) / "model"), seed=self.seed)
            self.student_ = student.fit(texts, targets)
        self.classes_ = self.student_.classes_
        return self

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Return (n, k) probabilities in the targets' class order."""
        self._check_fitted()
        return self.student_.predict_proba(data)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the student; it is read with `load_student` as the `StudentTrainer` that it then is."""
        self._check_fitted()
        self.student_.save(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Not possible: what was saved is a `StudentTrainer`."""
        raise TrainingError(f"'{folder}' holds the StudentTrainer that a GenerativeStart became; use load_student(folder)")

    def _read(self, texts: list[str], folder: Path) -> list[float]:
        if isinstance(self.student.model, (tuple, list)):
            raise TrainingError("GenerativeStart needs the name or folder of a decoder; save the model first and name its folder")
        source = TextEncoder(os.fspath(self.student.model)).folder_or_name()
        model, tokenizer = build(AutoModelForCausalLM, source, ("next token",), seed=self.seed)
        if _sees_what_follows(model):
            raise TrainingError(f"'{self.student.model}' is an encoder and predicts no next token; leave GenerativeStart out")
        ensure_padding(tokenizer, model)
        tokens = tokenize(tokenizer, texts, context_length(tokenizer, model, self.student.max_length))
        schedule = Schedule(
            self.epochs,
            self.student.batch_size,
            self.learning_rate,
            self.student.warmup,
            self.student.weight_decay,
            self.seed,
            progress=self.student.progress,
            arguments={"lr_scheduler_type": "cosine", **(self.student.arguments or {})},
        )
        history = train(model, _Texts(tokens), _NextTokens(tokenizer.pad_token_id), NextToken(), schedule)
        save_model(model, tokenizer, folder)
        return [line["loss"] for line in history if "loss" in line]


def _sees_what_follows(model: Any) -> bool:
    """Whether the output at the first token depends on the second: an encoder, under whatever name it was loaded."""
    model.eval()
    with torch.inference_mode():
        first, second = (model(input_ids=torch.tensor([[0, token]])).logits[0, 0] for token in (0, 1))
    return not torch.allclose(first, second, atol=1e-5)


class NextToken(Objective):
    """Mean of -log p(token | the tokens before it) over all tokens of a batch.

    Examples
    --------
    >>> round(float(NextToken()(torch.zeros(3, 8), torch.tensor([0, 5, 7]))), 4)  # log 8
    2.0794
    """

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, **batch: Any) -> torch.Tensor:
        """Return the loss of logits (n, v) at tokens (n,)."""
        losses = functional.cross_entropy(logits.float(), targets, reduction="none")
        loss = losses.mean() if weights is None else (weights * losses).mean()
        self.record(next_token=loss)
        return loss


class _Texts(Dataset[Any]):
    def __init__(self, tokens: TokenRows) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self.tokens[row]


class _NextTokens:
    """Collates texts; every token but the first is a target, at the place of the token before it."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: Sequence[NDArray[np.int32]]) -> dict[str, torch.Tensor]:
        batch = pad_rows(rows, self.pad)
        places = torch.zeros_like(batch["attention_mask"], dtype=torch.bool)
        places[:, :-1] = batch["attention_mask"][:, 1:].bool()
        following = batch["input_ids"].roll(-1, dims=1)[places]
        return {**batch, "targets": following, "weights": torch.ones(len(following)), "places": places}
