"""The recipe on a user's own table, with and without gold, with a server that is asked and asked again, and on the data of the proof."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from steelyard.errors import ConfigError
from steelyard.recipes.pareto import Pareto, run

pytest.importorskip("torch")

from tests.sources.test_prompts import LanguageModelServer

WORDS = {"SPAM": ["cash", "prize", "winner"], "HAM": ["lunch", "meeting", "train"]}


class Letters:
    """Which of the words stand in a text."""

    def encode(self, texts: list[str]) -> np.ndarray:
        listed = [word for words in WORDS.values() for word in words]
        return np.array([[word in text for word in listed] for text in texts], np.float32)


def mail(folder: Path, gold: bool) -> str:
    """The model takes every "winner" for ham; two rules see one word each."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(300):
        label = str(rng.choice(["SPAM", "HAM"]))
        words = [str(word) for word in rng.choice(WORDS[label], 2, replace=False)]
        said = "I think it is ham" if "winner" in words else f"{label}."
        rules = ["SPAM" if "winner" in words else None, "HAM" if "meeting" in words else None, label if rng.random() < 0.8 else None]
        rows.append(
            {"text": " ".join(words), "said": said, "one": rules[0], "two": rules[1], "three": rules[2]}
            | ({"label": label} if gold else {})
        )
    path = folder / "mail.parquet"
    pl.DataFrame(rows, schema_overrides={"one": pl.String, "two": pl.String}).write_parquet(path)
    return str(path)


OWN: dict[str, Any] = {"text": "text", "votes": ("one", "two", "three"), "epochs": 30, "learning_rate": 0.02, "compare": (), "seeds": (0,)}


def test_own_answers_without_gold_get_a_risk_and_a_label(tmp_path: Path) -> None:
    saved = tmp_path / "scored.parquet"
    result = run(Pareto(mail(tmp_path, gold=False), llm="said", save=str(saved), **OWN), encoder=Letters())
    assert result.arms == ["method"]
    assert result.metrics == ["mean_risk", "above_threshold"]
    scored = pl.read_parquet(saved)
    wrong = scored["text"].str.contains("winner").to_numpy()
    risk = scored["risk"].to_numpy()
    assert risk[wrong].mean() > risk[~wrong].mean() + 0.3
    assert (scored["harmonized"].to_numpy()[wrong] == "SPAM").mean() > 0.9


def test_own_answers_with_gold_are_measured(tmp_path: Path) -> None:
    result = run(Pareto(mail(tmp_path, gold=True), llm="said", **{**OWN, "compare": ("linear",)}), encoder=Letters())
    assert {"weak", "method", "linear", "distilled", "vote share", "label model", "ceiling"} <= set(result.arms)
    assert result.mean("method", "accuracy") > result.mean("weak", "accuracy") + 0.2
    assert result.mean("method", "auroc") > 0.9 > result.mean("distilled", "auroc")
    assert result.mean("method", "corrected/error") < 1 - result.mean("weak", "accuracy")
    assert {line["source"] for line in result.artifacts["doubts"]} >= {"three", "llm"}
    assert "curves" in result.artifacts


class Clerk(LanguageModelServer):
    """A server that takes "winner" for ham until the evidence says otherwise."""

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = body["messages"][-1]["content"]
        evidence = asked.partition("Evidence:")[2]
        spam = "SPAM" in evidence if evidence else any(word in asked for word in ("cash", "prize")) and "winner" not in asked
        return {"choices": [{"message": {"content": "SPAM" if spam else "HAM"}}]}


@pytest.fixture
def clerk() -> Iterator[Clerk]:
    running = Clerk((None, None))
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def test_a_server_answers_and_is_asked_again_where_the_risk_is_high(tmp_path: Path, clerk: Clerk) -> None:
    reasons = tmp_path / "reasons.json"
    reasons.write_text(json.dumps({"one": "only advertisements speak of winners"}))
    options = {**OWN, "server": clerk.url, "server_model": "clerk", "explanations": str(reasons), "save": str(tmp_path / "scored.parquet")}
    result = run(Pareto(mail(tmp_path, gold=True), **options), encoder=Letters())
    assert result.mean("shown evidence", "accuracy") > result.mean("weak", "accuracy") + 0.2
    assert result.mean("examined", "accuracy") == pytest.approx(result.mean("weak", "accuracy"), abs=0.05)
    prompts = [post["body"]["messages"][-1]["content"] for post in clerk.posts]
    assert any("SPAM, because only advertisements speak of winners" in asked for asked in prompts)
    assert "answer_shown_evidence" in pl.read_parquet(tmp_path / "scored.parquet").columns


def test_mistakes_are_named(tmp_path: Path) -> None:
    path = mail(tmp_path, gold=False)
    for config, message in [
        (Pareto(path, votes=("one",)), "--llm COLUMN or --server"),
        (Pareto(path, llm="said", votes=("one",), seeds=()), "at least one seed"),
        (Pareto(path, llm="said", votes=("two", "one"), server="localhost:8000"), "http://localhost:8000/v1"),
        (Pareto("clinc150", compare=("cubic",)), "'cubic' is unknown"),
        (Pareto("agnews"), "no texts with published votes|does not exist|STEELYARD_DATA"),
    ]:
        with pytest.raises(Exception, match=message) as caught:
            run(config, encoder=Letters())
        assert "Error" in type(caught.value).__name__
    with pytest.raises(ConfigError):
        run(Pareto(share=1.0))


def test_the_data_of_the_proof_are_built_without_labels(data_root: Path) -> None:
    from steelyard import datasets
    from steelyard.jobs.harmonized_answers import _intents_by_domain, keyword_sources
    from steelyard.sources import apply

    table = datasets.load("clinc150")["train"].rename({"label": "intent", "domain": "label"})
    intents = _intents_by_domain(table)
    votes = apply(keyword_sources(intents), table.select("text"), classes=list(intents))
    gold = np.array([votes.classes.index(label) for label in table["label"]])
    said = votes.codes >= 0
    assert (votes.n_sources, votes.n_classes) == (30, 10)
    assert 0.6 < votes.coverage.mean() < 0.75
    assert 0.65 < (votes.codes == gold[:, None])[said].mean() < 0.8
