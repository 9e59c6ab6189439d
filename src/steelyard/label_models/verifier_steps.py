"""From scores to the votes a `VerifierEnsemble` weighs: prepare, fill, threshold, filter by the share of yes; each step by itself.

Saad-Falcon et al. 2025, "Shrinking the Generation-Verification Gap with Weak Verifiers"; no step reads a label.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import LabelModelError
from steelyard.label_models.verifier_moments import class_balance_from_votes
from steelyard.label_models.verifier_options import Keep
from steelyard.score_scales import balance_thresholds, votes_above, votes_within
from steelyard.verifier_scores import MAJORITY, VerifierScores

Floats = NDArray[np.float64]
Votes01 = NDArray[np.int8]

LOWEST = 0.01
_BALANCE_ROUNDS = 10


def with_answers(scores: VerifierScores | ArrayLike, answers: Any, majority: bool) -> VerifierScores:
    """Scores in their structure, with answer frequency as one more verifier where there are answers and `majority` asks for it.

    Examples
    --------
    >>> with_answers([[[0.1], [0.7]]], [["a", "a"]], majority=True).names
    ('verifier_0', 'majority')
    """
    if not isinstance(scores, VerifierScores):
        scores = VerifierScores.from_array(scores, answers)
    elif answers is not None:
        raise LabelModelError("VerifierScores bring their own answers; give `answers` to VerifierScores instead")
    return scores.with_majority() if majority and scores.answers is not None and MAJORITY not in scores.names else scores


def silent_verifiers(scores: VerifierScores) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """(V,) which verifiers ever vary, and why the others are left out."""
    alive = np.array([len(np.unique(column[~np.isnan(column)])) > 1 for column in scores.values.T])
    if not alive.any():
        raise LabelModelError(f"none of the verifiers {', '.join(scores.names)} ever varies: constant scores choose nothing")
    why = np.where(alive, "", "never varies").astype(object)
    why[np.isnan(scores.values).all(axis=0)] = "no scores"
    return alive, why


def spoken_rows(scores: VerifierScores) -> NDArray[np.bool_]:
    """(n,) rows of queries on which some verifier other than answer frequency says something; the others teach nothing."""
    own = [j for j, name in enumerate(scores.names) if name != MAJORITY] or [0]
    given = ~np.isnan(scores.values[:, own]).all(axis=1)
    return np.asarray(np.logical_or.reduceat(given, scores.offsets[:-1])[scores.query_of])


def fill_missing(scaled: Floats, scores: VerifierScores, missing: str) -> Floats:
    """Scaled scores without NaN: the mean of the verifier over the query ("query-mean") where it has one, else 0."""
    x = scaled
    if missing == "query-mean":
        given = ~np.isnan(x)
        total = np.add.reduceat(np.where(given, x, 0.0), scores.offsets[:-1], axis=0)
        count = np.add.reduceat(given, scores.offsets[:-1], axis=0, dtype=np.int64)
        x = np.where(given, x, (total / np.maximum(count, 1))[scores.query_of])
    return np.nan_to_num(x, nan=0.0)


def thresholds_at(scaled: Floats, threshold: float | str, balance: float) -> Floats:
    """(V,) thresholds: the class-balance quantiles, or one number for all."""
    return balance_thresholds(scaled, balance) if threshold == "class-balance" else np.full(scaled.shape[1], float(threshold))


def votes_by_group(scaled: Floats, thresholds: Floats, group: NDArray[np.int64]) -> Votes01:
    """(n, V) votes of rows whose group g has the thresholds ``thresholds[g]``.

    Only the threshold counts, not whether these rows happen to lie above it; a threshold at 0 must be exceeded.
    """
    own = thresholds[group]
    return np.where(own <= 0, scaled > 0, scaled >= own).astype(np.int8)


def learned_balance(
    class_balance: Any, labels: ArrayLike | None, scaled: Floats, threshold: float | str, sizes: NDArray[np.int64] | None
) -> tuple[float, str, int]:
    """P(a response is right), where it comes from, and how many labels were read.

    Parameters
    ----------
    class_balance : float, "estimate" or "labels"
    labels : (n,) int or None
    scaled : (n, V) float
    threshold : "class-balance" or float
    sizes : (Q,) int or None
        Responses per query where thresholds are taken within queries.
    """
    if isinstance(class_balance, str) and class_balance == "estimate":
        share = 0.5
        # Thresholds need the balance and the balance votes: a few rounds from the medians on.
        for _ in range(_BALANCE_ROUNDS):
            if sizes is None:
                votes = votes_above(scaled, thresholds_at(scaled, threshold, share))
            else:
                votes = votes_within(scaled, np.r_[0, sizes.cumsum()], share)
            share = float(np.clip(class_balance_from_votes(votes), LOWEST, 1 - LOWEST))
        return share, "estimate", 0
    if isinstance(class_balance, int | float) and not isinstance(class_balance, bool):
        if not 0 < class_balance < 1:
            raise LabelModelError(f"class_balance is {class_balance}; P(a response is right) must lie between 0 and 1")
        return float(np.clip(class_balance, LOWEST, 1 - LOWEST)), "given", 0
    if class_balance == "labels" and labels is not None and (np.asarray(labels) >= 0).any():
        known = np.asarray(labels).ravel()
        known = known[known >= 0]
        return float(np.clip(known.mean(), LOWEST, 1 - LOWEST)), "labels", len(known)
    raise LabelModelError(
        "the class balance is unknown: give class_balance as the chance that a response is right, as 'labels' together with a few "
        "labels `y`, or as 'estimate' to learn it from the votes"
    )


def filter_rule(keep: Keep, balance: float) -> str:
    """The rule that "adaptive" stands for: where few are right the verifiers that seldom say yes, where most are those that often do.

    Examples
    --------
    >>> [filter_rule("adaptive", p) for p in (0.1, 0.5, 0.9)]
    ['large', 'all', 'small']
    """
    if keep != "adaptive":
        return keep
    return "large" if balance < 0.2 else "small" if balance > 0.8 else "all"


def filtered(yes: Floats, rule: str) -> NDArray[np.bool_]:
    """(V,) which verifiers stay by their share of yes; where the rule would leave none, all that vary.

    Examples
    --------
    >>> filtered(np.array([0.05, 0.3, 0.95]), "all").tolist()
    [False, True, False]
    """
    varies = (yes > 0) & (yes < 1)
    kept = {"all": (yes > 0.1) & (yes < 0.9), "small": yes > 0.5, "large": yes < 0.5, "none": np.ones(len(yes), dtype=bool)}[rule] & varies
    return kept if kept.any() else varies
