"""SequenceHMM: votes on the tokens of documents. The hidden tags form a Markov chain, each source is a noisy observer of them.

Lison, Barnes, Hubin, Touileb (2020), "Named Entity Recognition without Labelled Data: A Weak Supervision Approach".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import LabelModelError
from steelyard.label_models.base import LabelModel, Tie, as_votes, vote_accuracies
from steelyard.label_models.forward_backward import Marginals, forward_backward, viterbi
from steelyard.label_models.posterior import VoteLookup
from steelyard.vote_statistics import Keep, VoteStatistics, checked_gold
from steelyard.votes import Votes

Array = NDArray[np.float64]
_TOKENS_AT_ONCE = 1 << 19
# A gold tag outweighs any votes, yet a gold sequence that the tagging scheme forbids does not make a document impossible.
_GOLD = 50.0


class SequenceHMM(LabelModel):
    r"""Hidden Markov model over tokens: P(tags, votes) = s[y_1] Π_t T[y_{t-1}, y_t] Π_t Π_j E_j[y_t, vote of j]^{w_j}.

    ``votes.groups`` are the document offsets; without groups every row is a sequence of its own. Classes are tags. Where one is named "O",
    the tags follow the BIO scheme ("B-X", "I-X"; "I-X" only after "B-X" or "I-X"), a silent source and one that votes "O" are the same,
    and a tag nobody voted for is impossible. Else tags are plain and every move is allowed.

    *Silence.* Whether a token has any vote is modelled, P(some vote | tag), and then only the sources that voted speak: sources
    are silent for shared reasons (the same words are missing from every dictionary), so counting each silence would outvote the rest.

    *Start.* Counts come from the sequential vote, in which "O" weighs 3^(-number of votes): a single entity vote beats many silent
    sources. These counts stay in every M-step, `vote_weight` times, and only `n_steps` EM steps are made: unconstrained EM soon explains
    what a single good source sees as "O" with noise (entity F1 on NCBI-Disease falls from .81 to .66).

    *Redundancy.* w_j[l] = exp(-redundancy · Σ_i≠j P(i says l | j says l)): sources that repeat each other count for less.

    Parameters
    ----------
    n_steps : int
        EM steps; 4 as in the reference: the gain over the vote is made by then.
    vote_weight : float ≥ 0
        How many times the sequential vote's counts enter each M-step.
    redundancy : float ≥ 0
        0 treats sources as independent.

    Attributes
    ----------
    start_ : (k,) float64
    transition_ : (k, k) float64
        Rows sum to 1; forbidden moves are 0.
    source_weights_ : (m, S) float64
        w_j[l].
    coverage_ : (k,) float64
        P(some source votes | tag).

    Notes
    -----
    `predict` is the Viterbi path (`tie` has no effect), `predict_proba` the marginals. `partial_fit` learns from further documents with the
    counts of earlier ones as a prior. Gold tags hold their tokens in place.

    Examples
    --------
    >>> codes = np.array([[-1, -1], [1, 1], [2, -1], [-1, -1], [-1, 1]])
    >>> votes = Votes(codes, classes=["O", "B-PER", "I-PER"], groups=[0, 4, 5])
    >>> SequenceHMM().fit(votes).predict(votes).tolist()
    [0, 1, 2, 0, 1]
    """

    keep: ClassVar[Keep] = "moments"

    def __init__(self, n_steps: int = 4, vote_weight: float = 3.0, redundancy: float = 0.1) -> None:
        self.n_steps = n_steps
        self.vote_weight = vote_weight
        self.redundancy = redundancy

    def fit(self, votes: Votes | VoteStatistics | ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit from the votes on tokens, `votes.groups` saying where documents begin; `y` (n,) may hold gold tags, -1 = unknown."""
        return self._learn(votes, y, None, None)

    def partial_fit(self, votes: Votes | VoteStatistics | ArrayLike, y: ArrayLike | None = None) -> Self:
        """Learn from more documents; what was learned from earlier ones is kept as counts, not as rows."""
        return self._learn(votes, y, getattr(self, "statistics_", None), getattr(self, "_counts", None))

    def _learn(
        self, votes: Votes | VoteStatistics | ArrayLike, y: ArrayLike | None, seen: VoteStatistics | None, before: Counts | None
    ) -> Self:
        if isinstance(votes, VoteStatistics):
            _refuse_statistics()
        if self.n_steps < 0 or self.vote_weight < 0 or self.redundancy < 0:
            raise LabelModelError(
                f"n_steps, vote_weight and redundancy must not be negative, got {self.n_steps}, {self.vote_weight}, {self.redundancy}"
            )
        held = as_votes(votes)
        if held.n_rows == 0 or held.n_sources == 0:
            raise LabelModelError(f"SequenceHMM cannot be fitted: there are no {'rows of votes' if held.n_rows == 0 else 'sources'}")
        statistics = VoteStatistics.from_votes(held, y, keep="moments")
        statistics = statistics if seen is None else seen + statistics
        self.statistics_ = statistics
        self.classes_, self.sources_, self.parents_, self.support_ = held.classes, held.sources, held.parents, held.support
        self.source_weights_ = _redundancy_weights(statistics, self.redundancy)
        chunks = [_Chunk(*part) for part in _documents(held, checked_gold(y, held.n_rows, held.n_classes))]
        voted = _total([chunk.count(chunk.sequential_vote()) for chunk in chunks])
        prior = voted.scaled(self.vote_weight) + _pseudo_counts(held) + (before or voted.scaled(0.0))
        self._maximize(voted + prior)
        counts, likelihoods = voted, []
        for _ in range(self.n_steps):
            expected = [chunk.expect(self) for chunk in chunks]
            counts = _total([part for part, _ in expected])
            likelihoods.append(sum(likelihood for _, likelihood in expected) / held.n_rows)
            self._maximize(counts + prior)
        self._counts = counts + voted.scaled(self.vote_weight) + (before or voted.scaled(0.0))
        self.n_iter_ = self.n_steps
        self.log_likelihood_ = likelihoods[-1] if likelihoods else float("nan")
        self.converged_ = len(likelihoods) > 1 and abs(likelihoods[-1] - likelihoods[-2]) < 1e-4
        return self

    def _maximize(self, counts: Counts) -> None:
        starts, moves = legal_moves(self.classes_)
        self.start_ = _normalized((counts.starts + 1) * starts)
        self.transition_ = _normalized((counts.transitions + 1) * moves)
        self.emissions_ = _normalized(counts.votes)
        self.coverage_ = (counts.covered + 0.5) / (counts.mass + 1)
        self.class_prior_ = _normalized(counts.mass + 1e-9)
        self.class_prior_source_ = "estimated"
        self.confusions_ = self.emissions_.copy()
        if "O" in self.classes_:
            self.confusions_[:, :, :-1] *= self.coverage_[:, None]
            self.confusions_[:, :, -1] = 1 - self.confusions_[:, :, :-1].sum(axis=2)
        self.accuracies_ = vote_accuracies(self.confusions_, self.class_prior_, self.support_)

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        posterior = np.empty((votes.n_rows, votes.n_classes), dtype=np.float32)
        done = 0
        for part in _documents(votes, checked_gold(None, votes.n_rows, votes.n_classes)):
            chunk = _Chunk(*part)
            posterior[done : done + chunk.n_rows] = chunk.marginals(self).states
            done += chunk.n_rows
        return posterior

    def predict(self, votes: Votes | ArrayLike, tie: Tie = "prior", seed: int = 0) -> NDArray[np.int64]:
        """Most probable tag sequence of each document (n,), by Viterbi; `tie` and `seed` are there for the common interface only."""
        checked = self._checked(votes)
        gold = checked_gold(None, checked.n_rows, checked.n_classes)
        chunks = (_Chunk(*part) for part in _documents(checked, gold))
        paths = [viterbi(chunk.log_emissions(self), chunk.offsets, self.start_, self.transition_) for chunk in chunks]
        return np.concatenate(paths) if paths else np.empty(0, dtype=np.int64)


def legal_moves(tags: tuple[str, ...]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which tags may start a sequence (k,), and which may follow which (k, k); everything is allowed without an "O" tag.

    Examples
    --------
    >>> legal_moves(("O", "B-PER", "I-PER"))[1].astype(int).tolist()
    [[1, 1, 0], [1, 1, 1], [1, 1, 1]]
    """
    k = len(tags)
    starts, moves = np.ones(k, dtype=bool), np.ones((k, k), dtype=bool)
    if "O" in tags:
        for j, tag in enumerate(tags):
            if tag.startswith("I-"):
                starts[j] = False
                moves[:, j] = [before in (f"B-{tag[2:]}", tag) for before in tags]
    return starts, moves


@dataclass(frozen=True)
class Counts:
    """Expected counts from which the model is normalised: starts (k,), transitions (k, k), votes (m, k, S + 1), covered and mass (k,)."""

    starts: Array
    transitions: Array
    votes: Array
    covered: Array
    mass: Array

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))

    def scaled(self, factor: float) -> Counts:
        """All counts times a factor."""
        return Counts(*(factor * value for value in vars(self).values()))


class _Chunk:
    """Whole documents, prepared for being scored again and again."""

    def __init__(self, votes: Votes, offsets: NDArray[np.int64], gold: NDArray[np.int64]) -> None:
        self.n_rows, self.offsets, self.gold = votes.n_rows, offsets, gold
        self.outside = votes.classes.index("O") if "O" in votes.classes else None
        self.lookup = VoteLookup(_without_outside(votes, self.outside))
        tables = np.zeros((votes.n_sources, votes.n_classes, len(votes.support) + 1))
        tables[:, :, :-1] = votes.support.T
        self.tally = np.ascontiguousarray(self.lookup.scores(tables).T)
        self.covered = np.asarray(self.tally.any(axis=1))

    def sequential_vote(self) -> Array:
        """(n, k) shares of votes; "O" weighs 3^(-votes), a token without votes or "O" is unknown."""
        tally = self.tally.copy()
        if self.outside is not None:
            tally[:, self.outside] = 3.0 ** -tally.sum(axis=1)
        else:
            tally[~self.covered] = 1.0
        known = np.flatnonzero(self.gold >= 0)
        tally[known] = np.eye(tally.shape[1])[self.gold[known]]
        return _normalized(tally)

    def log_emissions(self, model: SequenceHMM) -> Array:
        """(n, k) log-likelihood of each token's votes under each tag."""
        tables = np.zeros_like(model.emissions_)
        tables[:, :, :-1] = np.log(np.maximum(model.emissions_[:, :, :-1], 1e-12)) * model.source_weights_[:, None, :]
        scores = np.ascontiguousarray(self.lookup.scores(tables).T)
        if self.outside is not None:
            scores += np.where(self.covered[:, None], np.log(model.coverage_), np.log1p(-model.coverage_))
            possible = np.asarray(self.tally > 0)
            possible[:, self.outside] = True
            possible[self.gold >= 0] = True
            scores[~possible] = -np.inf
        known = np.flatnonzero(self.gold >= 0)
        scores[known, self.gold[known]] += _GOLD
        return scores

    def marginals(self, model: SequenceHMM) -> Marginals:
        return forward_backward(self.log_emissions(model), self.offsets, model.start_, model.transition_)

    def expect(self, model: SequenceHMM) -> tuple[Counts, float]:
        found = self.marginals(model)
        return self._counts(found.states, found.starts, found.moves), found.log_likelihood

    def count(self, shares: Array) -> Counts:
        """Counts when tokens have independent tag shares (n, k)."""
        begins = np.zeros(self.n_rows, dtype=bool)
        begins[self.offsets[:-1][np.diff(self.offsets) > 0]] = True
        later = np.flatnonzero(~begins)
        return self._counts(shares, shares[begins].sum(axis=0), shares[later - 1].T @ shares[later])

    def _counts(self, states: Array, starts: Array, transitions: Array) -> Counts:
        weights = np.ascontiguousarray(states.T)
        covered = weights * self.covered
        speaking = covered if self.outside is not None else weights
        return Counts(starts, transitions, self.lookup.counts(speaking), covered.sum(axis=1), weights.sum(axis=1))


def _documents(votes: Votes, gold: NDArray[np.int64]) -> list[tuple[Votes, NDArray[np.int64], NDArray[np.int64]]]:
    """Runs of whole documents with their own offsets, a bounded number of tokens each (a longer document stays whole)."""
    groups = np.arange(votes.n_rows + 1) if votes.groups is None else votes.groups
    parts, first = [], 0
    while first < len(groups) - 1:
        stop = max(first + 1, int(np.searchsorted(groups, groups[first] + _TOKENS_AT_ONCE, side="right")) - 1)
        rows = slice(int(groups[first]), int(groups[stop]))
        parts.append((votes.take(rows), groups[first : stop + 1] - groups[first], gold[rows]))
        first = stop
    return parts


def _without_outside(votes: Votes, outside: int | None) -> Votes:
    """Votes for "O" become silence."""
    if outside is None or not (votes.codes == outside).any():
        return votes
    codes = np.where(votes.codes == outside, -1, votes.codes)
    below = {parent: list(children) for parent, children in votes.hierarchy.items()}
    return Votes(np.asfortranarray(codes), classes=votes.classes, sources=votes.sources, hierarchy=below)


def _pseudo_counts(votes: Votes) -> Counts:
    """A vote's worth of belief that sources are right, that they miss (0.3) and that they see what is not there (0.1)."""
    k, s = votes.n_classes, len(votes.support)
    table = np.full((k, s + 1), 1e-6)
    table[:, :-1] += votes.support.T
    table[:, -1] += 0.3
    if "O" in votes.classes:
        table[votes.classes.index("O")] += 0.1
    else:
        table[:, :-1] += 0.1
    return Counts(np.zeros(k), np.zeros((k, k)), np.broadcast_to(table, (votes.n_sources, k, s + 1)).copy(), np.zeros(k), np.zeros(k))


def _redundancy_weights(statistics: VoteStatistics, redundancy: float) -> Array:
    """(m, S) w_j[l] = exp(-redundancy · Σ_i≠j P(i says l | j says l))."""
    m, s = statistics.n_sources, statistics.n_symbols
    pairs = statistics.moments.pairs.reshape(m, s, m, s)
    same = np.einsum("jlil->jil", pairs).astype(np.float64)
    alone = np.einsum("jjl->jl", same)
    repeated = (same.sum(axis=1) - alone) / np.maximum(alone, 1)
    return np.exp(-redundancy * repeated)


def _normalized(counts: Array) -> Array:
    return np.asarray(counts / counts.sum(axis=-1, keepdims=True))


def _total(parts: list[Counts]) -> Counts:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _refuse_statistics() -> NoReturn:
    raise LabelModelError("SequenceHMM needs the order of tokens, which statistics do not hold; fit it from Votes with groups")
