"""label_issues: which given labels are probably wrong, by confident learning, worst first.

Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 70 (2021). Works on any labels (hand-made,
or hardened `Targets`) beside the out-of-sample probabilities of any classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import LabelModelError
from steelyard.label_models.crowdlab import checked_probabilities
from steelyard.targets import Targets
from steelyard.vote_statistics import checked_gold

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Method = Literal["noise_rate", "class", "both", "confident_joint"]
Rank = Literal["self_confidence", "normalized_margin"]

# A probability this little below its class's threshold still counts as confident.
_SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class LabelIssues:
    """What `label_issues` found.

    Attributes
    ----------
    rows : (r,) int64
        Rows whose label is probably wrong, worst first.
    quality : (n,) float64
        Score of every label in [0, 1]; low = suspicious.
    given, suggested : (n,) int64
        The label of each row and its most probable class.
    thresholds : (k,) float64
        t_j, from which on a probability counts as confident; 2 for a class that labels no row.
    joint : (k, k) float64
        Estimated counts: rows with given label i (row of the table) whose true label is j (column). Row i sums to the rows labelled i.
    """

    rows: Labels
    quality: Floats
    given: Labels
    suggested: Labels
    thresholds: Floats
    joint: Floats

    def table(self, classes: tuple[str, ...] | None = None) -> pl.DataFrame:
        """The rows with an issue, worst first: ``row``, ``given``, ``suggested`` (names, where `classes` are given) and ``quality``."""
        names = np.asarray(classes if classes is not None else np.arange(len(self.joint)))
        columns = {"row": self.rows, "given": names[self.given[self.rows]], "suggested": names[self.suggested[self.rows]]}
        return pl.DataFrame(columns | {"quality": self.quality[self.rows]})


def label_issues(
    labels: Targets | ArrayLike,
    pred_probs: ArrayLike,
    *,
    method: Method = "noise_rate",
    rank_by: Rank = "self_confidence",
    y: ArrayLike | None = None,
) -> LabelIssues:
    r"""Find the labels that are probably wrong.

    The threshold of class j is the mean self-confidence of the rows labelled j, t_j = mean{p_j(x) : given j}. A row labelled i counts
    in C[i, j] if p_j(x) ≥ t_j, j being the most probable class where several pass. C, its rows scaled to sum to the rows labelled i and
    rounded to whole numbers, estimates the joint counts of given and true labels, and its off-diagonal cells how many labels are wrong.

    Parameters
    ----------
    labels : Targets or (n,) int array
        Given labels; targets are hardened.
    pred_probs : (n, k) float array
        A classifier's probabilities, each row predicted by a model that was not trained on it; for targets, in their order.
    method : {"noise_rate", "class", "both", "confident_joint"}
        Which rows are taken: for each pair i ≠ j the C[i, j] rows labelled i with the largest margin p_j - p_i; for each class i the
        Σ_j≠i C[i, j] rows labelled i with the lowest p_i; those taken by both; or just those that were counted off the diagonal.
        A row whose label is its most probable class is never taken.
    rank_by : {"self_confidence", "normalized_margin"}
        Quality of a label i: p_i, or (p_i - max_j≠i p_j + 1) / 2.
    y : (n,) int array, optional
        Gold labels, -1 = unknown. A known row counts in the cell of its true label, is an issue exactly if its label is another, and has
        quality 1 or 0.

    Raises
    ------
    LabelModelError
        When shapes do not fit, a label is missing or out of range, or there are fewer than two classes.

    Examples
    --------
    >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.95, 0.05], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]]
    >>> found = label_issues([0, 0, 1, 1, 1, 1], probabilities)
    >>> found.rows.tolist(), found.joint.tolist()
    ([2], [[2.0, 0.0], [1.0, 3.0]])
    """
    if method not in get_args(Method):
        raise LabelModelError(f"method must be one of {', '.join(get_args(Method))}, got '{method}'")
    if rank_by not in get_args(Rank):
        raise LabelModelError(f"rank_by must be one of {', '.join(get_args(Rank))}, got '{rank_by}'")
    given, p = _checked(labels, pred_probs)
    n, k = p.shape
    gold = checked_gold(y, n, k)
    thresholds = _thresholds(given, p)
    # What is known is a prediction that cannot be doubted.
    p = np.where(gold[:, None] >= 0, np.eye(k)[gold], p)
    guess = _confident_guess(p, thresholds)
    counts, joint = _joint(given, guess, k)

    taken = {"noise_rate": lambda: _by_noise_rate(given, p, counts), "class": lambda: _by_class(given, p, counts)}
    if method == "both":
        wrong = taken["noise_rate"]() & taken["class"]()
    elif method == "confident_joint":
        wrong = (guess >= 0) & (guess != given)
    else:
        wrong = taken[method]()
    suggested = p.argmax(axis=1)
    wrong = (wrong & (suggested != given)) | ((gold >= 0) & (gold != given))
    quality = _quality(given, p, rank_by)
    rows = np.flatnonzero(wrong)
    return LabelIssues(rows[np.argsort(quality[rows], kind="stable")], quality, given, suggested, thresholds, joint)


def _thresholds(given: Labels, p: Floats) -> Floats:
    n, k = p.shape
    size = np.bincount(given, minlength=k)
    total = np.bincount(given, p[np.arange(n), given], k)
    return np.where(size > 0, np.maximum(total / np.maximum(size, 1), 2 * _SLACK), 2.0)


def _confident_guess(p: Floats, thresholds: Floats) -> Labels:
    """(n,) the true class a row is confidently counted in, -1 where no class passes."""
    confident = p >= thresholds - _SLACK
    passed = confident.sum(axis=1)
    return np.where(passed > 1, p.argmax(axis=1), np.where(passed == 1, confident.argmax(axis=1), -1))


def _joint(given: Labels, guess: Labels, k: int) -> tuple[Labels, Floats]:
    """Calibrated counts (k, k) of given × true labels, in whole rows and before rounding."""
    sure = guess >= 0
    confident = np.bincount(given[sure] * k + guess[sure], minlength=k * k).reshape(k, k).astype(np.float64)
    # Every class has at least one right label, lest a row of zeros could not be scaled.
    np.fill_diagonal(confident, np.maximum(confident.diagonal(), 1))
    labelled = np.bincount(given, minlength=k)
    joint = confident / confident.sum(axis=1, keepdims=True) * labelled[:, None]
    whole = np.floor(joint + 1e-9).astype(np.int64)
    # What rounding down left over goes to the largest remainders, so that rows keep their sums.
    by_remainder = np.argsort(np.argsort(whole - joint, axis=1, kind="stable"), axis=1, kind="stable")
    whole += by_remainder < (labelled - whole.sum(axis=1))[:, None]
    return whole, joint


def _by_noise_rate(given: Labels, p: Floats, counts: Labels) -> NDArray[np.bool_]:
    wrong = np.zeros(len(p), dtype=bool)
    for i, rows in _rows_by_label(given, len(counts)):
        for j in np.flatnonzero(counts[i]):
            if j != i:
                margin = p[rows, j] - p[rows, i]
                wrong[rows[np.argsort(-margin, kind="stable")[: counts[i, j]]]] = True
    return wrong


def _by_class(given: Labels, p: Floats, counts: Labels) -> NDArray[np.bool_]:
    wrong = np.zeros(len(p), dtype=bool)
    for i, rows in _rows_by_label(given, len(counts)):
        wrong[rows[np.argsort(p[rows, i], kind="stable")[: len(rows) - max(counts[i, i], 1)]]] = True
    return wrong


def _rows_by_label(given: Labels, k: int) -> list[tuple[int, Labels]]:
    order = np.argsort(given, kind="stable")
    cuts = np.cumsum(np.bincount(given, minlength=k))[:-1]
    return [(i, rows) for i, rows in enumerate(np.split(order, cuts)) if len(rows) > 1]


def _quality(given: Labels, p: Floats, rank_by: Rank) -> Floats:
    everyone = np.arange(len(p))
    own = p[everyone, given]
    if rank_by == "self_confidence":
        return own
    others = p.copy()
    others[everyone, given] = -1.0
    return np.asarray((own - others.max(axis=1) + 1) / 2)


def _checked(labels: Targets | ArrayLike, pred_probs: ArrayLike) -> tuple[Labels, Floats]:
    given = labels.harden() if isinstance(labels, Targets) else np.asarray(labels)
    shape = np.shape(pred_probs)
    if len(shape) != 2 or shape[1] < 2:
        raise LabelModelError(f"pred_probs has shape {shape}; give one probability per row and class, for two classes or more")
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise LabelModelError(f"labels must be one integer per row, got shape {given.shape} of {given.dtype}")
    if len(given) == 0:
        raise LabelModelError("no labels to examine; give at least one row")
    if given.min() < 0 or given.max() >= shape[1]:
        raise LabelModelError(
            f"labels range from {given.min()} to {given.max()}; allowed are 0 to {shape[1] - 1}: leave out unlabelled rows"
        )
    return given.astype(np.int64), checked_probabilities(pred_probs, len(given), shape[1])
