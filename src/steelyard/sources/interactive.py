"""Interactive weak supervision: an expert is shown one machine-made rule after another and says which are useful; a surrogate learns.

Boecking, Neiswanger, Xing, Dubrawski 2021, "Interactive Weak Supervision: Learning Useful Heuristics for Data Labeling"; level-set
estimation asks where mean and spread of the surrogate straddle the accuracy a useful rule must have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import SourceError
from steelyard.sources.rule_maker import RuleMaker
from steelyard.sources.rules import Rules, feature_subsets
from steelyard.sources.snuba import widest_useful_bands
from steelyard.sources.surrogate import BaggedNetworks
from steelyard.votes import ABSTAIN

#: What an expert may say: whether the rule is useful, and how sure that is.
ANSWERS = {"useful": (1, 1.0), "likely": (1, 0.5), "likely not": (0, 0.5), "not": (0, 1.0), "unknown": (0, 0.0)}


@dataclass(frozen=True, eq=False)
class Question:
    """What the expert is asked about.

    Parameters
    ----------
    description : str
        The rule in words.
    classes : tuple of str
        What it decides between.
    votes : (n,) int8
        Its votes on the unlabelled rows, -1 where it abstains.
    accuracy : float
        Share of right votes among the labelled rows on which it votes; 0 where it is silent. What the oracle answers by.
    """

    description: str
    classes: tuple[str, ...]
    votes: NDArray[np.int8]
    accuracy: float


Expert = Callable[[Question], str | bool]


class InteractiveWS(RuleMaker):
    """Ask about `queries` rules, guess the rest, keep the useful.

    Candidates are all base rules (see `Rules`), described to the surrogate by the first 40 singular directions of their votes on the
    labelled rows. It begins with `initial` random rules taken for useful and as many random questions. Then in each step a bagged
    ensemble gives mean mu and spread s of "useful" and the rule with the largest

        straddle:  1.96 s - |mu - threshold|           greedy:  mu

    is asked about. Kept are the rules that the expert confirmed and, for ``keep="capped"``, the `most` others of mu >= threshold with the
    largest (2 mu - 1) * coverage; ``"all"`` keeps all of mu >= threshold, ``"confirmed"`` none.

    Parameters
    ----------
    expert : callable, optional
        Asked a `Question`, answers one of useful, likely, likely not, not, unknown — or True, False. `ask_on_terminal` asks a person. Left
        out, an oracle says "useful" if the rule's accuracy on the labelled rows exceeds `threshold`.
    queries, initial, most : int
    threshold : float in (0.5, 1)
    acquisition : {"straddle", "greedy"}
    keep : {"capped", "all", "confirmed"}
    cardinality, betas, candidates
        Of the base rules, as `cardinality`, `betas`, `most` in `Snuba`.
    members, epochs : int
        Of the surrogate.
    seed : int

    Attributes
    ----------
    asked_ : list of dict
        Every question in order: class, description, answer; one list after another for each class.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 200)
    >>> X = rng.normal(size=(200, 12)) + 2 * y[:, None] * (np.arange(12) < 6)
    >>> maker = InteractiveWS(expert=lambda question: question.accuracy > 0.7, queries=5, most=4, members=5)
    >>> maker.fit(X[:60], y[:60], X[60:]).vote(X[60:]).shape[0], len(maker.asked_)
    (140, 9)
    """

    def __init__(
        self,
        expert: Expert | None = None,
        queries: int = 25,
        initial: int = 4,
        threshold: float = 0.6,
        acquisition: Literal["straddle", "greedy"] = "straddle",
        keep: Literal["capped", "all", "confirmed"] = "capped",
        most: int = 100,
        cardinality: int = 1,
        betas: tuple[float, float, int] = (0.25, 0.45, 10),
        candidates: int = 1000,
        members: int = 50,
        epochs: int = 200,
        seed: int = 0,
    ) -> None:
        self.expert = expert
        self.queries = queries
        self.initial = initial
        self.threshold = threshold
        self.acquisition = acquisition
        self.keep = keep
        self.most = most
        self.cardinality = cardinality
        self.betas = betas
        self.candidates = candidates
        self.members = members
        self.epochs = epochs
        self.seed = seed

    def _rules(
        self, X: NDArray[np.float64], y: NDArray[np.int64], unlabeled: NDArray[np.float64], classes: tuple[str, ...], prior: NDArray[Any]
    ) -> Rules:
        self._check(classes)
        subsets = feature_subsets(X.shape[1], self.cardinality, self.candidates, self.seed)
        rules = widest_useful_bands(Rules.fit(X, y, classes, subsets), X, y, self.betas)
        on_seed, on_rest = rules.votes(X), rules.votes(unlabeled)
        covered = (on_seed != ABSTAIN).sum(axis=0)
        right = (on_seed == y[:, None]).sum(axis=0) / np.maximum(covered, 1)
        talk = np.flatnonzero(covered)
        if len(talk) < 2 * self.initial:
            raise SourceError(
                f"only {len(talk)} candidate rules vote on the labelled rows and {2 * self.initial} are needed to begin; "
                "give more features, more labelled rows or a smaller initial"
            )
        features = source_features(on_seed, y)
        rng = np.random.default_rng(self.seed)
        begin = rng.choice(talk, 2 * self.initial, replace=False)
        # Rules that never vote are known to be useless; no question is spent on them.
        silent = np.flatnonzero(covered == 0)
        known = {int(j): (1, 1.0) for j in begin[: self.initial]} | {int(j): (0, 1.0) for j in silent[: self.initial]}
        confirmed: list[int] = []

        def ask(j: int) -> None:
            said = rules.take([j]).describe(only=1 if self.one_vs_rest_ else None)[0]
            answer = self._answer(Question(said, classes, on_rest[:, j], float(right[j])))
            known[j] = ANSWERS[answer]
            if known[j][0] and known[j][1]:
                confirmed.append(j)
            self.asked_.append({"class": classes[-1], "rule": said, "answer": answer})

        for j in begin[self.initial :]:
            ask(int(j))
        mean = spread = np.zeros(len(rules))
        for step in range(self.queries + 1):
            at = list(known)
            answers, sure = (np.array(column) for column in zip(*known.values(), strict=True))
            surrogate = BaggedNetworks(self.members, epochs=self.epochs, seed=self.seed + step)
            mean, spread = surrogate.fit(features[at], answers, sure).predict(features)
            open_ = np.setdiff1d(talk, at)
            if step == self.queries or len(open_) == 0:
                break
            gain = mean if self.acquisition == "greedy" else 1.96 * spread - np.abs(mean - self.threshold)
            ask(int(open_[gain[open_].argmax()]))
        return rules.take(self._final(confirmed, known, mean, (on_rest != ABSTAIN).mean(axis=0)))

    def _final(
        self, confirmed: list[int], known: dict[int, tuple[int, float]], mean: NDArray[np.float64], coverage: NDArray[np.float64]
    ) -> list[int]:
        denied = [j for j, (useful, sure) in known.items() if not useful and sure]
        guessed = np.setdiff1d(np.flatnonzero((mean >= self.threshold) & (coverage > 0)), [*confirmed, *denied])
        order = guessed[np.argsort(-(2 * mean[guessed] - 1) * coverage[guessed], kind="stable")]
        more = {"confirmed": order[:0], "capped": order[: self.most], "all": order}[self.keep]
        return [*confirmed, *more.tolist()]

    def _answer(self, question: Question) -> str:
        if self.expert is None:
            return "useful" if question.accuracy > self.threshold else "not"
        answer = self.expert(question)
        if isinstance(answer, bool | np.bool_):
            return "useful" if answer else "not"
        if answer not in ANSWERS:
            raise SourceError(f"the expert answered {answer!r}; say one of {', '.join(ANSWERS)}, or True or False")
        return answer

    def _check(self, classes: tuple[str, ...]) -> None:
        if self.acquisition not in ("straddle", "greedy") or self.keep not in ("capped", "all", "confirmed"):
            raise SourceError(
                f"acquisition is straddle or greedy and keep is capped, all or confirmed, got '{self.acquisition}' and '{self.keep}'"
            )
        if self.queries < 0 or self.initial < 1 or not 0 < self.threshold < 1:
            raise SourceError(
                "InteractiveWS needs queries >= 0, initial >= 1 and a threshold in (0, 1), "
                f"got {self.queries}, {self.initial} and {self.threshold}"
            )
        if not self.one_vs_rest_ or classes[1] == self.classes_[0]:
            self.asked_: list[dict[str, str]] = []


def source_features(votes: NDArray[np.int8], y: NDArray[np.int64], dimensions: int = 40) -> NDArray[np.float64]:
    """What the surrogate sees of p rules: the leading singular directions of their votes (l, p) as +1, -1 and 0, each of unit spread.

    Returns
    -------
    (p, min(dimensions, l, p)) float64

    Examples
    --------
    >>> source_features(np.array([[0, 1, -1], [1, 1, 1]], np.int8), np.array([0, 1])).shape
    (3, 2)
    """
    signed = np.where(votes == ABSTAIN, 0.0, np.where(votes == 1, 1.0, -1.0)).T
    u, s, _ = np.linalg.svd(signed, full_matrices=False)
    # The sign of a singular vector is arbitrary: the same bytes everywhere need a rule for it.
    strongest = np.abs(u).argmax(axis=0)
    u = u * np.where(u[strongest, np.arange(u.shape[1])] < 0, -1.0, 1.0)
    found = u[:, :dimensions] * s[:dimensions]
    return np.asarray(found / max(float(found.std()), 1e-12))


def ask_on_terminal(question: Question) -> str:
    """Show a rule on the terminal and read the answer; anything that is no answer is asked again."""
    share = {name: float((question.votes == c).mean()) for c, name in enumerate(question.classes)}
    print(f"\n{question.description}\n  votes: " + ", ".join(f"{name} {100 * part:.0f} %" for name, part in share.items()))
    while True:
        answer = input(f"  better than chance? [{' / '.join(ANSWERS)}] ").strip().lower()
        if answer in ANSWERS:
            return answer
