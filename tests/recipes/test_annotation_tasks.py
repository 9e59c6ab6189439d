"""The recipe end to end on a user's table, a language model on the same prompts, real votes, and a sentence for every mistake."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from steelyard.cli import app
from steelyard.errors import ConfigError, DataError
from steelyard.jobs.annotation_suite import lm_choices, lm_prompts, load_suite
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


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """One task that asks two questions of the same text; each leaves two of the four answers open."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("keyed")
    words = {"place": {"kitchen": "bread", "street": "bus"}, "mood": {"glad": "lovely", "sad": "awful"}}
    rows = []
    for document in range(120):
        answers = {key: rng.choice(list(of)) for key, of in words.items()}
        text = " ".join(words[key][answer] for key, answer in answers.items()) + f" thing {document}"
        rows += [{"task": "both", "text": text, "answer": answers[key], "key": key, "choices": "|".join(words[key])} for key in words]
    pl.DataFrame(rows).write_csv(folder / "keyed.csv")
    questions = {"place": "Where is it?", "mood": "How does it feel?"}
    choices = {answer: f"it is {answer}" for of in words.values() for answer in of}
    (folder / "d.json").write_text(json.dumps({"both": {"question": questions, "choices": choices}}))
    return str(folder / "keyed.csv"), str(folder / "d.json")


def test_of_several_right_answers_any_counts_and_one_teaches(tmp_path):
    rows = [{"task": "t", "text": f"text {i}", "answer": ["a|b", "c", "b | c"][i % 3]} for i in range(90)]
    pl.DataFrame(rows).write_csv(tmp_path / "t.csv")
    pl.DataFrame([{**row, "answer": [one.strip() for one in row["answer"].split("|")]} for row in rows]).write_parquet(
        tmp_path / "l.parquet"
    )
    (task,), (listed,) = load_suite([str(tmp_path / "t.csv")]), load_suite([str(tmp_path / "l.parquet")])
    assert list(task.task.choices) == ["a", "b", "c"]
    assert task.accepted[:3].tolist() == [[True, True, False], [False, False, True], [False, True, True]]
    assert task.accepted.tolist() == listed.accepted.tolist()
    assert task.accepted[np.arange(90), task.y].all()
    assert set(task.y[::3].tolist()) == {0, 1}
    assert task.right(np.ones(90, dtype=int)).tolist() == [True, False, True] * 30
    assert task.take(np.array([1, 2])).right(np.array([2, 2])).all()


def test_examples_may_ask_by_key_and_have_choices_of_their_own(keyed, tmp_path):
    table, descriptions = keyed
    (task,) = load_suite([table], descriptions)
    assert list(task.task.choices) == ["kitchen", "street", "glad", "sad"]
    assert [codes.tolist() for codes in task.codes[:2]] == [[0, 1], [2, 3]]
    assert task.read[0].startswith("Where is it?\n")
    assert task.read[1].startswith("How does it feel?\n")
    rng = np.random.default_rng(0)
    chosen = task.chosen(rng.uniform(size=(len(task), 4)))
    assert all(code in codes for code, codes in zip(chosen, task.codes, strict=True))
    assert [len(codes) for codes in task.take(np.array([1])).codes] == [2]
    result = run(small(table, descriptions=descriptions))
    for arm in ("weak", "majority"):
        assert result.mean(arm, "accuracy") > 0.3, "of two answers, not of four"
    assert result.mean("specialised-80", "accuracy") > 0.9
    lines = pl.read_csv(table)
    lines.with_columns(choices=pl.lit("glad|sad")).write_csv(tmp_path / "wrong.csv")
    with pytest.raises(DataError, match="not among its own choices"):
        load_suite([str(tmp_path / "wrong.csv")], descriptions)
    lines.drop("key").write_csv(tmp_path / "keyless.csv")
    with pytest.raises(DataError, match="name the key of each example"):
        load_suite([str(tmp_path / "keyless.csv")], descriptions)


def test_a_language_model_chooses_among_the_examples_own_letters(keyed, tmp_path):
    from steelyard.language.tiny_lm import tiny_lm

    tasks = load_suite([keyed[0]], keyed[1])
    model = tiny_lm(["Answer: A", "Answer: B", "Which Question glad sad kitchen street"] * 20, size="nano", steps=2, context=512)
    prompts, whole = lm_prompts(tasks[0], model.tokenizer, 512)
    assert whole.all()
    assert prompts[0].endswith("Question: Where is it?\nA. it is kitchen\nB. it is street\nAnswer:")
    assert prompts[1].endswith("Question: How does it feel?\nA. it is glad\nB. it is sad\nAnswer:")
    longest = max(len(model.tokenizer(prompt)["input_ids"]) for prompt in prompts)
    with pytest.warns(UserWarning, match=r"[1-9]\d* of 240 documents of task 'both' do not fit \d+ tokens and were cut"):
        lm_prompts(tasks[0], model.tokenizer, longest + 6)
    scores = lm_choices((model.model, model.tokenizer), prompts[:4], [2, 1, 2, 2])
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    assert scores[1].tolist() == [1, 0]


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
