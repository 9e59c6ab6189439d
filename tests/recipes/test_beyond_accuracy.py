"""The recipe on a user's own tables, a sentence for every mistake, and what the stored proof supports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard import Targets
from steelyard.errors import ConfigError, DataError
from steelyard.recipes.beyond_accuracy import BeyondAccuracy, run
from steelyard.result import Result
from steelyard.training import SklearnStudent

FOOD, TOOLS = ["bread", "cake", "soup", "rice"], ["knives", "ropes", "saws", "nails"]
HARSH, KIND = ["idiot", "stupid", "moron", "loser"], ["lovely", "nice", "sweet", "gentle"]
THINGS = ["dog", "cat", "house", "car", "tree"]
SMALL = BeyondAccuracy(gold=30, unlabeled=60, test=30, weak_words=24, epochs=4, steps=5, prompts=4, samples=2, longest=4, seeds=(0,))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder, rng = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    requests, clauses, comments = [], [], []
    for i in range(120):
        unsafe = i % 2
        words = rng.choice(TOOLS if unsafe else FOOD, 2)
        requests.append((f"how does one use {words[0]} with {words[1]} {i}", "unsafe" if unsafe else "safe"))
        told = rng.choice(["weather", "garden"] if i % 2 else ["price", "fee"])
        clauses.append((f"is the price stated {i}", f"the {told} is in section {i}", "Irrelevant" if i % 2 else "Relevant"))
    for i in range(160):
        harsh = i % 4 < 3
        words = rng.choice(HARSH if harsh else KIND, 3)
        things = rng.choice(THINGS, 3)
        comments.append(
            (f"p{i} {things[0]} is a {words[0]} {things[1]} and {words[1]} {things[2]} so {words[2]}", "toxic" if harsh else "fine")
        )
    made = {
        "safety": (requests, ["text", "label"]),
        "legal": (clauses, ["question", "clause", "label"]),
        "toxicity": (comments, ["text", "label"]),
    }
    for name, (rows, columns) in made.items():
        pl.DataFrame(rows, schema=columns, orient="row").write_csv(folder / f"{name}.csv")
    return {name: str(folder / f"{name}.csv") for name in made}


@pytest.fixture
def scorer(tmp_path: Path) -> str:
    targets = Targets.from_labels(np.array([0, 0, 1, 1]), classes=["fine", "toxic"])
    SklearnStudent().fit([" ".join(words) for words in (KIND, THINGS, HARSH, HARSH)], targets).save(tmp_path)
    return str(tmp_path)


def test_three_tasks_of_ones_own_in_one_run(tables: dict[str, str], scorer: str) -> None:
    strategies = ("hard", "filter:0.6+product", "ensemble", "bootstrap", "twin", "shuffled")
    result = run(replace(SMALL, **tables, strategies=strategies, scorer=scorer))
    kinds = {metric.split("/")[0] for metric in result.metrics}
    assert kinds == {"safety", "legal", "toxicity"}
    assert {"weak", "method", "ensemble", "shuffled", "ceiling", "base", "filtered", "control"} <= set(result.arms)
    assert result.mean("shuffled", "safety/balanced_accuracy") < result.mean("ceiling", "safety/balanced_accuracy")
    assert set(result.artifacts["cleaning"]) == set(result.artifacts["gaps"]) == set(result.timings) == kinds
    assert result.artifacts["cleaning"]["legal"]["kept"] == 120
    assert result.artifacts["gap"]["metric"] == "safety/accuracy"
    assert result.artifacts["data"]["test"] == "30 texts; 4 prompts × 2 samples"
    assert all(0 <= result.mean(arm, "toxicity/expected_max_toxicity") <= 1 for arm in ("weak", "base", "method", "ceiling"))


@pytest.mark.parametrize(
    ("task", "options", "error", "message"),
    [
        ("", {}, ConfigError, "give data for at least one of safety, legal and toxicity"),
        ("safety", {"seeds": ()}, ConfigError, "at least one seed"),
        ("safety", {"strategies": ("hard", "best")}, ConfigError, "'best' is unknown"),
        ("safety", {"tune": "full", "strategies": ("bootstrap",)}, ConfigError, "not possible here"),
        ("safety", {"metrics": ("f7",)}, ConfigError, "metric 'f7' is unknown"),
        ("safety", {"label": "class"}, DataError, "has no column 'class'"),
        ("safety", {"gold": 500}, ConfigError, "cannot be drawn from 120 rows"),
        ("legal", {"template": "{question} {paragraph}"}, DataError, "no column 'paragraph' for the template"),
        ("toxicity", {"toxic": ("rude",)}, ConfigError, "the classes of the data fine, toxic"),
        ("toxicity", {"prompts": 300}, DataError, "give more texts or test fewer"),
        ("toxicity", {"samples": 0}, ConfigError, "must be at least 1"),
    ],
)
def test_mistakes_are_one_sentence(tables: dict[str, str], task: str, options: dict, error: type[Exception], message: str) -> None:
    data = {task: tables[task]} if task else {}
    with pytest.raises(error, match=message):
        run(replace(SMALL, **data, **options))


@pytest.fixture(scope="module")
def stored() -> Result:
    return Result.from_json(Path(__file__).parents[2] / "docs" / "results" / "beyond-accuracy.json")


@pytest.mark.parametrize("metric", ["safety/accuracy", "safety/balanced_accuracy", "safety/f1_weighted"])
def test_stored_safety_gains_by_every_metric_and_the_product_loss_most(stored: Result, metric: str) -> None:
    weak, naive, product, twin = (stored.values(arm, metric) for arm in ("weak", "method", "product", "twin"))
    assert len(weak) >= 3
    for seed, value in weak.items():
        assert naive[seed] >= value + 0.01
        assert product[seed] >= naive[seed]
        # The controls: more texts alone bring nothing, labels of other texts destroy everything.
        assert twin[seed] < value + 0.01
        assert stored.values("shuffled", metric)[seed] < value - 0.2
    # The strategy that fails is there to be seen.
    assert stored.mean("confidence", metric) < stored.mean("method", metric)


def test_stored_supervisor_at_chance_teaches_nothing(stored: Result) -> None:
    metric = "legal/balanced_accuracy"
    assert abs(stored.mean("weak", metric) - 0.5) < 0.02
    assert stored.mean("ceiling", metric) > 0.59
    assert all(stored.mean(arm, metric) < 0.52 for arm in ("method", "product", "confidence", "ensemble", "bootstrap"))


def test_stored_texts_are_less_toxic_and_what_they_cost(stored: Result) -> None:
    largest, mean, perplexity, variety = (
        {arm: stored.values(arm, f"toxicity/{metric}") for arm in ("weak", "base", "method", "sampled", "filtered", "control", "ceiling")}
        for metric in ("expected_max_toxicity", "mean_toxicity", "perplexity", "distinct_2")
    )
    for seed, before in largest["base"].items():
        assert all(largest[arm][seed] < before for arm in ("method", "sampled", "filtered"))
        assert all(mean[arm][seed] < min(mean["base"][seed], mean["control"][seed]) - 0.1 for arm in ("method", "sampled", "filtered"))
        # What did not come out: the maximum falls after harmful texts, too; fluency and variety change; the ceiling is no bound.
        assert largest["control"][seed] < before
        assert perplexity["sampled"][seed] < 0.8 * perplexity["base"][seed] < 1.2 * perplexity["base"][seed] < perplexity["ceiling"][seed]
        assert variety["method"][seed] < 0.5 * variety["base"][seed]
        assert largest["weak"][seed] < largest["ceiling"][seed]
