"""Pictures as tables of pixels, one column each, so that everything that reads numbers reads them: digits and small photographs."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard.datasets.dataset import Dataset, decode_labels
from steelyard.errors import DataError

Paths = Mapping[str, Path]


def read_mnist(paths: Paths, subset: str | None) -> Dataset:
    """10,000 handwritten digits of 28 × 28 pixels; 6,000 to train, 4,000 to test, drawn once from easy and hard writers alike."""
    with np.load(paths["mnist_test_10k"], allow_pickle=False) as arrays:
        pictures, labels = arrays["images"], arrays["labels"].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    table = pixel_table(pictures[order])
    classes = tuple("0123456789")
    table = table.with_columns(decode_labels(labels[order], classes))
    return Dataset("mnist", {"train": table[:6000], "test": table[6000:]}, classes, tuple(table.columns[:-1]))


def read_cifar10(paths: Paths, subset: str | None) -> Dataset:
    """15,000 photographs of ten kinds of objects, 32 × 32 pixels in three colours."""
    table = pl.read_parquet(paths["cifar10"])
    pixels = pixel_table(np.stack([decode_picture(data) for data in table["image"]]))
    both = pixels.with_columns(table["label"], table["split"])
    splits = {name: both.filter(pl.col("split") == name).drop("split") for name in ("train", "test")}
    return Dataset("cifar10", splits, tuple(sorted(table["label"].unique())), tuple(pixels.columns))


def pixel_table(pictures: NDArray[np.uint8]) -> pl.DataFrame:
    """Pictures (n, height, width) or (n, height, width, channels) as n rows of columns ``pixel_0`` …, row by row of the picture.

    Examples
    --------
    >>> pixel_table(np.zeros((2, 2, 2), np.uint8)).columns
    ['pixel_0', 'pixel_1', 'pixel_2', 'pixel_3']
    """
    flat = pictures.reshape(len(pictures), -1)
    return pl.DataFrame(flat, schema=[f"pixel_{i}" for i in range(flat.shape[1])])


def decode_picture(data: bytes) -> NDArray[np.uint8]:
    """A JPEG or PNG file's bytes as (height, width, 3) uint8.

    Raises
    ------
    DataError
        The bytes are no picture.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.uint8)
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"a picture of {len(data)} bytes cannot be decoded ({error}); the file may be truncated") from None
