"""Preference pairs with the pools they are for: which text of two is the better answer. What alignment studies start from.

Harmlessness judgements on single-turn dialogues, or a user's own table.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard.datasets.own_table import is_own_table, own_table
from steelyard.datasets.resolve import DataFile, locate
from steelyard.errors import DataError
from steelyard.preferences import Preferences
from steelyard.storage import config_hash

SPLITS = ("gold", "unlabeled", "test")
_HARMLESS = DataFile("hh_rlhf_harmless/single_turn_w2s_split.parquet", "9b06a9f103423127ffda7153e9fac476dc601f133a9d975590db4253b4016b9a")


@dataclass(frozen=True)
class PreferencePairs:
    """n pairs, the chosen text the better, and the split of each: "gold", "unlabeled" or "test".

    Examples
    --------
    >>> two = PreferencePairs("kind", Preferences(["a", "b"], ["yes", "yes"], ["no", "no"]), ("gold", "test"))
    >>> two.pairs.take(two.of("test")).prompts
    ('b',)
    """

    name: str
    pairs: Preferences
    splits: tuple[str, ...]
    dropped: int = 0
    licence: str = "unknown"
    citation: str = ""
    checksum: str = ""

    def of(self, split: str) -> NDArray[np.int64]:
        """Positions of the pairs of a split."""
        return np.flatnonzero(np.array(self.splits) == split)

    def __len__(self) -> int:
        return len(self.splits)


def load_preference_pairs(name: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> PreferencePairs:
    """Load pairs by name, or from a table with the columns ``prompt``, ``chosen``, ``rejected`` and optionally ``split``.

    Pairs whose prompt also occurs in the test split are left out of the other two, counted in `dropped`, for one's own table with a
    warning. Without a column ``split`` (gold, unlabeled or test) a pair goes where the hash of its prompt says: 40 % gold, 40 % unlabeled,
    20 % test; pairs of a split ``train`` are halved into gold and unlabeled alike.

    Parameters
    ----------
    name
        ``hh_rlhf_harmless``, a Parquet, CSV or JSON-lines file, or a Hugging Face data set (see `own_table`).
    root
        Folder to read from instead of ``$STEELYARD_DATA`` and the cache.

    Raises
    ------
    DataError
        The name is unknown, a file is missing or of another version, a column or a cell is missing, a split has another name.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "pairs.csv"
    >>> _ = file.write_text("prompt,chosen,rejected,split\\nhi,hello,go away,gold\\nhi,hey,no,test\\nbye,see you,ha,gold\\n")
    >>> loaded = load_preference_pairs(file)
    >>> loaded.pairs.prompts, loaded.splits, loaded.dropped
    (('hi', 'bye'), ('test', 'gold'), 1)
    """
    if is_own_table(name):
        return _from_table(name)
    if name != "hh_rlhf_harmless":
        raise DataError(f"no preference pairs named '{name}'; known are hh_rlhf_harmless, or give the path of a table")
    table = pl.read_parquet(locate(_HARMLESS, root=root))
    prompts, chosen, rejected = zip(*map(_parted, table["chosen"], table["rejected"]), strict=True)
    splits = table["split"].replace_strict({"train_gt": "gold", "train_w2s": "unlabeled", "test": "test"})
    return _apart(
        Preferences(prompts, chosen, rejected),
        splits.to_list(),
        name="hh_rlhf_harmless",
        licence="MIT",
        citation="Bai et al. 2022, Training a Helpful and Harmless Assistant with Reinforcement Learning from Human Feedback; "
        "split of Yang et al. 2024, Super(ficial)-alignment",
        checksum=config_hash([_HARMLESS.sha256]),
    )


def _from_table(source: str | os.PathLike[str]) -> PreferencePairs:
    own = own_table(source)
    texts = own.texts(["prompt", "chosen", "rejected"])
    given = texts["split"].cast(pl.String) if "split" in texts.columns else [None] * len(texts)
    splits = [
        split if split not in (None, "train") else _by_hash(prompt, split) for prompt, split in zip(texts["prompt"], given, strict=True)
    ]
    if strange := sorted(set(splits) - set(SPLITS)):
        raise DataError(f"data file '{source}' has the split '{strange[0]}'; use {', '.join(SPLITS)} or train, or leave the column out")
    pairs = Preferences(*(texts[name].to_list() for name in ("prompt", "chosen", "rejected")))
    found = _apart(pairs, splits, name=own.name, checksum=own.fingerprint)
    if found.dropped:
        warnings.warn(f"{found.dropped} pairs outside the split 'test' have a prompt that also lies in it; they are left out", stacklevel=3)
    return found


def _apart(pairs: Preferences, splits: Sequence[str], **about: Any) -> PreferencePairs:
    tested = {prompt for prompt, split in zip(pairs.prompts, splits, strict=True) if split == "test"}
    kept = [row for row, (prompt, split) in enumerate(zip(pairs.prompts, splits, strict=True)) if split == "test" or prompt not in tested]
    return PreferencePairs(pairs=pairs.take(kept), splits=tuple(splits[row] for row in kept), dropped=len(pairs) - len(kept), **about)


def _parted(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Dialogue and the two answers: the last turn that begins in what both have in common."""
    turns = (turn for turn in re.finditer("\n\nAssistant:", chosen) if rejected.startswith(chosen[: turn.end()]))
    begin, answer = max(turn.span() for turn in turns)
    return chosen[:begin].removeprefix("\n\nHuman:").strip(), chosen[answer:].strip(), rejected[answer:].strip()


def _by_hash(prompt: str, split: str | None) -> str:
    place = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()[0] / 256
    if split == "train":
        return "gold" if place < 0.5 else "unlabeled"
    return "gold" if place < 0.4 else "unlabeled" if place < 0.8 else "test"
