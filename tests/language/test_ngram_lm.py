"""The trigram model: its distribution beside an obvious one, what it writes, and a sentence for every mistake."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from steelyard.completions import Completions
from steelyard.errors import ConfigError, TrainingError
from steelyard.language.ngram_lm import TrigramLM

TEXTS = ["the cat sat on the mat", "the dog sat on the cat", "a cat ran", "the cat sat on a dog"]


def fitted(**options) -> TrigramLM:
    return TrigramLM(**{"least": 1, **options}).fit(Completions([""] * len(TEXTS), TEXTS))


def test_the_distribution_is_the_interpolated_one():
    rows = [["<", "<", *text.split(), ""] for text in TEXTS]
    triples = Counter(three for row in rows for three in zip(row, row[1:], row[2:], strict=False))
    pairs, ones = Counter(), Counter()
    for (_, v, w), count in triples.items():
        pairs[v, w] += count
        ones[w] += count

    def slow(u: str, v: str, w: str) -> float:
        parts = [(0.1, ones[w], sum(ones.values()))]
        parts += [(0.3, pairs[v, w], sum(n for (a, _), n in pairs.items() if a == v))]
        parts += [(0.6, triples[u, v, w], sum(n for (a, b, _), n in triples.items() if (a, b) == (u, v)))]
        seen = [(weight, count / total) for weight, count, total in parts if total]
        return sum(weight * share for weight, share in seen) / sum(weight for weight, _ in seen)

    model = fitted()
    for before in ("the cat", "mat dog", "on the", "zebra cat", "zebra zebra"):
        u, v = before.split()
        found = model.probabilities(model.context(before)[None])[0]
        assert found.sum() == pytest.approx(1)
        np.testing.assert_allclose(found, [slow(u, v, w) for w in model.words_], atol=1e-12)


def test_samples_follow_the_distribution():
    model = fitted(max_words=1)
    drawn = Counter(text.strip() for text in model.sample(["the cat"], 4000, seed=1).texts)
    expected = model.probabilities(model.context("the cat")[None])[0]
    np.testing.assert_allclose([drawn[word] / 4000 for word in model.words_], expected, atol=0.03)


def test_a_small_nucleus_is_greedy():
    assert set(fitted(top_p=1e-6).sample(["the"], 5, seed=3).texts) == set(fitted().sample(["the"], temperature=0).texts)


def test_rows_seeds_and_the_end():
    model = fitted(max_words=4)
    drawn = model.sample(["the", "a"], 3, seed=5)
    assert drawn.rows.tolist() == [0, 0, 0, 1, 1, 1]
    assert drawn.texts == model.sample(["the", "a"], 3, seed=5).texts
    assert drawn.texts != model.sample(["the", "a"], 3, seed=6).texts
    assert all(len(text.split()) < 4 for text, done in zip(drawn.texts, drawn.finished, strict=True) if done)


def test_a_rare_word_is_read_but_not_written():
    model = fitted(least=3)
    assert model.words_ == ("cat", "on", "sat", "the", "")
    assert set(" ".join(model.sample(["the dog"], 200).texts).split()) <= set(model.words_)


def test_mistakes_are_one_sentence():
    with pytest.raises(TrainingError, match="no word occurs 9 times in 4 texts"):
        fitted(least=9)
    with pytest.raises(ConfigError, match="must be positive"):
        fitted(weights=(0.0, 0.5, 0.5))
    with pytest.raises(ConfigError, match="max_words=0 at least 1"):
        fitted(max_words=0)
    with pytest.raises(TrainingError, match="not fitted"):
        TrigramLM().sample(["a"])
    with pytest.raises(ConfigError, match="n is 0"):
        fitted().sample(["a"], 0)
