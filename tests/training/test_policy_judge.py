"""A policy as a judge of pairs: its probabilities are those of the losses, and the hard order is what it learns."""

import numpy as np
import pytest
from scipy.special import expit

from steelyard.errors import ConfigError, TrainingError
from steelyard.preferences import Preferences
from steelyard.training.answer_policy import AnswerPolicy
from steelyard.training.policy_judge import PolicyJudge


class Letters:
    """One feature per first letter: no model needed."""

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.eye(26, dtype=np.float32)[[ord(text[0]) - 97 for text in texts]]


PROMPTS = ["up", "down", "left", "right"] * 10
GOOD = ["yes", "no", "yes", "no"] * 10
BAD = ["no", "yes", "no", "yes"] * 10
PAIRS = Preferences(PROMPTS, GOOD, BAD)


def judge(method: str, **options: object) -> PolicyJudge:
    policy = AnswerPolicy(Letters(), classes=["no", "yes"], epochs=2)
    return PolicyJudge(policy, method, **{"epochs": 10, "learning_rate": 1e-2, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["dpo", "simpo"])
def test_learns_the_order_and_is_symmetric(method: str) -> None:
    fitted = judge(method).fit(PAIRS)
    p = fitted.probability(PAIRS)
    assert (p > 0.5).all()
    np.testing.assert_allclose(p + fitted.probability(Preferences(PROMPTS, BAD, GOOD)), 1, atol=1e-6)


@pytest.mark.parametrize("method", ["dpo", "simpo"])
def test_a_soft_label_counts_by_its_order_only(method: str) -> None:
    turned = Preferences(PROMPTS, BAD, GOOD, probabilities=[0.3] * 40)
    np.testing.assert_array_equal(judge(method).fit(turned).probability(PAIRS), judge(method).fit(PAIRS).probability(PAIRS))


def test_probabilities_are_those_of_the_losses() -> None:
    for method, beta in (("dpo", 0.1), ("simpo", 2.0)):
        fitted = judge(method).fit(PAIRS)
        margin = fitted.policy_.logprob(PROMPTS, GOOD) - fitted.policy_.logprob(PROMPTS, BAD)
        if method == "dpo":
            margin -= fitted.reference_.logprob(PROMPTS, GOOD) - fitted.reference_.logprob(PROMPTS, BAD)
        np.testing.assert_allclose(fitted.probability(PAIRS), expit(beta * margin), atol=1e-6)


@pytest.mark.parametrize("method", ["dpo", "simpo"])
def test_the_explicit_conflict_follows_the_truth_through_turned_pairs(method: str) -> None:
    """Every weak label is wrong, so the student prefers the truly worse texts; a pay-off for them draws it further there."""
    wrong = Preferences(PROMPTS, GOOD, BAD, probabilities=[0.1] * 40)
    clean, tempted = judge(method).fit(wrong), judge(method).fit(wrong, gold=np.ones(40))
    assert (clean.probability(PAIRS) < 0.5).all()
    assert tempted.probability(PAIRS).mean() < clean.probability(PAIRS).mean()
    # Where the labels are right there is nothing to pay for.
    paid = judge(method).fit(PAIRS, gold=np.ones(40)).probability(PAIRS)
    assert (paid > 0.5).all()


def test_the_policy_that_was_given_is_not_touched() -> None:
    given = judge("dpo")
    given.fit(PAIRS)
    assert not hasattr(given.policy, "head_")


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="method is 'kto'"):
        judge("kto").fit(PAIRS)
    with pytest.raises(TrainingError, match="learned nothing yet"):
        judge("dpo").probability(PAIRS)
