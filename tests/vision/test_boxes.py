"""Boxes to mask and back, suppression, and the COCO file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.vision.boxes import BoxFilter, ScoredBoxes, Shrink, component_boxes, non_maximum_suppression, paint, to_coco


def word_grid(width: int = 60, height: int = 20) -> np.ndarray:
    """Words that touch their neighbours on all sides."""
    return np.array([[x, y, width, height] for y in range(10, 190, height) for x in range(10, 370, width)])


def test_touching_words_survive_the_round_trip_only_because_they_are_shrunk() -> None:
    boxes, shape, shrink = word_grid(), (220, 400), Shrink(0.9, 0.7)
    back = shrink.undo(component_boxes(paint(shrink.apply(boxes), shape)), shape)
    assert sorted(back.tolist()) == sorted(boxes.tolist())
    assert len(component_boxes(paint(boxes, shape))) == 1


@pytest.mark.parametrize("factors", [(0.9, 0.7), (0.5, 0.5), (1.0, 1.0), (0.33, 0.8)])
def test_shrinking_is_undone_to_a_pixel_of_rounding(factors: tuple[float, float]) -> None:
    random = np.random.default_rng(0)
    boxes = np.column_stack([random.integers(0, 100, (200, 2)), random.integers(5, 90, (200, 2))])
    shrink = Shrink(*factors)
    wrong = np.abs(shrink.undo(shrink.apply(boxes)) - boxes)
    assert (wrong[:, :2] == 0).all()
    assert (wrong[:, 2:] <= 0.5 / np.array(factors) + 0.5).all()


def test_boxes_are_cut_at_the_border_of_the_page() -> None:
    assert Shrink(0.5, 0.5).undo(np.array([[90, 40, 8, 8]]), (50, 100)).tolist() == [[90, 40, 10, 10]]
    assert paint([[-5, -5, 7, 7], [8, 8, 50, 50]], (10, 10)).sum() == 4 + 4


def test_filter_limits_are_shares_of_the_page() -> None:
    shape, boxes = (1000, 2000), np.array([[0, 0, 50, 20], [0, 0, 1001, 20], [0, 0, 50, 251], [0, 0, 9, 20], [0, 0, 50, 9]])
    assert BoxFilter().keep(boxes, shape).tolist() == [True, False, False, False, False]
    assert BoxFilter(min_pixels=1001).keep(boxes, shape).tolist() == [False] * 5


def test_suppression_keeps_the_surest_of_each_heap() -> None:
    boxes = [[0, 0, 10, 10], [2, 0, 10, 10], [4, 0, 10, 10], [50, 0, 10, 10]]
    assert non_maximum_suppression(boxes, [0.9, 0.95, 0.8, 0.1], iou=0.3).tolist() == [1, 3]
    assert non_maximum_suppression([], []).tolist() == []
    with pytest.raises(DataError, match="one per box"):
        non_maximum_suppression(boxes, [0.5])


def test_coco_file_names_pages_and_boxes(tmp_path: Path) -> None:
    found = [
        ScoredBoxes(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([0.5, 0.75], np.float32)),
        ScoredBoxes(np.zeros((0, 4), int), np.ones(0)),
    ]
    to_coco(tmp_path / "boxes.json", {"a.png": (20, 30), "b.png": (5, 6)}, found)
    content = json.loads((tmp_path / "boxes.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["a.png", "b.png"]
    written = [(a["image_id"], a["bbox"], a["area"], a["score"]) for a in content["annotations"]]
    assert written == [(0, [1, 2, 3, 4], 12, 0.5), (0, [5, 6, 7, 8], 56, 0.75)]
    with pytest.raises(DataError, match="one list per page"):
        to_coco(tmp_path / "boxes.json", {"a.png": (20, 30)}, found)


def test_shrink_factors_out_of_range() -> None:
    with pytest.raises(ConfigError, match="shrink factors"):
        Shrink(0.0, 0.5)
