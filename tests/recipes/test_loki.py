"""The recipe on a scale, and on a user's own probabilities and metric."""

from pathlib import Path

import polars as pl
import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.recipes import get
from steelyard.recipes.loki import Loki, run


def test_squared_distance_falls_by_a_third_on_every_seed() -> None:
    result = run(Loki("diabetes", observed=(5,), seeds=(0, 1, 2)))
    plain, ours = (result.values(arm, "diabetes/5/mse") for arm in ("weak", "method"))
    assert all(ours[seed] <= 0.65 * plain[seed] for seed in (0, 1, 2))
    assert result.mean("weak", "diabetes/5/answers") <= 5 < result.mean("method", "diabetes/5/answers")
    assert result.mean("weak", "diabetes/5/accuracy_unseen") == 0 < result.mean("method", "diabetes/5/accuracy_unseen")
    assert all(kept["reached"] == 20 for kept in result.artifacts["reached"].values())


def own(folder: Path, metric: str, probabilities: str = "p_cat,p_dog\n0.5,0.5\n0.9,0.1\n") -> Loki:
    (folder / "metric.csv").write_text(metric)
    (folder / "p.csv").write_text(probabilities)
    return Loki(str(folder / "p.csv"), metric=str(folder / "metric.csv"), answers=str(folder / "answers.parquet"))


def test_own_probabilities_are_answered_and_written(tmp_path: Path) -> None:
    run(own(tmp_path, "parent,child\nanimal,cat\nanimal,dog\n"))
    assert pl.read_parquet(tmp_path / "answers.parquet")["answer"].to_list() == ["animal", "cat"]
    run(own(tmp_path, "label,x,y\ncat,0,0\ndog,2,0\nfox,1,0\n"))
    assert pl.read_parquet(tmp_path / "answers.parquet")["answer"].to_list() == ["fox", "cat"]


@pytest.mark.parametrize(
    ("metric", "probabilities", "sentence"),
    [
        ("parent,child\na,cat\nb,dog\n", "p_cat,p_dog\n1,0\n", "disconnected"),
        ("parent,child\nanimal,cat\n", "p_cat,p_dog\n1,0\n", "label 'dog' is not in the label metric"),
        ("parent,child\nanimal,cat\n", "cat\n1\n", "no column p_LABEL"),
        ("name,child\nanimal,cat\n", "p_cat\n1\n", "needs columns parent and child"),
        ("label,word\ncat,x\n", "p_cat\n1\n", "no numeric column"),
        ("parent,child\nanimal,cat\nanimal,dog\n", "p_cat,p_dog\n0,0\n", "row 0"),
    ],
)
def test_bad_tables_get_one_sentence(tmp_path: Path, metric: str, probabilities: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        run(own(tmp_path, metric, probabilities))


def test_options_are_checked_and_it_is_registered() -> None:
    with pytest.raises(ConfigError, match="data is 'moons'"):
        run(Loki("moons"))
    with pytest.raises(ConfigError, match="2 to 20"):
        run(Loki("diabetes", observed=(1,)))
    assert get("loki").config is Loki
