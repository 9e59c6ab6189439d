"""Agreement of two views, and majorities against the weak solution: rules one by one, and recovery on simulated solvers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from steelyard.completions import Completions
from steelyard.errors import ConfigError, DataError
from steelyard.training.selection.agreement import WeakSecondView, answer_consistency, majority_pairs


def solvers(n: int, accuracies: list[float], wrong_answers: int = 20, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """Gold answers and those of independent solvers, whose errors are spread over many answers."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(1000, 2000, n)
    views = [np.where(rng.random(n) < p, gold, gold + rng.integers(1, wrong_answers + 1, n)) for p in accuracies]
    return [str(g) for g in gold], [[str(a) for a in view] for view in views]


def test_precision_of_agreement_is_bayes_rule() -> None:
    """Two solvers right with p and q, errors uniform over w answers: P(right | agree) = pq / (pq + (1−p)(1−q)/w)."""
    p, q, w = 0.4, 0.6, 20
    gold, (first, second) = solvers(40_000, [p, q], w)
    found = answer_consistency(first, second, gold=gold)
    expected = p * q / (p * q + (1 - p) * (1 - q) / w)
    assert found.precision == pytest.approx(expected, abs=0.01)
    assert len(found.kept) / found.n == pytest.approx(p * q + (1 - p) * (1 - q) / w, abs=0.01)
    assert found.first_accuracy == pytest.approx(p, abs=0.01)
    assert found.precision > 0.9


def test_gold_is_for_the_report_only_and_empty_answers_agree_with_nothing() -> None:
    first, second = ["4", "", "", "6.0"], ["4", "", "5", "6"]
    without, with_gold = answer_consistency(first, second), answer_consistency(first, second, gold=["0", "", "5", "6"])
    assert without.kept.tolist() == with_gold.kept.tolist() == [0]
    assert np.isnan(without.precision)
    assert with_gold.precision == 0
    assert answer_consistency(first, second, equal=lambda a, b: float(a) == float(b)).kept.tolist() == [0, 3]
    with pytest.raises(DataError, match="4 answers against 3"):
        answer_consistency(first, second[:3])


def test_a_worse_second_view_is_warned_of() -> None:
    gold, (good, bad) = solvers(500, [0.7, 0.3])
    with pytest.warns(WeakSecondView, match="agreement needs a second view as good as the first"):
        answer_consistency(good, bad, gold=gold)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer_consistency(bad, good, gold=gold)


def drawn(answers: list[str], row: int = 0) -> Completions:
    return Completions(
        [f"q{row}"] * len(answers), [f"{a} by way {i}" for i, a in enumerate(answers)], rows=[row] * len(answers), answers=answers
    )


def weak(answer: str, row: int = 0) -> Completions:
    return Completions([f"q{row}"], [f"weak says {answer}"], rows=[row], answers=[answer])


@pytest.mark.parametrize(
    ("answers", "own", "pairs"),
    [
        (["4"] * 6 + ["5"] * 4, "4", "chosen"),  # confirmed at .6
        (["4"] * 5 + ["5"] * 5, "4", None),  # .5 is too little
        (["4"] * 10, "4", None),  # nothing to reject: too easy
        (["4"] * 7 + ["5"] * 3, "5", None),  # overruling takes .8
        (["4"] * 8 + ["5"] * 2, "5", "rejected"),
        (["4"] * 8 + ["5"] * 2, "", "rejected"),
        ([""] * 9 + ["4"], "4", None),  # an empty majority says nothing
        (["4"] * 5 + [""] * 5, "4", None),  # but empty answers count
    ],
)
def test_thresholds(answers: list[str], own: str, pairs: str | None) -> None:
    found = majority_pairs(drawn(answers), weak(own))
    if pairs is None:
        assert len(found) == 0
        return
    assert len(found) == 1
    assert getattr(found, pairs) == (f"weak says {own}",)
    other = (found.rejected if pairs == "chosen" else found.chosen)[0]
    assert other.startswith("4") == (pairs == "rejected")


def test_the_weak_solution_stands_in_every_pair_and_rows_follow() -> None:
    rng = np.random.default_rng(0)
    n = 300
    gold, (own,) = solvers(n, [0.4])
    samples = Completions.concat(
        [drawn([gold[i] if rng.random() < 0.8 else str(rng.integers(0, 9)) for _ in range(10)], i) for i in range(n)]
    )
    solutions = Completions.concat([weak(own[i], i) for i in range(n)])
    pairs = majority_pairs(samples.take(rng.permutation(len(samples))), solutions, max_pairs=3)
    texts = dict(zip(solutions.rows.tolist(), solutions.texts, strict=True))
    assert all(texts[r] in (c, j) and c != j for r, c, j in zip(pairs.rows.tolist(), pairs.chosen, pairs.rejected, strict=True))
    assert np.bincount(pairs.rows).max() == 3
    answer = {text: text.removeprefix("weak says ").split(" by ")[0] for text in (*pairs.chosen, *pairs.rejected)}
    right = np.array(
        [[answer[text] == gold[row] for text, row in zip(side, pairs.rows, strict=True)] for side in (pairs.chosen, pairs.rejected)]
    )
    assert right[0].mean() > 0.97
    assert right[1].mean() < 0.03
    again = majority_pairs(samples, solutions, max_pairs=3)
    assert majority_pairs(samples, solutions, max_pairs=3).chosen == again.chosen
    assert majority_pairs(samples, solutions, max_pairs=3, seed=1).rejected != again.rejected


def test_equivalent_answers_vote_together() -> None:
    def same(a: str, b: str) -> bool:
        return float(a) == float(b)

    answers = ["0.5", ".5", "0.50", "1", "2"]
    assert len(majority_pairs(drawn(answers), weak("0.500"))) == 0
    pairs = majority_pairs(drawn(answers), weak("0.500"), equal=same)
    assert pairs.chosen == ("weak says 0.500",)
    assert pairs.rejected[0][0] in "12"


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="need 0 ≤ min_confidence ≤ flip_confidence ≤ 1"):
        majority_pairs(drawn(["4"]), weak("4"), min_confidence=0.9)
    with pytest.raises(DataError, match="need extracted answers"):
        majority_pairs(Completions(["q"], ["4"]), weak("4"))
    with pytest.raises(DataError, match="one weak solution per question"):
        majority_pairs(drawn(["4"]), Completions.concat([weak("4"), weak("5")]))
