"""Steps and their errors: closed cases, and the calculator annotations of real solutions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard.errors import DataError
from steelyard.language.steps import arithmetic_errors, holds, operation_errors, step_error_rate, steps, value_errors


@pytest.mark.parametrize(
    ("solution", "reference", "wrong", "judged"),
    [
        ("+ 1 2", "+ 2 1", 0, 1),
        ("- 1 2", "- 2 1", 1, 1),
        ("* + 1 2 3", "* 3 + 2 1", 0, 2),
        ("- + 1 2 3", "* + 1 2 3", 1, 2),
        ("* + 1 9 3", "* + 1 2 3", 1, 2),
        ("* + 1 9 4", "* + 1 2 3", 2, 2),
        ("+ + 1 2 3", "+ 1 2", 1, 2),
        ("+ 1,000 2.0", "+ 1000 2", 0, 1),
        ("no equation", "+ 1 2", 0, 0),
    ],
)
def test_operations(solution: str, reference: str, wrong: int, judged: int) -> None:
    assert operation_errors(solution, reference) == (wrong, judged)


@pytest.mark.parametrize(
    ("expression", "printed", "right"),
    [
        ("16-3", "13", True),
        ("16-3", "12", False),
        ("2*1/2", "1.0", True),
        ("400*.8", "320", True),
        ("10/3", "3.33", True),
        ("10/3", "3.34", False),
        ("10/3", "3", False),
        ("150%", "1.5", True),
        ("1,000*2", "2,000", True),
        ("20/100*41.472", "8.294400000000001", True),
        ("2x", "10", None),
        ("5", "5", True),
        ("1/0", "0", None),
    ],
)
def test_annotations(expression: str, printed: str, right: bool | None) -> None:
    assert holds(expression, printed) is right


def test_rates_are_over_all_steps_of_a_set() -> None:
    solutions = ["<<1+1=3>>3", "<<1+1=2>>2\n<<2+1=3>>3\n<<3+1=4>>4", "nothing to judge"]
    assert step_error_rate(solutions, [""] * 3, arithmetic_errors) == pytest.approx(1 / 4)
    assert math.isnan(step_error_rate(["words"], ["words"], arithmetic_errors))
    with pytest.raises(DataError, match="2 solutions but 1 references"):
        step_error_rate(["a", "b"], ["a"], arithmetic_errors)


def test_a_judge_is_any_function() -> None:
    def shouting(solution: str, reference: str) -> tuple[int, int]:
        lines = steps(solution)
        return sum(line.isupper() for line in lines), len(lines)

    assert step_error_rate(["A\nb\n#### 3"], [""], shouting) == 0.5


def test_published_solutions(data_root: Path) -> None:
    """Every reference computes right. Models with a calculator hardly ever compute wrong: what goes astray is what they compute."""
    folder = data_root / "gsm8k_weak_solutions"
    gold = pl.read_parquet(folder / "gsm8k.parquet").filter(pl.col("split") == "test")["answer"].to_list()
    assert step_error_rate(gold, gold, arithmetic_errors) == 0
    assert step_error_rate(gold, gold, value_errors) == 0
    table = pl.read_parquet(folder / "test_model_solutions.parquet").sort("test_index")
    rates = {}
    for method in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
        solutions = table.filter(pl.col("method") == method)["solution"].to_list()
        assert step_error_rate(solutions, gold, arithmetic_errors) < 0.01
        rates[method] = step_error_rate(solutions, gold, value_errors)
    # Step error ranks the four models as outcome error does (.78, .65, .61, .44).
    assert list(np.round(sorted(rates.values()), 2)) == [0.38, 0.49, 0.53, 0.63]
    assert sorted(rates, key=rates.__getitem__) == ["175b_verification", "6b_verification", "175b_finetuning", "6b_finetuning"]
