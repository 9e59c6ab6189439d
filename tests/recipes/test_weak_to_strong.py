"""The recipe end to end on small texts: arms, sweep, remedies, cache, and a sentence for every mistake."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from transformers import GPT2LMHeadModel

from steelyard.cli import app
from steelyard.errors import ConfigError, DataError, TrainingError
from steelyard.evaluation import UndefinedGap
from steelyard.recipes import get
from steelyard.recipes.weak_to_strong import WeakToStrong, run
from steelyard.result import Result
from tests.training.tiny_models import bert, gpt2_without_padding, toy_task

WORDS = {
    "food": ["bread", "cheese", "apple", "soup", "cake", "rice", "pear", "salad"],
    "travel": ["train", "airport", "hotel", "beach", "ticket", "harbour", "passport", "bus"],
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Two topics; the supervisor may read only the few most frequent words."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(360):
        label = ["food", "travel"][i % 2]
        own = rng.choice(WORDS[label], 2, replace=False, p=np.r_[0.2, 0.1, np.full(6, 0.7 / 6)])
        rows.append({"text": f"{' '.join(rng.choice(['my', 'the', 'a', 'our'], 2))} {own[0]} and {own[1]} {i}", "label": label})
    file = tmp_path_factory.mktemp("recipe") / "topics.parquet"
    pl.DataFrame(rows).write_parquet(file)
    return str(file)


def small(table: str, **options) -> WeakToStrong:
    return WeakToStrong(
        table, **{"gold": 40, "unlabeled": 170, "test": 150, "weak_words": (8,), "epochs": 5, "batch_size": 10, "seeds": (0, 1), **options}
    )


def test_a_student_outgrows_its_supervisor(table):
    result = run(small(table, loss=("soft", "hard", "confidence", "product"), metrics=("accuracy", "f1_weighted", "log_loss")))
    assert result.arms == ["weak", "method", "hard", "confidence", "product", "ceiling"]
    weak, method, ceiling = (result.mean(arm, "accuracy") for arm in ("weak", "method", "ceiling"))
    assert weak + 0.05 < method <= ceiling
    assert result.mean("confidence", "accuracy") > weak + 0.05
    assert result.artifacts["gaps"]["product"]["log_loss"]["metric"] == "log_loss"
    assert 0 < result.artifacts["gap"]["pgr"]["mean"] <= 1
    assert result.artifacts["cleaning"]["kept"] == 360
    assert result.config["gold"] == 40


def test_a_second_run_reads_what_the_first_made(table, monkeypatch):
    first = run(small(table))
    monkeypatch.setattr("steelyard.encoders.TextEncoder._embed", lambda *_: pytest.fail("embedded again"))
    monkeypatch.setattr("steelyard.training.head.HeadStudent._train", lambda *_: pytest.fail("trained again"))
    assert run(small(table)).rows == first.rows


def test_several_sizes_make_a_sweep(table):
    result = run(small(table, weak_words=(8, 16), dimensions=(0, 4), seeds=(0,)))
    cells = result.artifacts["sweep"]["cells"]
    assert [(cell["weak"], cell["strong"]) for cell in cells] == [(8, 0), (8, 4), (16, 0), (16, 4)]
    assert cells[0]["gap"]["weak"]["mean"] == cells[1]["gap"]["weak"]["mean"] < cells[2]["gap"]["weak"]["mean"]
    assert cells[0]["gap"]["ceiling"]["mean"] > cells[1]["gap"]["ceiling"]["mean"]
    assert {row.seed for row in result.rows} == {0}


def test_rules_supervise_as_well(table, tmp_path):
    rules = tmp_path / "rules.py"
    rules.write_text(
        "import steelyard as sy\n"
        "food = sy.keywords(['bread', 'cheese'], label='food', name='food')\n"
        "travel = sy.keywords(['train', 'airport'], label='travel', name='travel')\n"
    )
    result = run(small(table, weak=str(rules), seeds=(0,)))
    assert result.mean("method", "accuracy") > result.mean("weak", "accuracy")


@pytest.mark.slow
def test_fine_tuned_models_on_both_sides_with_every_remedy(tmp_path):
    texts, y, _ = toy_task(240)
    pl.DataFrame({"text": [f"{text} {i}" for i, text in enumerate(texts)], "label": y}).write_csv(tmp_path / "toy.csv")
    model, words = bert()
    model.bert.save_pretrained(tmp_path / "bert")
    words.save_pretrained(tmp_path / "bert")
    name = str(tmp_path / "bert")
    options = {
        "weak": name,
        "strong": name,
        "tune": "full",
        "bootstrap": (name,),
        "probe_after": True,
        "learning_rate": 3e-3,
        "epochs": 6,
        "batch_size": 8,
    }
    result = run(WeakToStrong(str(tmp_path / "toy.csv"), gold=60, test=60, seeds=(0,), students=str(tmp_path / "s"), **options))
    assert result.arms == ["weak", "method", "bootstrap", "probe_after", "ceiling"]
    assert result.mean("ceiling", "accuracy") > 0.5
    assert (tmp_path / "s" / "method-0" / "student.json").exists()


@pytest.mark.slow
def test_a_decoder_without_padding_takes_every_remedy(table, tmp_path):
    model, words = gpt2_without_padding()
    GPT2LMHeadModel(model.config).save_pretrained(tmp_path / "gpt2")
    words.save_pretrained(tmp_path / "gpt2")
    name = str(tmp_path / "gpt2")
    options = {"strong": name, "tune": "full", "bootstrap": (name,), "generative": 1, "probe_after": True, "early_stopping": 0.2}
    loss = ("confidence:0.5:official", "product")
    result = run(small(table, loss=loss, pooling="last", epochs=1, seeds=(0,), **options))
    assert result.arms == ["weak", "method", "product", "bootstrap", "generative", "probe_after", "ceiling"]


def test_the_command_line_runs_it(table, tmp_path, capsys):
    arguments = ["run", "weak-to-strong", "--data", table, "--gold", "40", "--weak-words", "8", "--loss", "confidence", "--epochs", "20"]
    with pytest.raises(SystemExit) as stop:
        app([*arguments, "--seeds", "1", "-o", str(tmp_path / "r.json"), "--json"])
    assert stop.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    assert Result.from_json(tmp_path / "r.json").mean("method", "accuracy") > 0.5
    assert printed["name"] == get("weak-to-strong").name


def test_no_gap_is_said_and_not_hidden(table):
    with pytest.warns(UndefinedGap, match="not better than the weak supervisor"):
        result = run(small(table, gold=200, unlabeled=10, weak_words=(100,), epochs=1, seeds=(0,)))
    assert np.isnan(result.mean("method", "accuracy/pgr"))
    assert "no gap" in result.artifacts["gap"]["note"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": ("xent",)}, ConfigError, "loss 'xent' is unknown"),
        ({"loss": ()}, ConfigError, "at least one value each"),
        ({"tune": "half"}, ConfigError, "tune must be one of"),
        ({"gold": 400}, ConfigError, "cannot be drawn from 360 rows"),
        ({"label": "topic"}, DataError, "has no column 'topic'"),
        ({"probe_after": True}, ConfigError, "use tune full or lora"),
        ({"weak_words": (1,), "gold": 11}, TrainingError, "labels all 170 unlabeled rows"),
    ],
)
def test_mistakes_are_one_sentence(table, options, error, message):
    with pytest.raises(error, match=message):
        run(small(table, seeds=(0,), **options))
