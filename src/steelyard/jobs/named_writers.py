"""From words on the command line to the parts of a study of harmless texts: who writes, who judges fluency, who scores toxicity."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from steelyard.errors import ConfigError
from steelyard.jobs.safe_generation import Scorer

TRIGRAM, TINY = "trigram", "tiny"
_TOP_P = 0.95
_TOKENS_PER_WORD = 2


def weak_writer(name: str, words: int) -> Any:
    """An unfitted generator of at most `words` words: ``trigram``, or a causal language model to fine-tune.

    Examples
    --------
    >>> weak_writer("trigram", 12).max_words
    12
    """
    if name == TRIGRAM:
        from steelyard.language.ngram_lm import TrigramLM

        return TrigramLM(max_words=words, top_p=_TOP_P)
    return _fine_tuned(name, words)


def strong_writer(name: str, words: int, *, steps: int = 800, size: str = "micro") -> Callable[[list[str], int], Any]:
    """A function from texts and a seed to a policy: ``tiny`` is trained on the texts, any other causal language model leaves them.

    Parameters
    ----------
    name : str
        ``tiny``, or the name or folder of a Hugging Face model.
    words : int
        It writes as many at most, about.
    steps, size
        Of the training of ``tiny``, see `steelyard.language.tiny_lm`.

    Examples
    --------
    >>> strong_writer("tiny", 5, steps=1, size="nano")(["so it goes"], 0).max_new_tokens
    10
    """
    if name != TINY:
        return lambda _, seed: _fine_tuned(name, words, seed=seed)

    def trained(texts: list[str], seed: int) -> Any:
        from steelyard.language.tiny_lm import tiny_lm

        made = tiny_lm(texts, size=size, tokens=1024, steps=steps, batch_size=16, seed=seed)
        return _fine_tuned(made, words, seed=seed, batch_size=64, learning_rate=1e-3)

    return trained


def saved_scorer(folder: str | os.PathLike[str], toxic: Sequence[str]) -> Scorer:
    """The probability of the toxic classes under a saved student.

    Raises
    ------
    ConfigError
        The student does not know one of these classes.

    Examples
    --------
    >>> import tempfile
    >>> from steelyard import Targets
    >>> from steelyard.training import SklearnStudent
    >>> targets = Targets.from_labels(np.array([0, 0, 1, 1]), classes=["fine", "toxic"])
    >>> folder = tempfile.mkdtemp()
    >>> SklearnStudent().fit(["nice day", "sunny day", "you idiot", "idiot you"], targets).save(folder)
    >>> saved_scorer(folder, ["toxic"])(["idiot", "day"]).round().tolist()
    [1.0, 0.0]
    """
    from steelyard.training import load_student

    student = load_student(folder)
    names = list(student.classes_)
    if missing := sorted(set(toxic) - set(names)):
        raise ConfigError(f"the scorer in '{os.fspath(folder)}' does not know the class '{missing[0]}'; its classes are {', '.join(names)}")
    columns = [names.index(name) for name in toxic]
    return lambda texts: np.clip(student.predict_proba(list(texts))[:, columns].sum(axis=1, dtype=np.float64), 0.0, 1.0)


def _fine_tuned(model: Any, words: int, *, seed: int = 0, batch_size: int = 16, learning_rate: float = 5e-5) -> Any:
    """AdamW as published: three passes, a tenth of them to warm up, weight decay .01."""
    try:
        from steelyard.training.causal_student import CausalStudent
    except ModuleNotFoundError as error:
        raise ConfigError(f'a strong writer needs {error.name}; install it with: pip install "steelyard[torch]"') from None
    return CausalStudent(
        model,
        epochs=3,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=0.01,
        overlong="cut_prompt",
        max_new_tokens=_TOKENS_PER_WORD * words,
        top_p=_TOP_P,
        seed=seed,
    )
