"""Which weak solutions to trust when no gold answer exists: those whose answer a second view reaches too, or most of many samples reach.

Agreement of two generators that err differently is a test of correctness without labels; contrasts between a majority and the weak solution
are preference pairs. Yang, Ma, Liu 2024, "Weak-to-Strong Reasoning".
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steelyard.completions import Completions
from steelyard.errors import ConfigError, DataError
from steelyard.preferences import Preferences

Equal = Callable[[str, str], bool]


class WeakSecondView(UserWarning):
    """The second view is less accurate than the first: agreement with it filters little and keeps shared errors."""


@dataclass(frozen=True)
class Consistency:
    """What agreement of two views kept.

    Parameters
    ----------
    kept : (k,) int64 array
        Positions of the answers that agree, ascending.
    n : int
        Answers compared.
    precision : float
        Share of the kept answers that equal gold; NaN without gold.
    first_accuracy, second_accuracy : float
        The same share over all n answers of each view.
    """

    kept: NDArray[np.int64]
    n: int
    precision: float = math.nan
    first_accuracy: float = math.nan
    second_accuracy: float = math.nan


def answer_consistency(
    first: Sequence[str], second: Sequence[str], *, equal: Equal | None = None, gold: Sequence[str] | None = None
) -> Consistency:
    """Keep the questions on which two views give the same final answer.

    Parameters
    ----------
    first
        n extracted answers of the weak supervisor, "" where it gave none; an empty answer agrees with nothing.
    second
        n answers of the other view to the same questions: the strong model with a few demonstrations, or cross-fitted on weak labels.
    equal
        When two answers mean the same; equality of the strings when left out.
    gold
        n true answers, for the report only: they choose nothing. A second view worse than the first raises a `WeakSecondView` warning.

    Examples
    --------
    >>> found = answer_consistency(["4", "", "9", "6"], ["4", "", "8", "6"], gold=["4", "1", "8", "5"])
    >>> found.kept, found.precision
    (array([0, 3]), 0.5)
    """
    same = equal or str.__eq__
    if len(first) != len(second) or (gold is not None and len(gold) != len(first)):
        raise DataError(
            f"answer_consistency: {len(first)} answers against {len(second)}"
            + (f" and {len(gold)} gold answers" if gold is not None else "")
        )
    agree = np.array([bool(a) and bool(b) and same(a, b) for a, b in zip(first, second, strict=True)], dtype=np.bool_)
    kept = np.flatnonzero(agree).astype(np.int64)
    if gold is None:
        return Consistency(kept, len(first))
    right = np.array([[bool(a) and same(a, g) for a, g in zip(view, gold, strict=True)] for view in (first, second)], dtype=np.bool_)
    one, two = (float(view.mean()) if view.size else math.nan for view in right)
    if two < one:
        warnings.warn(
            f"the second view is right on {two:.1%}, the first on {one:.1%}: agreement needs a second view as good as the first",
            WeakSecondView,
            2,
        )
    return Consistency(kept, len(first), float(right[0][kept].mean()) if len(kept) else math.nan, one, two)


def majority_pairs(
    samples: Completions,
    weak: Completions,
    *,
    equal: Equal | None = None,
    min_confidence: float = 0.6,
    flip_confidence: float = 0.8,
    max_pairs: int = 1,
    seed: int = 42,
) -> Preferences:
    """Contrast the majority of a strong model's samples with the weak solution of the same question.

    Let m be the most frequent answer among the samples of a question and c its share; "" counts as an answer, the first seen wins a tie.
    Questions with c < `min_confidence` or an empty m give no pair. Where the weak answer equals m, the weak solution is chosen against
    samples with another answer; where it does not and c ≥ `flip_confidence`, samples that answer m are chosen against the weak solution.
    So the weak solution stands in every pair, and overruling it takes more confidence than confirming it.

    Parameters
    ----------
    samples
        With `answers`; n per question (the published setting is 10 at temperature 1), `rows` says of which.
    weak
        With `answers`; one solution per question, `rows` as in `samples`. Questions without one give no pair.
    equal
        When two answers mean the same; equality of the strings when left out.
    min_confidence, flip_confidence
        In [0, 1], the first not above the second.
    max_pairs
        Pairs per question at most: 1, or up to 3 in the published settings for harder tasks.
    seed
        Draws the samples that are paired.

    Returns
    -------
    Preferences
        Hard pairs in the order of `weak`; `rows` of the questions.

    Examples
    --------
    >>> drawn = Completions(["q"] * 5, ["so 4", "it is 4", "4", "4!", "5"], rows=[0] * 5, answers=["4", "4", "4", "4", "5"])
    >>> pairs = majority_pairs(drawn, Completions(["q"], ["2+2=4"], answers=["4"]))
    >>> pairs.chosen, pairs.rejected
    (('2+2=4',), ('5',))
    >>> majority_pairs(drawn, Completions(["q"], ["2+2=22"], answers=["22"])).rejected
    ('2+2=22',)
    """
    if not 0.0 <= min_confidence <= flip_confidence <= 1.0 or max_pairs < 1:
        given = f"{min_confidence}, {flip_confidence} and {max_pairs}"
        raise ConfigError(f"majority_pairs: need 0 ≤ min_confidence ≤ flip_confidence ≤ 1 and max_pairs ≥ 1, got {given}")
    if samples.answers is None or weak.answers is None:
        raise DataError("majority_pairs: samples and weak solutions need extracted answers; use with_answers first")
    if len(np.unique(weak.rows)) != len(weak):
        raise DataError("majority_pairs: give one weak solution per question; a row occurs twice")
    same, rng = equal or str.__eq__, np.random.default_rng(seed)
    order = np.argsort(samples.rows, kind="stable")
    starts = np.searchsorted(samples.rows[order], weak.rows, side="left")
    ends = np.searchsorted(samples.rows[order], weak.rows, side="right")
    pairs: list[tuple[str, str, str, int]] = []
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        drawn = order[start:end]
        answers = [samples.answers[j] for j in drawn]
        names = _equivalence_classes(answers, same)
        if not names:
            continue
        majority = max(dict.fromkeys(names), key=names.count)
        confidence = names.count(majority) / len(names)
        if confidence < min_confidence or majority == "":
            continue
        confirmed = bool(weak.answers[i]) and same(weak.answers[i], majority)
        if not confirmed and confidence < flip_confidence:
            continue
        own = weak.texts[i]
        others = {samples.texts[j]: None for j, name in zip(drawn, names, strict=True) if (name == majority) != confirmed}
        found = [text for text in others if text != own]
        for k in rng.permutation(len(found))[:max_pairs]:
            pairs.append(
                (weak.prompts[i], own, found[k], int(weak.rows[i])) if confirmed else (weak.prompts[i], found[k], own, int(weak.rows[i]))
            )
    columns = list(zip(*pairs, strict=True)) if pairs else [(), (), (), ()]
    return Preferences(columns[0], columns[1], columns[2], rows=np.array(columns[3], dtype=np.int64))  # type: ignore[arg-type]


def _equivalence_classes(answers: Sequence[str], same: Equal) -> list[str]:
    """Name each answer by the first one it is equal to."""
    names: dict[str, str] = {}
    for answer in answers:
        if answer not in names:
            names[answer] = answer and next((seen for seen in names.values() if seen and same(seen, answer)), answer)
    return [names[answer] for answer in answers]
