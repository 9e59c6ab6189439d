"""The recipe end to end on a user's table, a language model on the same prompts, real votes, and a sentence for every mistake."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from steelyard.cli import app
from steelyard.errors import ConfigError, DataError
from steelyard.jobs.vote_suite import answers_right, load_vote_tasks
from steelyard.recipes.annotation_tasks import AnnotationTasks, run

TASKS = {
    "where": {"kitchen": ["bread", "spoon", "oven", "plate"], "street": ["bus", "lamp", "bicycle", "crossing"]},
    "mood": {"glad": ["lovely", "superb", "charming"], "sad": ["awful", "hopeless", "dreary"], "none": ["plain", "usual", "normal"]},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = []
    for document in range(150):
        answers = {task: rng.choice(list(words)) for task, words in TASKS.items()}
        text = " ".join(rng.choice(TASKS[task][answer]) for task, answer in answers.items()) + f" thing {document}"
        rows += [{"task": task, "text": text, "answer": answer, "document": str(document)} for task, answer in answers.items()]
    file = tmp_path_factory.mktemp("tasks") / "tasks.csv"
    pl.DataFrame(rows).write_csv(file)
    return str(file)


def small(table: str, **options) -> AnnotationTasks:
    return AnnotationTasks((table,), **{"sizes": (10, 80), "shared": (80,), "steps": 150, "seeds": (0,), **options})


def test_specialised_models_beat_the_zero_shot_annotator_and_grow_with_labels(table):
    result = run(small(table))
    assert result.mean("specialised-80", "accuracy") > result.mean("specialised-10", "accuracy") > 0.4
    assert result.mean("method", "accuracy") > result.mean("weak", "accuracy")
    assert result.mean("weak", "tasks_won") == 0
    tasks = [result.mean("weak", f"accuracy/{task}") for task in TASKS]
    assert result.mean("weak", "accuracy") == pytest.approx(np.mean(tasks))
    low, high = result.artifacts["intervals"]["0"]["weak"]["mood"]
    assert low < tasks[1] < high
    assert run(small(table)).rows == result.rows


def test_descriptions_and_questions_come_from_a_file(table, tmp_path):
    choices = {"kitchen": "a place with bread and an oven", "street": "a place with a bus and a lamp"}
    (tmp_path / "d.json").write_text(json.dumps({"where": {"choices": choices, "question": "Where is it?"}}))
    described = run(small(table, descriptions=str(tmp_path / "d.json")))
    assert described.mean("weak", "accuracy/where") > run(small(table)).mean("weak", "accuracy/where") - 0.05
    (tmp_path / "d.json").write_text(json.dumps({"where": {"choices": {"kitchen": "a", "garden": "b"}}}))
    with pytest.raises(DataError, match="the answer 'street', which its choices do not describe"):
        run(small(table, descriptions=str(tmp_path / "d.json")))


@pytest.mark.slow
def test_a_language_model_answers_the_same_prompts_before_and_after_fine_tuning(table, tmp_path):
    from steelyard.language.tiny_lm import tiny_lm

    words = [word for task in TASKS.values() for group in task.values() for word in group]
    tiny_lm([f"{' '.join(words)} Question: Which of these fits? Answer: A B C"] * 20, size="nano", steps=5, context=256).save(
        tmp_path / "lm"
    )
    result = run(small(table, sizes=(80,), model=str(tmp_path / "lm" / "model"), context=200, epochs=12, learning_rate=1e-2))
    assert result.mean("lm-tuned", "accuracy") > result.mean("lm-zero-shot", "accuracy")


def test_label_models_weigh_the_published_answers_of_nine_models(data_root):
    tasks = dict(list(load_vote_tasks("llm_votes_legal").items())[:2])
    right = answers_right(tasks, ["MajorityVote", "DawidSkene"], without=("lawma-70b", "lawma-8b"))
    assert len(right) == 2 + 9
    assert all(cases.shape == tasks[task][1].shape for per_task in right.values() for task, cases in per_task.items())
    assert right["lawma-70b"]["sc_issuearea"].mean() == pytest.approx(0.85, abs=0.005)  # as published


def test_the_command_line_runs_it(table, tmp_path, capsys):
    arguments = ["run", "annotation-tasks", "--data", table, "--sizes", "20", "--shared", "20", "--steps", "20", "--seeds", "1"]
    with pytest.raises(SystemExit) as stop:
        app([*arguments, "-o", str(tmp_path / "r.json"), "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["name"] == "annotation-tasks"


def test_mistakes_are_one_sentence(table, tmp_path):
    pl.DataFrame({"task": ["t"] * 3, "text": list("abc"), "answer": ["yes"] * 3}).write_csv(tmp_path / "sole.csv")
    pl.DataFrame({"task": ["t"] * 3, "text": list("abc"), "answer": ["yes", None, "no"]}).write_csv(tmp_path / "hole.csv")
    pl.DataFrame({"task": ["t"] * 3, "text": list("abc")}).write_csv(tmp_path / "bare.csv")
    for name, message in (("sole", "one answer only"), ("hole", "1 empty cells"), ("bare", "answer")):
        with pytest.raises(DataError, match=message):
            run(small(str(tmp_path / f"{name}.csv")))
    for options, message in (
        ({"sizes": ()}, "at least one value"),
        ({"majority": 1.5}, "a share between"),
        ({"votes": "trec"}, "one task"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(small(table, **options))
    with pytest.raises(ConfigError, match="two tasks are called"):
        run(AnnotationTasks((table, table), seeds=(0,)))
