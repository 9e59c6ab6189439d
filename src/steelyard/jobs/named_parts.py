"""From words on the command line to the parts of a weak-to-strong run: supervisors, students, objectives.

Fine-tuning follows the authors' code of Burns et al. 2023, "Weak-to-Strong Generalization": a head that starts at zero, no dropout, no
weight decay, a cosine to zero; probes follow its vision part (batches of 100, Adam at 1e-3, cosine).
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import ConfigError
from steelyard.jobs.sources_file import load_sources
from steelyard.jobs.text_task import TextTask
from steelyard.jobs.weak_to_strong import Arm

TFIDF, VOTES = "tfidf", "votes"
_SHORT = {"minilm": "minilm-offline"}


def named_supervisor(
    name: str,
    task: TextTask,
    *,
    words: int = 60,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
) -> Any:
    """The weak supervisor of that name, as `weak_labels` takes it.

    Parameters
    ----------
    name : str
        ``tfidf`` (logistic regression on the most frequent words), ``votes`` (those published with the data), the path of a sources file
        (rules, crowds, language models), or a Hugging Face model to fine-tune on the gold pool.
    task : TextTask
        Holds the published votes.
    words : int
        Vocabulary of ``tfidf``.
    epochs, batch_size, learning_rate : optional
        Of a model that is fine-tuned; 2, 32 and `StudentTrainer`'s when left out.

    Raises
    ------
    ConfigError
        The data set has no votes for all its rows, or the torch extra is missing.

    Examples
    --------
    >>> named_supervisor("tfidf", TextTask([], np.zeros(0, int), ("a", "b"), np.zeros(0, bool)), words=5).steps[0][1].max_features
    5
    """
    if name == TFIDF:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        return make_pipeline(TfidfVectorizer(max_features=words), LogisticRegression(max_iter=1000))
    if name == VOTES:
        if task.votes is None:
            raise ConfigError("this data set has no published votes that all its rows share; name another weak supervisor")
        return task.votes
    if PurePath(name).suffix == ".py":
        return list(load_sources(name).sources)
    return _fine_tuned(name, "full", epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, early_stopping=0.0)


def named_student(
    name: str,
    *,
    tune: str = "probe",
    hidden: int = 128,
    dimensions: int = 0,
    pooling: Literal["mean", "cls", "last"] = "mean",
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    early_stopping: float = 0.0,
) -> Any:
    """An unfitted strong student on the Hugging Face model of that name or folder; ``minilm`` needs no network.

    Parameters
    ----------
    tune : str
        ``full``, ``lora``, or ``probe``: a head with one hidden layer of width `hidden` (0: linear) on frozen features, pooled over the
        tokens by `pooling`, of which the first `dimensions` are read (0: all).
    epochs, batch_size, learning_rate : optional
        By default 15, 100, 1e-3 for a probe; 2, 32 and `StudentTrainer`'s otherwise.
    early_stopping : float
        Share of the weak labels to stop by.

    Raises
    ------
    ConfigError
        `tune` is unknown, or the torch extra is missing.

    Examples
    --------
    >>> named_student("minilm", hidden=0, epochs=3).zero_head
    True
    """
    if tune not in ("full", "lora", "probe"):
        raise ConfigError(f"tune must be one of full, lora, probe, got '{tune}'")
    if tune != "probe":
        return _fine_tuned(name, tune, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, early_stopping=early_stopping)
    from steelyard.encoders import TextEncoder

    encoder: Any = TextEncoder(_SHORT.get(name, name), pooling=pooling)
    return _training("HeadStudent")(
        FirstDimensions(encoder, dimensions) if dimensions else encoder,
        hidden=hidden or None,
        zero_head=not hidden,
        epochs=15 if epochs is None else epochs,
        batch_size=batch_size or 100,
        learning_rate=learning_rate or 1e-3,
        schedule="cosine",
        early_stopping=early_stopping,
    )


def named_arm(loss: str) -> Arm:
    """The arm of that objective: ``soft``, ``hard``, ``product``, ``confidence``, ``confidence:ALPHA`` or ``confidence:ALPHA:official``.

    The last is the ramp of the authors' code, with its warm-up of a tenth.

    Raises
    ------
    ConfigError
        No such objective, or ALPHA is no number.

    Examples
    --------
    >>> named_arm("confidence:0.75").objective.alpha, named_arm("hard").hard
    (0.75, True)
    """
    kind, _, parameter = loss.partition(":")
    if kind == "soft":
        return Arm()
    if kind == "hard":
        return Arm(hard=True)
    if kind == "product":
        return Arm(_training("ProductLoss")())
    if kind == "confidence":
        alpha, _, ramp = parameter.partition(":")
        if ramp not in ("", "official"):
            raise ConfigError(f"loss '{loss}': the ramp can only be named official; write confidence:0.5:official, for example")
        try:
            return Arm(_training("ConfidenceLoss")(float(alpha or 0.5), **({"ramp": ramp, "warmup": 0.1} if ramp else {})))
        except ValueError as error:
            raise ConfigError(f"loss '{loss}': {error}; write confidence:0.75, for example") from None
    raise ConfigError(f"loss '{loss}' is unknown; use soft, hard, product, confidence, confidence:ALPHA or confidence:ALPHA:official")


class FirstDimensions:
    """An encoder of which only the first `dimensions` numbers are read, at unit length: a weaker strong model, for sweeps over strength.

    Examples
    --------
    >>> from steelyard.encoders import TextEncoder
    >>> FirstDimensions(TextEncoder("minilm-offline"), 16).encode(["a", "b"]).shape
    (2, 16)
    """

    def __init__(self, encoder: Any, dimensions: int) -> None:
        self.encoder = encoder
        self.dimensions = dimensions

    @property
    def identity(self) -> str:
        """What features are cached by."""
        return f"{self.encoder.identity}|first {self.dimensions} of unit length"

    def encode(self, texts: Any) -> NDArray[np.float32]:
        """(n, dimensions) features."""
        features: NDArray[np.float32] = self.encoder.encode(texts)[:, : self.dimensions]
        return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _fine_tuned(name: str, tune: str, *, epochs: Any, batch_size: Any, learning_rate: Any, early_stopping: float) -> Any:
    return _training("StudentTrainer")(
        _SHORT.get(name, name),
        tune=tune,
        epochs=2 if epochs is None else epochs,
        batch_size=batch_size or 32,
        learning_rate=learning_rate,
        warmup=0.0,
        weight_decay=0.0,
        zero_head=True,
        dropout=False,
        early_stopping=early_stopping,
        arguments={"lr_scheduler_type": "cosine"},
    )


def _training(name: str) -> Any:
    try:
        from steelyard import training

        return getattr(training, name)
    except ModuleNotFoundError as error:
        raise ConfigError(f'a strong student needs {error.name}; install it with: pip install "steelyard[torch]"') from None
