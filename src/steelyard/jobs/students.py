"""From a student's name on the command line or in a recipe to the student."""

from __future__ import annotations

import os
from typing import Any

from steelyard.datasets import Dataset
from steelyard.errors import ConfigError

LOGISTIC = "logistic"
TUNES = ("full", "lora", "probe")
_SHORT = {"minilm": "minilm-offline"}


def make_student(
    name: str,
    data: Dataset,
    *,
    tune: str = "full",
    seed: int = 0,
    epochs: float = 3,
    output_dir: str | os.PathLike[str] | None = None,
    checkpoint_steps: int = 500,
) -> Any:
    """An unfitted student for a data set.

    Parameters
    ----------
    name : str
        ``logistic`` (TF-IDF, or scaled features, with logistic regression; needs no torch), or the name or folder of a Hugging Face
        encoder; ``minilm`` is the one that needs no network.
    data : Dataset
        Says which columns are read.
    tune : str
        How an encoder learns: ``full``, ``lora`` or ``probe`` (frozen features).
    seed, epochs, output_dir, checkpoint_steps
        For a fine-tuned encoder; with `output_dir` it goes on after a kill.

    Raises
    ------
    ConfigError
        An encoder was named for a table without text, the torch extra is missing, or `tune` is unknown.

    Examples
    --------
    >>> from steelyard.datasets import load
    >>> type(make_student("logistic", load("wine"))).__name__
    'SklearnStudent'
    """
    if tune not in TUNES:
        raise ConfigError(f"tune must be one of {', '.join(TUNES)}, got '{tune}'")
    if name == LOGISTIC:
        return _logistic(data)
    if not isinstance(data.on, str):
        raise ConfigError(f"student '{name}' reads text, but data set '{data.name}' has feature columns; use --student {LOGISTIC}")
    try:
        from steelyard.training import StudentTrainer
    except ModuleNotFoundError as error:
        raise ConfigError(f"student '{name}' needs {error.name}; install it with: pip install \"steelyard[torch]\"") from None
    model = _SHORT.get(name, name)
    return StudentTrainer(
        model,
        tune=tune,  # type: ignore[arg-type]
        seed=seed,
        epochs=epochs,
        output_dir=output_dir,
        checkpoint_steps=checkpoint_steps,
        on=data.on,
    )


def is_deterministic(name: str, tune: str) -> bool:
    """Whether a student comes out the same for every seed: convex problems do, fine-tuning does not.

    Examples
    --------
    >>> is_deterministic("logistic", "full"), is_deterministic("minilm", "full")
    (True, False)
    """
    return name == LOGISTIC or tune == "probe"


def _logistic(data: Dataset) -> Any:
    from steelyard.training import SklearnStudent

    if isinstance(data.on, str):
        return SklearnStudent(on=data.on)
    table = next(iter(data.splits.values()))
    words = [name for name in data.on if not table.schema[name].is_numeric()]
    if not words:
        return SklearnStudent(on=data.on)
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [name for name in data.on if name not in words]
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), words), (StandardScaler(), numbers))
    return SklearnStudent(make_pipeline(encode, LogisticRegression(max_iter=1000)), on=None)
