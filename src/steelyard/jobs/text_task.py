"""A data set of texts as a weak-to-strong task: each text once, gold where it is known, and pools drawn by seed."""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard import datasets
from steelyard.datasets import Dataset, encode_labels
from steelyard.errors import ConfigError, DataError
from steelyard.jobs.distinct import distinct_rows
from steelyard.pools import Pools
from steelyard.votes import Votes

TEST = "test"
SHARE_TO_TEST = 0.25


@dataclass(frozen=True, eq=False)
class TextTask:
    """n distinct texts.

    Parameters
    ----------
    texts : list of str
    y : (n,) int64
        Gold classes, -1 = unknown.
    classes : tuple of str
    is_test : (n,) bool
        Rows of the data set's own test split; all False where it has none.
    votes : Votes, optional
        Published votes, row for row, where every row has them.
    cleaning : dict
        How many rows were kept, repeated and conflicting.
    about : dict
        Name, licence, citation and checksum of the data.
    """

    texts: list[str]
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    is_test: NDArray[np.bool_]
    votes: Votes | None = None
    cleaning: dict[str, int] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    def pools(self, gold: float, unlabeled: float | None, test: float | None, seed: int) -> Pools:
        """Draw pools, each with the classes in proportion; rows without gold can only be unlabeled.

        Parameters
        ----------
        gold, unlabeled, test : float
            Number of rows, or below 1 the share of the rows with gold (of the training rows where the data set's test split is used).
            `unlabeled` takes the rest when left out; `test` is the data set's test split, or a quarter where it has none.
        seed : int
            Decides the draw.

        Raises
        ------
        ConfigError
            There are not that many rows with gold.

        Examples
        --------
        >>> task = TextTask(list("abcdefgh"), np.array([0, 1, 0, 1, 0, 1, -1, -1]), ("no", "yes"), np.arange(8) < 2)
        >>> task.pools(gold=0.5, unlabeled=None, test=None, seed=0).test
        array([0, 1])
        """
        known = self.y >= 0
        own = test is None and bool((self.is_test & known).any())
        teachable = np.flatnonzero(known & ~self.is_test) if own else np.flatnonzero(known)
        share = 0.0 if own else _size(SHARE_TO_TEST if test is None else test)
        rest = None if unlabeled is None else _size(unlabeled)
        drawn = Pools.split(len(teachable), _size(gold), rest, share, seed=seed, y=self.y[teachable])
        without_gold = np.flatnonzero(~known) if unlabeled is None else np.zeros(0, dtype=np.int64)
        tested = np.flatnonzero(self.is_test & known) if own else teachable[drawn.test]
        return Pools(teachable[drawn.gold], np.concatenate([teachable[drawn.unlabeled], without_gold]), tested)


def load_text_task(data: str | os.PathLike[str], *, text: str | None = None, label: str = "label", measured: str = TEST) -> TextTask:
    """Read a data set by name, a table file, or a Hugging Face data set, and keep each text once.

    White space at the ends of a text does not count. A text that carries two labels is left out with a warning; one that lies both in the
    test split and in another is only measured on, with a warning. A data set's further test splits, such as ``test_hard``, teach nobody
    and are left out; `measured` names the one to measure on.

    Parameters
    ----------
    data : str or path
        What `steelyard.datasets.load` takes.
    text, label : str
        Columns of a table or Hugging Face data set.
    measured : str
        Split to measure on, where the data have it.

    Raises
    ------
    DataError
        The data cannot be read or hold no text.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "mail.csv"
    >>> _ = file.write_text("body,spam\\nfree money,yes\\nsee you,no\\n free money,yes\\n")
    >>> load_text_task(file, text="body", label="spam").texts
    ['free money', 'see you']
    """
    found = _load(data, text, label)
    if not isinstance(found.on, str) or found.is_sequence:
        raise DataError(f"data set '{found.name}' has no text with one label per row; this recipe reads texts: name the column with text=")
    names = splits_to_read(found, measured)
    table = pl.concat([found[name].select(pl.col(found.on).alias("text"), pl.col(found.label).alias("label")) for name in names])
    split = np.repeat([name == measured for name in names], [len(found[name]) for name in names])
    texts, y = table["text"].str.strip_chars(), encode_labels(table["label"], found.classes)
    filled = np.flatnonzero((texts.fill_null("") != "").to_numpy())
    distinct = distinct_rows(texts.gather(filled).to_list(), y[filled])
    _warn_of_overlap(texts, split)
    rows = filled[distinct.rows]
    votes = None
    if all(name in found.votes for name in names) and len({found.votes[name].sources for name in names}) == 1:
        votes = Votes.concat([found.votes[name] for name in names]).take(rows)
    cleaning = {"rows": len(table), "empty": len(table) - len(filled), **distinct.counts()}
    about = {name: getattr(found, name) for name in ("name", "licence", "citation", "checksum")}
    return TextTask(texts.gather(rows).to_list(), y[rows], found.classes, split[rows], votes, cleaning, about)


def only_classes(task: TextTask, classes: tuple[str, ...]) -> TextTask:
    """The texts of two classes, in that order; all texts where the task has two and none are named.

    Raises
    ------
    ConfigError
        Not two classes of the task.

    Examples
    --------
    >>> task = TextTask(list("abc"), np.array([0, 2, 1]), ("x", "y", "z"), np.zeros(3, bool))
    >>> only_classes(task, ("z", "x")).y
    array([1, 0])
    """
    names = classes or task.classes
    if len(set(names)) != 2 or not set(names) <= set(task.classes):
        raise ConfigError(f"a debate is between two answers; choose two of {', '.join(task.classes)} with classes")
    codes = np.full(len(task.classes) + 1, -1)  # the last stands for unknown
    codes[[task.classes.index(name) for name in names]] = [0, 1]
    rows = np.flatnonzero((task.y < 0) | (codes[task.y] >= 0))
    votes = None if classes else task.votes
    texts = [task.texts[row] for row in rows]
    return replace(task, texts=texts, y=codes[task.y[rows]], classes=tuple(names), is_test=task.is_test[rows], votes=votes)


def splits_to_read(found: Dataset, measured: str = TEST) -> list[str]:
    """The split to measure on and those that may teach, in that order; other test splits, such as ``test_hard``, are not read.

    Of a text on both sides, the row that is kept, the first, is then the one that measures.

    Examples
    --------
    >>> table = pl.DataFrame({"text": ["a"], "label": ["x"]})
    >>> splits_to_read(Dataset("d", dict.fromkeys(("train", "test_hard", "test", "oos_test"), table), ("x", "y"), "text"))
    ['test', 'train']
    """
    teaching = [name for name in found.splits if TEST not in re.split(r"[\W_]", name) and name != measured]
    return [name for name in found.splits if name == measured] + teaching


def _load(data: str | os.PathLike[str], text: str | None, label: str) -> Dataset:
    name = os.fspath(data)
    if Path(name).suffix.lower() in datasets.SUFFIXES:
        found = datasets.from_table(name, on=text, label=label)
        # Without a split column the test rows are drawn by seed, not by the hash of the text.
        own = "split" in datasets.TableFile(name).columns
        return found if own else _undivided(found)
    if datasets.is_hugging_face(name):
        return datasets.from_hugging_face(name, on=text, label=label)
    if text is not None:
        raise ConfigError(f"data set '{name}' has its own text column; leave out text='{text}'")
    return datasets.load(name)


def _undivided(found: Dataset) -> Dataset:
    return replace(found, splits={"all": pl.concat(list(found.splits.values()))})


def _warn_of_overlap(texts: pl.Series, is_test: NDArray[Any]) -> None:
    shared = set(texts.filter(pl.Series(is_test)).drop_nulls()) & set(texts.filter(pl.Series(~is_test)).drop_nulls())
    if shared:
        warnings.warn(
            f"{len(shared)} texts lie both in the split '{TEST}' and in another, for example {min(shared)[:40]!r}; they only measure",
            stacklevel=3,
        )


def _size(size: float) -> float:
    return int(size) if size >= 1 else float(size)
