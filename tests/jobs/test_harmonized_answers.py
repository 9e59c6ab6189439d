"""The task behind the harmonizer recipe: own tables say what is wrong with them, named sets are built without reading a label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from steelyard import Votes
from steelyard.errors import ConfigError, DataError, SourceError
from steelyard.jobs.answer_risks import add_risk_scores, baseline_risks, mean_curves, source_scores
from steelyard.jobs.harmonized_answers import AnswerTask, keyword_sources, load_table_task, read_answers
from steelyard.result import Result

GIVEN: dict[str, Any] = {
    "text": None,
    "label": "label",
    "llm": "said",
    "confidence": None,
    "sources": None,
    "votes": ["rule"],
    "classes": [],
}


def table(folder: Path, **columns: list[Any]) -> str:
    start = {"text": ["free money", "see you", "win cash"], "said": ["SPAM!", "Ham.", "unsure"], "rule": ["SPAM", None, "SPAM"]}
    path = folder / "mail.parquet"
    pl.DataFrame({**start, **columns}).write_parquet(path)
    return str(path)


def test_answers_are_read_as_the_class_mentioned_first() -> None:
    said = pl.Series(["It is spam, not ham", "HAM", "Unsure, perhaps spam", "hamster", None, ""])
    assert read_answers(said, ["HAM", "SPAM"]).tolist() == [1, 0, -1, -1, -1, -1]


def test_own_table_with_vote_columns_and_a_sources_file(tmp_path: Path) -> None:
    rules = tmp_path / "rules.py"
    rules.write_text("import steelyard as sy\ncash = sy.keywords(['cash'], on='text', label='SPAM')\n")
    path = table(tmp_path, label=["SPAM", "HAM", None], sure=[0.9, 0.6, None])
    task = load_table_task(path, **{**GIVEN, "sources": str(rules), "confidence": "sure"})
    assert task.classes == ("HAM", "SPAM")
    assert task.joined.sources == ("rule", "cash", "llm")
    assert task.joined.codes.tolist() == [[1, -1, 1], [-1, -1, 0], [1, 1, -1]]
    assert task.y.tolist() == [1, 0, -1]
    assert task.confidence is not None
    assert np.isnan(task.confidence[2])
    assert np.array_equal(task.train, task.test)


@pytest.mark.parametrize(
    ("options", "columns", "message"),
    [
        ({"llm": "answer"}, {}, "no column 'answer'; its columns are"),
        ({"votes": []}, {}, "--votes with columns of class names, or --sources"),
        ({"classes": ["SPAM", "EGGS"]}, {"rule": ["HAM", None, "SPAM"]}, "votes 'HAM', which is no class; classes are SPAM, EGGS"),
        ({}, {}, "only 1 class is known"),
        ({"confidence": "sure", "classes": ["HAM", "SPAM"]}, {"sure": [90, 80, 70]}, "between 0 and 1"),
        ({"sources": "nowhere.py"}, {}, "does not exist"),
    ],
)
def test_mistakes_in_a_table_are_named(tmp_path: Path, options: dict[str, Any], columns: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, DataError, SourceError), match=message):
        load_table_task(table(tmp_path, **columns), **{**GIVEN, **options})


def test_keyword_sources_name_words_of_one_domain_only() -> None:
    sources = keyword_sources({"bank": ["pay_invoice", "what_is_my_balance"], "home": ["pay_rent", "play_music", "calendar"]})
    words = {word for source in sources for word in source.name.split(", ")}
    assert words == {"invoice", "balance", "rent", "play", "music", "calendar"}  # no "pay", no stop words


def simulated(n: int = 3000) -> AnswerTask:
    """A model that is right as often as it says, and rules that know nothing of the model."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    p = rng.dirichlet(np.ones(3), n)
    y = (p.cumsum(1) > rng.random((n, 1))).argmax(1)
    codes = np.where(rng.random((n, 4)) < 0.8, y[:, None], rng.integers(0, 3, (n, 4)))
    votes = Votes(codes, classes=["a", "b", "c"])
    rows = np.arange(n)
    frame = pl.DataFrame({"text": [""] * n})
    return AnswerTask(frame, "text", votes, p.argmax(1), y, rows[:1000], rows[1000:1500], rows[1500:], p.astype(np.float32))


def test_baselines_have_the_calibration_they_were_given() -> None:
    task = simulated()
    result = Result("r")
    for name, arm in baseline_risks(task, "MajorityVote").items():
        add_risk_scores(result, name, 0, arm, task, share=0.2)
    assert result.mean("own confidence", "ece") < 0.05
    # Sharpened confidence is undone by the temperature, which reads the gold of the validation rows only.
    sharp = task.probabilities**3 / (task.probabilities**3).sum(1, keepdims=True)  # type: ignore[operator]
    arms = baseline_risks(replace(task, probabilities=sharp), "MajorityVote")
    scored = {name: add_and_mean(arm, task, "ece") for name, arm in arms.items()}
    assert scored["own confidence, tempered"] < 0.06 < scored["own confidence"]
    assert result.mean("vote share", "accuracy") > result_of_answers(task) + 0.2
    assert result.mean("vote share", "corrected/error") < 1 - result_of_answers(task) - 0.1


def add_and_mean(arm: Any, task: AnswerTask, metric: str) -> float:
    result = Result("r")
    add_risk_scores(result, "arm", 0, arm, task, share=0.2)
    return result.mean("arm", metric)


def result_of_answers(task: AnswerTask) -> float:
    return float((task.answers[task.test] == task.y[task.test]).mean())


def test_every_source_is_scored_and_curves_are_means() -> None:
    task = simulated()
    h = np.full((len(task.test), 3), 1e-3, np.float32)
    h[np.arange(len(h)), task.y[task.test]] = 0.998
    lines = source_scores(h, task)
    assert [line["source"] for line in lines] == [*task.votes.sources, "llm"]
    assert all(line["auroc"] == 1 for line in lines)
    curves = mean_curves(
        {"a": [{"coverage": [0.5, 1], "risk": [0, 0.2], "area": 0.1}, {"coverage": [0.5, 1], "risk": [0.2, 0.4], "area": 0.3}]}
    )
    assert curves["arms"][0]["name"].startswith("a, area 0.200")
    assert curves["arms"][0]["loss"] == pytest.approx([0.1, 0.3])
