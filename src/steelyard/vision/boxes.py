"""Boxes on a picture: which to keep, painting them into a mask and reading them back, non-maximum suppression, COCO's file format.

A box is (x, y, width, height) in pixels, x and y of its top left corner. Sources and students of every detector meet here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from steelyard.errors import ConfigError, DataError
from steelyard.evaluation.detection import as_boxes, pairwise_iou
from steelyard.storage import write_json

IntBoxes = NDArray[np.int64]
Mask = NDArray[np.bool_]
_AROUND = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class ScoredBoxes:
    """Boxes (n, 4) int64 and their scores (n,) float32 in [0, 1]."""

    boxes: IntBoxes
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, rows: Any) -> ScoredBoxes:
        """Some of the boxes, by position or mask."""
        return ScoredBoxes(self.boxes[rows], self.scores[rows])


@dataclass(frozen=True)
class BoxFilter:
    """Which boxes can be words, judged by their size relative to a page of W × H pixels.

    Parameters
    ----------
    min_area : float
        Least area as a share of W · H.
    min_pixels : int
        Least area in pixels.
    min_width, max_width : float
        As shares of W.
    min_height, max_height : float
        As shares of H.

    Examples
    --------
    >>> BoxFilter().keep(np.array([[0, 0, 40, 20], [0, 0, 900, 20]]), (1000, 1000)).tolist()
    [True, False]
    """

    min_area: float = 1e-5
    min_pixels: int = 0
    min_width: float = 1 / 200
    max_width: float = 1 / 2
    min_height: float = 1 / 100
    max_height: float = 1 / 4

    def keep(self, boxes: IntBoxes, shape: tuple[int, int]) -> Mask:
        """(n,) whether each box passes on a page of shape (H, W)."""
        (height, width), (w, h) = shape, (boxes[:, 2], boxes[:, 3])
        area = w * h
        large = (area > self.min_area * height * width) & (area > self.min_pixels) & (w > self.min_width * width)
        return np.asarray(large & (h > self.min_height * height) & (w < self.max_width * width) & (h < self.max_height * height))


@dataclass(frozen=True)
class Shrink:
    """Boxes lose width and height, from their top left corner, before they are painted, so that neighbours stay apart in a mask.

    One object holds both factors and their inverse: what `apply` takes away `undo` gives back, to a pixel of rounding.

    Examples
    --------
    >>> shrink = Shrink(0.9, 0.7)
    >>> shrink.apply(np.array([[5, 5, 100, 20]])).tolist(), shrink.undo(shrink.apply(np.array([[5, 5, 100, 20]]))).tolist()
    ([[5, 5, 90, 14]], [[5, 5, 100, 20]])
    """

    width: float = 0.9
    height: float = 0.7

    def __post_init__(self) -> None:
        if not (0 < self.width <= 1 and 0 < self.height <= 1):
            raise ConfigError(f"shrink factors must lie in (0, 1], got {self.width} and {self.height}; 0.9 and 0.7 are usual")

    def apply(self, boxes: IntBoxes) -> IntBoxes:
        """Smaller boxes, none below one pixel."""
        return np.column_stack([boxes[:, :2], np.rint(boxes[:, 2:] * self._factors).clip(min=1)]).astype(np.int64)

    def undo(self, boxes: IntBoxes, shape: tuple[int, int] | None = None) -> IntBoxes:
        """Boxes of the size they had, cut at the border of a page of shape (H, W)."""
        grown = np.column_stack([boxes[:, :2], np.rint(boxes[:, 2:] / self._factors)]).astype(np.int64)
        if shape is not None:
            grown[:, 2:] = np.minimum(grown[:, 2:], np.array(shape[::-1]) - grown[:, :2])
        return grown

    @property
    def _factors(self) -> NDArray[np.float64]:
        return np.array([self.width, self.height])


def paint(boxes: ArrayLike, shape: tuple[int, int]) -> Mask:
    """(H, W) mask that is true inside the boxes.

    Examples
    --------
    >>> paint([[1, 0, 2, 1]], (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    mask = np.zeros(shape, dtype=bool)
    # A slice per box costs a thousandth of what two cumulative sums over the page would.
    for x, y, w, h in np.asarray(boxes, dtype=np.int64).reshape(-1, 4):
        mask[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = True
    return mask


def component_boxes(mask: Mask) -> IntBoxes:
    """(n, 4) bounding boxes of the 8-connected regions of a mask, from top to bottom.

    Examples
    --------
    >>> component_boxes(paint([[1, 0, 2, 1], [0, 2, 1, 1]], (3, 4))).tolist()
    [[1, 0, 2, 1], [0, 2, 1, 1]]
    """
    found = ndimage.find_objects(ndimage.label(mask, structure=_AROUND)[0])
    corners = np.array([(c.start, r.start, c.stop, r.stop) for r, c in found], dtype=np.int64).reshape(-1, 4)
    return np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]])


def non_maximum_suppression(boxes: ArrayLike, scores: ArrayLike, iou: float = 0.5) -> NDArray[np.int64]:
    """Positions of the boxes that stay, the surest first, when each removes those it overlaps by more than `iou`.

    Examples
    --------
    >>> non_maximum_suppression([[0, 0, 10, 10], [1, 0, 10, 10], [30, 0, 5, 5]], [0.5, 0.9, 0.1]).tolist()
    [1, 2]
    """
    checked, kept = as_boxes(boxes), []
    left = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    if len(left) != len(checked):
        raise DataError(f"{len(checked)} boxes have {len(left)} scores; give one per box")
    while len(left):
        kept.append(left[0])
        left = left[1:][pairwise_iou(checked[left[:1]], checked[left[1:]])[0] <= iou]
    return np.array(kept, dtype=np.int64)


def to_coco(
    path: str | os.PathLike[str], pages: Mapping[str, tuple[int, int]], found: Sequence[ScoredBoxes], category: str = "text"
) -> None:
    """Write boxes as a COCO annotation file (Lin et al. 2014), with the score of each beside its box.

    Parameters
    ----------
    path
        JSON file to write, atomically.
    pages : mapping of file name to (H, W)
    found : sequence of ScoredBoxes, one per page
    category : str

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "boxes.json"
    >>> to_coco(file, {"a.png": (20, 30)}, [ScoredBoxes(np.array([[1, 2, 3, 4]]), np.array([0.9], np.float32))])
    >>> json.loads(file.read_text())["annotations"][0]["bbox"]
    [1, 2, 3, 4]
    """
    if len(pages) != len(found):
        raise DataError(f"{len(pages)} pages have {len(found)} lists of boxes; give one list per page")
    images = [{"id": i, "file_name": name, "height": h, "width": w} for i, (name, (h, w)) in enumerate(pages.items())]
    flat = [(image, box, score) for image, each in enumerate(found) for box, score in zip(each.boxes, each.scores, strict=True)]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "bbox": box.tolist(),
            "area": int(box[2] * box[3]),
            "iscrowd": 0,
            "score": round(float(score), 4),
        }
        for number, (image, box, score) in enumerate(flat)
    ]
    write_json(path, {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": category}]})
