"""The recipe on a scale, and on a user's own probabilities and metric."""

import dataclasses
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


def test_labels_that_no_path_joins_count_as_the_largest_distance_and_one_more(tmp_path: Path) -> None:
    forest = "parent,child\nanimal,cat\nanimal,dog\ntool,saw\n"
    config = own(tmp_path, forest, "p_cat,p_dog,p_saw,label\n0.3,0.3,0.4,saw\n0.1,0.1,0.8,saw\n")
    with pytest.raises(DataError, match=r"no path joins.*--join-parts"):
        run(config)
    # Row 0: energy .6 · 1² + .4 · 3² of animal against .6 · 3² of saw; the largest distance is 2, so the parts are 3 apart.
    result = run(dataclasses.replace(config, join_parts=True))
    assert pl.read_parquet(tmp_path / "answers.parquet")["answer"].to_list() == ["animal", "saw"]
    assert result.mean("method", "p/3/mse") == pytest.approx(3**2 / 2)


def test_the_curves_are_the_means_by_number_of_observed_labels() -> None:
    result = run(Loki("diabetes", observed=(20, 3), seeds=(0, 1)))
    (drawn,) = result.artifacts["curves"]
    assert [arm["name"] for arm in drawn["arms"]] == ["most probable label", "Fréchet mean"]
    for arm, name in zip(drawn["arms"], ("weak", "method"), strict=True):
        assert arm["steps"] == [3, 20]
        assert arm["loss"] == pytest.approx([result.mean(name, f"diabetes/{k}/mse") for k in (3, 20)])


def test_options_for_intents_are_checked_before_anything_is_embedded(data_root: Path) -> None:
    with pytest.raises(ConfigError, match="2 to 150"):
        run(Loki("clinc150", intents=(151,), seeds=(0,)))
    with pytest.raises(ConfigError, match="use tree, embedding, or tree"):
        run(Loki("clinc150", metric="wordnet", seeds=(0,)))


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
