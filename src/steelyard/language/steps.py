"""Steps of a solution and how many of them are wrong: what a final answer does not show.

Outcome error counts wrong answers, step error counts wrong steps over a whole set (He, Yin, Peng 2024, "Guiding Through Complexity: What
Makes Good Supervision for Hard Reasoning Tasks?"). Judges are functions; three need no model: operations, annotations, derived values.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache

from steelyard.errors import DataError
from steelyard.language.equivalence import evaluate
from steelyard.language.notation import Tree, parse, written

StepJudge = Callable[[str, str], tuple[int, int]]
"""Takes a solution and the reference of the same question, returns (wrong steps, judged steps)."""

_ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>]*)>>")
_ANSWER_LINE = re.compile(r"\s*(####|A:|(?:the\s+)?(?:final\s+)?answer\b)", re.IGNORECASE)


def steps(solution: str) -> list[str]:
    """Return the lines of a solution without empty ones and without the line of the final answer.

    Examples
    --------
    >>> steps("Half of 48 is <<48/2=24>>24.\\n\\nTogether <<48+24=72>>72.\\n#### 72")
    ['Half of 48 is <<48/2=24>>24.', 'Together <<48+24=72>>72.']
    """
    return [line.strip() for line in solution.splitlines() if line.strip() and not _ANSWER_LINE.match(line)]


def calculations(text: str) -> list[tuple[str, str]]:
    """Return the calculator annotations of a text as (expression, printed result).

    Examples
    --------
    >>> calculations("Half of 48 is <<48/2=24>>24.")
    [('48/2', '24')]
    """
    return [(expression, printed) for expression, printed in _ANNOTATION.findall(text)]


def step_error_rate(solutions: Sequence[str], references: Sequence[str], judge: StepJudge) -> float:
    """Return wrong steps over judged steps of a whole set, in [0, 1]; NaN where no step can be judged.

    Parameters
    ----------
    solutions, references
        n texts each, solution i and reference i of the same question.
    judge
        `operation_errors`, `arithmetic_errors`, `value_errors`, or your own, such as a language model that is asked about every step.

    Examples
    --------
    >>> step_error_rate(["- * 5 12 8", "+ 5 8"], ["- * 5 12 5", "+ 8 5"], operation_errors)
    0.3333333333333333
    """
    if len(solutions) != len(references):
        raise DataError(f"step_error_rate: {len(solutions)} solutions but {len(references)} references; give one per question")
    counts = [judge(solution, reference) for solution, reference in zip(solutions, references, strict=True)]
    judged = sum(count[1] for count in counts)
    return sum(count[0] for count in counts) / judged if judged else math.nan


def operation_errors(solution: str, reference: str) -> tuple[int, int]:
    """Count the operations of a prefix equation that the reference does not carry out.

    An operand that is itself a result counts as given: a step is wrong only if it is false given the steps before it. The operands of + and
    × may change places.

    Examples
    --------
    >>> operation_errors("- * 5 12 8", "- + 5 12 8")  # the product is wrong, the subtraction that uses it is not
    (1, 2)
    """
    mine, right = (Counter(map(_signature, tree.operations())) if (tree := parse(text)) else Counter() for text in (solution, reference))
    return (mine - right).total(), mine.total()


def arithmetic_errors(solution: str, reference: str = "") -> tuple[int, int]:
    """Count the lines whose calculator annotations ``<<48/2=24>>`` do not hold; lines without a checkable one are not judged.

    A printed decimal may be rounded in its last place. The reference is not looked at.

    Examples
    --------
    >>> arithmetic_errors("half <<48/2=24>>24\\nthird <<10/3=3.33>>3.33\\nsum <<24+3=28>>28\\nso it is")
    (1, 3)
    """
    judged = [[ok for ok in (holds(*pair) for pair in calculations(line)) if ok is not None] for line in steps(solution)]
    return sum(not all(checks) for checks in judged if checks), sum(bool(checks) for checks in judged)


def value_errors(solution: str, reference: str) -> tuple[int, int]:
    """Count the annotated lines that derive a value which no annotation of the reference derives: a proxy for steps that go astray.

    Examples
    --------
    >>> value_errors("<<48/2=24>>24\\n<<48-24=24>>24\\n<<24*3=72>>72", "<<48/2=24>>24\\n<<48+24=72>>72")
    (0, 3)
    >>> value_errors("<<48*2=96>>96\\n<<48+96=144>>144", "<<48/2=24>>24\\n<<48+24=72>>72")
    (2, 2)
    """
    right = {number for _, printed in calculations(reference) if (number := _number(printed)) is not None}
    derived = [{number for _, printed in calculations(line) if (number := _number(printed)) is not None} for line in steps(solution)]
    return sum(not values <= right for values in derived if values), sum(bool(values) for values in derived)


def holds(expression: str, printed: str) -> bool | None:
    """Check one annotation exactly, up to the rounding of the printed decimals; None where a side is no arithmetic.

    Examples
    --------
    >>> holds("2*1/2", "1.0"), holds("2/3", ".67"), holds("2/3", ".66"), holds("2C", "10")
    (True, True, False, None)
    """
    result, right = _number(expression), _number(printed)
    if result is None or right is None:
        return None
    decimals = len(printed.strip().rstrip("%").partition(".")[2])
    rounding = Fraction(1, 2 * 10**decimals) if decimals else Fraction(0)
    # Calculators print about sixteen digits of a float.
    return abs(result - right) <= max(rounding, abs(right) / 10**9)


@lru_cache(maxsize=65536)
def _number(text: str) -> Fraction | None:
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text.replace("$", "").replace(" ", "").replace("x", "*"))
    if not re.fullmatch(r"[-+*/().\d%]+", plain):
        return None
    result = evaluate(re.sub(r"(\d+\.?\d*|\.\d+)%", r"(\1/100)", plain))
    return result if isinstance(result, Fraction) else None


def _signature(step: Tree) -> tuple[str, ...]:
    operands = [written(Fraction(o.replace(",", ""))) if isinstance(o, str) else "result" for o in (step.left, step.right)]
    return (step.operation, *(sorted(operands) if step.operation in "+*" else operands))
