"""Tasks for a bench of label strategies: a data set of texts or numbers as feature matrices, with one fixed pool and one fixed test set.

Features: `raw` (numbers, or word weights), `pca` (principal components of the numbers, or of the encoder's vectors), `pretrained` (the
encoder's vectors) and `zero-shot` (similarity to each class name). What is measured on never moves with the seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard import datasets
from steelyard.datasets import Dataset, TableFile, encode_labels, input_columns
from steelyard.datasets.registry import CARDS
from steelyard.errors import ConfigError, DataError
from steelyard.sources.zero_shot import PromptEnsemble

Floats = NDArray[np.float64]
FEATURES = ("raw", "pca", "pretrained", "zero-shot")
_WORDS = 500


@dataclass(frozen=True, eq=False)
class BenchTask:
    """One data set, its rows drawn once.

    Parameters
    ----------
    name : str
    classes : tuple of str
    y : (n,) int64
        Gold of the pool, from which labelled rows are drawn; hidden for all others.
    y_test : (t,) int64
    features : dict of str to ((n, d), (t, d)) float64
        Pool and test rows by kind of feature, those of `FEATURES` that the data have.
    about : dict
        Name, licence, citation and checksum.
    """

    name: str
    classes: tuple[str, ...]
    y: NDArray[np.int64]
    y_test: NDArray[np.int64]
    features: dict[str, tuple[Floats, Floats]]
    about: dict[str, str] = field(default_factory=dict)


def load_bench_task(
    data: str, *, features: tuple[str, ...] = FEATURES, pool: int = 2000, test: int = 1000, components: int = 100, encoder: str = "minilm"
) -> BenchTask:
    """Read a data set and make its features.

    Parameters
    ----------
    data : str
        Name of a data set or path of a table: texts, or nothing but numbers beside the column ``label``. ``NAME@COLUMN`` takes the gold
        labels from another column.
    features : tuple of str
        Those to make; what the data cannot have is left out.
    pool, test : int
        Rows at most, drawn once.
    components : int
        Principal components at most.
    encoder : str
        Sentence encoder of the texts: ``minilm`` needs no network.

    Raises
    ------
    ConfigError, DataError
        A kind of feature is unknown; the data have no rows with gold labels, labels of tokens, or numbers that are missing.

    Examples
    --------
    >>> task = load_bench_task("wine", features=("raw", "pca"))
    >>> {kind: rows.shape for kind, (rows, _) in task.features.items()}
    {'raw': (124, 13), 'pca': (124, 13)}
    """
    unknown = [kind for kind in features if kind not in FEATURES]
    if unknown:
        raise ConfigError(f"features '{unknown[0]}' are unknown; choose among {', '.join(FEATURES)}")
    found = _load(data)
    if found.is_sequence:
        raise DataError(f"data set '{found.name}' has labels for tokens; this bench labels whole rows")
    tables = [_drawn(found, split, size) for split, size in zip(_splits(found), (pool, test), strict=True)]
    y, y_test = (encode_labels(table[found.label], found.classes) for table in tables)
    made = (
        _text_features(found, tables, features, components, encoder)
        if isinstance(found.on, str)
        else _numbers(found, tables, features, components)
    )
    about = {name: getattr(found, name) for name in ("name", "licence", "citation", "checksum")}
    return BenchTask(data if "@" not in data else data.replace("@", ":"), found.classes, y, y_test, made, about)


def suitable(budget: int, among: Sequence[str] | None = None) -> list[str]:
    """Names of the registered sets, bundled or present, whose rows have one label each, with few enough classes and rows enough.

    Parameters
    ----------
    budget : int
        Labels to be drawn: five a class at least, and three times as many rows.
    among : sequence of str, optional
        Only these; all that are registered when left out, each of which is opened to see.

    Examples
    --------
    >>> suitable(100, among=("wine", "digits"))
    ['digits']
    """
    every = [name for card in CARDS for name in ([f"{card.name}/{part}" for part in card.subsets] or [card.name])]
    fitting = []
    for name in every if among is None else among:
        if _is_legal(name):
            continue
        try:
            found = datasets.load(name)
        except DataError:
            continue  # its files are not here
        size = max(len(table) for table in found.splits.values())
        if not found.is_sequence and len(found.classes) <= budget // 5 and size >= 3 * budget:
            fitting.append(name)
    return fitting


def _is_legal(name: str) -> bool:
    # Prompts of many thousand words about one court: what a sentence encoder reads of them is their common beginning.
    return name.startswith("llm_votes_legal")


def _load(data: str) -> Dataset:
    name, _, column = data.partition("@")
    if Path(name).suffix.lower() in datasets.SUFFIXES:
        file = TableFile(name)
        label = column or "label"
        file.require(label)
        if not any(kind == pl.String for column_, kind in file.schema.items() if column_ not in (label, "split")):
            return _own_numbers(file, label)
        return datasets.from_table(name, label=label).divided()
    found = datasets.load(name).divided()
    if not column:
        return found
    used = {split: found[split] for split in _splits(found)}
    for split, table in used.items():
        if column not in table.columns:
            raise DataError(f"data set '{name}': split '{split}' has no column '{column}'; its columns are {', '.join(table.columns)}")
    named = tuple(sorted({str(value) for table in used.values() for value in table[column].drop_nulls().unique()}))
    return dataclasses.replace(found, splits=used, label=column, classes=named, votes={})


def _own_numbers(file: TableFile, label: str) -> Dataset:
    table = file.read().with_columns(pl.col(label).cast(pl.String))
    columns = input_columns(table.drop("split", strict=False), without=(label,), where=f"data file '{file.path}'")
    classes = tuple(sorted(table[label].drop_nulls().unique()))
    splits = {"all": table}
    if "split" in table.columns:
        splits = {str(key[0]): part for key, part in table.partition_by("split", as_dict=True, maintain_order=True).items()}
    return Dataset(file.path.stem, splits, classes, columns, label, description="own table", checksum=file.fingerprint()).divided()


def _splits(found: Dataset) -> tuple[str, str]:
    test = next((name for name in ("test", "valid", "dev") if name in found.splits), None)
    train = next((name for name in ("train", *found.splits) if name in found.splits and name != test), None)
    if train is None or test is None:
        raise DataError(
            f"data set '{found.name}' has the splits {', '.join(found.splits)}; one to learn from and one named test are needed"
        )
    return train, test


def _drawn(found: Dataset, split: str, size: int) -> pl.DataFrame:
    table = found[split].filter(pl.col(found.label).is_not_null())
    if isinstance(found.on, str):
        table = table.filter(pl.col(found.on).is_not_null())
    if table.height == 0:
        raise DataError(f"data set '{found.name}': split '{split}' has no row with a gold label; give some to draw from and to measure on")
    order = np.random.default_rng(0).permutation(table.height)[:size]
    return table[order]


def _numbers(found: Dataset, tables: list[pl.DataFrame], features: tuple[str, ...], components: int) -> dict[str, tuple[Floats, Floats]]:
    schema = tables[0].schema
    columns = [column for column in found.columns if schema[column].is_numeric()]
    if not columns:
        raise DataError(f"data set '{found.name}' has no numeric column; its columns are {', '.join(found.columns)}")
    raw = [table.select(columns).cast(pl.Float64).to_numpy() for table in tables]
    for part, which in zip(raw, ("training", "test"), strict=True):
        if not np.isfinite(part).all():
            row, column = np.argwhere(~np.isfinite(part))[0]
            raise DataError(f"data set '{found.name}': column '{columns[column]}' of {which} row {row} is missing; fill it first")
    made = {"raw": (raw[0], raw[1]), "pca": _components(raw[0], raw[1], components, scale=len(columns) < 100)}
    return {kind: made[kind] for kind in features if kind in made}


def _text_features(
    found: Dataset, tables: list[pl.DataFrame], features: tuple[str, ...], components: int, encoder: str
) -> dict[str, tuple[Floats, Floats]]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [table[str(found.on)].to_list() for table in tables]
    made: dict[str, tuple[Floats, Floats]] = {}
    if "raw" in features:
        words = TfidfVectorizer(max_features=_WORDS, sublinear_tf=True)
        first = words.fit_transform(texts[0]).toarray()
        made["raw"] = (first, words.transform(texts[1]).toarray())
    if {"pca", "pretrained", "zero-shot"} & set(features):
        from steelyard.encoders import OFFLINE, TextEncoder

        encode = TextEncoder(OFFLINE if encoder == "minilm" else encoder)
        pool, test = (np.asarray(encode.encode([text[:2000] for text in part]), dtype=np.float64) for part in texts)
        names = PromptEnsemble(found.classes).fit(encode.encode)
        made["pca"] = _components(pool, test, components, scale=False)
        made["pretrained"] = (pool, test)
        made["zero-shot"] = (names.scores(pool).astype(np.float64), names.scores(test).astype(np.float64))
    return {kind: made[kind] for kind in features if kind in made}


def _components(pool: Floats, test: Floats, components: int, *, scale: bool) -> tuple[Floats, Floats]:
    """Principal components learned on the pool; columns on scales of their own are standardised first."""
    from sklearn.decomposition import PCA

    mean = pool.mean(axis=0)
    std = np.where(pool.std(axis=0) > 1e-12, pool.std(axis=0), 1.0) if scale else 1.0
    learned = PCA(min(components, *pool.shape), svd_solver="randomized", random_state=0).fit((pool - mean) / std)
    return learned.transform((pool - mean) / std), learned.transform((test - mean) / std)
