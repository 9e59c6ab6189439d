"""Scores of detected boxes: one-to-one matching by overlap, precision, recall and F1 at any overlap, by class, and average precision.

Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge"; Lin et al. 2014, "Microsoft COCO". Boxes are (x, y, width, height).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import DataError
from steelyard.evaluation.sequences import SpanScores

DetectionScores = SpanScores
"""Counts of matched, predicted and gold boxes with their precision, recall and F1."""

Boxes = NDArray[np.float64]
ANY_CLASS = "background"


def pairwise_iou(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every box of `first` (n, 4) with every box of `second` (m, 4): (n, m) in [0, 1].

    Examples
    --------
    >>> pairwise_iou([[0, 0, 2, 2]], [[1, 0, 2, 2], [5, 5, 1, 1]]).round(3).tolist()
    [[0.333, 0.0]]
    """
    a, b = as_boxes(first)[:, None], as_boxes(second)[None]
    overlap = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = overlap.clip(min=0).prod(axis=2)
    either = a[..., 2:].prod(axis=2) + b[..., 2:].prod(axis=2) - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def greedy_matches(gold: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Match boxes one to one, the pair with the greatest overlap first.

    Because the best pairs go first, the pairs whose overlap reaches a threshold are what matching at that threshold gives: one matching
    serves all thresholds.

    Parameters
    ----------
    gold : (n, 4) array
    predicted : (p, 4) array

    Returns
    -------
    (p,) int64, (p,) float64
        For every predicted box the position of its gold box, -1 = none, and their overlap, 0 where there is none.

    Examples
    --------
    >>> greedy_matches([[0, 0, 4, 4]], [[0, 0, 4, 2], [0, 0, 4, 3]])
    (array([-1,  0]), array([0.  , 0.75]))
    """
    iou = pairwise_iou(gold, predicted)
    matched, overlap = np.full(iou.shape[1], -1, dtype=np.int64), np.zeros(iou.shape[1])
    taken = np.zeros(iou.shape[0], dtype=bool)
    rows, columns = np.nonzero(iou)
    # Ties are broken by position, so that the result does not depend on the sort.
    for pair in np.lexsort((columns, rows, -iou[rows, columns])):
        row, column = rows[pair], columns[pair]
        if not taken[row] and matched[column] < 0:
            taken[row], matched[column], overlap[column] = True, row, iou[row, column]
    return matched, overlap


def detection_scores(
    gold: Sequence[ArrayLike], predicted: Sequence[ArrayLike], iou: Sequence[float] = (0.5,)
) -> dict[float, DetectionScores]:
    """Compare boxes picture by picture at one or more overlaps; micro-averaged over all pictures.

    Parameters
    ----------
    gold, predicted : sequences of (n, 4) arrays, one per picture
    iou : sequence of float in (0, 1]
        A pair of boxes counts where its intersection over union is at least this.

    Raises
    ------
    DataError
        The two lists differ in length, boxes are malformed, or an overlap is not in (0, 1].

    Examples
    --------
    >>> scores = detection_scores([[[0, 0, 10, 10], [20, 0, 5, 5]]], [[[0, 0, 10, 8]]], iou=(0.5, 0.9))
    >>> scores[0.5].precision, scores[0.5].recall, scores[0.9].f1
    (1.0, 0.5, 0.0)
    """
    pairs = list(_pictures(gold, predicted, iou))
    overlaps = np.concatenate([greedy_matches(truth, guess)[1] for truth, guess in pairs]) if pairs else np.zeros(0)
    n_gold, n_predicted = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    return {t: DetectionScores(int((overlaps >= t).sum()), n_predicted, n_gold) for t in iou}


def class_scores(
    gold: Sequence[ArrayLike],
    gold_classes: Sequence[Sequence[str]],
    predicted: Sequence[ArrayLike],
    predicted_classes: Sequence[Sequence[str]] | None = None,
    iou: float = 0.5,
) -> dict[str, DetectionScores]:
    """Scores of each class at one overlap.

    Parameters
    ----------
    gold, predicted : sequences of (n, 4) arrays, one per picture
    gold_classes, predicted_classes : sequences of n names, one per picture
        Where a detector names no classes (`predicted_classes` left out), all boxes are matched at once and a box counts as predicted for
        the class of the gold box it overlaps most, and for ``"background"`` if it overlaps none.

    Examples
    --------
    >>> page = [[0, 0, 10, 10], [20, 0, 5, 5]]
    >>> scores = class_scores([page], [["title", "body"]], [[[0, 0, 10, 9], [21, 0, 1, 1]]])
    >>> scores["title"].f1, scores["body"].f1
    (1.0, 0.0)
    """
    counts: dict[str, list[int]] = {}
    named = [[None] * len(as_boxes(boxes)) for boxes in predicted] if predicted_classes is None else predicted_classes
    for i, ((truth, guess), names, guesses) in enumerate(
        zip(_pictures(gold, predicted, [iou]), gold_classes, named, strict=True),
    ):
        if len(names) != len(truth) or len(guesses) != len(guess):
            raise DataError(f"picture {i} has {len(truth)} gold and {len(guess)} predicted boxes, but other numbers of class names")
        kinds, said = np.array(names, dtype=object), np.array(guesses, dtype=object)
        if predicted_classes is None:
            overlap = pairwise_iou(truth, guess)
            touches = overlap.any(axis=0)
            said = np.full(len(guess), ANY_CLASS, dtype=object)
            said[touches] = kinds[overlap[:, touches].argmax(axis=0)] if touches.any() else said[touches]
            matched, reached = greedy_matches(truth, guess)
            hits = kinds[matched[reached >= iou]].tolist()
        else:
            hits = []
            for kind in set(kinds.tolist()) & set(said.tolist()):
                _, reached = greedy_matches(truth[kinds == kind], guess[said == kind])
                hits += [kind] * int((reached >= iou).sum())
        for place, found in enumerate((hits, said.tolist(), kinds.tolist())):
            for kind in found:
                counts.setdefault(kind, [0, 0, 0])[place] += 1
    return {kind: DetectionScores(*counts[kind]) for kind in sorted(counts)}


def average_precision(gold: Sequence[ArrayLike], predicted: Sequence[ArrayLike], scores: Sequence[ArrayLike], iou: float = 0.5) -> float:
    """Area under the precision–recall curve of one class over all pictures, precision made non-increasing (all points, not 11 or 101).

    Boxes are taken in the order of their scores; each takes the free gold box it overlaps most, if by `iou` at least. NaN without gold.

    Parameters
    ----------
    gold, predicted : sequences of (n, 4) arrays, one per picture
    scores : sequence of (n,) arrays, one per picture
    iou : float in (0, 1]

    Examples
    --------
    >>> average_precision([[[0, 0, 4, 4], [8, 0, 4, 4]]], [[[0, 0, 4, 4], [50, 0, 4, 4], [8, 0, 4, 4]]], [[0.9, 0.8, 0.7]])
    0.8333333333333333
    """
    hits: list[NDArray[np.bool_]] = []
    for i, ((truth, guess), score) in enumerate(zip(_pictures(gold, predicted, [iou]), scores, strict=True)):
        if len(np.asarray(score)) != len(guess):
            raise DataError(f"picture {i} has {len(guess)} predicted boxes and {len(np.asarray(score))} scores; give one per box")
        hits.append(_hits_by_score(pairwise_iou(truth, guess), np.asarray(score, dtype=np.float64), iou))
    n_gold = sum(len(as_boxes(boxes)) for boxes in gold)
    if not n_gold:
        return float("nan")
    if not hits:
        return 0.0
    order = np.argsort(-np.concatenate([np.asarray(score, dtype=np.float64) for score in scores]), kind="stable")
    true_positives = np.concatenate(hits)[order].cumsum()
    precision = true_positives / np.arange(1, len(order) + 1)
    recall = true_positives / n_gold
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def mean_average_precision(
    gold: Sequence[ArrayLike],
    gold_classes: Sequence[Sequence[str]],
    predicted: Sequence[ArrayLike],
    predicted_classes: Sequence[Sequence[str]],
    scores: Sequence[ArrayLike],
    iou: Sequence[float] = (0.5,),
) -> float:
    """Mean of `average_precision` over the classes that have gold boxes and over the overlaps.

    Examples
    --------
    >>> boxes = [[[0, 0, 4, 4], [8, 0, 4, 4]]]
    >>> mean_average_precision(boxes, [["car", "bus"]], boxes, [["car", "car"]], [[0.9, 0.8]])
    0.5
    """
    found = []
    for kind in sorted({name for names in gold_classes for name in names}):
        mine = [_of(boxes, names, kind) for boxes, names in zip(gold, gold_classes, strict=True)]
        said = [_of(boxes, names, kind) for boxes, names in zip(predicted, predicted_classes, strict=True)]
        sure = [np.asarray(s)[[name == kind for name in names]] for s, names in zip(scores, predicted_classes, strict=True)]
        found += [average_precision(mine, said, sure, t) for t in iou]
    return float(np.mean(found)) if found else float("nan")


def as_boxes(boxes: ArrayLike) -> Boxes:
    """Check boxes and return them as (n, 4) float64; an empty list is no boxes.

    Raises
    ------
    DataError
        The array is not (n, 4), or a box has a negative or undefined width or height.

    Examples
    --------
    >>> as_boxes([]).shape
    (0, 4)
    """
    array = np.asarray(boxes, dtype=np.float64)
    array = array.reshape(0, 4) if array.size == 0 else array
    if array.ndim != 2 or array.shape[1] != 4:
        raise DataError(f"boxes have shape {array.shape}; give (n, 4) with the columns x, y, width, height")
    if not (array[:, 2:] >= 0).all():
        raise DataError("a box has a negative or undefined width or height; boxes are x, y, width, height, not two corners")
    return array


def _pictures(gold: Sequence[ArrayLike], predicted: Sequence[ArrayLike], iou: Sequence[float]) -> Iterator[tuple[Boxes, Boxes]]:
    if len(gold) != len(predicted):
        raise DataError(f"gold has boxes for {len(gold)} pictures and prediction for {len(predicted)}; they must match")
    if not all(0 < t <= 1 for t in iou):
        raise DataError(f"iou must lie in (0, 1], got {', '.join(map(str, iou))}; 0.5 is usual")
    for truth, guess in zip(gold, predicted, strict=True):
        yield as_boxes(truth), as_boxes(guess)


def _hits_by_score(overlap: NDArray[np.float64], scores: NDArray[np.float64], iou: float) -> NDArray[np.bool_]:
    """(p,) which predicted boxes take a gold box of their own, the surest first."""
    hit = np.zeros(len(scores), dtype=bool)
    free = overlap.copy()
    for column in np.argsort(-scores, kind="stable") if len(overlap) else ():
        row = int(free[:, column].argmax())
        if free[row, column] >= iou:
            hit[column], free[row] = True, -1.0
    return hit


def _of(boxes: ArrayLike, names: Sequence[str], kind: str) -> Boxes:
    return as_boxes(boxes)[np.array([name == kind for name in names], dtype=bool)]
