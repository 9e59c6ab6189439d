"""The recipe on digits in small, and on a user's own table with a teacher's written answers."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.recipes import get
from steelyard.recipes.robust_active_distillation import STRATEGIES, RobustActiveDistillation, run


def test_every_arm_and_number_is_there() -> None:
    result = run(RobustActiveDistillation(teacher="200x44", student="logistic", rounds=1, seeds=(0,)))
    assert set(result.arms) == {"weak", "baseline", *STRATEGIES}
    assert result.mean("oracle", "200x44/hard/teacher_right") == 1
    assert result.mean("method", "200x44/hard/teacher_right") > result.mean("margin", "200x44/hard/teacher_right")
    assert result.mean("method", "200x44/hard/accuracy") > result.mean("baseline", "200x44/hard/accuracy")


def test_curves_start_without_questions_and_end_at_the_reported_accuracy() -> None:
    result = run(RobustActiveDistillation(teacher="200x44", strategies=("uniform", "method"), student="logistic", rounds=2, seeds=(0, 1)))
    (drawn,) = result.artifacts["curves"]
    lines = {arm["name"]: arm for arm in drawn["arms"]}
    assert list(lines) == ["no questions", "uniform", "robust"]
    assert lines["robust"]["steps"] == [50, 100]
    for name, arm in (("no questions", "baseline"), ("uniform", "uniform"), ("robust", "method")):
        assert lines[name]["loss"][-1] == pytest.approx(result.mean(arm, "200x44/hard/accuracy"))


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    y = x.sum(1) > 0
    label = [("yes" if value else "no") if i < 100 else None for i, value in enumerate(y)]
    pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "label": label}).write_parquet(tmp_path / "rows.parquet")
    wrong = y ^ (rng.uniform(size=200) < 0.1)
    pl.DataFrame({"p_no": (~wrong).astype(float), "p_yes": wrong.astype(float)}).write_parquet(tmp_path / "teacher.parquet")
    return tmp_path / "rows.parquet", tmp_path / "teacher.parquet"


def small(rows: Path, teacher: Path, **options: object) -> RobustActiveDistillation:
    sizes = {"labeled": 10, "validation": 40, "test": 40, "rounds": 2, "budget": 15, "student": "logistic", "seeds": (0,)}
    return RobustActiveDistillation(str(rows), str(teacher), strategies=("uniform", "method"), **{**sizes, **options})  # type: ignore[arg-type]


def test_own_rows_and_written_answers(tables: tuple[Path, Path]) -> None:
    result = run(small(*tables))
    assert result.mean("method", "hard/accuracy") > 0.75
    assert sum(record["answered"] for record in result.artifacts["rounds"] if record["arm"] == "method") == 30


def test_bad_input_gets_one_sentence(tables: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="strategies"):
        run(RobustActiveDistillation(strategies=("guess",)))
    with pytest.raises(ConfigError, match="rows x pixels"):
        run(RobustActiveDistillation(teacher="many", seeds=(0,)))
    pl.read_parquet(tables[1]).head(5).write_parquet(tmp_path / "short.parquet")
    with pytest.raises(DataError, match="row for row"):
        run(small(tables[0], tmp_path / "short.parquet"))
    pl.read_parquet(tables[1]).drop("p_yes").write_parquet(tmp_path / "narrow.parquet")
    with pytest.raises(DataError, match="no column 'p_yes'"):
        run(small(tables[0], tmp_path / "narrow.parquet"))
    with pytest.raises(DataError, match="no column 'label'"):
        run(small(tables[1], tables[1]))


def test_it_is_registered() -> None:
    assert get("robust-active-distillation").config is RobustActiveDistillation
