"""When two written answers mean the same: numbers with units, fractions, LaTeX, tuples, sets, intervals and formulas.

Below the scoring of reasoning. Formulas are equal where they agree at random points (Schwartz 1980, "Fast probabilistic algorithms for
verification of polynomial identities"): it takes microseconds, needs no algebra system, and runs nothing that a model wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Value = Fraction | NDArray[np.complex128]

_LONGEST = 400  # characters of an answer that are read as a formula; longer ones are only compared as strings
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "cot": lambda x: 1 / np.tan(x),
    "sec": lambda x: 1 / np.cos(x),
    "csc": lambda x: 1 / np.sin(x),
    "arcsin": np.arcsin,
    "arccos": np.arccos,
    "arctan": np.arctan,
    "ln": np.log,
    "log": np.log,
    "exp": np.exp,
    "abs": np.abs,
}
_CONSTANTS = {"pi": np.pi, "i": 1j, "e": np.e}
_WORDS = r"\\(?:text|mbox|mathrm|textbf|mathbf|textit)\s*"
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_AND = re.compile(r"\s*;\s*|,?\s+(?:and|or)\s+", re.IGNORECASE)
_OF_VARIABLE = re.compile(r"\s*([A-Za-z])\s*=")


def equal(a: str, b: str, *, rtol: float = 0.0) -> bool:
    """Say whether two answers are equivalent; an empty answer equals nothing, not even another empty one.

    Parameters
    ----------
    a, b
        Answers as a model or a reference wrote them.
    rtol
        Relative rounding that two numbers may differ by, in [0, 1); 0 wants rational numbers exactly equal.

    Notes
    -----
    Read as equal: ``1,000`` and ``1000``; ``\\frac{1}{2}``, ``1/2``, ``.5``; ``$18`` or ``18 dollars`` and ``18``; ``50%``, ``50`` and
    ``0.5``; ``x=5`` and ``5``; ``(C)`` and ``C``; lists and sets in any order (``{1, 2}``, ``2 and 1``, ``x=2 or x=1``, ``["a", "b"]``);
    ``1 \\pm 2`` and ``3, -1``. Tuples and intervals keep their order. Variables are taken as positive: ``\\sqrt{x^2}`` equals ``x``.

    Examples
    --------
    >>> equal("$1,250.00", "1250"), equal(r"\\frac{\\sqrt{12}}{2}", r"\\sqrt 3"), equal("(1, 2)", "(2, 1)")
    (True, True, False)
    >>> equal("2(x+1)", "2x + 2"), equal("", "")
    (True, False)
    >>> equal("3, -1", "-1 and 3"), equal("2, 4 and 6", "2, 4")
    (True, False)
    """
    if not a.strip() or not b.strip():
        return False
    if a == b:
        return True
    first, second = canonical(a), canonical(b)
    return first.casefold() == second.casefold() != "" or _same(first, second, rtol)


@lru_cache(maxsize=65536)
def canonical(answer: str) -> str:
    """Return the answer without what carries no value: spaces, dollar signs, units, thousands separators, LaTeX layout.

    Examples
    --------
    >>> canonical(r"\\$32,\\!348"), canonical(r"\\dfrac{17}{50}"), canonical(r"864 \\mbox{ inches}^2"), canonical(r"\\text{(C)}")
    ('32348', '\\\\frac{17}{50}', '864', 'C')
    """
    s = answer.strip().rstrip(".").strip()
    s = re.sub(r"\\[dtc]frac", r"\\frac", s)
    s = re.sub(r",\s*\\!\s*", ",", s)
    s = re.sub(r"\\left|\\right|\\[!,;:]|\\q?quad|\\displaystyle|\\\(|\\\)|(?<!\\)\\[\[\] ]|~", " ", s)
    s = re.sub(r"\\?\$|[€£]|\^\s*(\\circ|\{\s*\\circ\s*\})|°|\\degree", "", s)
    s = s.replace("\\%", "%").replace("×", "\\times").replace("·", "\\cdot").replace("−", "-").replace("π", "\\pi").replace("√", "\\sqrt")
    s = re.sub(r"\\(times|cdot|ast)\b", "*", s)
    s = re.sub(r"\\div\b|÷", "/", s)
    s = re.sub(r"_\s*\{\s*(\w)\s*\}", r"_\1", s)
    s = re.sub(r"(\\[A-Za-z]+)\s+([A-Za-z])", r"\1{\2}", s)
    worded = re.fullmatch(rf"\s*{_WORDS}\{{([^{{}}]*)\}}\s*", s)
    s = worded[1] if worded else re.sub(rf"{_WORDS}\{{[^{{}}]*\}}(\s*\^\s*(\{{\s*\d+\s*\}}|\d))?", " ", s)
    s = re.sub(r"(?<![\d.])(\d+)\s+(\d+)\s*/\s*(\d+)", r"(\1+\2/\3)", s.strip())
    if not s.startswith(("(", "[", "{", "\\{")):
        s = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", s)
    if listed := _listed(s):
        return listed
    # A number before plain words is the number: what follows is its unit.
    unit = re.fullmatch(r"\s*([-+]?[\d.,]*\d(?:\s*/\s*\d+)?)\s*(%?)\s*(?:[A-Za-z]{2,}[A-Za-z\s.^\d]*)?", s)
    s = unit[1] + unit[2] if unit else s
    choice = re.fullmatch(r"\s*\(?\s*([A-Z])\s*[).]\s*", s)
    s = choice[1] if choice else s
    s = re.sub(r"^[A-Za-z]\s*(=|\\in\b)(?!.*=)", "", s)
    return re.sub(r"\s+", "", s) if not re.search(r"[A-Za-z]{2,}\s+[A-Za-z]{2,}", s) else " ".join(s.split())


def _listed(s: str) -> str:
    """A bare list with each of its answers canonical; "" where there is one answer only, or where its variables differ."""
    parts = [part for part in _split(_AND.sub(",", s)) if part.strip()]
    variables = {named[1] for part in parts if (named := _OF_VARIABLE.match(part))}
    return ",".join(map(canonical, parts)) if len(parts) > 1 and len(variables) < 2 else ""


def _same(a: str, b: str, rtol: float) -> bool:
    """Compare canonical answers by meaning."""
    if "\\cup" in a or "\\cup" in b:
        return _multiset(a.split("\\cup"), b.split("\\cup"), rtol)
    first, second = _parts(a), _parts(b)
    if first is not None or second is not None:
        if first is None or second is None or len(first[1]) != len(second[1]) or first[::2] != second[::2]:
            return False
        if first[0] in ("(", "[", "pmatrix"):
            return all(_alike(x, y, rtol) for x, y in zip(first[1], second[1], strict=True))
        return _multiset(first[1], second[1], rtol)
    if "=" in a and "=" in b:
        return _same_equation(a, b)
    percent = a.count("%") - b.count("%")
    x, y = evaluate(a.replace("%", "")), evaluate(b.replace("%", ""))
    if x is None or y is None:
        return False
    if percent == 0:
        return _close(x, y, rtol)
    number, share = (x, y) if percent < 0 else (y, x)
    return _close(number, share, rtol) or _close(number, _binary("/", share, Fraction(100)), rtol)


def _alike(a: str, b: str, rtol: float) -> bool:
    return a.casefold() == b.casefold() or _same(a, b, rtol)


def _multiset(first: list[str], second: list[str], rtol: float) -> bool:
    left = list(second)
    for a in first:
        match = next((b for b in left if _alike(a, b, rtol)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _parts(s: str) -> tuple[str, list[str], str] | None:
    """Take apart a tuple, interval, set, column or bare list: (opening, parts, closing); None for a single value."""
    if "\\pm" in s and len(s) <= _LONGEST:
        inner = s.removeprefix("\\{").removesuffix("\\}")
        s = ",".join(
            part.replace("\\pm", sign, 1) if "\\pm" in part else part for part in _split(inner) for sign in "+-"[: 1 + ("\\pm" in part)]
        )
    matrix = re.fullmatch(r"\\begin\{([bpv]?matrix)\}(.*)\\end\{\1\}", s)
    if matrix:
        return "pmatrix", re.split(r"\\\\|&", matrix[2]), str(matrix[2].count("&"))
    s = s.replace("\\{", "{").replace("\\}", "}")
    opening, closing, parts = "", "", _split(s)
    if len(parts) == 1 and len(s) > 2 and s[0] in _PAIRS and s[-1] in ")]}":
        inside = _split(s[1:-1])
        if len(inside) > 1 or s[0] == "{":
            opening, closing, parts = s[0], s[-1], inside
    if opening == "[" and all(part[:1] in "'\"" and part[:1] == part[-1:] for part in parts):
        opening, closing, parts = "{", "}", [part[1:-1] for part in parts]  # names, so no interval
    if opening == "{":
        opening = closing = ""
    return (opening, parts, closing) if len(parts) > 1 else None


def _split(s: str) -> list[str]:
    """Split at commas that no bracket encloses."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(s):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append(s[start:i])
            start = i + 1
    return [*parts, s[start:]]


def _same_equation(a: str, b: str) -> bool:
    """Two equations are the same where left − right of one is a constant multiple of that of the other."""
    sides = [[evaluate(side) for side in equation.split("=", 1)] for equation in (a, b)]
    if any(side is None for pair in sides for side in pair):
        return False
    d, f = (_array(_binary("-", *pair)) for pair in sides)  # type: ignore[arg-type]
    with np.errstate(all="ignore"):
        ratio = d / f
    return bool(np.isfinite(ratio).all() and np.abs(ratio).min() > 0 and np.allclose(ratio, ratio[0], rtol=1e-9))


def _close(x: Value, y: Value, rtol: float) -> bool:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x == y or abs(x - y) <= Fraction(rtol) * max(abs(x), abs(y))
    p, q = _array(x), _array(y)
    return bool(np.isfinite(p).all() and np.isfinite(q).all() and np.allclose(p, q, rtol=max(rtol, 1e-9), atol=1e-12))


def evaluate(formula: str) -> Value | None:
    """Return the value of a canonical formula: an exact fraction, else its complex values at three points; None where it is no formula.

    Examples
    --------
    >>> evaluate("1\\\\frac{4}{5}"), evaluate("52_8") is None
    (Fraction(9, 5), True)
    """
    if len(formula) > _LONGEST or re.search(r"(?<!\\)[A-Za-z]{3,}", re.sub(r"\\[A-Za-z]+|sqrt|sin|cos|tan|cot|log|exp", "", formula)):
        return None
    try:
        with np.errstate(all="ignore"):
            return _Formula(formula).value()
    except (ValueError, IndexError, ZeroDivisionError, OverflowError, RecursionError):
        return None


class _Formula:
    """Recursive descent over the tokens of a formula; the value is computed on the way."""

    def __init__(self, formula: str) -> None:
        self.tokens = re.findall(r"\d+\.?\d*|\.\d+|\\?[a-z]{2,}|\\?[A-Za-z]|[-+*/^(){}\[\]|!]|\S", formula)
        self.tokens = [t for token in self.tokens for t in self._words(token)]
        self.at = 0

    @staticmethod
    def _words(token: str) -> list[str]:
        name = token.lstrip("\\")
        known = name in _FUNCTIONS or name in _CONSTANTS or name == "frac"
        return [name] if known or len(name) == 1 or not name.isalpha() else list(name) if token[0] != "\\" else [token]

    def value(self) -> Value:
        result = self.sum()
        if self.at != len(self.tokens):
            raise ValueError
        return result

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, token: str | None = None) -> str:
        found = self.tokens[self.at]
        if token is not None and found != token:
            raise ValueError
        self.at += 1
        return found

    def sum(self) -> Value:
        result = self.product()
        while self.peek() in ("+", "-"):
            result = _binary(self.take(), result, self.product())
        return result

    def product(self) -> Value:
        result = self.signed()
        while True:
            after = self.peek()
            if after in ("*", "/"):
                result = _binary(self.take(), result, self.signed())
            elif after and after not in "+-)]}|=,":
                result = self.mixed(result)
            else:
                return result

    def mixed(self, left: Value) -> Value:
        """A value beside a value is a product, but a whole number beside a proper fraction is their sum: 1 4/5."""
        whole = self.peek() == "frac" and self.tokens[self.at - 1].isdigit()
        right = self.power()
        if whole and isinstance(left, Fraction) and isinstance(right, Fraction) and left.denominator == 1 and 0 < right < 1:
            return left + right
        return _binary("*", left, right)

    def signed(self) -> Value:
        if self.peek() in ("+", "-"):
            return _binary(self.take(), Fraction(0), self.signed())
        return self.power()

    def power(self) -> Value:
        base = self.atom()
        while self.peek() == "!":
            self.take()
            base = _factorial(base)
        if self.peek() == "^":
            self.take()
            sign = self.take() if self.peek() == "-" else "+"
            return _binary("^", base, _binary(sign, Fraction(0), self.power()))
        return base

    def atom(self) -> Value:
        token = self.take()
        if token in _PAIRS:
            inside = self.sum()
            self.take(_PAIRS[token])
            return inside
        if token == "|":
            inside = self.sum()
            self.take("|")
            return _call("abs", inside)
        if token[0].isdigit() or token[0] == ".":
            return Fraction(token)
        if token == "frac":
            return _binary("/", self.argument(), self.argument())
        if token == "sqrt" and self.peek() == "[":
            self.take()
            root = self.sum()
            self.take("]")
            return _binary("^", self.argument(), _binary("/", Fraction(1), root))
        if token in _FUNCTIONS:
            return _call(token, self.argument() if token == "sqrt" else self.power())
        if token in _CONSTANTS:
            return np.full(3, complex(_CONSTANTS[token]))
        if len(token) == 1 and token.isalpha():
            # The same positive points for the same letter, on every machine.
            return np.random.default_rng(ord(token)).uniform(0.3, 3.0, 3).astype(np.complex128)
        raise ValueError

    def argument(self) -> Value:
        """The operand of a command: a group, or the very next character."""
        token = self.peek()
        if token.isdigit() and len(token) > 1:
            self.tokens[self.at : self.at + 1] = [token[0], token[1:]]
        return self.atom()


def _binary(op: str, a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        if op == "^":
            exact = b.denominator == 1 and abs(b) <= 64 and a.numerator.bit_length() + a.denominator.bit_length() <= 128
            return a ** int(b) if exact else _array(a) ** _array(b)
        return a + b if op == "+" else a - b if op == "-" else a * b if op == "*" else a / b
    x, y = _array(a), _array(b)
    return x + y if op == "+" else x - y if op == "-" else x * y if op == "*" else x / y if op == "/" else x**y


def _call(name: str, value: Value) -> Value:
    result = _FUNCTIONS[name](_array(value))
    return np.asarray(result, dtype=np.complex128)


def _factorial(value: Value) -> Value:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= 64:
        raise ValueError
    return Fraction(int(np.prod(np.arange(1, int(value) + 1, dtype=object))) if value else 1)


def _array(value: Value) -> NDArray[np.complex128]:
    return np.full(3, complex(value)) if isinstance(value, Fraction) else value
