"""What studies of pretraining share: the text as windows, models to start from, runs that differ by their loss alone, and their curves."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from transformers import LlamaConfig, LlamaForCausalLM

from steelyard.causal_lm import load_causal_lm
from steelyard.datasets.plain_texts import PlainText, load_plain_text
from steelyard.encoders import quiet
from steelyard.errors import ConfigError
from steelyard.language.tiny_lm import TinyLM, tiny_lm
from steelyard.result import Result
from steelyard.training.objectives import Objective
from steelyard.training.pretraining import CausalPretrainer
from steelyard.training.text_windows import TextWindows, text_windows

_SHAPE = re.compile(r"(\d+)x(\d+)")
_HEAD = 24
_VOCABULARY_CHARACTERS = 2_000_000


class Training(Protocol):
    """The options of a recipe that say how each arm is trained."""

    @property
    def context(self) -> int:
        """Tokens of a window."""

    @property
    def steps(self) -> int:
        """Optimiser steps."""

    @property
    def batch_size(self) -> int:
        """Windows per step."""

    @property
    def learning_rate(self) -> float:
        """Of AdamW."""

    @property
    def evaluate_steps(self) -> int:
        """Steps between two measurements."""


@dataclass(frozen=True, eq=False)
class PretrainingTask:
    """Text as its tokenizer reads it.

    Parameters
    ----------
    text : PlainText
    tokenizer
        Of the model that learns.
    train, test : TextWindows
        What is learned, and what is measured on: the same for every arm and seed.
    vocabulary : int
        Width of the model's output, which may be more than the tokenizer knows.
    """

    text: PlainText
    tokenizer: Any
    train: TextWindows
    test: TextWindows
    vocabulary: int

    @property
    def about(self) -> dict[str, str]:
        """What a result says of the data."""
        sizes = {"train": f"{self.train.learned:,} tokens", "test": f"{self.test.learned:,} held-out tokens"}
        text = self.text
        return {"name": text.name, "licence": text.licence, "citation": text.citation, "checksum": text.checksum, **sizes}


def load_pretraining_task(data: str, model: str, *, text: str, tokens: int, context: int, test: int) -> PretrainingTask:
    """Read text and cut it into windows of the tokens that `model` reads.

    Parameters
    ----------
    data, text
        See `load_plain_text`.
    model
        A shape such as "2x96", whose tokenizer is made of the text, or a causal language model, which brings its own.
    tokens
        Vocabulary of a made tokenizer, 258 for single bytes.
    context
        Tokens of a window.
    test
        Held-out windows to measure on at most, evenly spaced.
    """
    plain = load_plain_text(data, text=text)
    if _SHAPE.fullmatch(model):
        with quiet():  # the text is longer than a window, which is the point
            tokenizer = tiny_lm(_beginning(plain.train), size="nano", tokens=tokens, context=context, steps=0).tokenizer
        vocabulary = len(tokenizer)
    else:
        with quiet():
            network, tokenizer = load_causal_lm(model)
        vocabulary = int(network.config.get_text_config().vocab_size)
    train, held = (text_windows(tokenizer, part, context) for part in (plain.train, plain.test))
    rows = np.unique(np.linspace(0, len(held) - 1, min(test, len(held))).round().astype(np.int64))
    return PretrainingTask(plain, tokenizer, train, held.take(rows), vocabulary)


def starting_model(model: str, task: PretrainingTask, seed: int) -> Any:
    """Return (model, tokenizer) to start from: a fresh Llama of the shape LAYERSxWIDTH drawn from the seed, or a model by name as it is.

    Raises
    ------
    ConfigError
        The width is no multiple of 24, the size of a head.
    DataError
        No such model.

    Examples
    --------
    >>> from steelyard.training.text_windows import TextWindows
    >>> made = tiny_lm(["ab"], size="nano", tokens=258, steps=0)
    >>> windows = text_windows(made.tokenizer, ["abc"], 4)
    >>> task = PretrainingTask(PlainText("abc", ("abc",), ("abc",)), made.tokenizer, windows, windows, 258)
    >>> starting_model("1x48", task, seed=0).model.config.num_attention_heads
    2
    """
    shape = _SHAPE.fullmatch(model)
    if shape is None:
        return load_causal_lm(model, dtype=torch.float32)
    layers, width = int(shape[1]), int(shape[2])
    if layers < 1 or width < _HEAD or width % _HEAD:
        raise ConfigError(
            f"model '{model}' has {layers} layers of width {width}; it needs layers, and a width that is a multiple of {_HEAD}"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=task.vocabulary,
                hidden_size=width,
                intermediate_size=8 * width // 3,
                num_hidden_layers=layers,
                num_attention_heads=width // _HEAD,
                max_position_embeddings=task.train.context,
                # As in `tiny_lm`: narrow layers start from wider numbers than the usual 0.02.
                initializer_range=width**-0.5,
                pad_token_id=task.tokenizer.pad_token_id,
                bos_token_id=task.tokenizer.eos_token_id,
                eos_token_id=task.tokenizer.eos_token_id,
            )
        )
    return TinyLM(network, task.tokenizer)


def with_repeats(windows: TextWindows, tokens: NDArray[np.int32], share: float) -> TextWindows:
    """Return a redundant stream: the windows and a passage repeated until it is this share of all tokens.

    Parameters
    ----------
    windows
        w windows of the clean text.
    tokens
        The passage.
    share
        In [0, 1).

    Examples
    --------
    >>> clean = TextWindows(np.arange(9, dtype=np.int32).reshape(3, 3))
    >>> with_repeats(clean, np.array([7, 7], dtype=np.int32), 0.4).ids.tolist()[3:]
    [[7, 7, 7], [7, 7, 7]]
    """
    if not 0.0 <= share < 1.0 or len(tokens) < 1:
        raise ConfigError(f"redundancy is {share} of a passage of {len(tokens)} tokens; the share must be in [0, 1), the passage not empty")
    count = round(len(windows) * share / (1 - share))
    if count == 0:
        return windows
    stream = np.resize(tokens, count * windows.context + 1).astype(np.int32)
    repeated = np.lib.stride_tricks.sliding_window_view(stream, windows.context + 1)[:: windows.context][:count]
    return TextWindows(np.concatenate([windows.ids, repeated]))


def pretrain(
    start: Any,
    objective: Objective,
    windows: TextWindows,
    task: PretrainingTask,
    training: Training,
    seed: int,
    *,
    first: ArrayLike | None = None,
    columns: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> CausalPretrainer:
    """Train one arm from `start`; arms of one seed read the same windows at the same steps."""
    pretrainer = CausalPretrainer(
        start,
        objective,
        steps=training.steps,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        context=training.context,
        seed=seed,
        evaluate_steps=training.evaluate_steps,
        output_dir=folder,
    )
    return pretrainer.fit(windows, held_out=task.test, first=first, columns=columns)


def trained_here(model: str, task: PretrainingTask, training: Training, steps: int, seed: int) -> Any:
    """Return a small model: of a shape, trained on the task's text for so many steps, or by name as it is."""
    start, tokenizer = starting_model(model, task, seed)
    if not _SHAPE.fullmatch(model) or steps < 1:
        return start
    options: dict[str, Any] = {"steps": steps, "batch_size": training.batch_size, "learning_rate": training.learning_rate, "seed": seed}
    return CausalPretrainer((start, tokenizer), **options).fit(task.train).model_


def weights_of(network: Any) -> int:
    """Number of weights that compute: all but the table of input tokens, unless it is the output layer too."""
    table = network.get_input_embeddings().weight
    shared = network.get_output_embeddings() is not None and network.get_output_embeddings().weight is table
    return sum(part.numel() for part in network.parameters()) - (0 if shared else table.numel())


def curve_of(history: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Held-out loss by step.

    Examples
    --------
    >>> curve_of([{"step": 10, "loss": 3.0}, {"step": 10, "held_out": 2.5}])
    {10: 2.5}
    """
    return {int(line["step"]): float(line["held_out"]) for line in history if "held_out" in line}


def steps_to(curve: Mapping[int, float], loss: float) -> float:
    """Steps after which a curve first reaches a loss, read off the line between two measurements; NaN where it never does.

    Examples
    --------
    >>> steps_to({100: 3.0, 200: 2.0}, 2.25), steps_to({100: 3.0}, 2.0)
    (175.0, nan)
    """
    before: tuple[int, float] | None = None
    for step, value in sorted(curve.items()):
        if value <= loss:
            if before is None or before[1] == value:
                return float(step)
            return before[0] + (before[1] - loss) / (before[1] - value) * (step - before[0])
        before = (step, value)
    return math.nan


def mean_curves(curves: Mapping[str, Sequence[Mapping[int, float]]]) -> dict[str, Any]:
    """The artifact "curves": by arm the steps and the mean held-out loss over seeds.

    Examples
    --------
    >>> mean_curves({"a": [{1: 2.0}, {1: 4.0}]})["arms"]
    [{'name': 'a', 'steps': [1], 'loss': [3.0]}]
    """
    arms = []
    for arm, found in curves.items():
        steps = sorted(found[0])
        arms.append({"name": arm, "steps": steps, "loss": np.mean([[curve[step] for step in steps] for curve in found], axis=0).tolist()})
    return {"x": "steps", "y": "held-out loss, nats per token", "arms": arms}


def add_curve(result: Result, arm: str, seed: int, curve: Mapping[int, float], early: int) -> None:
    """Record the loss at the end and at the measurement nearest to an early step."""
    result.add(arm, seed, "loss", curve[max(curve)])
    result.add(arm, seed, "early_loss", curve[min(curve, key=lambda step: abs(step - early))])


def _beginning(texts: Sequence[str]) -> list[str]:
    """As much text as a vocabulary is made of."""
    taken, left = [], _VOCABULARY_CHARACTERS
    for text in texts:
        if left > 0:
            taken.append(text[:left])
            left -= len(text)
    return taken
