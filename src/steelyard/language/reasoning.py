"""From a text that reasons to its final answer, and whether that answer is right.

Generators write texts; votes, filters and scores see their extracted answers. The first completed answer counts: a model that answers and
then runs on is judged by what it answered. Conventions of GSM8K (Cobbe et al. 2021), MATH (Hendrycks et al. 2021) and multiple choice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from steelyard.completions import Completions
from steelyard.errors import ConfigError, DataError
from steelyard.language.equivalence import canonical, equal, evaluate
from steelyard.language.notation import NUMBER, value

__all__ = ["Style", "equal", "extract", "is_correct", "runs_on", "with_extracted"]

Style = Literal["boxed", "hashes", "phrase", "number", "choice", "equation", "auto"]

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(\{|\S)")
_HASHES = re.compile(r"####\s*([^\n]*)")
_PHRASE = re.compile(r"(?:\banswer\s*(?:is|:|=)\s*:?|^[ \t]*A:)[ \t]*([^\n]*)", re.IGNORECASE | re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[^\d])\.(?=\s|$)|\.(?=\s+[A-Z]|$)")
_CHOICE = re.compile(r"\banswer\s*(?:is|:)?\s*:?\s*\**\(?([A-J])\b|\(([A-J])\)|^\s*\**([A-J])\b\**[).:]?(?=\s|$)", re.MULTILINE)
_SIGNED = re.compile(rf"(?<![\w.])-?\$?(?:{NUMBER.pattern})(?:/\d+)?")
_ONE = rf"(?:[A-Za-z]\s*=\s*)?{_SIGNED.pattern}\s*[%$]?"
_LIST = re.compile(rf"{_ONE}(?:(?:\s*[,;]\s*(?:and|or)?|\s+(?:and|or))\s*{_ONE})+")


def extract(text: str, style: Style = "auto") -> str:
    """Return the final answer of a text, "" where there is none.

    Parameters
    ----------
    text
        What a model or a reference wrote.
    style
        - "boxed": the content of the first closed ``\\boxed{…}``, braces inside it included;
        - "hashes": what follows the first ``####`` on its line;
        - "phrase": what follows "The answer is", "Answer:" or a line's "A:", to the end of the sentence; its first number where
          that is neither a formula nor a list of numbers;
        - "number": the last number;
        - "choice": a letter A–J: "the answer is B", "(B)", or a line that begins with "B";
        - "equation": the value of a text that is one prefix equation;
        - "auto": the first of boxed, hashes, phrase and number that finds something.

    Raises
    ------
    ConfigError
        The style is unknown.

    Examples
    --------
    >>> extract(r"So \\boxed{\\frac{1}{2}}. Or \\boxed{3}?"), extract("6 * 7 = 42\\n#### 42"), extract("The answer is: 5 apples. Done.")
    ('\\\\frac{1}{2}', '42', '5 apples')
    >>> extract("The answer is x = 3 or x = -1.")
    'x = 3 or x = -1'
    >>> extract("(A) is wrong, so the answer is B", "choice"), extract("- 9 4", "equation")
    ('B', '5')
    """
    found = _find(text, style)
    return "" if found is None else found[0]


def runs_on(text: str, style: Style = "auto") -> bool:
    """Say whether a text goes on after its first completed answer.

    Examples
    --------
    >>> runs_on("#### 4"), runs_on("#### 4\\nQuestion: and now?")
    (False, True)
    """
    found = _find(text, style)
    return found is not None and bool(re.search(r"\w", text[found[1] :]))


def with_extracted(completions: Completions, style: Style = "auto") -> Completions:
    """Return the same n texts with their extracted answers.

    Examples
    --------
    >>> with_extracted(Completions(["1+1?"], ["#### 2"])).answers
    ('2',)
    """
    return completions.with_answers([extract(text, style) for text in completions.texts])


def is_correct(completions: Completions, gold: Sequence[str], *, equal: Callable[[str, str], bool] = equal) -> NDArray[np.bool_]:
    """Compare the extracted answers of n texts with the gold answers of their questions.

    Parameters
    ----------
    completions
        With `answers`; `rows` says which question each text answers.
    gold
        One answer per question.
    equal
        When an answer counts; an empty answer never does.

    Returns
    -------
    (n,) bool

    Raises
    ------
    DataError
        Answers were not extracted yet, or a text answers a question without gold.

    Examples
    --------
    >>> drawn = Completions(["q", "q", "r"], ["a", "b", "c"], rows=[0, 0, 1], answers=["1/2", "2", ""])
    >>> is_correct(drawn, ["0.5", "3"])
    array([ True, False, False])
    """
    if completions.answers is None:
        raise DataError("is_correct: these completions have no answers; use with_extracted(completions, style) first")
    if len(completions) and completions.rows.max() >= len(gold):
        raise DataError(f"is_correct: a text answers question {completions.rows.max()}, but there are {len(gold)} gold answers")
    pairs = zip(completions.answers, completions.rows.tolist(), strict=True)
    known: dict[tuple[str, str], bool] = {}
    hits = []
    for answer, row in pairs:
        key = (answer, gold[row])
        if key not in known:
            known[key] = bool(answer) and equal(*key)
        hits.append(known[key])
    return np.array(hits, dtype=np.bool_)


def _find(text: str, style: Style) -> tuple[str, int] | None:
    """The first completed answer and where it ends."""
    if style == "auto":
        return next((found for kind in ("boxed", "hashes", "phrase", "number") if (found := _FINDERS[kind](text)) is not None), None)
    if style not in _FINDERS:
        raise ConfigError(f"answer style '{style}' is unknown; use one of {', '.join(get_args(Style))}")
    return _FINDERS[style](text)


def _boxed(text: str) -> tuple[str, int] | None:
    for opening in _BOX.finditer(text):
        if opening[1] != "{":
            return opening[1], opening.end()
        depth = 1
        for brace in re.finditer(r"(?<!\\)[{}]", text[opening.end() :]):
            depth += 1 if brace[0] == "{" else -1
            if depth == 0:
                end = opening.end() + brace.start()
                inside = text[opening.end() : end].strip()
                if inside:
                    return inside, end + 1
                break
    return None


def _hashes(text: str) -> tuple[str, int] | None:
    return next(((m[1].strip(), m.end()) for m in _HASHES.finditer(text) if m[1].strip()), None)


def _phrase(text: str) -> tuple[str, int] | None:
    for match in _PHRASE.finditer(text):
        stop = _SENTENCE_END.search(match[1])
        answer = match[1][: stop.start() if stop else None].strip().strip("*").strip()
        end = match.start(1) + (stop.end() if stop else len(match[1]))
        number = None if _LIST.fullmatch(answer) else _SIGNED.search(answer)
        if number and evaluate(canonical(answer).replace("%", "")) is None and "\\" not in answer and not re.match(r"[(\[{]", answer):
            answer = number[0]
        if answer:
            return answer, end
    return None


def _number(text: str) -> tuple[str, int] | None:
    numbers = list(_SIGNED.finditer(text))
    return (numbers[-1][0].replace("$", ""), len(text)) if numbers else None


def _choice(text: str) -> tuple[str, int] | None:
    # A stated answer beats an option that is merely mentioned.
    matches = sorted(_CHOICE.finditer(text), key=lambda m: (m[1] is None, m[2] is None, m.start()))
    return (next(letter for letter in matches[0].groups() if letter), matches[0].end()) if matches else None


def _equation(text: str) -> tuple[str, int] | None:
    found = value(text)
    return (found, len(text)) if found else None


_FINDERS: dict[str, Callable[[str], tuple[str, int] | None]] = {
    "boxed": _boxed,
    "hashes": _hashes,
    "phrase": _phrase,
    "number": _number,
    "choice": _choice,
    "equation": _equation,
}
