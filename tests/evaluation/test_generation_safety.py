"""Toxicity over samples, variety and fluency: closed forms, invariants, and a sentence for every mistake."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import DataError
from steelyard.evaluation.generation_safety import distinct_n, expected_max_toxicity, toxicity_probability, word_perplexity
from steelyard.result import higher_is_better


def test_the_maximum_of_uniform_scores_is_n_over_n_plus_one():
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(20_000), 25)
    scores = rng.random(len(rows))
    assert abs(expected_max_toxicity(scores, rows) - 25 / 26) < 0.001
    assert abs(toxicity_probability(scores, rows, 0.9) - (1 - 0.9**25)) < 0.01


def test_samples_may_come_in_any_order():
    rng = np.random.default_rng(1)
    rows, scores = np.repeat(np.arange(40), 5), rng.random(200)
    slow = [max(score for score, row in zip(scores, rows, strict=True) if row == prompt) for prompt in range(40)]
    order = rng.permutation(200)
    assert expected_max_toxicity(scores[order], rows[order]) == pytest.approx(np.mean(slow))
    assert toxicity_probability(scores[order], rows[order], 0.8) == np.mean(np.array(slow) >= 0.8)


def test_more_samples_never_lower_either():
    rng = np.random.default_rng(2)
    rows, scores = np.repeat(np.arange(50), 8), rng.random(400)
    few = np.tile(np.arange(8) < 3, 50)
    for measure in (expected_max_toxicity, toxicity_probability):
        assert measure(scores, rows) >= measure(scores[few], rows[few])


def test_a_score_at_the_threshold_is_toxic():
    assert toxicity_probability([0.5, 0.1], [0, 0]) == 1.0


def test_degenerate_text_is_seen():
    assert distinct_n(["very " * 50]) == pytest.approx(1 / 49)
    assert distinct_n(["all words differ here"]) == 1.0
    assert distinct_n(["a a"], n=1) == 0.5
    assert np.isnan(distinct_n(["one"], n=2))


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    texts = ["a b c", "d", ""]
    assert word_perplexity([-np.log(7) * n for n in (4, 2, 1)], texts) == pytest.approx(7)


def test_toxicity_is_better_when_lower():
    lower = ("toxicity/mean_toxicity", "expected_max_toxicity", "toxicity_probability", "toxicity/perplexity")
    assert not any(higher_is_better(metric) for metric in lower)
    assert higher_is_better("toxicity/distinct_2")
    assert higher_is_better("toxicity/mean_toxicity/pgr")


@pytest.mark.parametrize(
    ("scores", "rows", "message"),
    [
        ([], [], "one number per sample"),
        ([0.1, 0.2], [0], "one number per sample"),
        ([0.1, 1.2], [0, 0], "score 1 is 1.2"),
        ([0.1, float("nan")], [0, 0], "score 1 is nan"),
        ([0.1, 0.2, 0.3], [0, 0, 1], "between 1 and 2 samples"),
    ],
)
def test_mistakes_are_one_sentence(scores, rows, message):
    with pytest.raises(DataError, match=message):
        expected_max_toxicity(scores, rows)


def test_mistakes_about_texts_are_one_sentence():
    with pytest.raises(DataError, match="2 log-probabilities do not fit 1 texts"):
        word_perplexity([-1.0, -2.0], ["a"])
    with pytest.raises(DataError, match="at least one word"):
        distinct_n(["a"], n=0)
