"""Progressive learning from a weak model's solutions: trust those that a second view reaches too, then learn from contrasts with them.

Stage I trains the strong model on the solutions that agree, stage II on pairs of its own samples and the weak solutions. No gold answers.
Yang, Ma, Liu 2024, "Weak-to-Strong Reasoning".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from steelyard.completions import Completions
from steelyard.errors import ConfigError, DataError, TrainingError
from steelyard.jobs.second_views import InContext, SecondView, fresh
from steelyard.preferences import Preferences
from steelyard.training.policy import Policy
from steelyard.training.selection.agreement import Equal, answer_consistency, majority_pairs

Mix = Literal["hybrid", "weak", "view"]
Extract = Callable[[str], str]


@dataclass(frozen=True)
class MajorityPairs:
    """How pairs are made in stage II; see `steelyard.training.selection.agreement.majority_pairs`.

    Parameters
    ----------
    n, temperature
        Samples per question and how freely they are drawn.
    min_confidence, flip_confidence
        Share of the samples that the majority needs to confirm and to overrule the weak solution.
    max_pairs
        Pairs per question at most; 1 for GSM8K, 3 for MATH and OlympicArena in the published runs.
    seed
        Draws which samples are paired.
    """

    n: int = 10
    temperature: float = 1.0
    min_confidence: float = 0.6
    flip_confidence: float = 0.8
    max_pairs: int = 1
    seed: int = 42


@dataclass(eq=False)
class ProgressiveW2S:
    """Generate, filter, fine-tune, sample, pair, prefer.

    Parameters
    ----------
    strong : Policy
        The strong base model; every round of stage I fine-tunes it anew from its own pretrained weights.
    second_view : SecondView
        The strong model's own answers of the first round; few-shot in context when left out.
    extract, equal
        From a text to its final answer ("" = none), and when two answers mean the same; strings as they are when left out.
    rounds : int
        Rounds of stage I; from the second on, the model of the round before is the second view. Filtering always starts from all weak
        solutions.
    mix : str
        What is learned where both views agree: "hybrid" (both solutions), "weak" or "view".
    pairs : MajorityPairs
    preference : str or None
        "dpo" or "orpo" (also "simpo", "kto") for stage II; `None` stops after stage I.
    prefer : mapping
        Options of `Policy.prefer`: beta, nll_weight, epochs, learning_rate, batch_size.
    seed : int

    Attributes
    ----------
    policies_ : dict of str to Policy
        "stage1-round1", …, and "stage2" where some pairs were found.
    sets_ : dict of str to Completions
        What each round was fine-tuned on.
    pairs_ : Preferences
        What stage II learned from.
    history_ : list of dict
        One record per constructed set: its size and, where gold was given, its precision.

    Examples
    --------
    >>> from steelyard.jobs.second_views import CrossFitted
    >>> from steelyard.training import AnswerPolicy
    >>> weak = Completions(["up", "down", "high", "low"] * 10, ["yes", "no", "yes", "no"] * 9 + ["no"] * 4)
    >>> run = ProgressiveW2S(AnswerPolicy(classes=["no", "yes"], epochs=10), CrossFitted(), preference=None).fit(weak)
    >>> run.policy_.sample(["up", "low"], temperature=0).texts
    ('yes', 'no')
    """

    strong: Policy
    second_view: SecondView = field(default_factory=InContext)
    _: dataclasses.KW_ONLY
    extract: Extract = str.strip
    equal: Equal = str.__eq__
    rounds: int = 1
    mix: Mix = "hybrid"
    pairs: MajorityPairs = field(default_factory=MajorityPairs)
    preference: Literal["dpo", "orpo", "simpo", "kto"] | None = "dpo"
    prefer: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def fit(
        self, weak: Completions, *, gold: Sequence[str] | None = None, held_out: tuple[Completions, Sequence[str]] | None = None
    ) -> Self:
        """Learn from n weak solutions.

        Parameters
        ----------
        weak
            One solution per question, written by a weak model that has not seen the question's gold answer.
        gold
            n true answers, for the precisions in `history_` and the warning below; no model and no set depends on them.
        held_out
            Weak solutions and true answers of further questions with gold that no model learned from. They decide which round of stage I
            goes on to stage II; without them it is the last.

        Raises
        ------
        ConfigError
            An option is out of range.
        TrainingError
            The views agree on no question.

        Warns
        -----
        WeakSecondView
            On `gold` or `held_out` the second view is less accurate than the weak model, so the method is not to be trusted.
        """
        if self.rounds < 1 or self.mix not in get_args(Mix):
            raise ConfigError(f"ProgressiveW2S: rounds={self.rounds} must be at least 1 and mix='{self.mix}' one of hybrid, weak, view")
        if gold is not None and len(gold) != len(weak):
            raise DataError(f"ProgressiveW2S: {len(weak)} weak solutions and {len(gold)} gold answers; give one per solution")
        self.policies_: dict[str, Policy] = {}
        self.sets_: dict[str, Completions] = {}
        self.history_: list[dict[str, Any]] = []
        self.pairs_ = Preferences([], [], [])
        weak = self._answered(dataclasses.replace(weak, rows=np.arange(len(weak))))
        others = held_out[0].prompts if held_out else ()
        view = self._answered(self.second_view(self.strong, weak, seed=self.seed, others=others))
        best = (-1.0, "")
        for number in range(1, self.rounds + 1):
            name = f"stage1-round{number}"
            if held_out and number == 1:
                self._compare_views(view.take(slice(len(weak), None)), *held_out)
            policy = self._stage_one(name, weak, view.take(slice(len(weak))), gold)
            view = self._answered(policy.sample([*weak.prompts, *others], temperature=0))
            score = self._accuracy(view.take(slice(len(weak), None)), held_out[1]) if held_out else float(number)
            best = max(best, (score, name))
        self.stage_one_ = best[1]
        if self.preference is not None:
            self._stage_two(weak, gold)
        return self

    @property
    def policy_(self) -> Policy:
        """The outcome: the policy of stage II, or the best of stage I where there is none."""
        return self.policies_.get("stage2", self.policies_[self.stage_one_])

    def _stage_one(self, name: str, weak: Completions, view: Completions, gold: Sequence[str] | None) -> Policy:
        found = answer_consistency(weak.answers or (), view.answers or (), equal=self.equal, gold=gold)
        record = {"set": name, "kept": len(found.kept), "of": found.n, "share": len(found.kept) / max(found.n, 1)}
        if gold is not None:
            precisions = ("precision", "first_accuracy", "second_accuracy")
            record |= {precision: getattr(found, precision) for precision in precisions}
        self.history_.append(record)
        if not len(found.kept):
            raise TrainingError(
                f"{name}: the two views agree on none of {found.n} questions; check the answer extraction or the second view"
            )
        columns = ("prompts", "texts", "rows", "answers")
        both = [Completions(**{column: getattr(texts, column) for column in columns}).take(found.kept) for texts in (weak, view)]
        self.sets_[name] = {"hybrid": Completions.concat(both), "weak": both[0], "view": both[1]}[self.mix]
        self.policies_[name] = fresh(self.strong, self.seed).fit(self.sets_[name])
        return self.policies_[name]

    def _stage_two(self, weak: Completions, gold: Sequence[str] | None) -> None:
        start, how = self.policies_[self.stage_one_], self.pairs
        samples = self._answered(start.sample(weak.prompts, how.n, temperature=how.temperature, seed=self.seed))
        choice = {name: getattr(how, name) for name in ("min_confidence", "flip_confidence", "max_pairs", "seed")}
        self.pairs_ = majority_pairs(samples, weak, equal=self.equal, **choice)
        self.history_.append({"set": "pairs", "kept": len(self.pairs_), "of": len(weak), **self._pair_report(weak, gold)})
        if len(self.pairs_):
            assert self.preference is not None
            self.policies_["stage2"] = start.copy().prefer(self.pairs_, self.preference, **{"seed": self.seed, **self.prefer})

    def _pair_report(self, weak: Completions, gold: Sequence[str] | None) -> dict[str, float]:
        """How often the weak solution is the chosen one, and with gold how often each side is right."""
        pairs = self.pairs_
        confirmed = np.array([weak.texts[row] == text for row, text in zip(pairs.rows, pairs.chosen, strict=True)], dtype=np.bool_)
        report: dict[str, float] = {"weak_chosen": int(confirmed.sum()), "weak_rejected": int((~confirmed).sum())}
        if gold is not None:
            truth = [gold[row] for row in pairs.rows]
            for side in ("chosen", "rejected"):
                right = self._right([self.extract(text) for text in getattr(pairs, side)], truth)
                report[f"{side}_right"] = float(right.mean()) if len(pairs) else math.nan
        return report

    def _compare_views(self, view: Completions, weak: Completions, truth: Sequence[str]) -> None:
        """Warns where the second view is the worse one on questions with gold; nothing else comes of it."""
        first = self._answered(weak).answers or ()
        found = answer_consistency(first, view.answers or (), equal=self.equal, gold=truth)
        names = ("first_accuracy", "second_accuracy", "precision")
        self.history_.append({"set": "held-out", "kept": len(found.kept), "of": found.n, **{name: getattr(found, name) for name in names}})

    def _accuracy(self, texts: Completions, truth: Sequence[str]) -> float:
        return float(self._right(texts.answers or (), truth).mean())

    def _right(self, answers: Sequence[str], truth: Sequence[str]) -> NDArray[np.bool_]:
        return np.array([bool(a) and self.equal(a, g) for a, g in zip(answers, truth, strict=True)], dtype=np.bool_)

    def _answered(self, texts: Completions) -> Completions:
        return texts.with_answers([self.extract(text) for text in texts.texts])
