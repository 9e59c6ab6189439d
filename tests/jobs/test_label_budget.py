"""Strategies under one label budget: fair draws, abstentions that stay abstentions, and own tables of numbers or texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.jobs.bench_tasks import BenchTask, load_bench_task
from steelyard.jobs.label_budget import STRATEGIES, BudgetOptions, answer, draw, student_answers

FEW = BudgetOptions(rounds=3, queries=2)


def task(k: int = 3, zero_shot: bool = True) -> BenchTask:
    rng = np.random.default_rng(0)
    y = rng.integers(0, k, 400)
    X = rng.normal(size=(400, 30)) + 2.0 * rng.normal(size=(k, 30))[y]
    scores = rng.random((400, k)) + 0.8 * np.eye(k)[y]
    features = {"pca": (X[:300], X[300:])} | ({"zero-shot": (scores[:300], scores[300:])} if zero_shot else {})
    return BenchTask("clouds", tuple("abc"[:k]), y[:300], y[300:], features)


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_every_strategy_beats_guessing_where_it_answers(strategy: str) -> None:
    given = task()
    answers = answer(strategy, draw(given, "pca", 60, 0, FEW))
    assert answers is not None
    covered = answers.codes >= 0
    assert covered.any()
    assert (answers.codes == given.y_test)[covered].mean() > 0.5
    if answers.soft is not None:
        taught = student_answers(draw(given, "pca", 60, 0, FEW), answers)
        assert taught is not None
        assert (taught == given.y_test).mean() > 0.5


def test_a_draw_holds_every_class_and_shares_no_row_with_the_unlabelled() -> None:
    given = task()
    drawn = draw(given, "pca", 20, 3, FEW)
    assert set(drawn.y) == {0, 1, 2}
    assert len(drawn.X) == 20
    assert len(drawn.unlabeled) == 280
    rows = {row.tobytes() for row in drawn.X}
    assert not any(row.tobytes() in rows for row in drawn.unlabeled)
    assert drawn.zero_shot is not None
    assert [len(part) for part in drawn.zero_shot] == [20, 280, 100]


def test_zero_shot_applies_only_where_classes_have_scores() -> None:
    assert answer("zero-shot", draw(task(zero_shot=False), "pca", 20, 0, FEW)) is None
    assert answer("snuba + zero-shot", draw(task(zero_shot=False), "pca", 20, 0, FEW)) is None


def test_rules_are_made_once_for_strategies_with_and_without_zero_shot() -> None:
    drawn = draw(task(), "pca", 60, 0, FEW)
    alone = answer("snuba", drawn)
    maker = drawn.makers["snuba"]
    both = answer("snuba + zero-shot", drawn)
    assert alone is not None
    assert both is not None
    assert drawn.makers == {"snuba": maker}
    # The zero-shot classifier never abstains, so neither do both.
    assert (both.codes >= 0).mean() == 1 >= (alone.codes >= 0).mean()


def test_of_two_classes_both_forms_of_snuba_are_one() -> None:
    drawn = draw(task(k=2), "pca", 60, 0, FEW)
    answers = [answer(kind, drawn) for kind in ("snuba", "snuba multipolar")]
    assert answers[0] is not None
    assert answers[1] is not None
    assert (answers[0].codes == answers[1].codes).all()
    assert list(drawn.makers) == ["snuba"]


def test_goggles_gains_nothing_from_scores_that_it_already_sees() -> None:
    given = task()
    assert answer("goggles + zero-shot", draw(given, "zero-shot", 60, 0, FEW)) is None
    together = answer("goggles + zero-shot", draw(given, "pca", 60, 0, FEW))
    assert together is not None
    assert (together.codes >= 0).all()


def test_rules_are_made_from_so_many_features_at_most() -> None:
    drawn = draw(task(), "pca", 60, 0, BudgetOptions(rounds=2, candidates=3))
    assert answer("snuba multipolar", drawn) is not None
    maker = drawn.makers["snuba multipolar"]
    assert maker is not None
    assert len(np.unique(maker.rules_[0].columns)) <= 3


def test_budgets_and_names_that_do_not_suit() -> None:
    given = task()
    for budget in (5, 300):
        with pytest.raises(ConfigError, match=f"a budget of {budget} labels does not suit 'clouds'"):
            draw(given, "pca", budget, 0, FEW)
    with pytest.raises(ConfigError, match="strategy 'guess' is unknown"):
        answer("guess", draw(given, "pca", 20, 0, FEW))
    with pytest.raises(ConfigError, match="label model 'Oracle' is unknown"):
        answer("snuba", draw(given, "pca", 20, 0, BudgetOptions(label_model="Oracle")))
    absent = BenchTask("clouds", ("a", "b", "c", "d"), given.y, given.y_test, given.features)
    with pytest.raises(ConfigError, match="class 'd' of 'clouds' does not occur"):
        draw(absent, "pca", 20, 0, FEW)


def test_own_tables_of_numbers_and_of_texts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 80)
    table = pl.DataFrame({"height": kind + rng.normal(size=80), "width": rng.normal(size=80), "kind": kind})
    table.write_csv(tmp_path / "numbers.csv")
    found = load_bench_task(f"{tmp_path / 'numbers.csv'}@kind", features=("raw", "pca", "zero-shot"))
    assert found.features.keys() == {"raw", "pca"}
    assert found.classes == ("0", "1")
    assert len(found.y) + len(found.y_test) == 80
    pl.DataFrame({"text": [f"w{i} {'ab'[c]}x" for i, c in enumerate(kind)], "label": kind}).write_csv(tmp_path / "texts.csv")
    assert load_bench_task(str(tmp_path / "texts.csv"), features=("raw",)).features["raw"][0].shape[1] > 2
    with pytest.raises(DataError, match="no column 'colour'"):
        load_bench_task(f"{tmp_path / 'numbers.csv'}@colour")
    with pytest.raises(ConfigError, match="features 'clip' are unknown"):
        load_bench_task("wine", features=("clip",))
    table.with_columns(pl.when(pl.col("width") > 0).then(pl.col("width")).alias("width")).write_csv(tmp_path / "holes.csv")
    with pytest.raises(DataError, match="column 'width' of training row"):
        load_bench_task(f"{tmp_path / 'holes.csv'}@kind", features=("raw",))


def test_sets_without_text_or_row_labels_are_refused(data_root: Path) -> None:
    with pytest.raises(DataError, match="labels for tokens"):
        load_bench_task("bc5cdr")
    digits = load_bench_task("mnist", features=("raw",), pool=50, test=20)
    assert digits.features["raw"][0].shape == (50, 784)
