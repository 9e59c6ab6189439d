"""Scores of boxes against slow, obvious matching and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from steelyard.errors import DataError
from steelyard.evaluation.detection import (
    average_precision,
    class_scores,
    detection_scores,
    greedy_matches,
    mean_average_precision,
    pairwise_iou,
)


def some_boxes(n: int, seed: int, size: int = 40) -> NDArray[np.int64]:
    random = np.random.default_rng(seed)
    return np.column_stack([random.integers(0, size, (n, 2)), random.integers(1, 15, (n, 2))])


def test_overlap_equals_counted_pixels() -> None:
    first, second = some_boxes(12, 0), some_boxes(9, 1)

    def pixels(box: NDArray[np.int64]) -> set[tuple[int, int]]:
        x, y, w, h = box.tolist()
        return {(i, j) for i in range(x, x + w) for j in range(y, y + h)}

    counted = [[len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b)) for b in second] for a in first]
    assert pairwise_iou(first, second) == pytest.approx(np.array(counted))


def test_matching_all_at_once_equals_matching_at_each_threshold() -> None:
    gold, found = some_boxes(25, 2), some_boxes(30, 3)
    iou = pairwise_iou(gold, found)
    for threshold in (0.1, 0.3, 0.5):
        left = np.where(iou >= threshold, iou, 0.0)
        matches = 0
        while left.max() > 0:
            row, column = np.unravel_index(left.argmax(), left.shape)
            left[row], left[:, column] = 0, 0
            matches += 1
        score = detection_scores([gold], [found], (threshold,))[threshold]
        assert score.matched == matches
        assert (score.predicted, score.gold) == (30, 25)
    matched, _ = greedy_matches(gold, found)
    assert len(set(matched[matched >= 0].tolist())) == (matched >= 0).sum(), "one to one"


def test_pages_without_boxes_count() -> None:
    score = detection_scores([[], [[0, 0, 5, 5]]], [[[0, 0, 5, 5]], []])[0.5]
    assert (score.matched, score.predicted, score.gold, score.f1) == (0, 1, 1, 0.0)
    assert detection_scores([[]], [[]])[0.5].f1 == 0.0


def test_classes_of_a_detector_without_classes_are_those_of_the_gold_it_touches() -> None:
    gold = [[0, 0, 10, 10], [20, 0, 10, 10], [40, 0, 10, 10]]
    scores = class_scores([gold], [["title", "body", "body"]], [[[0, 0, 10, 10], [21, 0, 10, 10], [22, 0, 2, 2], [90, 90, 3, 3]]])
    assert (scores["title"].matched, scores["title"].predicted, scores["title"].gold) == (1, 1, 1)
    assert (scores["body"].matched, scores["body"].predicted, scores["body"].gold) == (1, 2, 2)
    assert (scores["background"].predicted, scores["background"].gold) == (1, 0)


def test_classes_of_a_detector_with_classes_are_matched_apart() -> None:
    scores = class_scores([[[0, 0, 9, 9]]], [["car"]], [[[0, 0, 9, 9]]], [["bus"]])
    assert scores["car"].recall == 0
    assert scores["bus"].precision == 0


def test_average_precision_is_the_area_summed_slowly() -> None:
    gold, found = [some_boxes(8, s) for s in range(5)], [some_boxes(12, s + 50) for s in range(5)]
    found = [np.vstack([f, g[:5]]) for f, g in zip(found, gold, strict=True)]
    sure = [np.random.default_rng(s).random(17) for s in range(5)]
    ranked = sorted((-sure[p][i], p, i) for p in range(5) for i in range(17))
    taken: set[tuple[int, int]] = set()
    hits = []
    for _, page, box in ranked:
        overlaps = [(0 if (page, g) in taken else pairwise_iou(gold[page][[g]], found[page][[box]])[0, 0]) for g in range(8)]
        best = int(np.argmax(overlaps))
        hits.append(overlaps[best] >= 0.5)
        if hits[-1]:
            taken.add((page, best))
    precision = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
    area = sum(max(precision[i:]) / 40 for i, hit in enumerate(hits) if hit)
    assert average_precision(gold, found, sure) == pytest.approx(area)
    classes, said = [["a"] * 8] * 5, [["a"] * 17] * 5
    assert mean_average_precision(gold, classes, found, said, sure) == pytest.approx(area)


def test_perfect_and_empty_detectors() -> None:
    boxes = [some_boxes(6, 4, size=400)]
    assert average_precision(boxes, boxes, [np.linspace(1, 0.1, 6)]) == 1
    assert average_precision(boxes, [[]], [[]]) == 0
    assert np.isnan(average_precision([[]], boxes, [np.ones(6)]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detection_scores([[]], []), "1 pictures and prediction for 0"),
        (lambda: detection_scores([[]], [[]], (50,)), "iou must lie in"),
        (lambda: pairwise_iou([[0, 0, 1]], []), "give .n, 4."),
        (lambda: pairwise_iou([[9, 9, -1, 3]], []), "not two corners"),
        (lambda: average_precision([[]], [[[0, 0, 1, 1]]], [[]]), "give one per box"),
        (lambda: class_scores([[[0, 0, 1, 1]]], [[]], [[]]), "other numbers of class names"),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()  # type: ignore[operator]
