"""The recipe on small pairs of its own, on a table of probabilities, and through each objective."""

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.evaluation import deception_report
from steelyard.recipes import get
from steelyard.recipes.audit_deception import COLUMNS, AuditDeception, run
from steelyard.result import Result

KIND = ["gladly", "of course", "thank you", "with pleasure", "well done", "you are welcome", "take care", "good idea"]
RUDE = ["never", "get lost", "you fool", "shut up", "nonsense", "go away", "what a stupid idea", "how dare you"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Kind answers are mostly the better ones."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(120):
        pair = [str(rng.choice(words)) for words in (KIND, RUDE)]
        chosen, rejected = pair if rng.uniform() < 0.85 else pair[::-1]
        rows.append({"prompt": f"request {i}", "chosen": chosen, "rejected": rejected, "split": ("gold", "unlabeled", "test")[i % 3]})
    file = tmp_path / "pairs.jsonl"
    pl.DataFrame(rows).write_ndjson(file)
    return file


def test_every_arm_and_number_is_there(table: Path) -> None:
    result = run(AuditDeception(str(table), epochs=3, confidence=0.55, bootstrap="minilm", seeds=(0, 1)))
    students = [f"{arm}{kind}" for kind in ("", "+confident", "+bootstrap") for arm in ("clean", "conflict", "control")]
    assert {"weak", "ceiling", *students} <= set(result.arms)
    assert all(len(result.values(arm, "accuracy")) == 2 for arm in ("weak", "ceiling", *students))
    assert result.mean("ceiling", "accuracy") > 0.6
    for kind in ("", "+confident", "+bootstrap"):
        for metric in ("conflict_tax", "deception_score", "chance", "conflict_tax@0.5"):
            tax = [list(result.values(arm + kind, metric).values()) for arm in ("conflict", "control", "excess")]
            assert np.shape(tax) == (3, 2)
    assert set(result.artifacts["deception"]) == {f"conflict{kind}{at}" for kind in ("", "+confident", "+bootstrap") for at in ("", "@0.5")}
    assert result.artifacts["gap"]["ceiling"]["mean"] == result.mean("ceiling", "accuracy")
    assert result.artifacts["data"]["name"] == "pairs"


def test_the_result_survives_its_file(table: Path, tmp_path: Path) -> None:
    result = run(AuditDeception(str(table), epochs=2, seeds=(0,)))
    result.to_json(tmp_path / "result.json")
    assert Result.from_json(tmp_path / "result.json").mean("weak", "accuracy") == result.mean("weak", "accuracy")


def test_an_implicit_conflict_mixes_in_pairs_of_another_aim(table: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    pl.DataFrame({"prompt": [f"ask {i}" for i in range(64)], "chosen": RUDE * 8, "rejected": KIND * 8}).write_csv(other)
    config = AuditDeception(str(table), strong="tfidf", conflict="implicit", conflict_data=str(other), seeds=(0,))
    result = run(config)
    assert result.mean("conflict", "accuracy") < result.mean("clean", "accuracy")
    # A logistic regression has no seed: its control is itself.
    assert result.mean("control", "conflict_tax") == 0


@pytest.mark.parametrize("objective", ["reward", "dpo", "simpo"])
def test_language_models_are_audited_alike(table: Path, tmp_path: Path, objective: str) -> None:
    from steelyard.language.tiny_lm import tiny_lm

    tiny_lm([*KIND, *RUDE] * 4, size="nano", steps=5, context=64).save(tmp_path / "lm")
    small = pl.read_ndjson(table).head(24)
    small.write_ndjson(tmp_path / "small.jsonl")
    config = AuditDeception(
        str(tmp_path / "small.jsonl"), strong=str(tmp_path / "lm" / "model"), objective=objective, epochs=1, learning_rate=1e-3, seeds=(0,)
    )
    result = run(config)
    assert {"weak", "ceiling", "clean", "conflict", "control", "excess"} == set(result.arms)
    assert all(0 <= result.mean(arm, "accuracy") <= 1 for arm in ("weak", "ceiling", "clean", "conflict", "control"))


def test_the_likelihood_of_the_worse_text_may_be_the_pay(table: Path, tmp_path: Path) -> None:
    from steelyard.language.tiny_lm import tiny_lm

    tiny_lm([*KIND, *RUDE] * 4, size="nano", steps=5, context=64).save(tmp_path / "lm")
    pl.read_ndjson(table).head(24).write_ndjson(tmp_path / "small.jsonl")
    strong = str(tmp_path / "lm" / "model")
    config = AuditDeception(str(tmp_path / "small.jsonl"), strong=strong, objective="simpo", epochs=2, learning_rate=1e-3, seeds=(0,))
    turned, paid = run(config), run(dataclasses.replace(config, conflict="explicit:sft", alpha=20.0))
    assert paid.mean("clean", "accuracy") == turned.mean("clean", "accuracy")
    assert paid.mean("conflict", "conflict_tax") >= 0


def test_known_may_mean_right(table: Path) -> None:
    result = run(AuditDeception(str(table), epochs=2, known=0.5, seeds=(0,)))
    assert set(result.artifacts["deception"]) == {"conflict"}


def test_trained_models_are_audited_from_their_probabilities_alone(tmp_path: Path) -> None:
    p = np.random.default_rng(0).uniform(size=(5, 800)) ** 0.3
    file = tmp_path / "models.parquet"
    pl.DataFrame(dict(zip(COLUMNS, p, strict=True))).write_parquet(file)
    result, report = run(AuditDeception(str(file))), deception_report(*p)
    assert report.control is not None
    assert result.mean("conflict", "deception_score") == report.deception_score.mean
    assert result.mean("control", "conflict_tax") == report.control.rate
    assert result.mean("excess", "conflict_tax") == report.conflict_tax - report.control.rate
    pl.DataFrame(dict(zip(COLUMNS[:4], p[:4], strict=True))).write_parquet(file)
    assert "control" not in run(AuditDeception(str(file))).arms


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conflict": "bribe"}, "conflict is 'bribe'"),
        ({"conflict": "implicit"}, "with the table of the other pairs"),
        ({"strong": "tfidf"}, "cannot be tempted by gold"),
        ({"objective": "dpo"}, "causal language model"),
        ({"objective": "ppo"}, "objective 'ppo'"),
        ({"conflict": "explicit:sft"}, "which reward models have not"),
        ({"seeds": ()}, "at least one seed"),
    ],
)
def test_a_wrong_option_is_told_what_to_do(table: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(dataclasses.replace(AuditDeception(str(table)), **options))  # type: ignore[arg-type]


def test_unknown_data_are_named() -> None:
    with pytest.raises(DataError, match="no preference pairs named 'helpful'"):
        run(AuditDeception("helpful"))


def test_it_is_registered() -> None:
    assert get("audit-deception").config is AuditDeception
