"""Runs that are killed go on behind the last whole seed or arm, to the same numbers: by hand, and by SIGKILL of the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard.jobs.finished_seeds import over_seeds
from steelyard.recipes.weak_to_strong_reasoning import WeakToStrongReasoning, run
from steelyard.result import Result


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Cut(Exception):
    pass


def measured(
    seeds: tuple[int, ...], done: list[int], *, cut: int | None = None, texts: tuple[str, ...] = ("a", "b"), **config: object
) -> Result:
    def one_seed(seed: int, part: Result) -> None:
        if seed == cut:
            raise Cut
        done.append(seed)
        part.add("method", seed, "accuracy", seed / 10).add("method", seed, "accuracy/pgr", float("nan"))
        part.artifacts |= {"rounds": [{"seed": seed}], "sets": {"arm": {str(seed): seed}}}
        part.timings[f"seed {seed}"] = 1.0

    return over_seeds(Result("demo", {"seeds": seeds, **config}), seeds, one_seed, {"texts": texts})


def test_a_run_goes_on_behind_the_last_whole_seed_to_the_same_result(cache: Path) -> None:
    whole = measured((1, 2, 3), [])
    first: list[int] = []
    with pytest.raises(Cut):
        measured((1, 2, 3), first, cut=3)
    then: list[int] = []
    resumed = measured((1, 2, 3), then)
    assert (first, then) == ([1, 2], [3])
    assert resumed.to_dict() == whole.to_dict()
    assert whole.artifacts == {"rounds": [{"seed": 1}, {"seed": 2}, {"seed": 3}], "sets": {"arm": {"1": 1, "2": 2, "3": 3}}}


def test_a_whole_run_leaves_nothing_and_measures_again(cache: Path) -> None:
    for _ in range(2):
        done: list[int] = []
        measured((1, 2), done)
        assert done == [1, 2]
    assert not list(cache.rglob("*.json"))


def test_other_options_and_other_texts_are_another_run(cache: Path) -> None:
    with pytest.raises(Cut):
        measured((1, 2), [], cut=2)
    for options in ({"rounds": 2}, {"texts": ("a", "c")}):
        done: list[int] = []
        with pytest.raises(Cut):
            measured((1, 2), done, cut=2, **options)  # type: ignore[arg-type]
        assert done == [1]
    more: list[int] = []
    measured((1, 2, 3), more)
    assert more == [2, 3], "how many seeds there are does not matter"


def topics(file: Path) -> Path:
    words = {"food": ["bread", "cheese", "apple", "soup"], "travel": ["train", "hotel", "beach", "bus"]}
    rng = np.random.default_rng(0)
    labels = ["food", "travel"] * 150
    texts = [f"the {' '.join(rng.choice(words[label], 2))} {i}" for i, label in enumerate(labels)]
    pl.DataFrame({"text": texts, "label": labels}).write_parquet(file)
    return file


@pytest.mark.slow
def test_a_command_killed_with_signal_9_goes_on_to_the_same_numbers(tmp_path: Path, cache: Path) -> None:
    file = topics(tmp_path / "topics.parquet")

    def start(output: str) -> subprocess.Popen[str]:
        options = [
            "--data",
            str(file),
            "--gold",
            "40",
            "--unlabeled",
            "120",
            "--epochs",
            "6",
            "--seeds",
            "3",
            "-q",
            "-o",
            str(tmp_path / output),
        ]
        command = [sys.executable, "-m", "steelyard.cli", "run", "weak-to-strong-reasoning", *options]
        return subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE, text=True)

    killed = start("killed.json")
    while not (found := list(cache.glob("seeds/*.json"))):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "killed.json").exists()
    assert 1 <= len(found) < 3
    resumed = start("resumed.json")
    _, told = resumed.communicate()
    assert resumed.returncode == 0, told
    whole = run(WeakToStrongReasoning(str(file), gold=40, unlabeled=120, epochs=6))
    assert Result.from_json(tmp_path / "resumed.json").to_dict()["rows"] == whole.to_dict()["rows"]
