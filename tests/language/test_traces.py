"""Degenerate traces: cut off, looping, without an answer."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from steelyard.completions import Completions
from steelyard.errors import DataError
from steelyard.language.reasoning import with_extracted
from steelyard.language.traces import degenerate, is_looping


@pytest.mark.parametrize(
    ("text", "looping"),
    [
        ("1 / 11 = 0." + "09" * 30, True),
        ("I add them. " * 10, True),
        ("Wait, let me check.\nIt is 5.\n" * 5, True),
        ("So it is 5. " * 5 + "So it", True),
        ("The total is 1000000000000000000000000000000000000000000", True),
        ("Add 1. Add 2. Add 3. Add 4. Add 5. Add 6. Add 7. Add 8. Add 9.", False),
        ("It is 5. It is 5. It is 5.", False),
        ("so it is " + "-" * 80, False),
        ("I add them. " * 10 + "That makes 12 apples, which is what was asked.", False),
        ("", False),
        ("no", False),
    ],
)
def test_loops_at_the_end(text: str, looping: bool) -> None:
    assert is_looping(text) is looping


def test_faults_are_counted_apart_and_may_coincide() -> None:
    texts = ["#### 1", "and so on " * 30, "#### 2", "cut", "#### 3"]
    drawn = with_extracted(Completions(["q"] * 5, texts, finished=[True, False, False, False, True]), "hashes")
    faults = degenerate(drawn)
    assert faults.counts() == {"traces": 5, "truncated": 3, "looping": 1, "no_answer": 2, "sound": 2}
    assert faults.sound.tolist() == [True, False, False, False, True]
    assert not degenerate(with_extracted(Completions(["q"], ["#### 1"]))).truncated.any()
    with pytest.raises(DataError, match="have no answers"):
        degenerate(Completions(["q"], ["t"]))


def test_published_solutions(data_root: Path) -> None:
    """No reference loops; of one weak model's solutions all that loop lack an answer, so that nothing good is dropped."""
    folder = data_root / "gsm8k_weak_solutions"
    assert not any(map(is_looping, pl.read_parquet(folder / "gsm8k.parquet")["answer"].head(2000)))
    table = pl.read_parquet(folder / "weak_model_solutions.parquet")
    looping = table.filter(pl.Series([is_looping(text) for text in table["mistral_7b_solution"]]))
    assert len(looping) > 0
    assert (looping["mistral_7b_answer"] == "").all()
