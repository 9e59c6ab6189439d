"""Propose, verify, select."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from steelyard.completions import Completions
from steelyard.errors import ConfigError, DataError
from steelyard.inference import best_of_n, choose, product_of_experts


def test_choice_is_the_maximum_of_each_query() -> None:
    rng = np.random.default_rng(0)
    offsets = np.r_[0, rng.integers(1, 6, 50).cumsum()]
    scores = rng.normal(size=offsets[-1])
    slow = [start + int(np.argmax(scores[start:stop])) for start, stop in itertools.pairwise(offsets)]
    assert choose(scores, offsets).tolist() == slow
    assert choose([np.nan, 0.0, np.nan, np.nan], [0, 2, 4]).tolist() == [1, 2]


def test_choosing_by_answer_averages_over_its_responses() -> None:
    assert choose([0.9, 0.1, 0.6, 0.7], [0, 4], answers=["a", "a", "b", "b"], by="answer").tolist() == [3]


def test_one_completion_per_prompt_comes_back_in_order() -> None:
    def propose(prompts: Sequence[str]) -> Completions:
        rows = np.tile(np.arange(len(prompts)), 3)
        texts = [prompts[row] + "!" * (1 + i // len(prompts)) for i, row in enumerate(rows)]
        return Completions([prompts[row] for row in rows], texts, rows=rows)

    picked = best_of_n(
        propose, lambda prompts, texts: [len(t) * (1 if p == "a" else -1) for p, t in zip(prompts, texts, strict=True)], ["a", "b"]
    )
    assert tuple(picked.texts) == ("a!!!", "b!")
    with pytest.raises(DataError, match="1 of 3 prompts got no proposal"):
        best_of_n(lambda prompts: propose(prompts[:2]), lambda prompts, texts: np.zeros(len(texts)), ["a", "b", "c"])


def test_refusals() -> None:
    with pytest.raises(DataError, match="every query needs at least one response"):
        choose([0.1, 0.2], [0, 0, 2])
    with pytest.raises(DataError, match="give `answers`"):
        choose([0.1], [0, 1], by="answer")
    with pytest.raises(ConfigError, match="by must be"):
        choose([0.1], [0, 1], by="luck")  # type: ignore[arg-type]


def test_a_product_of_experts_is_bayes_rule_with_the_proposer_as_prior() -> None:
    """P(right | response) as likelihood, P(response) as prior: the order is that of their product, whatever the responses' number."""
    rng = np.random.default_rng(1)
    likelihood, prior = rng.random(40), rng.dirichlet(np.ones(40))
    joint = product_of_experts(likelihood, np.log(prior))
    np.testing.assert_allclose(np.exp(joint), likelihood * prior, rtol=1e-9)
    np.testing.assert_array_equal(np.argsort(product_of_experts(likelihood, np.log(prior), weight=0)), np.argsort(likelihood))
    per_token = product_of_experts([0.5, 0.5], [-4.0, -2.0], [4, 1])
    assert per_token[0] > per_token[1]


def test_the_proposer_has_a_say_in_best_of_n_only_when_asked() -> None:
    def propose(prompts: Sequence[str]) -> Completions:
        return Completions(["q", "q"], ["likely", "odd"], rows=np.array([0, 0]), logprobs=np.log([0.9, 0.1]).astype(np.float32))

    def verify(prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
        return [0.5, 0.6]

    assert best_of_n(propose, verify, ["q"]).texts[0] == "odd"
    assert best_of_n(propose, verify, ["q"], proposer_weight=1.0).texts[0] == "likely"
    with pytest.raises(DataError, match="needs the proposer's log-probabilities"):
        best_of_n(lambda prompts: Completions(["q"], ["a"], rows=np.array([0])), lambda p, t: [0.5], ["q"], proposer_weight=1.0)
    with pytest.raises(DataError, match=r"must lie in \[0, 1\]"):
        product_of_experts([2.0], [-1.0])
    with pytest.raises(DataError, match="at most 0"):
        product_of_experts([0.5], [np.nan])
    with pytest.raises(DataError, match="cannot be multiplied"):
        product_of_experts([0.5], [-1.0, -2.0])
