"""The same rows as Parquet, as JSON lines and as a Hugging Face data set are the same task to every weak-to-strong system."""

from __future__ import annotations

from pathlib import Path

import datasets as hugging_face
import numpy as np
import polars as pl
import pytest

from steelyard.datasets.own_table import is_own_table, own_table
from steelyard.datasets.preference_pairs import load_preference_pairs
from steelyard.errors import DataError, TrainingError
from steelyard.jobs.annotation_suite import load_suite
from steelyard.jobs.answer_classifier import AnswerClassifier
from steelyard.jobs.named_parts import TFIDF, named_supervisor
from steelyard.jobs.question_task import QuestionTask, load_question_task
from steelyard.jobs.reasoning_arms import load_problem_task
from steelyard.jobs.text_task import TextTask, load_text_task
from steelyard.recipes.annotation_tasks import AnnotationTasks
from steelyard.recipes.annotation_tasks import run as annotate
from steelyard.recipes.audit_deception import AuditDeception
from steelyard.recipes.audit_deception import run as audit
from steelyard.recipes.supervision_study import SupervisionStudy
from steelyard.recipes.supervision_study import run as study

FORMS = ("parquet", "jsonl", "folder")
SUMS = pl.DataFrame({"question": ["1+1?", "2+3?", "3+3?"], "solution": ["1+1 = 2 #### 2", "#### 5", "#### 6"], "answer": ["2", "5", "6"]})
PAIRS = pl.DataFrame({"prompt": [f"q{i}" for i in range(60)], "chosen": ["thank you"] * 60, "rejected": ["go away", "get lost"] * 30})
TASKS = pl.DataFrame(
    {"task": ["pay"] * 40, "text": [f"by {way} {i}" for i in range(20) for way in ("cash", "card")], "answer": ["cash", "card"] * 20}
)
TEXTS = pl.DataFrame({"text": [f"free {i}" for i in range(4)] + [f"hello {i}" for i in range(4)], "label": ["spam"] * 4 + ["ham"] * 4})


def written(rows: pl.DataFrame, form: str, folder: Path) -> str:
    place = folder / f"rows.{form}"
    if form == "parquet":
        rows.write_parquet(place)
    elif form == "jsonl":
        rows.write_ndjson(place)
    elif "split" in rows.columns:
        parts = rows.partition_by("split", as_dict=True, include_key=False)
        hugging_face.DatasetDict(
            {str(name): hugging_face.Dataset.from_dict(part.to_dict(as_series=False)) for (name,), part in parts.items()}
        ).save_to_disk(str(place))
    else:
        hugging_face.Dataset.from_dict(rows.to_dict(as_series=False)).save_to_disk(str(place))
    return str(place)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_task(tmp_path: Path, form: str) -> None:
    for name in "bcd":
        (tmp_path / name).mkdir()
    question = load_question_task(written(SUMS, form, tmp_path))
    assert (question.questions, question.answers) == (tuple(SUMS["question"]), tuple(SUMS["answer"]))
    assert load_preference_pairs(written(PAIRS, form, tmp_path / "b")).pairs.rejected == tuple(PAIRS["rejected"])
    (task,) = load_suite([written(TASKS, form, tmp_path / "c")])
    assert (task.task.name, list(task.task.choices), task.y.tolist()) == ("pay", ["card", "cash"], [1, 0] * 20)
    texts = load_text_task(written(TEXTS, form, tmp_path / "d"))
    assert (texts.classes, len(texts.texts)) == (("ham", "spam"), 8)


@pytest.mark.parametrize("form", FORMS)
def test_a_published_test_split_stays_one(tmp_path: Path, form: str) -> None:
    place = written(SUMS.with_columns(split=pl.Series(["train", "test", "test"])), form, tmp_path)
    task = load_question_task(place)
    assert sorted(np.array(task.questions)[task.is_test]) == ["2+3?", "3+3?"]
    (tmp_path / "pairs").mkdir()
    divided = PAIRS.with_columns(split=pl.Series(["train", "train", "test"] * 20))
    pairs = load_preference_pairs(written(divided, form, tmp_path / "pairs"))
    assert {split: len(pairs.of(split)) > 5 for split in ("gold", "unlabeled")} == {"gold": True, "unlabeled": True}
    assert len(pairs.of("test")) == 20


def test_class_codes_are_read_by_their_names(tmp_path: Path) -> None:
    features = hugging_face.Features({"text": hugging_face.Value("string"), "answer": hugging_face.ClassLabel(names=["no", "yes"])})
    rows = hugging_face.Dataset.from_dict({"text": ["a", "b"], "answer": [1, 0]}, features=features)
    rows.save_to_disk(str(tmp_path / "rows"))
    assert is_own_table(tmp_path / "rows")
    assert own_table(tmp_path / "rows").rows["answer"].to_list() == ["yes", "no"]
    with pytest.raises(DataError, match="has no column 'task'; its columns are text, answer"):
        own_table(tmp_path / "rows").texts(["task"])


def test_recipes_run_on_a_folder_of_hugging_face(tmp_path: Path) -> None:
    for name in ("pairs", "tasks", "sums"):
        (tmp_path / name).mkdir()
    pairs, tasks = (written(rows, "folder", tmp_path / name) for rows, name in ((PAIRS, "pairs"), (TASKS, "tasks")))
    assert audit(AuditDeception(pairs, epochs=1, seeds=(0,))).artifacts["data"]["name"] == "rows.folder"
    assert "method" in annotate(AnnotationTasks((tasks,), sizes=(10,), shared=(10,), steps=5, seeds=(0,))).arms
    numbers = np.random.default_rng(0).integers(2, 40, (40, 3)).tolist()
    rows = [(f"Tom has {a} pens , buys {b} and gives {c} away . How many has he ?", f"- + {a} {b} {c}", a + b - c) for a, b, c in numbers]
    rows += [(f"Ann has {a} cups and buys {b} . How many has she ?", f"+ {a} {b}", a + b) for a, b, _ in numbers]
    sums = written(pl.DataFrame(rows, ["question", "solution", "answer"], orient="row"), "folder", tmp_path / "sums")
    result = study(SupervisionStudy(sums, mixtures=("hard:0", "easy:0"), train=10, test=10, epochs=1, seeds=(0,)))
    assert result.values("hard:0", "step_error_rate")[0] == 0


def test_questions_on_both_sides_only_measure_and_repetitions_go(tmp_path: Path) -> None:
    rows = pl.concat([SUMS.with_columns(split=pl.lit("test")), SUMS[:2].with_columns(split=pl.lit("train"))])
    rows = pl.concat(
        [rows, pl.DataFrame({"question": ["4+4?", " 4+4?"], "solution": ["#### 8"] * 2, "answer": ["8"] * 2, "split": ["train"] * 2})]
    )
    with pytest.warns(UserWarning, match="2 questions lie both in the split 'test' and in another, for example '1"):
        task = load_question_task(written(rows, "parquet", tmp_path))
    assert (list(task.questions), task.is_test.tolist()) == (["1+1?", "2+3?", "3+3?", "4+4?"], [True, True, True, False])


def test_pairs_on_both_sides_are_left_out_with_a_warning(tmp_path: Path) -> None:
    rows = PAIRS.with_columns(split=pl.lit("gold"))
    with pytest.warns(UserWarning, match="5 pairs outside the split 'test' have a prompt that also lies in it"):
        found = load_preference_pairs(written(pl.concat([rows, PAIRS[:5].with_columns(split=pl.lit("test"))]), "parquet", tmp_path))
    assert (found.dropped, len(found)) == (5, 60)


def test_solutions_that_are_equations_are_read_as_equations(tmp_path: Path) -> None:
    rows = pl.DataFrame({"question": ["2 and 3 ?", "4 and 5 and 1 ?"], "solution": ["+ 2 3", "- + 4 5 1"], "answer": ["5", "8"]})
    task, counts = load_problem_task(written(rows, "jsonl", tmp_path), plain=True)
    assert (task.style, task.answers, counts["problems"]) == ("equation", ["5", "8"], 2)


def test_solutions_that_never_end_in_their_answer_are_named(tmp_path: Path) -> None:
    rows = pl.DataFrame({"question": ["2 and 3 ?"], "solution": ["it is five"], "answer": ["5"]})
    with pytest.raises(DataError, match=r"none of the 1 solutions ends in the answer stated beside it.*'it is five' against '5'"):
        load_problem_task(written(rows, "jsonl", tmp_path))


def test_a_weak_model_of_one_answer_is_refused() -> None:
    nothing = TextTask([], np.zeros(0, dtype=np.int64), ("no", "yes"), np.zeros(0, dtype=np.bool_))
    task = QuestionTask(["up", "also up"], ["yes"] * 2, ["yes"] * 2, np.zeros(2, dtype=np.bool_), ("no", "yes"))
    with pytest.raises(TrainingError, match="its 2 questions with gold: all have the answer 'yes'; enlarge that pool"):
        AnswerClassifier(named_supervisor(TFIDF, nothing), ("no", "yes")).fit(task.gold([0, 1]))
