"""Small numeric tables that come with scikit-learn, split once and for all: always there, no file, no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from steelyard.datasets.dataset import Dataset, decode_labels

Paths = Mapping[str, Path]


def read_breast_cancer(paths: Paths, subset: str | None) -> Dataset:
    """569 tumours, 30 measurements, malignant or benign."""
    from sklearn.datasets import load_breast_cancer

    return _split(load_breast_cancer())


def read_digits(paths: Paths, subset: str | None) -> Dataset:
    """1,797 handwritten digits of 8 × 8 pixels."""
    from sklearn.datasets import load_digits

    return _split(load_digits())


def read_wine(paths: Paths, subset: str | None) -> Dataset:
    """178 wines of three cultivars, 13 measurements."""
    from sklearn.datasets import load_wine

    return _split(load_wine())


def _split(bunch: Any) -> Dataset:
    from sklearn import __version__
    from sklearn.model_selection import train_test_split

    classes = tuple(str(name) for name in bunch.target_names)
    features = tuple(str(name) for name in bunch.feature_names)
    table = pl.DataFrame(bunch.data, schema=list(features)).with_columns(decode_labels(bunch.target, classes))
    train, test = train_test_split(range(len(table)), test_size=0.3, stratify=bunch.target, random_state=0)
    splits = {"train": table[sorted(train)], "test": table[sorted(test)]}
    return Dataset("bundled", splits, classes, features, checksum=f"scikit-learn {__version__}")
