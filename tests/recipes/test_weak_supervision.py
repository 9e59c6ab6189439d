"""The recipe on votes with known truth, on a table with its own sources, and on published sets."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from steelyard import datasets
from steelyard.errors import ConfigError
from steelyard.jobs.sources_file import load_sources
from steelyard.recipes import get, names
from steelyard.recipes.weak_supervision import WeakSupervision, run
from steelyard.sources import keywords, labeling_function

COLOURS = ["red", "green", "blue", "grey", "pink", "gold"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Texts whose class is decided by which words they use; rules know some of the words, the student can learn the others."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(600):
        y = int(rng.integers(2))
        words = rng.choice([f"w{y}_{j}" for j in range(12)], size=4, replace=False)
        noise = rng.choice([f"n{j}" for j in range(30)], size=4)
        rows.append({"text": " ".join([*words, *noise]), "label": "AB"[y], "split": "test" if i % 3 == 0 else "train"})
    file = tmp_path / "set.parquet"
    pl.DataFrame(rows).write_parquet(file)
    return file


RULES = [
    keywords(["w0_1 ", "w0_2 "], label="A", name="a1"),
    keywords(["w0_3 "], label="A", name="a2"),
    keywords(["w1_1 ", "w1_2 "], label="B", name="b1"),
    keywords(["w1_3 ", "n1 "], label="B", name="b2"),
]


def test_the_student_outgrows_its_sources_and_stays_below_the_ceiling(table: Path) -> None:
    result = run(WeakSupervision(str(table)), sources=RULES)
    weak, method, ceiling = (result.mean(arm, "accuracy") for arm in ("weak", "method", "ceiling"))
    assert weak < method <= ceiling
    assert result.artifacts["gap"]["student"]["mean"] == pytest.approx(method)
    assert [row["source"] for row in result.artifacts["sources"]] == ["a1", "a2", "b1", "b2"]
    assert np.sum(result.artifacts["confusion"]["matrix"]) == 200
    assert result.artifacts["data"]["checksum"]


def test_the_same_configuration_gives_the_same_numbers(table: Path) -> None:
    first, second = (run(WeakSupervision(str(table)), sources=RULES) for _ in range(2))
    assert first.rows == second.rows


def test_sources_never_see_the_gold_labels(table: Path) -> None:
    seen = set()

    @labeling_function(labels=["A"])
    def spy(row):
        seen.update(row)
        return "A"

    run(WeakSupervision(str(table), label_model="MajorityVote", student="none"), sources=[spy, *RULES])
    assert "text" in seen
    assert "label" not in seen


def test_a_deterministic_student_runs_once_and_confidence_drops_rows(table: Path) -> None:
    result = run(WeakSupervision(str(table), confidence=0.99, label_model="MajorityVote"), sources=RULES)
    assert {row.seed for row in result.rows} == {0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_model": "Median"}, "label model must be select or one of .*DawidSkene"),
        ({"seeds": ()}, "seeds is empty"),
        ({"tune": "half"}, "tune must be one of"),
    ],
)
def test_refusals(table: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(WeakSupervision(str(table), **options), sources=RULES)  # type: ignore[arg-type]


def test_a_set_without_votes_wants_sources() -> None:
    with pytest.raises(ConfigError, match="has no published votes"):
        run(WeakSupervision("wine"))


def test_every_recipe_can_be_found() -> None:
    for name in names():
        assert get(name).about
    with pytest.raises(ConfigError, match="no recipe named 'x'"):
        get("x")


def test_a_sources_file_may_list_its_sources_and_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text("SPAM = ['free']\n")
    (tmp_path / "rules.py").write_text(
        "import steelyard as sy\nfrom words import SPAM\nspam = sy.keywords(SPAM, label='SPAM')\n"
        "hierarchy = {'ANY': ['HAM', 'SPAM']}\nanything = sy.keywords('a', label='ANY', name='any')\n"
        "sources = [anything, spam]\nclasses = ('HAM', 'SPAM')\n"
    )
    found = load_sources(tmp_path / "rules.py")
    assert [source.name for source in found.sources] == ["any", "keywords_free"]
    assert found.class_names() == ("HAM", "SPAM")
    assert found.class_names(("X", "Y")) == ("X", "Y")
    assert found.hierarchy == {"ANY": ("HAM", "SPAM")}


@pytest.mark.parametrize(("name", "published"), [("youtube", 0.802), ("sms", 0.953)])
def test_published_votes(name: str, published: float, data_root: Path) -> None:
    """On covered rows the vote is at least as accurate as its source states; the student learns more than the rules say, gold yet more."""
    result = run(WeakSupervision(name))
    assert result.mean("majority", "accuracy_covered") > published - 0.01
    weak, method, ceiling = (result.mean(arm, "accuracy") for arm in ("weak", "method", "ceiling"))
    assert weak < method < ceiling


def test_token_votes_without_a_student(data_root: Path) -> None:
    result = run(WeakSupervision("ncbi_disease", label_model="MajorityVote", student="none"))
    assert result.mean("weak", "accuracy") > 0.9
    with pytest.raises(ConfigError, match="labels for tokens"):
        run(WeakSupervision("ncbi_disease", label_model="MajorityVote"))


def test_tables_with_words_and_numbers_are_encoded(data_root: Path) -> None:
    data = datasets.load("census")
    from steelyard.jobs.students import make_student
    from steelyard.targets import Targets

    student = make_student("logistic", data)
    few = data["train"].head(3000)
    student.fit(few, Targets.from_labels(data.labels("train")[:3000], data.classes))
    assert (student.predict(data["test"].head(2000)) == data.labels("test")[:2000]).mean() > 0.8
