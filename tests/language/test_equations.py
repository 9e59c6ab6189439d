"""The equation policy: its probabilities, its samples, what it can learn, and that a reader of one row sees the same as one of many."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from steelyard.completions import Completions
from steelyard.encoders import TextEncoder
from steelyard.errors import ConfigError, DataError, TrainingError
from steelyard.language.equation_network import END, FIRST_SLOT
from steelyard.language.equations import EquationPolicy, read_problem
from steelyard.language.notation import OPERATIONS, value
from steelyard.language.word_features import WordFeatures
from steelyard.preferences import Preferences

STORIES = {
    "+": "Ann has {} pens and buys {} more . How many has she now ?",
    "-": "Ann has {} pens and loses {} . How many are left ?",
    "*": "Each of {} boxes holds {} pens . How many are there in all ?",
    "/": "She shares {} pens among {} friends . How many does each get ?",
}


def stories(n: int, seed: int) -> Completions:
    rng = np.random.default_rng(seed)
    numbers = rng.permuted(np.tile(np.arange(2, 90), (n, 1)), axis=1)[:, :2]
    operations = rng.choice(list(STORIES), n)
    prompts = [STORIES[op].format(a, b) for op, (a, b) in zip(operations, numbers, strict=True)]
    return Completions(prompts, [f"{op} {a} {b}" for op, (a, b) in zip(operations, numbers, strict=True)])


@pytest.fixture(scope="module")
def policy() -> EquationPolicy:
    return EquationPolicy(hidden=32, epochs=20, batch_size=20, learning_rate=1e-2, dropout=0.0).fit(stories(200, 0))


def accuracy(policy: EquationPolicy, truth: Completions) -> float:
    written = policy.sample(truth.prompts, temperature=0).texts
    return float(np.mean([value(a) == value(b) for a, b in zip(written, truth.texts, strict=True)]))


def test_numbers_become_slots_and_equal_ones_share_one() -> None:
    problem = read_problem("Tom's 3 boxes hold 1,200 nails, 3.0 nails and .5 screws ?")
    assert problem.numbers == ("3", "1,200", ".5")
    assert [word for word in problem.words if word.startswith("number")] == ["number0", "number1", "number0", "number2"]
    assert problem.slots[1] == 0
    assert read_problem("").words == ("",)


def test_it_learns_stories_it_has_not_seen(policy: EquationPolicy) -> None:
    assert accuracy(policy, stories(100, 1)) > 0.95


def test_probabilities_of_all_short_texts_sum_to_one(policy: EquationPolicy) -> None:
    """Sum over every sequence of up to two tokens, and what has not ended by then is the rest."""
    prompt = STORIES["+"].format(5, 7)
    tokens = [*OPERATIONS, "5", "7"]
    ended = [" ".join(text) for length in (0, 1, 2) for text in itertools.product(tokens, repeat=length)]
    shorter = float(np.exp(policy.logprob([prompt] * len(ended), ended).astype(np.float64)).sum())
    # Drawn texts that end within two tokens are as frequent as their summed probability says.
    drawn = policy.sample([prompt], 4000, temperature=1.0, seed=3)
    assert np.mean([len(text.split()) <= 2 for text in drawn.texts]) == pytest.approx(shorter, abs=0.03)
    assert 0 <= shorter <= 1


def test_sample_frequencies_are_the_stated_probabilities() -> None:
    flat = EquationPolicy(hidden=8, epochs=1, dropout=0.0, max_tokens=3).fit(stories(8, 0))
    prompt = STORIES["-"].format(5, 7)
    drawn = flat.sample([prompt], 6000, seed=1)
    texts, counts = np.unique(np.array(drawn.texts)[drawn.finished], return_counts=True)
    expected = np.exp(flat.logprob([prompt] * len(texts), texts.tolist()))
    common = counts > 100
    assert common.sum() >= 3
    assert counts[common] / 6000 == pytest.approx(expected[common], rel=0.3)
    own = drawn.take(np.flatnonzero(drawn.finished)[:50])
    assert own.logprobs == pytest.approx(flat.logprob(own.prompts, own.texts), abs=1e-4)


def test_temperature_and_seeds(policy: EquationPolicy) -> None:
    prompts = stories(20, 2).prompts
    greedy = policy.sample(prompts, 2, temperature=0)
    assert greedy.texts[::2] == greedy.texts[1::2]
    assert greedy.rows.tolist() == [i for i in range(20) for _ in range(2)]
    assert policy.sample(prompts, 3, seed=5).texts == policy.sample(prompts, 3, seed=5).texts
    hot = [policy.sample(prompts, 5, temperature=3.0, seed=seed).texts for seed in (5, 6)]
    assert hot[0] != hot[1]


def test_an_equation_without_end_is_not_finished() -> None:
    short = EquationPolicy(hidden=8, epochs=1, dropout=0.0, max_tokens=1).fit(stories(8, 0))
    drawn = short.sample(stories(30, 1).prompts, 5, seed=0)
    assert [len(text.split()) for text in drawn.texts] == [int(not finished) for finished in drawn.finished]
    assert 0 < np.mean(drawn.finished) < 1


@pytest.mark.parametrize("own_words", [True, False])
def test_batches_of_one_and_of_many_agree(own_words: bool, policy: EquationPolicy) -> None:
    """Padding of words, slots and tokens changes nothing."""
    if not own_words:
        policy = EquationPolicy(WordFeatures(TextEncoder("minilm-offline")), hidden=16, epochs=1).fit(stories(16, 0))
    prompts = [
        "2 and 3 ?",
        *stories(3, 4).prompts,
        "All of the 4 men had 5 hats , 6 coats and 7 ties . How many things are there ?",
        "No number",
    ]
    texts = ["+ 2 3", *stories(3, 4).texts, "* 4 + + 5 6 7", ""]
    together, lengths = policy.log_probabilities(prompts, texts)
    alone = torch.cat([policy.log_probabilities([p], [t])[0] for p, t in zip(prompts, texts, strict=True)])
    assert torch.allclose(together, alone, atol=1e-4)
    assert lengths.tolist() == [4, 4, 4, 4, 8, 1]
    assert together.requires_grad


def test_a_start_speaks_until_it_is_tuned_and_is_never_changed(policy: EquationPolicy) -> None:
    """Postfix is another language: a policy tuned on it forgets prefix, its start does not."""
    postfix = Completions(stories(100, 5).prompts, ["{1} {2} {0}".format(*text.split()) for text in stories(100, 5).texts])
    tuned = EquationPolicy(start=policy, epochs=8, batch_size=8, learning_rate=5e-3, dropout=0.0)
    assert accuracy(tuned, stories(30, 6)) == accuracy(policy, stories(30, 6))
    tuned.fit(postfix)
    assert accuracy(tuned, stories(30, 6)) == 0
    assert np.mean([a == b for a, b in zip(tuned.sample(postfix.prompts, temperature=0).texts, postfix.texts, strict=True)]) > 0.9
    assert accuracy(policy, stories(30, 6)) > 0.9
    assert EquationPolicy(start=policy, epochs=1).fit(postfix).logprob(postfix.prompts[:5], postfix.texts[:5]) == pytest.approx(
        EquationPolicy(start=policy, epochs=1).fit(postfix).logprob(postfix.prompts[:5], postfix.texts[:5])
    )


def test_weights_say_which_rows_count(policy: EquationPolicy) -> None:
    prompts = stories(60, 7).prompts
    right, false = stories(60, 7).texts, [f"+ {t.split()[1]} {t.split()[1]}" for t in stories(60, 7).texts]
    both = Completions([*prompts, *prompts], [*right, *false])
    one_sided = EquationPolicy(hidden=16, epochs=20, batch_size=16, learning_rate=1e-2, dropout=0.0).fit(both, np.repeat([0.0, 1.0], 60))
    assert one_sided.sample(prompts[:20], temperature=0).texts == tuple(false[:20])


def test_preferences_move_it(policy: EquationPolicy) -> None:
    """DPO makes chosen texts more probable against rejected ones; the frozen copy stays."""
    truth = stories(40, 8)
    twisted = ["{0} {2} {1}".format(*text.split()) for text in truth.texts]
    student, reference = policy.copy(), policy.copy()
    student.prefer(Preferences(truth.prompts, twisted, truth.texts), beta=0.1, epochs=3, learning_rate=1e-3, seed=0)
    margin = [p.logprob(truth.prompts, twisted) - p.logprob(truth.prompts, truth.texts) for p in (student, reference)]
    assert (margin[0] - margin[1]).mean() > 1
    assert reference.logprob(truth.prompts, truth.texts) == pytest.approx(policy.logprob(truth.prompts, truth.texts))


def test_word_vectors_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path))
    texts = [(f"word{i}", "and", "unbelievably", "more") for i in range(300)]
    first = WordFeatures(TextEncoder("minilm-offline")).encode(texts)
    files = list((tmp_path / "word_features").iterdir())
    assert len(files) == 1
    second = WordFeatures(TextEncoder("minilm-offline"))
    again = second.encode(texts[::-1])
    assert second._loaded is None
    assert all((a == b).all() for a, b in zip(first, again[::-1], strict=True))
    assert first[0].shape == (4, 384)
    assert second.__deepcopy__({}) is second


def test_bad_input(policy: EquationPolicy) -> None:
    with pytest.raises(TrainingError, match="has no weights yet"):
        EquationPolicy().sample(["1 + 2"])
    with pytest.raises(DataError, match=r"row 1: '\+ 1 9' is no equation over the numbers of its problem, which are 1, 2"):
        policy.logprob(["1 and 2"] * 2, ["+ 1 2", "+ 1 9"])
    with pytest.raises(ConfigError, match="hidden must be even"):
        EquationPolicy(hidden=7)
    with pytest.raises(TrainingError, match="nothing to learn from"):
        EquationPolicy(hidden=8).fit(Completions([], []))
    assert len(policy.sample([])) == 0
    assert END == 4
    assert FIRST_SLOT == 5
