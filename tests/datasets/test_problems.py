"""Problems with worked solutions: the named ones and a user's own table."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard.datasets.problems import load_problems
from steelyard.errors import DataError


def test_word_problems_have_their_numbers_back_and_no_text_twice(data_root: Path) -> None:
    problems = load_problems("math_word_problems", root=data_root)
    assert len(problems) == 2391
    assert dict(problems.dropped) == {"constant in the equation": 79, "same text as an earlier one": 668}
    assert not any("number0" in text for text in (*problems.questions, *problems.solutions))
    assert problems.questions[0].startswith("Bryan took a look at his books as well . If Bryan has 56 books")
    assert (problems.solutions[0], problems.answers[0], problems.style) == ("* 56 9", "504.0", "equation")
    letters = ["".join(filter(str.isalpha, text.lower())) for text in problems.questions]
    assert len(set(letters)) > 0.99 * len(letters)


def test_mathematics_in_text(data_root: Path) -> None:
    gsm8k, math500 = load_problems("gsm8k", root=data_root), load_problems("math500", root=data_root)
    assert [len(gsm8k.of(split)) for split in ("train", "test", "all")] == [7473, 1319, 0]
    assert gsm8k.take(gsm8k.of("test")).answers[0] == "18"
    assert (len(math500), math500.style) == (500, "boxed")


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "1+1?", "solution": "it is 2", "answer": 2, "split": "test"}\n')
    found = load_problems(file)
    assert (found.name, found.answers, found.splits, found.style) == ("mine", ("2",), ("test",), "auto")
    assert load_problems(str(file)).checksum == found.checksum != ""


@pytest.mark.parametrize(
    ("content", "message"),
    [("question,answer\na,1\n", "solution"), ("question,solution,answer\na,,1\n", "has 1 empty cells in question, solution or answer")],
)
def test_tables_that_lack_something(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load_problems(tmp_path / "bad.csv")


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(DataError, match="no problems named 'sudoku'; known are math_word_problems, gsm8k"):
        load_problems("sudoku")
