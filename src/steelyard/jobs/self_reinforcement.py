"""Self-reinforcement: a model fine-tuned on a few solved questions prefers, on unsolved ones, what it says now over what it said before.

Rounds of sampling from both policies, a filter by the model itself and preference training; no gold of the unsolved questions, no teacher.
Tong et al. 2024, "Optimizing Language Model's Reasoning Abilities with Weak Supervision".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from steelyard.completions import Completions
from steelyard.errors import ConfigError, TrainingError
from steelyard.jobs.second_views import fresh
from steelyard.jobs.self_filters import ConfidenceFilter, Judgement, SelfFilter
from steelyard.language.traces import degenerate
from steelyard.preferences import Preferences
from steelyard.training.policy import Policy

Against = Literal["previous", "base"]


@dataclass(eq=False)
class SelfReinforcement:
    """Fine-tune on the solved questions, then rounds of: sample, filter, prefer, check.

    Parameters
    ----------
    base : Policy
        The model before fine-tuning, able to answer; `fit` of a copy starts from its pretrained weights.
    filter : SelfFilter or None
        Which pairs are kept; `None` keeps all that differ.
    rounds : int
    against : str
        Where the dispreferred text comes from: "previous", the policy of the round before, or "base", always the first.
    preference : str
        "dpo" and its relatives, or "sft": plain self-training on the preferred texts and the solved questions.
    prefer : mapping
        Options of `Policy.prefer`: beta, nll_weight, epochs, learning_rate, batch_size.
    temperature : float
        Of both policies; 0 is greedy.
    min_pairs : int
        The rounds end where fewer pairs are kept.
    tolerance : float
        The rounds end, and the best policy so far is the outcome, where accuracy on the validation questions is lower than the best by
        more than this.
    extract, equal
        From a text to its final answer ("" = none), and when two answers mean the same.
    seed : int

    Attributes
    ----------
    policies_ : list of Policy
        Untrained, fine-tuned, and after each round, a rolled-back one included.
    best_ : int
        Which of them is the outcome.
    pairs_ : list of Preferences
        The pairs of each round, `rows` = index of the question.
    history_ : list of dict
        Per round: policies that wrote each side, pairs offered and kept, agreement of the judge, mean lengths, validation accuracy.

    Examples
    --------
    >>> from steelyard.training import AnswerPolicy
    >>> base = AnswerPolicy(classes=["no", "yes"], epochs=1).fit(Completions(["up"], ["no"]))
    >>> solved = Completions(["up", "down"] * 8, ["yes", "no"] * 8)
    >>> run = SelfReinforcement(base, filter=ConfidenceFilter(0.5), rounds=1, min_pairs=1).fit(solved, ["upwards", "above"])
    >>> run.history_[1]["preferred"], run.history_[1]["dispreferred"], len(run.policies_)
    ('policy 1', 'policy 0', 3)
    """

    base: Policy
    _: dataclasses.KW_ONLY
    filter: SelfFilter | None = field(default_factory=ConfidenceFilter)
    rounds: int = 2
    against: Against = "previous"
    preference: Literal["dpo", "simpo", "orpo", "kto", "sft"] = "dpo"
    prefer: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 0.7
    min_pairs: int = 8
    tolerance: float = 0.01
    extract: Callable[[str], str] = str.strip
    equal: Callable[[str, str], bool] = str.__eq__
    seed: int = 0

    def fit(self, solved: Completions, unlabeled: Sequence[str], *, validation: tuple[Sequence[str], Sequence[str]] | None = None) -> Self:
        """Fine-tune, then improve.

        Parameters
        ----------
        solved
            Prompts with solutions that reason to the answer.
        unlabeled
            Prompts only; every round reads all of them.
        validation
            Prompts and true answers of solved questions that `solved` leaves out, to roll back by. Without them nothing is rolled back.

        Raises
        ------
        ConfigError
            An option is out of range.
        TrainingError
            On the validation questions the fine-tuned policy is worse than the untrained one: its answers are not the better ones.
        """
        if self.rounds < 0 or self.against not in get_args(Against) or not len(unlabeled):
            raise ConfigError(
                f"SelfReinforcement: rounds={self.rounds}, against='{self.against}', {len(unlabeled)} unlabeled prompts do not do"
            )
        self.policies_ = [self.base.copy(), fresh(self.base, self.seed).fit(solved)]
        self.pairs_: list[Preferences] = []
        scores = [self._score(policy, validation) for policy in self.policies_]
        self.best_, self.rolled_back_ = 1, False
        self.history_: list[dict[str, Any]] = [{"round": 0, "untrained": scores[0], "validation": scores[1]}]
        if validation and scores[1] < scores[0]:
            raise TrainingError(
                f"fine-tuning on {len(solved)} solutions lowers validation accuracy from {scores[0]:.1%} to {scores[1]:.1%}, so "
                "its answers are not the ones to prefer; give more solutions or train longer"
            )
        for number in range(1, self.rounds + 1):
            pairs, record = self._pairs(number, unlabeled)
            self.history_.append(record)
            self.pairs_.append(pairs)
            if len(pairs) < self.min_pairs:
                record["stopped"] = f"fewer than {self.min_pairs} pairs"
                break
            self.policies_.append(self._improved(solved, pairs))
            scores.append(self._score(self.policies_[-1], validation))
            record["validation"] = scores[-1]
            best = scores[self.best_]
            if validation and scores[-1] < best - self.tolerance:
                record["stopped"], self.rolled_back_ = f"rolled back to policy {self.best_}", True
                break
            # A fall within the tolerance does not stop the rounds, but it is not the outcome either.
            if not validation or scores[-1] >= best:
                self.best_ = len(self.policies_) - 1
        return self

    @property
    def policy_(self) -> Policy:
        """The outcome: the best policy by validation accuracy, the newest of equals."""
        return self.policies_[self.best_]

    def _pairs(self, number: int, unlabeled: Sequence[str]) -> tuple[Preferences, dict[str, Any]]:
        new = len(self.policies_) - 1
        old = 0 if self.against == "base" else new - 1
        # Each side has noise of its own: with shared noise the two would more often say the same.
        noise = [int(np.random.SeedSequence([self.seed, number, side]).generate_state(1)[0]) for side in (new, old)]
        drawn = [
            self._answered(self.policies_[side].sample(unlabeled, temperature=self.temperature, seed=seed))
            for side, seed in zip((new, old), noise, strict=True)
        ]
        offered = np.flatnonzero(self._usable(*drawn))
        preferred, dispreferred = (texts.take(offered) for texts in drawn)
        judged = (
            self.filter(self.policies_[new], preferred, dispreferred) if self.filter and len(offered) else Judgement.of_all(len(offered))
        )
        kept = np.flatnonzero(judged.keep)
        pairs = Preferences(preferred.prompts, preferred.texts, dispreferred.texts, rows=offered).take(kept)
        record = {
            "round": number,
            "preferred": f"policy {new}",
            "dispreferred": f"policy {old}",
            "drawn": len(unlabeled),
            "offered": len(offered),
            "kept": len(kept),
            "judge_agreement": judged.agreement,
            "scores": judged.scores[kept].tolist(),
            "preferred_length": _mean_length(preferred.texts),
            "dispreferred_length": _mean_length(dispreferred.texts),
        }
        return pairs, record

    def _usable(self, new: Completions, old: Completions) -> NDArray[np.bool_]:
        """Pairs whose preferred text is sound and whose answers and texts differ."""
        differ = [
            not (a and self.equal(a, b)) and _bare(x) != _bare(y)
            for a, b, x, y in zip(new.answers or (), old.answers or (), new.texts, old.texts, strict=True)
        ]
        return degenerate(new).sound & np.array(differ, dtype=np.bool_)

    def _improved(self, solved: Completions, pairs: Preferences) -> Policy:
        if self.preference == "sft":
            taught = Completions([*solved.prompts, *pairs.prompts], [*solved.texts, *pairs.chosen])
            return fresh(self.base, self.seed).fit(taught)
        # The reference is the policy as it is before the first step, frozen.
        return self.policies_[-1].copy().prefer(pairs, self.preference, **{"seed": self.seed, **self.prefer})

    def _score(self, policy: Policy, validation: tuple[Sequence[str], Sequence[str]] | None) -> float:
        if validation is None:
            return float("nan")
        answers = self._answered(policy.sample(validation[0], temperature=0)).answers or ()
        return float(np.mean([bool(a) and self.equal(a, g) for a, g in zip(answers, validation[1], strict=True)]))

    def _answered(self, texts: Completions) -> Completions:
        return texts.with_answers([self.extract(text) for text in texts.texts])


def _bare(text: str) -> str:
    return " ".join(text.casefold().split())


def _mean_length(texts: Sequence[str]) -> float:
    return float(np.mean([len(text) for text in texts])) if texts else 0.0
