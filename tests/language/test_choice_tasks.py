"""Annotation tasks: prompts, single-token labels, cutting, splitting by document, balancing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from steelyard.errors import DataError
from steelyard.language.choice_tasks import (
    Annotated,
    ChoiceTask,
    balanced,
    fitting_prompt,
    require_single_tokens,
    split_by_document,
)

TASK = ChoiceTask("outcome", {"won": "it won", "lost": "it lost", "none": "no outcome"}, {"a": "Did A win?", "b": "Did B win?"}, "Read:")


def test_a_prompt_holds_instruction_document_question_and_the_allowed_choices_in_order():
    assert (
        TASK.prompt("The text.", key="b", allowed=[2, 0]) == "Read:\n\nThe text.\n\nQuestion: Did B win?\nA. no outcome\nB. it won\nAnswer:"
    )
    with pytest.raises(DataError, match="the key 'c'; known are a, b"):
        TASK.prompt("x", key="c")
    with pytest.raises(DataError, match="3 choices and 2 labels"):
        TASK.prompt("x", key="a", labels="AB")
    with pytest.raises(DataError, match="nothing to annotate"):
        ChoiceTask("sole", {"yes": "yes"})


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30)), min_size=40, max_size=80), st.integers(0, 5))
def test_no_document_lies_on_both_sides_of_any_two_tasks(cells, seed):
    suite = []
    for name in (0, 1):
        documents = np.array([document for task, document in cells if task == name] + [100, 101, 102, 103, 104, 105])
        task = ChoiceTask(str(name), {"x": "x", "y": "y"})
        suite.append(Annotated(task, [str(d) for d in documents], documents % 2, documents))
    try:
        parts = split_by_document(suite, 0.4, seed=seed)
    except DataError:  # chance may leave a small task without a test
        reject()
    trained = {document for train, _ in parts for document in train.documents.tolist()}
    assert not trained & {document for _, test in parts for document in test.documents.tolist()}
    assert [len(train) + len(test) for train, test in parts] == [len(task) for task in suite]


def test_the_majority_is_sampled_down_to_all_others_and_the_kept_share_is_told():
    y = np.repeat([0, 1, 2], [70, 20, 10])
    kept = balanced(Annotated(TASK, [str(i) for i in range(100)], y, np.arange(100)))
    assert np.bincount(kept.y).tolist() == [30, 20, 10]
    assert kept.keep_fraction == 30 / 70
    small = Annotated(TASK, ["x"] * 10, np.repeat([0, 1], [9, 1]), np.arange(10))
    assert balanced(small) is small


@pytest.fixture(scope="module")
def tokenizer():
    pytest.importorskip("torch")
    from steelyard.language.tiny_lm import tiny_lm

    return tiny_lm(["Answer: A Answer: B Question: it won"] * 20, size="nano", tokens=300, steps=1).tokenizer


def test_labels_are_one_token_each_or_the_run_stops(tokenizer):
    tokens = require_single_tokens(tokenizer, ["A", "B"])
    assert len(set(tokens.values())) == 2
    with pytest.raises(DataError, match="'zebra' is not one token"):
        require_single_tokens(tokenizer, ["A", "zebra"])


def test_the_document_is_cut_and_neither_question_nor_room_for_the_answer(tokenizer):
    document = "word " * 200
    prompt, whole = fitting_prompt(TASK, document, tokenizer, 150, key="a")
    assert not whole
    assert prompt.startswith("Read:\n\nword word")
    assert prompt.endswith(TASK.around(key="a")[1])
    assert len(tokenizer(prompt, add_special_tokens=False)["input_ids"]) <= 150 - 10
    assert fitting_prompt(TASK, "short", tokenizer, 150, key="a") == (TASK.prompt("short", key="a"), True)
    with pytest.raises(DataError, match="leaves no room"):
        fitting_prompt(TASK, document, tokenizer, 40, key="a")
