"""Equations as strings of tokens: ``- * 5 12 8`` in prefix notation, ``5 12 * 8 -`` in postfix. Values are exact fractions.

The solutions of the word-problem proofs: a step is one operation, the answer is the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

import numpy as np

from steelyard.errors import ConfigError

OPERATIONS = ("+", "-", "*", "/")
NUMBER = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")
"""How a number looks in a text or an equation."""

Severity = Literal["mild", "severe"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Tree:
    """An operation on two operands, each a number as it was written or another operation."""

    operation: str
    left: Tree | str
    right: Tree | str

    def operations(self) -> Iterator[Tree]:
        """Every operation in the order it is carried out: operands before what uses them, the outermost last."""
        for operand in (self.left, self.right):
            if isinstance(operand, Tree):
                yield from operand.operations()
        yield self

    def value(self) -> Fraction:
        """The exact value; ZeroDivisionError where it has none."""
        a, b = (operand.value() if isinstance(operand, Tree) else Fraction(operand.replace(",", "")) for operand in (self.left, self.right))
        return a + b if self.operation == "+" else a - b if self.operation == "-" else a * b if self.operation == "*" else a / b

    def prefix(self) -> str:
        """The equation in prefix notation."""
        return " ".join([self.operation, *(o.prefix() if isinstance(o, Tree) else o for o in (self.left, self.right))])

    def postfix(self) -> str:
        """The equation in postfix notation."""
        return " ".join([*(o.postfix() if isinstance(o, Tree) else o for o in (self.left, self.right)), self.operation])


def parse(equation: str) -> Tree | None:
    """Read one whole equation in prefix notation; None where the text is anything else, a lone number included.

    Examples
    --------
    >>> parse("- * 5 12 8").postfix()
    '5 12 * 8 -'
    >>> parse("5 12 * 8 -") is None
    True
    """
    stack: list[Tree | str] = []
    for token in reversed(equation.split()):
        if token in OPERATIONS and len(stack) >= 2:
            stack.append(Tree(token, stack.pop(), stack.pop()))
        elif NUMBER.fullmatch(token):
            stack.append(token)
        else:
            return None
    return stack[0] if len(stack) == 1 and isinstance(stack[0], Tree) else None


def value(equation: str) -> str:
    """The value of a prefix equation as a decimal, or a fraction where the decimal has no end; "" where there is none.

    Examples
    --------
    >>> value("/ 10 4"), value("/ 10 3"), value("/ 1 0"), value("no equation")
    ('2.5', '10/3', '', '')
    """
    tree = parse(equation)
    if tree is None:
        return ""
    try:
        return written(tree.value())
    except ZeroDivisionError:
        return ""


def written(number: Fraction) -> str:
    """A fraction as a decimal where it has few digits, else as ``a/b``.

    Examples
    --------
    >>> written(Fraction(1, 8)), written(Fraction(-7, 3))
    ('0.125', '-7/3')
    """
    scaled = number * 10**6
    if number.denominator == 1 or scaled.denominator != 1:
        return str(number)
    sign, digits = "-" * (number < 0), f"{abs(scaled).numerator:07d}"
    return f"{sign}{digits[:-6]}.{digits[-6:]}".rstrip("0")


def corrupt(equation: str, numbers: Sequence[str], severity: Severity, seed: int) -> str | None:
    """Make a wrong equation of a right one: the value always differs, so that mild and severe errors are equally wrong in the answer.

    Parameters
    ----------
    equation
        A prefix equation.
    numbers
        What operands may be replaced by, usually the numbers of the problem.
    severity
        "mild" changes the outermost operation or one operand; "severe" redraws every operation and every operand.
    seed
        Decides the draw.

    Returns
    -------
    str or None
        None where no such change alters the value (found in 200 tries).

    Examples
    --------
    >>> corrupt("- * 5 12 8", ["5", "12", "8"], "mild", seed=0)
    '- * 12 12 8'
    """
    tree = parse(equation)
    if tree is None or severity not in SEVERITIES:
        raise ConfigError(f"corrupt: '{equation}' must be a prefix equation and severity mild or severe, not '{severity}'")
    rng, tokens, right = np.random.default_rng(seed), equation.split(), value(equation)
    operands = [i for i, token in enumerate(tokens) if token not in OPERATIONS]
    for _ in range(200):
        drawn = list(tokens)
        if severity == "severe":
            drawn = [str(rng.choice(numbers if i in operands else OPERATIONS)) for i in range(len(tokens))]
        elif rng.random() < 0.5:
            drawn[0] = str(rng.choice(OPERATIONS))
        else:
            drawn[rng.choice(operands)] = str(rng.choice(numbers))
        if value(" ".join(drawn)) not in ("", right):
            return " ".join(drawn)
    return None
