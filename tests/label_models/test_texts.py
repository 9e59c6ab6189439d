from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest

from steelyard.errors import DataError, LabelModelError
from steelyard.label_models.answers import Answers
from steelyard.label_models.texts import Rover, edit_distance

WORDS = [a + b + c for a, b, c in itertools.product("bdfgk", "aeiou", "lmnrt")]


def transcripts(n: int, wrong: list[float], seed: int, *, kinds: str = "substitute") -> tuple[dict[str, list], dict[str, list[str]]]:
    """Texts of twelve words and what workers make of them, each getting a share `wrong` of the words wrong; the table and the truth."""
    rng = np.random.default_rng(seed)
    truth = [" ".join(rng.choice(WORDS, 12)) for _ in range(n)]
    rows: dict[str, list] = {"task": [], "worker": [], "text": []}
    for i, text in enumerate(truth):
        for k, share in enumerate(wrong):
            said = []
            for word in text.split():
                error = rng.random() < share
                kind = "substitute" if kinds == "substitute" else rng.choice(["substitute", "insert", "delete"])
                if not error or kind == "insert":
                    said.append(word)
                if error and kind != "delete":
                    said.append("x" + rng.choice(WORDS))
            rows["task"].append(f"t{i}")
            rows["worker"].append(f"w{k}")
            rows["text"].append(" ".join(said))
    return rows, {"task": [f"t{i}" for i in range(n)], "text": truth}


def error_rate(result: pl.DataFrame, gold: dict[str, list[str]]) -> float:
    truth = dict(zip(gold["task"], gold["text"], strict=True))
    edits = [edit_distance(text.split(), truth[task].split()) for task, text in zip(result["task"], result["text"], strict=True)]
    return sum(edits) / sum(len(truth[task].split()) for task in result["task"])


def one_task(*texts: str, rover: Rover | None = None) -> str:
    table = {"task": ["t"] * len(texts), "worker": [f"w{i}" for i in range(len(texts))], "text": list(texts)}
    return str((rover or Rover()).fit(table).predict(table)["text"][0])


def slow_edit_distance(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """The textbook recursion."""
    if not one or not other:
        return len(one) + len(other)
    return min(
        slow_edit_distance(one[1:], other[1:]) + (one[0] != other[0]),
        slow_edit_distance(one[1:], other) + 1,
        slow_edit_distance(one, other[1:]) + 1,
    )


def test_edit_distance_is_that_of_the_textbook() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        one, other = (tuple(rng.choice(["a", "b", "c"], rng.integers(0, 6))) for _ in range(2))
        assert edit_distance(one, other) == slow_edit_distance(one, other)


@pytest.mark.parametrize(
    ("texts", "answer"),
    [
        (["a b c"], "a b c"),
        (["a b c", "a x c", "a b c"], "a b c"),  # substitution
        (["a b c", "a c", "a b c"], "a b c"),  # deletion
        (["a c", "a b c", "a b c"], "a b c"),  # the first has no word where the others have one
        (["a b c", "a b x c", "a b c"], "a b c"),  # insertion
        (["", "a b", "a b"], "a b"),
        (["", "", "a"], ""),
        (["a b", "c d"], "c d"),  # ties: the longer, then the later in the alphabet
        (["a", ""], "a"),  # a word rather than nothing
        (["the cat sat on mat", "the cat sat on the mat", "a cat sat on the mat"], "the cat sat on the mat"),
    ],
)
def test_words_are_aligned_and_put_to_the_vote(texts: list[str], answer: str) -> None:
    assert one_task(*texts) == answer


def test_agreement_is_the_share_behind_the_words() -> None:
    table = {"task": ["t"] * 4, "worker": list("abcd"), "text": ["x y", "x z", "x z", "x z"]}
    assert Rover().fit(table).predict(table)["agreement"].to_list() == [pytest.approx((1 + 3 / 4) / 2)]


def test_any_pieces_may_be_aligned() -> None:
    letters = Rover(tokenize=list, join="".join)
    assert one_task("color", "colour", "colour", rover=letters) == "colour"


def test_errors_vanish_as_transcripts_grow() -> None:
    rates = []
    for n_workers in (1, 4, 11):
        table, gold = transcripts(60, [0.25] * n_workers, seed=1, kinds="all")
        rates.append(error_rate(Rover().fit(table).predict(table), gold))
    assert rates[0] == pytest.approx(0.25, abs=0.04)
    assert rates[1] < 0.5 * rates[0]
    assert rates[2] < rates[0] / 10


def test_planted_word_accuracies_are_recovered_from_known_texts() -> None:
    wrong = [0.02, 0.1, 0.3, 0.5]
    errors = []
    for n in (10, 1_000):
        table, gold = transcripts(n, wrong, seed=2)
        errors.append(np.abs(Rover().fit(table, gold).weights_ - (1 - np.array(wrong))).max())
    assert errors[1] < 0.015
    assert errors[1] < errors[0] / 2


def test_known_texts_of_a_few_tasks_help_with_the_others() -> None:
    table, gold = transcripts(200, [0.02, 0.5, 0.5, 0.5], seed=3)
    known = {key: values[:20] for key, values in gold.items()}
    rover, plain = Rover().fit(table, known), Rover().fit(table)
    assert error_rate(rover.predict(table), gold) < 0.75 * error_rate(plain.predict(table), gold)


def test_permuting_the_workers_permutes_their_weights() -> None:
    table, gold = transcripts(30, [0.1, 0.2, 0.4], seed=4)
    renamed = table | {"worker": [{"w0": "w2", "w1": "w0", "w2": "w1"}[name] for name in table["worker"]]}
    one, other = Rover().fit(table, gold), Rover().fit(renamed, gold)
    by_name = dict(zip(other.workers_, other.weights_, strict=True))
    np.testing.assert_allclose(one.weights_, [by_name["w2"], by_name["w0"], by_name["w1"]])


def test_confidences_count_as_far_as_alpha_lets_them() -> None:
    table = {
        "task": ["t"] * 3,
        "worker": list("abc"),
        "text": ["red cat", "bed cat", "bed cat"],
        "sure": [[0.9, 0.9], [0.2, 0.9], [0.2, 0.9]],
    }
    answers = Answers.from_table(table, confidence="sure")
    assert Rover(alpha=1.0).fit(answers).predict(answers)["text"].to_list() == ["bed cat"]
    # red: .3 · 1/3 + .7 · .9 = .73; bed: .3 · 2/3 + .7 · .2 = .34
    assert Rover(alpha=0.3).fit(answers).predict(answers)["text"].to_list() == ["red cat"]


def test_having_no_word_competes_with_the_null_confidence() -> None:
    answers = Answers.from_table({"task": ["t"] * 2, "worker": list("ab"), "text": ["a b", "a"], "sure": [0.5, 0.5]}, confidence="sure")
    assert Rover(alpha=0.0, null_confidence=0.4).fit(answers).predict(answers)["text"].to_list() == ["a b"]
    assert Rover(alpha=0.0, null_confidence=0.6).fit(answers).predict(answers)["text"].to_list() == ["a"]


def test_alpha_is_learned_from_known_texts() -> None:
    """Confidences that tell right words from wrong ones are trusted; counts are not, since two copy each other."""
    table, gold = transcripts(40, [0.3, 0.3], seed=5)
    texts = dict(zip(gold["task"], gold["text"], strict=True))
    rows = {key: list(values) for key, values in table.items()}
    for task, worker, text in zip(table["task"], table["worker"], table["text"], strict=True):
        if worker == "w1":
            rows["task"].append(task)
            rows["worker"].append("copy")
            rows["text"].append(text)
    rows["sure"] = [
        [0.9 if word == right else 0.2 for word, right in zip(text.split(), texts[task].split(), strict=True)]
        for task, text in zip(rows["task"], rows["text"], strict=True)
    ]
    answers = Answers.from_table(rows, confidence="sure")
    rover = Rover().fit(answers, {key: values[:10] for key, values in gold.items()})
    assert rover.alpha_ < 1
    assert error_rate(rover.predict(answers), gold) < 0.5 * error_rate(Rover().fit(table).predict(table), gold)


def test_a_worker_not_met_before_has_the_usual_weight() -> None:
    table, gold = transcripts(20, [0.1, 0.4], seed=6)
    rover = Rover().fit(table, gold)
    stranger = {"task": ["t"], "worker": ["new"], "text": ["a b"]}
    assert rover.predict(stranger)["text"].to_list() == ["a b"]


def test_errors() -> None:
    table = {"task": ["t", "t"], "worker": ["a", "b"], "text": ["x", "y"]}
    with pytest.raises(LabelModelError, match="not fitted"):
        Rover().predict(table)
    with pytest.raises(LabelModelError, match="must lie in"):
        Rover(alpha=2.0).fit(table)
    with pytest.raises(LabelModelError, match="first known task is 'other'"):
        Rover().fit(table, {"task": ["other"], "text": ["x"]})
    with pytest.raises(DataError, match="no column 'text'"):
        Rover().fit({"task": [1], "worker": [1]})
    with pytest.raises(DataError, match="worker 'a' answered task 't' more than once"):
        Rover().fit(table | {"worker": ["a", "a"]})
    few = Answers.from_table(table | {"sure": [[0.1, 0.2], [0.3]]}, confidence="sure")
    with pytest.raises(LabelModelError, match="1 words and 2 confidences"):
        Rover().fit(few).predict(few)
