"""A Hugging Face data set as a `Dataset`: a folder that `save_to_disk` wrote, or, as `hf:OWNER/NAME`, one of the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from steelyard.datasets.dataset import Dataset
from steelyard.datasets.from_table import text_column
from steelyard.errors import ConfigError, DataError
from steelyard.storage import config_hash

HUB = "hf:"


def from_hugging_face(source: str, *, on: str | None = None, label: str = "label") -> Dataset:
    """Read a Hugging Face data set with gold labels.

    Parameters
    ----------
    source : str
        A folder, `hf:OWNER/NAME`, or `hf:OWNER/NAME/CONFIG`.
    on : str, optional
        The text column; left out: ``text`` if there is one, else the longest of the string columns.
    label : str
        The column of class labels (a `ClassLabel`, whose names are used, or any values). Unlabeled rows, -1 or null, stay unlabeled.

    Raises
    ------
    DataError
        The data set cannot be read, or a column is missing.
    ConfigError
        The package `datasets` is not installed.

    Examples
    --------
    >>> import datasets, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> rows = datasets.Dataset.from_dict({"text": ["free money", "see you"], "label": ["SPAM", "HAM"]})
    >>> datasets.DatasetDict({"train": rows}).save_to_disk(folder)
    >>> from_hugging_face(folder)["train"]["text"].to_list()
    ['free money', 'see you']
    """
    splits = _load(source)
    tables = {str(name): _table(part, label, source) for name, part in splits.items()}
    first = next(iter(tables.values()))
    found = getattr(next(iter(splits.values())).features[label], "names", None)
    names = {name for table in tables.values() for name in table[label].drop_nulls()}
    classes = tuple(found or sorted(names))
    text = on or text_column(first, without=(label,), where=f"data set '{source}'")
    return Dataset(Path(source).name, tables, classes, text, label, description=f"data set '{source}'", checksum=_checksum(splits))


def hugging_face_tables(source: str) -> tuple[dict[str, pl.DataFrame], str]:
    """Read any Hugging Face data set as it is: a table by split, class codes as names, and a fingerprint of all.

    Raises
    ------
    DataError, ConfigError
        As `from_hugging_face`.
    """
    splits = _load(source)
    return {str(name): _named(part) for name, part in splits.items()}, _checksum(splits)


def is_hugging_face(source: str) -> bool:
    """Whether `from_hugging_face` reads this: a hub name, or a folder that `save_to_disk` wrote.

    Examples
    --------
    >>> is_hugging_face("hf:owner/name"), is_hugging_face("digits")
    (True, False)
    """
    return source.startswith(HUB) or any((Path(source) / file).is_file() for file in ("dataset_dict.json", "state.json"))


def _load(source: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise ConfigError('a Hugging Face data set needs the package datasets; pip install "steelyard[torch]"') from None
    try:
        if source.startswith(HUB):
            owner, _, rest = source.removeprefix(HUB).partition("/")
            name, _, config = rest.partition("/")
            loaded = datasets.load_dataset(f"{owner}/{name}" if name else owner, config or None)
        else:
            loaded = datasets.load_from_disk(source)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"data set '{source}' cannot be read ({str(error).strip().splitlines()[0]}); check the name or folder") from None
    return loaded if isinstance(loaded, dict) else {"all": loaded}


def _checksum(splits: Any) -> str:
    return config_hash({name: part._fingerprint for name, part in splits.items()})


def _table(part: Any, label: str, source: str) -> pl.DataFrame:
    if label not in part.column_names:
        raise DataError(f"data set '{source}' has no column '{label}'; its columns are {', '.join(part.column_names)}: name one")
    return _named(part).with_columns(pl.col(label).cast(pl.String))


def _named(part: Any) -> pl.DataFrame:
    """All rows of a split, class codes as names (-1 as null)."""
    table = pl.from_arrow(part.with_format("arrow")[:])
    assert isinstance(table, pl.DataFrame)
    classes = {column: dict(enumerate(feature.names)) for column, feature in part.features.items() if hasattr(feature, "names")}
    return table.with_columns(
        pl.col(column).replace_strict(names, default=None, return_dtype=pl.String) for column, names in classes.items()
    )
