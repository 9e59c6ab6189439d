"""A data set as the rest of the library meets it: tables by split, class names, gold labels and published votes where they exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard.errors import DataError

if TYPE_CHECKING:
    from steelyard.votes import Votes


@dataclass(frozen=True)
class Dataset:
    """Named splits of one table, with everything needed to label, train and cite.

    Parameters
    ----------
    name : str
        The name it was loaded by.
    splits : mapping of str to polars.DataFrame
        Usually ``train``, ``valid``, ``test``; a set without a published split has the one split ``all``.
    classes : sequence of str
        Class names in the order of their indices.
    on : str or tuple of str
        The column that sources and students read (a text), or the feature columns of a numeric table.
    label : str
        The column of gold labels: class names, null where unknown. For token tasks a list of class names per document.
    votes : mapping of str to Votes
        Published votes of a split, row for row; for token tasks one row per token, with documents as groups.
    description, licence, citation : str
        What it is, under which terms it may be used, whom to cite.
    checksum : str
        Names the exact data in a result: a hash of the files, or of the package versions that a bundled set was built from.

    Raises
    ------
    DataError
        A split lacks the label column or the columns of `on`, a label is not a class, or votes and rows do not match.

    Examples
    --------
    >>> table = pl.DataFrame({"text": ["free money", "see you at noon"], "label": ["SPAM", "HAM"]})
    >>> spam = Dataset("tiny", {"train": table}, classes=("HAM", "SPAM"), on="text")
    >>> spam.labels("train").tolist()
    [1, 0]
    """

    name: str
    splits: Mapping[str, pl.DataFrame]
    classes: tuple[str, ...]
    on: str | tuple[str, ...]
    label: str = "label"
    votes: Mapping[str, Votes] = field(default_factory=dict)
    description: str = ""
    licence: str = "unknown"
    citation: str = ""
    checksum: str = ""

    def __post_init__(self) -> None:
        """Check that splits, classes and votes belong together."""
        if not self.splits:
            raise DataError(f"data set '{self.name}' has no splits; give at least one table")
        for split, table in self.splits.items():
            for column in (self.label, *self.columns):
                if column not in table.columns:
                    have = ", ".join(table.columns)
                    raise DataError(f"data set '{self.name}': split '{split}' has no column '{column}'; its columns are {have}")
            unknown = set(_flat(table[self.label]).drop_nulls().unique()) - set(self.classes)
            if unknown:
                raise DataError(
                    f"data set '{self.name}': split '{split}' has the label {min(unknown)!r}, which is not a class; "
                    f"classes are {', '.join(self.classes)}"
                )
            if split in self.votes and self.votes[split].n_rows != len(_flat(table[self.label])):
                raise DataError(
                    f"data set '{self.name}': split '{split}' has {len(_flat(table[self.label]))} items but votes for "
                    f"{self.votes[split].n_rows}; they must match row for row"
                )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that sources and students read, always as a tuple."""
        return (self.on,) if isinstance(self.on, str) else self.on

    @property
    def is_sequence(self) -> bool:
        """Whether labels and votes belong to the tokens of a row rather than to the row."""
        return isinstance(next(iter(self.splits.values())).schema[self.label], pl.List)

    def labels(self, split: str) -> NDArray[np.int64]:
        """Gold labels as class indices, -1 where unknown: (n,), or (number of tokens,) for a token task."""
        return encode_labels(_flat(self[split][self.label]), self.classes)

    def split_or(self, *preferred: str) -> str:
        """The first of `preferred` that exists, else the first split there is."""
        return next((name for name in preferred if name in self.splits), next(iter(self.splits)))

    def divided(self, test: float = 0.3, seed: int = 0) -> Dataset:
        """The same set with a ``train`` and a ``test`` split drawn from its only split; one that has several splits is returned as it is.

        Raises
        ------
        DataError
            The labels belong to tokens and there are votes, which cannot be taken apart by document.
        """
        if len(self.splits) > 1:
            return self
        ((name, table),) = self.splits.items()
        if self.is_sequence and name in self.votes:
            raise DataError(f"data set '{self.name}' has the one split '{name}', whose token votes cannot be divided; give it two splits")
        order = np.random.default_rng(seed).permutation(len(table))
        cut = round(test * len(table))
        rows = {"train": np.sort(order[cut:]), "test": np.sort(order[:cut])}
        votes = {split: self.votes[name].take(index) for split, index in rows.items()} if name in self.votes else {}
        return replace(self, splits={split: table[index] for split, index in rows.items()}, votes=votes)

    def __getitem__(self, split: str) -> pl.DataFrame:
        """The table of a split."""
        if split not in self.splits:
            raise DataError(f"data set '{self.name}' has no split '{split}'; it has {', '.join(self.splits)}")
        return self.splits[split]


def encode_labels(labels: pl.Series, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Class names -> indices (n,), null -> -1.

    Examples
    --------
    >>> encode_labels(pl.Series(["b", None, "a"]), ("a", "b")).tolist()
    [1, -1, 0]
    """
    index = {name: code for code, name in enumerate(classes)}
    return labels.cast(pl.String).replace_strict(index, default=-1, return_dtype=pl.Int64).to_numpy().astype(np.int64)


def decode_labels(codes: pl.Series | NDArray[np.integer], classes: tuple[str, ...]) -> pl.Series:
    """Class indices -> names (n,), -1 -> null.

    Examples
    --------
    >>> decode_labels(np.array([1, -1, 0]), ("a", "b")).to_list()
    ['b', None, 'a']
    """
    names = pl.Series([*classes, None], dtype=pl.String)
    return names.gather(np.where(np.asarray(codes) < 0, len(classes), np.asarray(codes)).astype(np.int64)).alias("label")


def _flat(labels: pl.Series) -> pl.Series:
    return labels.explode() if isinstance(labels.dtype, pl.List) else labels
