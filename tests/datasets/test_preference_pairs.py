"""Preference pairs: the published split, a user's table, and nothing of the test split elsewhere."""

from pathlib import Path

import polars as pl
import pytest

from steelyard.datasets.preference_pairs import load_preference_pairs
from steelyard.errors import DataError


def test_harmlessness_pairs_are_dialogue_and_two_answers(data_root: Path) -> None:
    data = load_preference_pairs("hh_rlhf_harmless", root=data_root)
    assert len(data) + data.dropped == 12000
    assert len(data.of("test")) == 4000
    tested = set(data.pairs.take(data.of("test")).prompts)
    assert not tested & set(data.pairs.take(data.of("gold")).prompts)
    assert not tested & set(data.pairs.take(data.of("unlabeled")).prompts)
    first = data.pairs.take([data.of("gold")[0]])
    assert first.prompts[0].startswith("If you were going to steal from a convenience store")
    assert first.chosen[0].startswith("I really couldn’t say")
    assert not any("\n\nAssistant:" in text for text in data.pairs.prompts)
    assert data.licence == "MIT"


def test_a_table_without_splits_keeps_equal_prompts_together(tmp_path: Path) -> None:
    file = tmp_path / "pairs.parquet"
    prompts = [f"question {i % 100}" for i in range(300)]
    pl.DataFrame({"prompt": prompts, "chosen": ["a"] * 300, "rejected": ["b"] * 300}).write_parquet(file)
    data = load_preference_pairs(file)
    assert data.dropped == 0
    assert len({(prompt, split) for prompt, split in zip(data.pairs.prompts, data.splits, strict=True)}) == 100
    assert all(len(data.of(split)) for split in ("gold", "unlabeled", "test"))
    assert load_preference_pairs(file).splits == data.splits


def test_json_lines_are_read(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    pl.DataFrame({"prompt": ["q"], "chosen": ["a"], "rejected": ["b"], "split": ["gold"]}).write_ndjson(file)
    assert load_preference_pairs(file).pairs.rejected == ("b",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"prompt": ["q"], "chosen": ["a"]}, "rejected"),
        ({"prompt": ["q"], "chosen": ["a"], "rejected": [None]}, "1 empty cells"),
        ({"prompt": ["q"], "chosen": ["a"], "rejected": ["b"], "split": ["validation"]}, "split 'validation'"),
    ],
)
def test_a_wrong_table_is_told_what_it_lacks(tmp_path: Path, rows: dict[str, list[str]], message: str) -> None:
    file = tmp_path / "pairs.parquet"
    pl.DataFrame(rows).write_parquet(file)
    with pytest.raises(DataError, match=message):
        load_preference_pairs(file)


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(DataError, match="known are hh_rlhf_harmless"):
        load_preference_pairs("helpful")
