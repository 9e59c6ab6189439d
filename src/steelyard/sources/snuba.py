"""Snuba: rules from a few labels, kept if they are accurate on these and speak where the others are silent, refitted where all are unsure.

Varma, Ré 2018, "Snuba: Automating Weak Supervision to Label Training Data"; the form for many classes at once ("multipolar") is that of
Roberts et al. 2022, "AutoWS-Bench-101", with the distance of the largest posterior from 1/K where the official code compares an index.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from steelyard.errors import SourceError
from steelyard.sources.rule_maker import RuleMaker, Weigher
from steelyard.sources.rules import Rules, feature_subsets, speaks
from steelyard.votes import ABSTAIN, Votes


class Snuba(RuleMaker):
    """Synthesise, prune, verify, and again on the rows that remain vague.

    In every round all base rules are fitted to the vague labelled rows V (all of them at first), each gets the width beta of its abstaining
    band that maximises the weighted F1 on all labelled rows, and the best by

        1/2 accuracy on labelled rows (abstaining = wrong) + 1/2 (1 - Jaccard(rows it covers, votes so far))     on unlabelled rows

    is committed (three in the first round). The label model, fitted to their votes on unlabelled rows, gives posteriors p of the labelled
    ones, and V becomes those with |max p - 1/K| <= 1/2 - m^(-3/2), m rules committed. It ends after `rounds`, or when V has fewer than two
    classes or nothing new is left. A rule that repeats the votes of another, or never votes, is not committed.

    Parameters
    ----------
    label_model : LabelModel
        Verifies; a copy is fitted in every round, with the class prior of the labelled rows where it has such a parameter.
    cardinality : int
        Largest number of features in a rule; 2 where there are few.
    rounds : int
    first : int
        Rules committed in the first round.
    betas : (lowest, highest, number)
        Grid of the half width of the band.
    multipolar : bool
        For more than two classes: rules that vote for any class, instead of one Snuba for each class against the rest.
    most : int
        Feature subsets at most; a random sample of them beyond.
    seed : int

    Attributes
    ----------
    history_ : list of dict
        Per round: score of the last committed rule, rules so far, vague rows left; one list after another for each class.

    Examples
    --------
    >>> from steelyard.label_models import MajorityVote
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 300)
    >>> X = rng.normal(size=(300, 4)) + 2 * y[:, None]
    >>> snuba = Snuba(MajorityVote(), rounds=3).fit(X[:50], y[:50], X[50:], classes=["cat", "dog"])
    >>> votes = snuba.vote(X[50:])
    >>> bool((MajorityVote().fit(votes).predict(votes) == y[50:]).mean() > 0.9)
    True
    """

    def __init__(
        self,
        label_model: Weigher,
        cardinality: int = 1,
        rounds: int = 23,
        first: int = 3,
        betas: tuple[float, float, int] = (0.25, 0.45, 10),
        multipolar: bool = False,
        most: int = 1000,
        seed: int = 0,
    ) -> None:
        self.label_model = label_model
        self.cardinality = cardinality
        self.rounds = rounds
        self.first = first
        self.betas = betas
        self.multipolar = multipolar
        self.most = most
        self.seed = seed

    @property
    def takes_all_classes(self) -> bool:
        """Whether one Snuba serves all classes."""
        return self.multipolar

    def _rules(
        self, X: NDArray[np.float64], y: NDArray[np.int64], unlabeled: NDArray[np.float64], classes: tuple[str, ...], prior: NDArray[Any]
    ) -> Rules:
        if self.rounds < 1 or self.cardinality < 1 or self.first < 1:
            raise SourceError(f"Snuba needs at least one round, rule and feature, got {self.rounds}, {self.first} and {self.cardinality}")
        k = len(classes)
        subsets = feature_subsets(X.shape[1], self.cardinality, self.most, self.seed)
        vague = np.arange(len(y))
        kept: list[Rules] = []
        votes = np.zeros((len(unlabeled), 0), dtype=np.int8)
        self.history_: list[dict[str, float]] = getattr(self, "history_", []) if self._goes_on(classes) else []
        for step in range(self.rounds):
            rules = widest_useful_bands(Rules.fit(X[vague], y[vague], classes, subsets), X, y, self.betas)
            said = rules.votes(unlabeled)
            accuracy = (rules.votes(X) == y[:, None]).mean(axis=0)
            score = 0.5 * accuracy + 0.5 * diversity(said, votes)
            chosen = new_rules(score, said, votes, self.first if step == 0 else 1)
            if not chosen:
                break
            kept.append(rules.take(chosen))
            votes = np.concatenate([votes, said[:, chosen]], axis=1)
            posterior = self._verified(votes, Rules.concat(kept).votes(X), classes, prior)
            gamma = 0.5 - votes.shape[1] ** -1.5
            vague = np.flatnonzero(np.abs(posterior.max(axis=1) - 1 / k) <= gamma)
            self.history_.append({"score": float(score[chosen[-1]]), "rules": float(votes.shape[1]), "vague": float(len(vague))})
            if len(np.unique(y[vague])) < 2:
                break
        if not kept:
            raise SourceError("Snuba found no rule that votes on an unlabelled row; give features that vary, or more labelled rows")
        return Rules.concat(kept)

    def _goes_on(self, classes: tuple[str, ...]) -> bool:
        """Whether these classes are one of several binary problems after the first."""
        return self.one_vs_rest_ and classes[1] != self.classes_[0]

    def _verified(
        self, votes: NDArray[np.int8], labelled: NDArray[np.int8], classes: tuple[str, ...], prior: NDArray[Any]
    ) -> NDArray[np.float32]:
        model: Any = clone(self.label_model)
        if "class_prior" in model.get_params():
            model.set_params(class_prior=prior.tolist())
        with warnings.catch_warnings():
            # Three rules may not overlap yet; the label model then trusts all alike, which is what a first round can know.
            warnings.filterwarnings("ignore", message="fewer than three independent sources")
            return np.asarray(model.fit(Votes(votes, classes=classes)).predict_proba(Votes(labelled, classes=classes)))


def widest_useful_bands(rules: Rules, X: NDArray[np.float64], y: NDArray[np.int64], betas: tuple[float, float, int]) -> Rules:
    """Give each rule the confidence 1/K + beta whose votes on labelled rows have the largest weighted F1, abstaining counted as wrong.

    Examples
    --------
    >>> X, y = np.arange(8.0)[:, None], np.array([0, 0, 0, 1, 0, 1, 1, 1])
    >>> rules = Rules.fit(X, y, ("a", "b"), np.array([[0]]))
    >>> widest_useful_bands(rules, X, y, (0.25, 0.45, 3)).confidences.tolist()
    [0.75, 0.75]
    """
    k = len(rules.classes)
    label, probability = rules.best(X)
    grid = np.linspace(*betas[:2], int(betas[2]))
    scores = np.stack([weighted_f1(np.where(speaks(probability, 1 / k + beta), label, ABSTAIN), y, k) for beta in grid])
    return rules.with_confidences(1 / k + grid[scores.argmax(axis=0)])


def weighted_f1(votes: NDArray[np.integer], y: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """F1 of every column of votes (l, p), averaged over classes by how often they occur in y.

    Examples
    --------
    >>> weighted_f1(np.array([[0, -1], [1, 1]]), np.array([0, 1]), 2).tolist()
    [1.0, 0.5]
    """
    total = np.zeros(votes.shape[1])
    for c in range(k):
        true, named = y == c, votes == c
        right = named[true].sum(axis=0)
        total += true.mean() * 2 * right / np.maximum(named.sum(axis=0) + true.sum(), 1)
    return total


def diversity(said: NDArray[np.int8], committed: NDArray[np.int8]) -> NDArray[np.float64]:
    """1 - Jaccard similarity, sum min / sum max, of the rows that each rule covers (n, p) and the votes committed so far (n, m); (p,).

    Examples
    --------
    >>> diversity(np.array([[1, -1], [-1, 1]], np.int8), np.array([[1], [-1]], np.int8)).tolist()
    [0.0, 1.0]
    """
    covers = (said != ABSTAIN).astype(np.float32)
    if committed.shape[1] == 0:
        return np.ones(said.shape[1])
    counts = (committed != ABSTAIN).sum(axis=1).astype(np.float32)
    # coverage is 0 or 1: min(c, count) = c [count > 0], max(c, count) = count + c [count = 0]
    least = (counts > 0).astype(np.float32) @ covers
    most = counts.sum() + (counts == 0).astype(np.float32) @ covers
    return np.asarray(1 - least / np.maximum(most, 1), dtype=np.float64)


def new_rules(score: NDArray[np.float64], said: NDArray[np.int8], committed: NDArray[np.int8], number: int) -> list[int]:
    """The best by score that vote at all and repeat neither a committed rule nor each other."""
    known = {committed[:, j].tobytes() for j in range(committed.shape[1])}
    chosen: list[int] = []
    for j in np.argsort(-score, kind="stable"):
        column = said[:, j].tobytes()
        if column in known or (said[:, j] == ABSTAIN).all():
            continue
        known.add(column)
        chosen.append(int(j))
        if len(chosen) == number:
            break
    return chosen
