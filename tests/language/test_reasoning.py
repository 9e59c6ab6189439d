"""Extraction by every convention, the first completed answer, and exact recounts of published solutions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard.completions import Completions
from steelyard.errors import ConfigError, DataError
from steelyard.language.reasoning import equal, extract, is_correct, runs_on, with_extracted
from steelyard.training.selection.agreement import answer_consistency


@pytest.mark.parametrize(
    ("text", "style", "answer"),
    [
        (r"so \boxed{\frac{\sqrt{3}}{2}}.", "boxed", r"\frac{\sqrt{3}}{2}"),
        (r"\boxed{\{1, 2\}}", "boxed", r"\{1, 2\}"),
        (r"\boxed 7", "boxed", "7"),
        (r"\fbox{C} and more", "boxed", "C"),
        (r"first \boxed{4}, no: \boxed{5}", "boxed", "4"),
        (r"cut off in \boxed{\frac{1}{", "boxed", ""),
        (r"\boxed{} then \boxed{3}", "boxed", "3"),
        ("6*7 = 42\n#### 42\n#### 43", "hashes", "42"),
        ("#### 1,000", "hashes", "1,000"),
        ("no answer", "hashes", ""),
        ("The answer is: $\\frac{1}{2}$. Bye", "phrase", "$\\frac{1}{2}$"),
        ("the answer is 5 because 2+3.", "phrase", "5"),
        ("The answer is clearly 12.5 meters. Next", "phrase", "12.5"),
        ("steps\nA: 26", "phrase", "26"),
        ("Final answer: (2, 3)", "phrase", "(2, 3)"),
        ("The answer is 3, -1. Done.", "phrase", "3, -1"),
        ("The answer is: 2, 4 and 6.", "phrase", "2, 4 and 6"),
        ("So the answer is x = 1 or x = 2.", "phrase", "x = 1 or x = 2"),
        ("Answer: 1,250 dollars, which is a lot", "phrase", "1,250"),
        ("The answer is 5, because 2 and 3 make 5.", "phrase", "5"),
        ("we had 3 and then 1,204.50 left.", "number", "1,204.50"),
        ("minus -7", "number", "-7"),
        ("between 3-7", "number", "7"),
        ("words", "number", ""),
        ("B", "choice", "B"),
        ("B) because", "choice", "B"),
        ("(A) is wrong. The answer is (D).", "choice", "D"),
        ("A dog barks. I choose (C)", "choice", "C"),
        ("/ - 5.5 1 3", "equation", "1.5"),
        ("/ 1 3", "equation", "1/3"),
        ("5 1 -", "equation", ""),
        ("/ 1 0", "equation", ""),
        (r"The answer is 3. \boxed{4}", "auto", "4"),
        ("The answer is 3.\n#### 5", "auto", "5"),
        ("so 3 or 4", "auto", "4"),
        ("", "auto", ""),
    ],
)
def test_extraction(text: str, style: str, answer: str) -> None:
    assert extract(text, style) == answer  # type: ignore[arg-type]


def test_an_unknown_style_is_named() -> None:
    with pytest.raises(ConfigError, match="answer style 'roman' is unknown; use one of boxed, hashes"):
        extract("IV", "roman")  # type: ignore[arg-type]


def test_a_model_that_answers_and_runs_on_is_scored_by_what_it_answered() -> None:
    drawn = with_extracted(Completions(["q"], [r"\boxed{4} Question: 2+2? \boxed{5}"]), "boxed")
    assert is_correct(drawn, ["4"]).tolist() == [True]
    assert runs_on(drawn.texts[0], "boxed")
    assert not runs_on(r"so it is $\boxed{4}$.", "boxed")


def test_correctness_follows_the_rows_and_counts_no_empty_answer() -> None:
    drawn = Completions(["q"] * 4, ["a", "b", "c", "d"], rows=[2, 0, 2, 1], answers=["0.5", "", "3", "x"])
    assert is_correct(drawn, ["", "x", "1/2"]).tolist() == [True, False, False, True]
    with pytest.raises(DataError, match="have no answers"):
        is_correct(Completions(["q"], ["t"]), ["1"])
    with pytest.raises(DataError, match="answers question 2, but there are 2"):
        is_correct(drawn, ["1", "2"])


@pytest.fixture(scope="module")
def published(data_root: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Gold answers of GSM8K's test problems and the answers of four models that were published with it."""
    folder = data_root / "gsm8k_weak_solutions"
    gold = pl.read_parquet(folder / "gsm8k.parquet").filter(pl.col("split") == "test")["final_answer"].to_list()
    table = pl.read_parquet(folder / "test_model_solutions.parquet").sort("test_index")
    texts = {method: table.filter(pl.col("method") == method)["solution"] for method in table["method"].unique().sort()}
    return gold, {method: [extract(text, "phrase") for text in column] for method, column in texts.items()}


def as_published(a: str, b: str) -> bool:
    """The published flags compare strings without commas and spaces, so 4.20 and 4.2 count as different."""
    return a.replace(",", "").replace(" ", "") == b.replace(",", "").replace(" ", "")


@pytest.mark.parametrize(
    ("method", "error"), [("6b_finetuning", 0.78), ("6b_verification", 0.61), ("175b_finetuning", 0.65), ("175b_verification", 0.44)]
)
def test_outcome_error_of_four_published_models(
    published: tuple[list[str], dict[str, list[str]]], method: str, error: float, data_root: Path
) -> None:
    gold, answers = published
    right = np.array([equal(a, g) for a, g in zip(answers[method], gold, strict=True)])
    assert round(1 - right.mean(), 2) == error
    table = pl.read_parquet(data_root / "gsm8k_weak_solutions" / "test_model_solutions.parquet").sort("test_index")
    flags = table.filter(pl.col("method") == method)["is_correct"].to_numpy()
    assert (right == flags).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_agreement_of_published_models(published: tuple[list[str], dict[str, list[str]]]) -> None:
    gold, answers = published
    tuned = answer_consistency(answers["6b_finetuning"], answers["175b_finetuning"], equal=as_published, gold=gold)
    assert (len(tuned.kept), round(tuned.precision, 3), round(tuned.first_accuracy, 3)) == (257, 0.770, 0.217)
    verified = answer_consistency(answers["6b_verification"], answers["175b_verification"], equal=equal, gold=gold)
    assert (len(verified.kept), round(verified.precision, 3)) == (539, 0.809)
    # By value one more pair agrees: 20.5 and 20.50.
    by_value = answer_consistency(answers["6b_finetuning"], answers["175b_finetuning"], equal=equal, gold=gold)
    assert len(by_value.kept) == 258


def test_three_of_four_published_models(published: tuple[list[str], dict[str, list[str]]]) -> None:
    gold, answers = published
    rows = [Counter(a.replace(",", "") for a in four if a).most_common(1)[0] for four in zip(*answers.values(), strict=True)]
    covered = [i for i, (_, votes) in enumerate(rows) if votes >= 3]
    assert len(covered) == 408
    assert round(np.mean([equal(rows[i][0], gold[i]) for i in covered]), 3) in (0.884, 0.885)


@pytest.mark.parametrize(("model", "accuracy"), [("llama2_7b", 0.414), ("mistral_7b", 0.658), ("gemma_2b", 0.328)])
def test_weak_solutions_of_seven_thousand_problems(model: str, accuracy: float, data_root: Path) -> None:
    table = pl.read_parquet(data_root / "gsm8k_weak_solutions" / "weak_model_solutions.parquet")
    answers = [extract(text, "hashes") for text in table[f"{model}_solution"]]
    flags = table[f"{model}_correct"].to_numpy()
    assert [as_published(a, g) and a != "" for a, g in zip(answers, table["gold"], strict=True)] == flags.tolist()
    assert round(flags.mean(), 3) == accuracy
    # Equality of values finds the same and a few that the strings miss.
    by_value = np.array([equal(a, g) for a, g in zip(answers, table["gold"], strict=True)])
    assert (by_value >= flags).all()
    assert 0 < by_value.sum() - flags.sum() < 20
