"""Ray and Spark: the same votes and statistics as on this machine, bit for bit, also when a worker dies."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard import apply, keywords, labeling_function
from steelyard.engines import Engine, get_engine
from steelyard.errors import ConfigError
from steelyard.jobs import label_file
from steelyard.label_models import DawidSkene, summarize
from tests.label_models.check_estimator import simulate

pytestmark = pytest.mark.slow

RULES = """
import steelyard as sy

classes = ["HAM", "SPAM"]


@sy.labeling_function
def shouts(row):
    return "SPAM" if row.text.isupper() else None


sources = [shouts, sy.keywords("see you", label="HAM"), sy.keywords("money", label="SPAM")]
"""


@pytest.fixture(scope="module", params=["ray", "spark"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "ray":
        ray = pytest.importorskip("ray", reason="Ray is not installed")
        yield get_engine("ray", workers=2)
        ray.shutdown()
        return
    pytest.importorskip("pyspark", reason="PySpark is not installed")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    from pyspark.sql import SparkSession

    yield get_engine("spark", workers=2)
    session = SparkSession.getActiveSession()
    if session is not None:
        session.stop()


def test_order_closures_and_errors(engine: Engine) -> None:
    factor = 3
    assert list(engine.map_batches(lambda number: factor * number, range(9))) == [factor * number for number in range(9)]
    with pytest.raises(ZeroDivisionError):
        list(engine.map_batches(lambda number: 1 // number, [1, 0]))


def test_votes_are_those_of_this_machine(engine: Engine) -> None:
    @labeling_function
    def short(row):  # type: ignore[no-untyped-def]
        return "HAM" if len(row.text) < 20 else None

    texts = [f"{'MONEY' if i % 3 else 'see you'} {'x' * (i % 40)}" for i in range(500)]
    rules = [short, keywords("money", label="SPAM")]
    here, there = apply(rules, texts), apply(rules, texts, engine=engine)
    np.testing.assert_array_equal(here.codes, there.codes)
    assert (here.classes, here.sources) == (there.classes, there.sources)


def test_statistics_and_fit_are_those_of_this_machine(engine: Engine, tmp_path: Path) -> None:
    votes, _ = simulate(2000, 6, 3, seed=0)
    for i in range(4):
        votes[500 * i : 500 * (i + 1)].to_parquet(tmp_path / f"{i}.parquet")
    for keep in ("patterns", "moments"):
        assert summarize(tmp_path, keep=keep, engine=engine) == summarize(votes, keep=keep)
    here, there = DawidSkene().fit(votes), DawidSkene().fit(summarize(tmp_path, engine=engine))
    np.testing.assert_array_equal(here.confusions_, there.confusions_)


def test_a_file_is_labelled_as_on_this_machine(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(RULES)
    (tmp_path / "big").mkdir()
    texts = [("SEND MONEY", "see you soon", "nothing to say")[i % 3] for i in range(60)]
    for i in range(2):
        pl.DataFrame({"text": texts[30 * i : 30 * (i + 1)]}).write_parquet(tmp_path / "big" / f"{i}.parquet")
    options = {"data": str(tmp_path / "big"), "sources": str(tmp_path / "rules.py"), "chunk_rows": 16}
    name = "ray" if "Ray" in type(engine).__name__ else "spark"
    label_file.run(label_file.LabelFile(**options, output=str(tmp_path / "here.parquet")))
    label_file.run(label_file.LabelFile(**options, output=str(tmp_path / "there.parquet"), engine=name))
    assert pl.read_parquet(tmp_path / "here.parquet").equals(pl.read_parquet(tmp_path / "there.parquet"))


def test_a_killed_worker_loses_nothing(engine: Engine, tmp_path: Path) -> None:
    if "Spark" in type(engine).__name__:
        pytest.skip("a local Spark session has no worker processes of its own to lose")
    marker = tmp_path / "killed"

    def square(number: int) -> int:
        if number == 5 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    assert list(engine.map_batches(square, range(10))) == [number**2 for number in range(10)]
    assert marker.exists()


def test_an_address_nobody_answers() -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    ray.shutdown()
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'"):
        list(get_engine("ray", address="127.0.0.1:1").map_batches(abs, [1]))
