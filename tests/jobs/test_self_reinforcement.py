"""Rounds of self-reinforcement: lineage, filters in two orders, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.completions import Completions
from steelyard.errors import TrainingError
from steelyard.jobs.self_filters import ConfidenceFilter, SelfJudge, mean_logprob
from steelyard.jobs.self_reinforcement import SelfReinforcement
from steelyard.training import AnswerPolicy
from tests.jobs.test_progressive import BLOBS, CLASSES, GOLD, strong

PROMPTS = [str(row) for row in range(600)]
SOLVED = Completions(PROMPTS[:40], GOLD[:40])
VALIDATION = (PROMPTS[500:], GOLD[500:])


def base() -> AnswerPolicy:
    return strong(epochs=25).fit(Completions(PROMPTS[:6], GOLD[:6]))


def reinforced(**options) -> SelfReinforcement:
    given = {"temperature": 0.0, "filter": ConfidenceFilter(0.6), "prefer": {"epochs": 2}, **options}
    return SelfReinforcement(base(), **given).fit(SOLVED, PROMPTS[40:500], validation=VALIDATION)


def test_pairs_prefer_the_newest_policy_over_the_one_before_or_over_the_first() -> None:
    for against, older in {"previous": 1, "base": 0}.items():
        made = reinforced(rounds=2, against=against, tolerance=1.0, min_pairs=0, temperature=1.0, filter=None)
        assert [(r["preferred"], r["dispreferred"]) for r in made.history_[1:]] == [
            ("policy 1", "policy 0"),
            ("policy 2", f"policy {older}"),
        ]
    made = reinforced(rounds=1)
    pairs = made.pairs_[0]
    second, first = (policy.sample(PROMPTS[40:500], temperature=0).texts for policy in made.policies_[:2])
    assert pairs.chosen == tuple(first[row] for row in pairs.rows)
    assert pairs.rejected == tuple(second[row] for row in pairs.rows)


def test_a_harmful_round_is_rolled_back_and_without_validation_it_is_not() -> None:
    # A huge step on everything that differs ruins the policy.
    harmful = {"filter": None, "temperature": 2.0, "prefer": {"epochs": 5, "learning_rate": 0.3}, "rounds": 3}
    made = reinforced(**harmful)
    assert made.rolled_back_
    assert made.best_ == 1
    assert made.policy_ is made.policies_[1]
    assert made.history_[-1]["stopped"] == "rolled back to policy 1"
    assert made.history_[-1]["validation"] < made.history_[0]["validation"] - 0.01
    free = SelfReinforcement(base(), temperature=2.0, filter=None, prefer=harmful["prefer"], rounds=1).fit(SOLVED, PROMPTS[40:500])
    assert (free.best_, free.rolled_back_) == (2, False)


def test_the_confidence_filter_keeps_the_more_precise_pairs() -> None:
    kept, all_ = (reinforced(filter=choice, rounds=1).pairs_[0] for choice in (ConfidenceFilter(0.8), None))
    precise, loose = (np.mean([GOLD[40 + row] == text for row, text in zip(p.rows, p.chosen, strict=True)]) for p in (kept, all_))
    assert len(kept) < len(all_)
    assert precise > loose


def test_scores_are_log_probabilities_per_token() -> None:
    policy = strong().fit(SOLVED)
    expected = np.log(policy.predict_proba(PROMPTS[:100])[np.arange(100), BLOBS.y[:100]])
    np.testing.assert_allclose(mean_logprob(policy, PROMPTS[:100], GOLD[:100]), expected, rtol=1e-5)


class Judge(AnswerPolicy):
    """Says that the response with more words is better, or always the one it reads first."""

    def logprob(self, prompts, texts):
        scores = []
        for prompt, word in zip(prompts, texts, strict=True):
            a, b = prompt.split("Response A: ")[1].split("\n\n")[0], prompt.split("Response B: ")[1].split("\n\n")[0]
            scores.append({"A": len(a), "B": len(b)}[word] if self.hidden else {"A": 0.0, "B": -1.0}[word])
        return np.array(scores, dtype=np.float32)


def test_the_judge_must_prefer_the_same_text_in_both_orders() -> None:
    long, short = Completions(["q", "r"], ["a long answer", "no"]), Completions(["q", "r"], ["short", "longer"])
    judged = SelfJudge()(Judge(classes=CLASSES), long, short)
    assert judged.keep.tolist() == [True, False]
    assert judged.agreement == 1.0
    biased = SelfJudge()(Judge(classes=CLASSES, hidden=None), long, short)
    assert biased.keep.tolist() == [False, False]
    assert biased.agreement == 0.0
    assert SelfJudge(both_orders=False)(Judge(classes=CLASSES, hidden=None), long, short).keep.all()


def test_equal_answers_and_missing_ones_make_no_pairs() -> None:
    made = reinforced(filter=None, rounds=1, extract=lambda text: "" if text == "red" else text)
    assert "red" not in made.pairs_[0].chosen
    assert all(a != b for a, b in zip(made.pairs_[0].chosen, made.pairs_[0].rejected, strict=True))
    assert reinforced(filter=None, rounds=1, equal=lambda a, b: True).history_[1]["stopped"] == "fewer than 8 pairs"


def test_fine_tuning_that_harms_is_refused() -> None:
    wrong = Completions(SOLVED.prompts, [CLASSES[(code + 1) % 3] for code in BLOBS.y[:40]])
    made = SelfReinforcement(strong().fit(SOLVED))
    with pytest.raises(TrainingError, match="not the ones to prefer"):
        made.fit(wrong, PROMPTS[40:500], validation=VALIDATION)


def test_plain_self_training_learns_from_the_solved_and_the_preferred() -> None:
    made = reinforced(preference="sft", rounds=1)
    pairs = made.pairs_[0]
    again = strong(epochs=25).fit(Completions([*SOLVED.prompts, *pairs.prompts], [*SOLVED.texts, *pairs.chosen]))
    np.testing.assert_array_equal(again.predict_proba(PROMPTS), made.policies_[2].predict_proba(PROMPTS))
