"""A strong model's own answers to questions that a weak one solved, found another way: what weak solutions are compared with.

Two views help where they err differently and the second is no worse than the first. Yang, Ma, Liu 2024, "Weak-to-Strong Reasoning".
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from steelyard.completions import Completions
from steelyard.errors import ConfigError
from steelyard.targets import Targets
from steelyard.training.answer_policy import AnswerPolicy
from steelyard.training.policy import Policy

PolicyType = TypeVar("PolicyType", bound=Policy)
_NEXT = re.compile(r"\n\s*(Question|Answer):")


class SecondView(Protocol):
    """Answers n weakly solved questions with a strong model that has not been trained on the weak solution of the same question."""

    def __call__(self, strong: Policy, weak: Completions, *, seed: int = 0, others: Sequence[str] = ()) -> Completions:
        """Return greedy texts for the n prompts of `weak` and, after them, for `others`."""


@dataclass(frozen=True)
class InContext:
    """The untrained strong model reads a few of the weak model's solutions before each question; what it writes after its answer is cut.

    Parameters
    ----------
    demonstrations : sequence of (prompt, text)
        Taken from what the weak model learned from. Left out: `n` solutions are drawn from the weak ones.
    n : int
        How many are read; 4 in the published setting.
    """

    demonstrations: Sequence[tuple[str, str]] = ()
    n: int = 4

    def __call__(self, strong: Policy, weak: Completions, *, seed: int = 0, others: Sequence[str] = ()) -> Completions:
        """See `SecondView`."""
        shown = list(self.demonstrations)[: self.n]
        if not shown:
            drawn = np.random.default_rng(seed).permutation(len(weak))[: self.n]
            shown = [(weak.prompts[int(i)], weak.texts[int(i)]) for i in drawn]
        context = "".join(f"{prompt}{text}\n\n" for prompt, text in shown)
        prompts = [*weak.prompts, *others]
        written = strong.sample([context + prompt for prompt in prompts], temperature=0)
        # The next question that a model invents is no part of its answer.
        texts = [_NEXT.split("\n" + text, maxsplit=1)[0].strip() for text in written.texts]
        return Completions(prompts, texts, finished=written.finished)


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """The strong model learns the weak solutions of some questions and answers the others: for models that do not learn from a context.

    Parameters
    ----------
    folds : int
        Each fold is answered by a copy that learned from all the others.
    targets : Targets, optional
        Soft weak labels of the n questions, learned instead of the weak texts by a policy over one-word answers.
    few : int, optional
        Learn from this many weak solutions only, which makes an incompetent view: the negative control.

    Examples
    --------
    >>> weak = Completions(["up", "down"] * 20, ["yes", "no"] * 20)
    >>> view = CrossFitted()(AnswerPolicy(classes=["no", "yes"]), weak, others=["up"])
    >>> view.texts[:2], view.texts[40:]
    (('yes', 'no'), ('yes',))
    """

    folds: int = 2
    targets: Targets | None = None
    few: int | None = None

    def __call__(self, strong: Policy, weak: Completions, *, seed: int = 0, others: Sequence[str] = ()) -> Completions:
        """See `SecondView`."""
        n = len(weak)
        if not 2 <= self.folds <= n or (self.targets is not None and len(self.targets) != n):
            raise ConfigError(f"CrossFitted: {self.folds} folds of {n} weak solutions need at least 2 folds and as many soft labels")
        fold = np.random.default_rng(seed).permutation(n) % self.folds
        texts = np.full(n, "", dtype=object)
        beyond: Sequence[str] = ()
        for held in range(self.folds):
            learned, asked = np.flatnonzero(fold != held)[: self.few], np.flatnonzero(fold == held)
            policy = self._taught(fresh(strong, seed), weak, learned)
            texts[asked] = policy.sample([weak.prompts[int(i)] for i in asked], temperature=0).texts
            if held == 0 and others:
                beyond = policy.sample(others, temperature=0).texts
        return Completions([*weak.prompts, *others], [*texts.tolist(), *beyond])

    def _taught(self, policy: Policy, weak: Completions, rows: NDArray[np.int64]) -> Policy:
        if self.targets is not None and isinstance(policy, AnswerPolicy):
            chosen = self.targets.take(rows)
            taught = Targets(chosen.probabilities, classes=chosen.classes, weights=chosen.weights)
            return policy.fit_targets([weak.prompts[int(i)] for i in rows], taught)
        return policy.fit(weak.take(rows))


def named_second_view(name: str, *, shown: Completions, targets: Targets | None) -> SecondView:
    """The second view of that name.

    Parameters
    ----------
    name : str
        ``icl``, ``crossfit``, or ``few:N``.
    shown : Completions
        Solutions that ``icl`` reads.
    targets : Targets, optional
        Soft weak labels of the questions, which the others learn from where there are some.

    Raises
    ------
    ConfigError
        There is none of that name.

    Examples
    --------
    >>> named_second_view("few:8", shown=Completions(["1+1?"], ["2"]), targets=None).few
    8
    """
    kind, _, number = name.partition(":")
    if kind == "icl":
        return InContext(list(zip(shown.prompts, shown.texts, strict=True)), len(shown))
    if kind not in ("crossfit", "few") or (kind == "few" and not number.isdigit()):
        raise ConfigError(f"second_view is '{name}'; use icl, crossfit or few:N")
    return CrossFitted(targets=targets, few=int(number) if kind == "few" else None)


def fresh(policy: PolicyType, seed: int) -> PolicyType:
    """A policy with the same options and another seed, to be fitted: `fit` gives it weights of its own.

    Examples
    --------
    >>> fresh(AnswerPolicy(classes=["no", "yes"]), 7).seed
    7
    """
    twin = copy.copy(policy)
    twin.set_params(seed=seed)
    return twin
