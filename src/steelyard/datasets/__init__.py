"""Named data sets: from a folder, the cache, a download with checksum, or — the bundled ones — from nothing but the installed packages.

``load("docstrings")`` always works. The others need their files; ``card(name)`` tells licence and citation without them.
"""

from __future__ import annotations

import builtins
import os
from dataclasses import replace
from pathlib import Path

from steelyard.datasets.dataset import Dataset, decode_labels, encode_labels
from steelyard.datasets.from_table import from_table, input_columns, text_column
from steelyard.datasets.hugging_face import from_hugging_face, is_hugging_face
from steelyard.datasets.registry import Card, find, names
from steelyard.datasets.resolve import DataFile, locate
from steelyard.datasets.tables import SUFFIXES, TableFile, read_table
from steelyard.storage import config_hash

__all__ = [
    "SUFFIXES",
    "Card",
    "DataFile",
    "Dataset",
    "TableFile",
    "card",
    "decode_labels",
    "encode_labels",
    "from_hugging_face",
    "from_table",
    "input_columns",
    "is_hugging_face",
    "list",
    "load",
    "read_table",
    "text_column",
]


def load(name: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a data set by name, by ``name/subset``, or a table file by its path (see `from_table` for what a table needs).

    Parameters
    ----------
    name : str or path
        ``"youtube"``, ``"ethics/justice"``, ``"my.parquet"``, a folder of Hugging Face's ``save_to_disk``, ``"hf:OWNER/NAME"`` …
    root : path, optional
        Folder to read from instead of ``$STEELYARD_DATA``, the cache and the network.

    Raises
    ------
    DataError
        The name is unknown, or its files are missing, truncated or of another version.

    Examples
    --------
    >>> wine = load("wine")
    >>> wine.classes, {split: len(table) for split, table in wine.splits.items()}
    (('class_0', 'class_1', 'class_2'), {'train': 124, 'test': 54})
    """
    if Path(name).suffix.lower() in SUFFIXES:
        return from_table(name)
    if is_hugging_face(str(name)):
        return from_hugging_face(str(name))
    found, subset = find(str(name))
    paths = {Path(file.path).stem: locate(file, root=root) for file in found.files if _belongs(file, found, subset)}
    data = found.reader(paths, subset)
    return replace(
        data,
        name=found.name if subset is None else f"{found.name}/{subset}",
        description=found.about,
        licence=found.licence,
        citation=found.citation,
        checksum=data.checksum or config_hash([file.sha256 for file in found.files]),
    )


def card(name: str) -> Card:
    """What is known about a named set: description, licence, citation, files.

    Examples
    --------
    >>> card("youtube").licence
    'CC BY 4.0'
    """
    return find(name, whole=True)[0]


def list() -> builtins.list[str]:
    """Names of all data sets, bundled ones first.

    Examples
    --------
    >>> "ws_youtube_spam" in list()
    True
    """
    return names()


def _belongs(file: DataFile, found: Card, subset: str | None) -> bool:
    """Files named after another subset are not needed for this one."""
    stem = Path(file.path).stem
    return subset is None or stem.split("_lfs")[0] == subset or stem.split("_lfs")[0] not in found.subsets
