"""Problems that are solved in steps: a question, a reference solution and its final answer. What reasoning studies start from.

Word problems of MAWPS and ASDiv-A with equations, grade-school and competition mathematics, or a user's own table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from steelyard.datasets.own_table import is_own_table, own_table
from steelyard.datasets.resolve import DataFile, locate
from steelyard.errors import DataError
from steelyard.storage import config_hash


@dataclass(frozen=True)
class Problems:
    """n problems, column by column.

    Parameters
    ----------
    name : str
    questions, solutions, answers : tuples of str, length n
        A solution ends in its answer; how the answer is marked is told by `style`.
    splits : tuple of str, length n
        Published split of each, "all" where there is none.
    style : str
        How to extract an answer from a solution, as `steelyard.language.reasoning.extract` names it.
    dropped : mapping of str to int
        Rows of the files that were left out, by reason.
    licence, citation, checksum : str

    Examples
    --------
    >>> two = Problems("sums", ("1+1?", "2+3?"), ("#### 2", "#### 5"), ("2", "5"), ("train", "test"), "hashes")
    >>> two.take(two.of("test")).questions
    ('2+3?',)
    """

    name: str
    questions: tuple[str, ...]
    solutions: tuple[str, ...]
    answers: tuple[str, ...]
    splits: tuple[str, ...]
    style: str
    dropped: tuple[tuple[str, int], ...] = ()
    licence: str = "unknown"
    citation: str = ""
    checksum: str = ""

    def take(self, index: Any) -> Problems:
        """Some of the problems, by position or mask."""
        kept = np.arange(len(self))[index].tolist()
        names = ("questions", "solutions", "answers", "splits")
        columns: dict[str, Any] = {name: tuple(getattr(self, name)[i] for i in kept) for name in names}
        return replace(self, **columns)

    def of(self, split: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Positions of the problems of a published split."""
        return np.flatnonzero(np.array(self.splits) == split)

    def __len__(self) -> int:
        return len(self.questions)


def load_problems(name: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> Problems:
    """Load problems by name, or from a table with the columns ``question``, ``solution``, ``answer`` and optionally ``split``.

    Parameters
    ----------
    name
        ``math_word_problems`` (solutions are prefix equations), ``gsm8k``, ``gsm8k_socratic`` (a sub-question before every step),
        ``math500``, a Parquet, CSV or JSON-lines file, or a Hugging Face data set (see `own_table`).
    root
        Folder to read from instead of ``$STEELYARD_DATA`` and the cache.

    Raises
    ------
    DataError
        The name is unknown, a file is missing or of another version, a column is missing.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "sums.csv"
    >>> _ = file.write_text("question,solution,answer\\n1+1?,1+1 = 2. The answer is 2,2\\n")
    >>> load_problems(file).answers
    ('2',)
    """
    if is_own_table(name):
        return _from_table(name)
    if name not in _READERS:
        raise DataError(f"no problems named '{name}'; known are {', '.join(_READERS)}, or give the path of a table")
    file, read, licence, citation = _READERS[str(name)]
    return replace(read(locate(file, root=root)), licence=licence, citation=citation, checksum=config_hash([file.sha256]))


def _word_problems(path: Path) -> Problems:
    """Numbers stand in the text again; an equation names them as they are written there."""
    seen: set[str] = set()
    kept: list[tuple[str, str, str]] = []
    dropped = {"constant in the equation": 0, "same text as an earlier one": 0}
    for question, numbers, equation, answer in pl.read_parquet(path).select("Question", "Numbers", "Equation", "Answer").iter_rows():
        written = [re.sub(r"\.0+$", "", number) for number in numbers.split()]
        tokens = equation.split()
        letters = re.sub(r"[^a-z0-9]", "", question.lower())
        if any(re.fullmatch(r"number\d+|[-+*/]", token) is None for token in tokens):
            dropped["constant in the equation"] += 1
        elif letters in seen:
            dropped["same text as an earlier one"] += 1
        else:
            seen.add(letters)
            kept.append((_filled(question, written), _filled(equation, written), answer))
    questions, equations, answers = (tuple(column) for column in zip(*kept, strict=True))
    return Problems("math_word_problems", questions, equations, answers, ("all",) * len(kept), "equation", tuple(dropped.items()))


def _gsm8k(path: Path) -> Problems:
    table = pl.read_parquet(path)
    return Problems("gsm8k", *_columns(table, "question", "answer", "final_answer"), tuple(table["split"]), "hashes")


def _gsm8k_socratic(path: Path) -> Problems:
    table = pl.read_ndjson(path).with_columns(pl.col("answer").str.extract(r"####\s*(.+?)\s*$").str.replace_all(",", "").alias("final"))
    return Problems("gsm8k_socratic", *_columns(table, "question", "answer", "final"), ("test",) * len(table), "hashes")


def _math500(path: Path) -> Problems:
    table = pl.read_parquet(path)
    return Problems("math500", *_columns(table, "problem", "solution", "answer"), ("test",) * len(table), "boxed")


def _from_table(source: str | os.PathLike[str]) -> Problems:
    own = own_table(source)
    table = own.texts(["question", "solution", "answer"])
    splits = tuple(table["split"].cast(pl.String)) if "split" in table.columns else ("all",) * len(table)
    return Problems(own.name, *_columns(table, "question", "solution", "answer"), splits, "auto", checksum=own.fingerprint[:16])


def _filled(text: str, numbers: list[str]) -> str:
    return re.sub(r"\bnumber(\d+)\b", lambda match: numbers[int(match[1])], text)


def _columns(table: pl.DataFrame, question: str, solution: str, answer: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    return tuple(table[question]), tuple(table[solution]), tuple(table[answer])


_READERS: dict[str, tuple[DataFile, Callable[[Path], Problems], str, str]] = {
    "math_word_problems": (
        DataFile("math_word_problems/train.parquet", "0e55ccab8b590ef9af28659041a914842fda32ac119462e4e417a80c3d623337"),
        _word_problems,
        "MIT",
        "Koncel-Kedziorski et al. 2016, MAWPS; Miao, Liang, Su 2020, ASDiv; as prepared by Patel, Bhattamishra, Goyal 2021, SVAMP",
    ),
    "gsm8k": (
        DataFile("gsm8k_weak_solutions/gsm8k.parquet", "cbefe775eaf9a7f0760b090046e0a70e83e2404178194e5f8568febff4c5ed3f"),
        _gsm8k,
        "MIT",
        "Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems",
    ),
    "gsm8k_socratic": (
        DataFile(
            "gsm8k_socratic/test_socratic.jsonl",
            "c96673362fa7a699f4836a9b6474a067448f95fe58064727501ee63ba4c3fdb6",
            "https://raw.githubusercontent.com/openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c/"
            "grade_school_math/data/test_socratic.jsonl",
        ),
        _gsm8k_socratic,
        "MIT",
        "Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems; socratic form, test problems",
    ),
    "math500": (
        DataFile("gsm8k_weak_solutions/math500.parquet", "3a6ff9065ad0010cc8c6f4ae878775eb0c068077c72dd200d7a6c2b75f2a6daf"),
        _math500,
        "MIT",
        "Hendrycks et al. 2021, MATH; the 500 problems of Lightman et al. 2023, Let's Verify Step by Step",
    ),
}
