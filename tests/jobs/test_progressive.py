"""Progressive learning on blobs with known truth: what is learned from, what is paired, and what gold may not touch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from steelyard.completions import Completions
from steelyard.errors import ConfigError, TrainingError
from steelyard.jobs.progressive import MajorityPairs, ProgressiveW2S
from steelyard.jobs.second_views import CrossFitted, InContext
from steelyard.training import AnswerPolicy
from steelyard.training.selection.agreement import WeakSecondView

CLASSES = ["red", "green", "blue"]


class Blobs:
    """An encoder whose texts name points: three overlapping clouds."""

    identity = "blobs"

    def __init__(self, n: int = 600) -> None:
        rng = np.random.default_rng(0)
        self.y = rng.integers(0, 3, n)
        self.x = (rng.normal(size=(3, 8))[self.y] * 0.9 + rng.normal(size=(n, 8))).astype(np.float32)

    def encode(self, texts):
        return self.x[[int(text) for text in texts]]


BLOBS = Blobs()
GOLD = [CLASSES[code] for code in BLOBS.y]


def strong(**options) -> AnswerPolicy:
    return AnswerPolicy(BLOBS, CLASSES, hidden=16, learning_rate=5e-3, **{"epochs": 8, **options})


def weak(error: float = 0.35) -> Completions:
    """Right answers of which a share is replaced by any answer."""
    rng = np.random.default_rng(1)
    noisy = np.where(rng.random(400) < error, rng.integers(0, 3, 400), BLOBS.y[:400])
    return Completions([str(row) for row in range(400)], [CLASSES[code] for code in noisy])


@pytest.fixture(scope="module")
def fitted() -> ProgressiveW2S:
    run = ProgressiveW2S(strong(), CrossFitted(), rounds=2, pairs=MajorityPairs(max_pairs=2), prefer={"epochs": 2})
    return run.fit(weak(), gold=GOLD[:400])


def test_the_weak_solution_stands_in_every_pair(fitted: ProgressiveW2S) -> None:
    own, pairs = weak().texts, fitted.pairs_
    assert len(pairs) > 50
    confirmed = [own[row] == chosen for row, chosen in zip(pairs.rows, pairs.chosen, strict=True)]
    overruled = [own[row] == rejected for row, rejected in zip(pairs.rows, pairs.rejected, strict=True)]
    assert all(a != b for a, b in zip(confirmed, overruled, strict=True))
    record = fitted.history_[-1]
    assert (record["weak_chosen"], record["weak_rejected"]) == (sum(confirmed), sum(overruled))


def test_agreement_is_more_precise_than_the_weak_model_and_chosen_texts_than_rejected_ones(fitted: ProgressiveW2S) -> None:
    first, _, pairs = fitted.history_
    assert first["precision"] > first["first_accuracy"] + 0.1
    assert pairs["chosen_right"] > pairs["rejected_right"] + 0.4


def test_hybrid_keeps_both_solutions_and_every_round_filters_all_weak_solutions_from_the_base_model(fitted: ProgressiveW2S) -> None:
    assert [record["of"] for record in fitted.history_] == [400, 400, 400]
    for name, record in zip(fitted.sets_, fitted.history_, strict=False):
        assert len(fitted.sets_[name]) == 2 * record["kept"]
    again = strong().fit(fitted.sets_["stage1-round2"])
    prompts = list(weak().prompts)
    np.testing.assert_array_equal(again.predict_proba(prompts), fitted.policies_["stage1-round2"].predict_proba(prompts))


@pytest.mark.parametrize("gold", [None, GOLD[:400][::-1]])
def test_gold_of_the_unlabeled_questions_moves_nothing(fitted: ProgressiveW2S, gold: list[str] | None) -> None:
    run = ProgressiveW2S(strong(), CrossFitted(), rounds=2, pairs=MajorityPairs(max_pairs=2), prefer={"epochs": 2})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakSecondView)
        run.fit(weak(), gold=gold)
    assert (run.pairs_.chosen, run.pairs_.rejected) == (fitted.pairs_.chosen, fitted.pairs_.rejected)
    np.testing.assert_array_equal(run.policy_.predict_proba(["500"]), fitted.policy_.predict_proba(["500"]))


def test_an_incompetent_second_view_is_warned_of_on_gold_and_on_held_out_questions() -> None:
    view = CrossFitted(few=3)
    with pytest.warns(WeakSecondView):
        ProgressiveW2S(strong(epochs=1), view, preference=None).fit(weak(0.1), gold=GOLD[:400])
    held = Completions([str(row) for row in range(400, 500)], GOLD[400:500])
    with pytest.warns(WeakSecondView):
        ProgressiveW2S(strong(epochs=1), view, preference=None).fit(weak(0.1), held_out=(held, GOLD[400:500]))


def test_orpo_with_an_anchor_runs_where_dpo_does(fitted: ProgressiveW2S) -> None:
    run = ProgressiveW2S(strong(), CrossFitted(), preference="orpo", prefer={"nll_weight": 0.5}).fit(weak())
    assert set(run.policies_) == {"stage1-round1", "stage2"}
    before, after = (policy.predict_proba(["500"]) for policy in run.policies_.values())
    assert not np.array_equal(before, after)


def test_what_a_model_writes_after_its_answer_is_no_part_of_a_view_in_context() -> None:
    asked: list[str] = []

    class Runs(AnswerPolicy):
        def sample(self, prompts, n=1, *, temperature=1.0, seed=0):
            asked.extend(prompts)
            return Completions(prompts, ["4\n\nQuestion: 3+3?\nAnswer:\n6"] * len(prompts))

    model = Runs(classes=CLASSES)
    view = InContext([("Q: 1+1?\nA:\n", "2")])(model, Completions(["Q: 2+2?\nA:\n"], ["5"]))
    assert (view.texts, view.prompts) == (("4",), ("Q: 2+2?\nA:\n",))
    assert asked == ["Q: 1+1?\nA:\n2\n\nQ: 2+2?\nA:\n"]


def test_views_that_never_agree_and_options_that_do_not_exist_are_refused() -> None:
    run = ProgressiveW2S(strong(epochs=1), CrossFitted(), extract=lambda text: "", preference=None)
    with pytest.raises(TrainingError, match="agree on none of 400"):
        run.fit(weak())
    with pytest.raises(ConfigError, match="mix='both'"):
        ProgressiveW2S(strong(), CrossFitted(), mix="both").fit(weak())  # type: ignore[arg-type]
