"""Pictures to look at: a page with what was found on it, P(text) as a tint and boxes as frames."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import DataError
from steelyard.storage import atomic_path
from steelyard.vision.text_marks import Page, gray

_TINT = np.array([15, 107, 98], np.float32)
_FRAME = np.array([181, 64, 44], np.uint8)


def overlay(page: Page, boxes: ArrayLike, probability: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 picture of a page with frames around boxes (n, 4) and, where given, P(text) (H, W) as a tint.

    Examples
    --------
    >>> overlay(np.full((4, 4), 255, np.uint8), [[1, 1, 2, 2]])[:, 1, 2].tolist()
    [255, 44, 44, 255]
    """
    picture = np.repeat(gray(page)[..., None], 3, axis=2)
    if probability is not None:
        share = 0.5 * probability[..., None]
        picture = (picture * (1 - share) + _TINT * share).astype(np.uint8)
    for x, y, w, h in np.asarray(boxes, dtype=np.int64).reshape(-1, 4):
        frame = picture[max(y, 0) : y + h, max(x, 0) : x + w]
        frame[:1] = frame[-1:] = frame[:, :1] = frame[:, -1:] = _FRAME
    return picture


def save_picture(path: str | os.PathLike[str], picture: NDArray[np.uint8]) -> None:
    """Write a picture as PNG, atomically; needs Pillow."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError('pictures need Pillow; install it with pip install "steelyard[vision]"') from None
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        Image.fromarray(picture).save(file, format="PNG")
