"""Sets of a chosen error rate are exact, nested and seeded; traces are split by whether they are right."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from steelyard.completions import Completions
from steelyard.errors import ConfigError, DataError
from steelyard.training.selection.error_rate import mix_error_rate, select_traces

N = 37
PROMPTS = [f"q{i}" for i in range(N)]
CORRECT = Completions(PROMPTS, ["right"] * N, answers=["1"] * N)
WRONG = Completions(PROMPTS, ["wrong"] * N, answers=["0"] * N)


def wrong_items(rate: float, seed: int = 0) -> set[int]:
    mixed = mix_error_rate(CORRECT, WRONG, rate, seed=seed)
    assert mixed.prompts == CORRECT.prompts
    assert [a == "0" for a in mixed.answers or ()] == [t == "wrong" for t in mixed.texts]
    return {i for i, text in enumerate(mixed.texts) if text == "wrong"}


def test_rates_are_exact_and_nested() -> None:
    rates = np.linspace(0, 1, 11)
    sets = [wrong_items(rate) for rate in rates]
    assert [len(items) for items in sets] == [round(rate * N) for rate in rates]
    assert all(fewer <= more for fewer, more in itertools.pairwise(sets))


def test_the_seed_decides_which_items_are_wrong() -> None:
    assert wrong_items(0.5) == wrong_items(0.5)
    assert wrong_items(0.5) != wrong_items(0.5, seed=1)
    often = np.mean([[text == "wrong" for text in mix_error_rate(CORRECT, WRONG, 0.5, seed=seed).texts] for seed in range(100)], axis=0)
    assert np.abs(often - 0.5).max() < 0.2


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match=r"rate is 1\.5"):
        mix_error_rate(CORRECT, WRONG, 1.5)
    with pytest.raises(DataError, match="must answer the same questions in the same order"):
        mix_error_rate(CORRECT, WRONG.take(np.arange(N)[::-1]), 0.5)


def test_traces_are_split_without_loss() -> None:
    right = np.arange(N) % 3 == 0
    parts = {keep: select_traces(CORRECT, right, keep) for keep in ("all", "correct", "wrong")}  # type: ignore[arg-type]
    assert len(parts["all"]) == N
    assert parts["correct"].rows.tolist() == np.flatnonzero(right).tolist()
    assert sorted([*parts["correct"].rows, *parts["wrong"].rows]) == list(range(N))
    with pytest.raises(ConfigError, match="keep is 'best'"):
        select_traces(CORRECT, right, "best")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="need as many flags"):
        select_traces(CORRECT, right[:3])
