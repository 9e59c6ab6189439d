"""Equations: both notations, exact values, and corruptions that are always wrong."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import ConfigError
from steelyard.language.notation import OPERATIONS, corrupt, parse, value
from steelyard.language.steps import operation_errors


def random_equation(rng: np.random.Generator, operations: int) -> str:
    if operations == 0:
        return str(rng.integers(1, 9))
    left = int(rng.integers(0, operations))
    return f"{rng.choice(OPERATIONS)} {random_equation(rng, left)} {random_equation(rng, operations - 1 - left)}"


def by_python(equation: str) -> float:
    """Infix with brackets, evaluated by the language itself."""

    def infix(tokens: list[str]) -> str:
        token = tokens.pop(0)
        return f"({infix(tokens)} {token} {infix(tokens)})" if token in OPERATIONS else token

    return float(eval(infix(equation.split())))


def test_values_agree_with_python() -> None:
    rng = np.random.default_rng(0)
    checked = 0
    for _ in range(300):
        equation = random_equation(rng, int(rng.integers(1, 5)))
        tree = parse(equation)
        assert tree is not None
        assert tree.prefix() == equation
        try:
            expected = by_python(equation)
        except ZeroDivisionError:
            assert value(equation) == ""
            continue
        assert float(tree.value()) == pytest.approx(expected)
        checked += 1
    assert checked > 250


def test_postfix_is_the_same_computation_in_another_order() -> None:
    assert parse("- * 5 12 / 8 2").postfix() == "5 12 * 8 2 / -"  # type: ignore[union-attr]
    assert value("5 12 *") == ""


@pytest.mark.parametrize("text", ["", "5", "+ 1", "+ 1 2 3", "1 + 2", "+ 1 x", "+ + 1 2", "+1 2"])
def test_what_is_no_equation(text: str) -> None:
    assert parse(text) is None
    assert value(text) == ""


def test_mild_errors_change_one_thing_and_severe_ones_all() -> None:
    rng = np.random.default_rng(1)
    mild_wrong, severe_wrong, steps = 0, 0, 0
    for seed in range(200):
        equation = random_equation(rng, 2)
        if not value(equation):
            continue
        numbers = [token for token in equation.split() if token not in OPERATIONS]
        mild, severe = corrupt(equation, numbers, "mild", seed), corrupt(equation, numbers, "severe", seed)
        if mild is None or severe is None:
            continue
        assert value(mild) not in ("", value(equation))
        assert value(severe) not in ("", value(equation))
        assert sum(a != b for a, b in zip(mild.split(), equation.split(), strict=True)) == 1
        assert len(severe.split()) == len(equation.split())
        mild_wrong += operation_errors(mild, equation)[0]
        severe_wrong += operation_errors(severe, equation)[0]
        steps += 2
        assert corrupt(equation, numbers, "mild", seed) == mild
    assert steps > 300
    assert 0.45 * steps <= mild_wrong <= 0.55 * steps
    assert severe_wrong > 0.8 * steps


def test_what_cannot_be_made_wrong_is_none() -> None:
    assert corrupt("+ 0 0", ["0"], "mild", seed=0) is None
    with pytest.raises(ConfigError, match="severity mild or severe, not 'grave'"):
        corrupt("+ 1 2", ["1"], "grave", seed=0)  # type: ignore[arg-type]
