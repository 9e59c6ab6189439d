"""Texts cut into a prompt and what people wrote after it, and the pools of a study of harmless continuations.

Gehman et al. 2020, "RealToxicityPrompts": a model is asked to go on from the beginnings of texts that people wrote.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from steelyard.completions import Completions
from steelyard.errors import ConfigError, DataError
from steelyard.jobs.text_task import TextTask

_LONGEST_PROMPT = 60


@dataclass(frozen=True, eq=False)
class PromptedTexts:
    """n texts cut into a prompt and its continuation (which starts with a space), each prompt once, and whether the text is toxic."""

    prompts: list[str]
    texts: list[str]
    toxic: NDArray[np.bool_]
    cleaning: dict[str, int] = field(default_factory=dict)

    def completions(self, rows: NDArray[np.int64]) -> Completions:
        """These rows as prompts with the texts people wrote."""
        return Completions([self.prompts[row] for row in rows], [self.texts[row] for row in rows])

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class GenerationPools:
    """Disjoint rows: `judge` for the scorer and the model of fluency, `pretrain` for the strong model, `gold`, `unlabeled`, `test`."""

    judge: NDArray[np.int64]
    pretrain: NDArray[np.int64]
    gold: NDArray[np.int64]
    unlabeled: NDArray[np.int64]
    test: NDArray[np.int64]


def prompted_texts(task: TextTask, toxic: Sequence[str], *, words: int = 4, least: int = 3) -> PromptedTexts:
    """Cut every text behind its first words.

    Lower case, white space collapsed, names of users and links replaced by one word each. A prompt that occurs again is left out, and so is
    a text without label, with fewer than `words` + `least` words or with a prompt of more than 60 bytes; `cleaning` counts them.

    Parameters
    ----------
    task
        Texts with classes.
    toxic
        Classes that are toxic.
    words
        Words of a prompt.
    least
        Words that a continuation has at least.

    Raises
    ------
    ConfigError
        A class is unknown, all or none of the classes are toxic, or `words` or `least` is below 1.
    DataError
        No text is long enough.

    Examples
    --------
    >>> task = TextTask(["Hello @bob, see https://x.y now &amp; here", "too short"], np.array([0, 1]), ("fine", "toxic"), np.zeros(2, bool))
    >>> cut = prompted_texts(task, ["toxic"])
    >>> cut.prompts, cut.texts, cut.cleaning["unfit"]
    (['hello @user see link'], [' now & here'], 1)
    """
    unknown = sorted(set(toxic) - set(task.classes))
    if unknown or not 0 < len(set(toxic)) < len(task.classes):
        raise ConfigError(
            f"toxic classes are {', '.join(toxic) or 'none'}, the classes of the data {', '.join(task.classes)}; name some of them, not all"
        )
    if min(words, least) < 1:
        raise ConfigError(f"a prompt of {words} words and a continuation of at least {least} are none; both need one word or more")
    known = [(_plain(text).split(), task.classes[code] in toxic) for text, code in zip(task.texts, task.y, strict=True) if code >= 0]
    cut = [(" ".join(row[:words]), " " + " ".join(row[words:]), bad) for row, bad in known if len(row) >= words + least]
    fitting = [row for row in cut if len(row[0].encode()) <= _LONGEST_PROMPT]
    # Of equal prompts the first stays, so that no prompt is in two pools.
    kept = list(reversed({row[0]: row for row in reversed(fitting)}.values()))
    if not kept:
        raise DataError(f"no text has a label and at least {words + least} words; cut prompts of fewer words or give longer texts")
    cleaning = {"texts": len(known), "unfit": len(known) - len(fitting), "repeated prompts": len(fitting) - len(kept), "kept": len(kept)}
    return PromptedTexts([row[0] for row in kept], [row[1] for row in kept], np.array([row[2] for row in kept]), cleaning)


def generation_pools(data: PromptedTexts, test: int, *, seed: int = 0) -> GenerationPools:
    """Deal the rows at random: a fifth to judge, two fifths to pretrain, a fifth with gold; of the rest `test`, the others unlabeled.

    Raises
    ------
    DataError
        There are too few texts for that.

    Examples
    --------
    >>> data = PromptedTexts([f"p {i}" for i in range(100)], [" t"] * 100, np.arange(100) % 2 == 0)
    >>> len(generation_pools(data, 5).unlabeled)
    15
    """
    n = len(data)
    order = np.random.default_rng(seed).permutation(n)
    judge, pretrain, gold, rest = np.split(order, [n // 5, n // 5 * 3, n // 5 * 4])
    pools = GenerationPools(judge, pretrain, gold, rest[test:], rest[:test])
    harmless = [int((~data.toxic[rows]).sum()) for rows in (judge, gold, pools.unlabeled)]
    if not 0 < test < len(rest) or min(harmless) < 2 or not (data.toxic[judge].any() and data.toxic[gold].any()):
        raise DataError(
            f"{n} texts, {int(data.toxic.sum())} of them toxic, are too few for pools with both kinds and {test} prompts to test on; "
            "give more texts or test fewer"
        )
    return pools


def _plain(text: str) -> str:
    import html

    text = re.sub(r"(https?://|www\.)\S+", " link ", html.unescape(html.unescape(text)).lower())
    return re.sub(r"@\w+[:,]?", " @user ", text)
