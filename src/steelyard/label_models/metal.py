"""MeTaL: source confusions from how often pairs of sources say things together, by least squares; rows do not enter the cost.

Ratner, Hancock, Dunnmon, Sala, Pandey, Ré (2019), "Training Complex Models with Multi-Task Weak Supervision"; the solver is our own.
"""

from __future__ import annotations

import warnings
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from steelyard.errors import LabelModelError
from steelyard.label_models.base import LabelModel, starting_prior
from steelyard.label_models.pair_frequencies import pair_frequencies
from steelyard.label_models.source_groups import Pairs, SourceGroups, group_posterior, joint_terms
from steelyard.vote_statistics import Keep, VoteStatistics
from steelyard.votes import Votes

Array = NDArray[np.float64]
_SMALLEST = 1e-6
_MARGIN_ROUNDS = 100


class MeTaL(LabelModel):
    """Label model of pairwise moments: given the class, sources vote independently, so E[ψ_i ψ_jᵀ] = μ_i diag(p) μ_jᵀ for i ≠ j.

    ψ_i is the one-hot vote of source i (abstaining is a symbol of its own), μ_i[l, k] = P(source i says l | class k), p the class prior.
    With everything but μ_i fixed this is a linear regression; sources take turns until none moves (alternating least squares).
    Equations are weighed by 1 / (expected count), so that rare votes are not drowned by frequent ones. A better-than-chance prior worth
    `prior_strength` votes per symbol keeps rarely used symbols, and the roles of the classes, in place; gold rows are further equations.
    At the end every class gets one row of each source's overall habit, so that no vote is taken to be impossible.

    Parameters
    ----------
    abstain : {"ignore", "model"}
        Whether a silent source says nothing about a row, or its silence is evidence too. Ignored, the silence of a source that names every
        class is taken to be random in fitting as well, as when only some rows were shown to it; a rule for one class is learned from
        where it fires, and its silence left out in prediction.
    class_prior : (k,) float array, optional
        P(class), which pairwise moments cannot tell. Otherwise from gold labels (ten per class at least), else from how often
        sources name each class; Snorkel's LabelModel takes it as uniform.
    exact_prior : bool
        Whether the class prior is known, not guessed. Then the chances of what a source says add up to one within each class, and over
        the classes to how often it says it. A guess leaves slack: a class that a source names less often than the prior says is
        explained in part only, and the rest booked as silence, even of a source that is never silent. That costs few labels where the
        prior is right, but biases the confusions however many rows there are; a wrong prior bound to hold exactly costs many labels.
    prior_accuracy : float in (0, 1)
        Believed chance that a vote is right, before any evidence; the rest is spread by the class prior.
    prior_strength : float ≥ 0
        Votes per symbol that it takes to weigh as much as that belief.
    max_iter, tol : int, float
        Stop when no probability moves by more than `tol` in a sweep.
    dependencies : sequence of (source, source), "learn" or None
        Sources, by name or index, that depend on each other given the class, as copies do; "learn" asks `learn_dependencies`. Sources
        that a chain of pairs links are one group: agreement within a group teaches nothing about the class and is left out of the fit,
        groups weigh as their effective number of sources, and in prediction what a group repeats counts once (see `source_groups`).

    Attributes
    ----------
    dependencies_ : (e, 2) int64
        Indices of the dependent pairs that were used.

    Notes
    -----
    Two classes are identified up to a swap, which the prior settles. With three or more classes pairwise moments leave a rotation
    open; among equally good solutions the one nearest the prior is found. Gold rows close the gap; `DawidSkene`, which reads whole rows,
    has none. Nor do pairs tell the class prior, and on real votes most of the error comes from a prior guessed from the votes: give it, or
    ten gold labels a class, where you can. Without three sources that overlap pairwise nothing can be learned: the prior is kept (a vote
    with equal accuracies) and a warning given.

    Examples
    --------
    >>> from steelyard import Votes
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 5000)
    >>> codes = np.where(rng.random((5000, 4)) < [0.9, 0.8, 0.7, 0.6], truth[:, None], 1 - truth[:, None])
    >>> MeTaL().fit(Votes(codes, classes=["HAM", "SPAM"])).accuracies_.round(1).tolist()
    [0.9, 0.8, 0.7, 0.6]
    """

    keep: ClassVar[Keep] = "moments"

    def __init__(
        self,
        abstain: Literal["ignore", "model"] = "ignore",
        class_prior: ArrayLike | None = None,
        exact_prior: bool = False,
        prior_accuracy: float = 0.7,
        prior_strength: float = 100.0,
        max_iter: int = 500,
        tol: float = 1e-6,
        dependencies: Pairs | Literal["learn"] | None = None,
    ) -> None:
        self.abstain = abstain
        self.class_prior = class_prior
        self.exact_prior = exact_prior
        self.prior_accuracy = prior_accuracy
        self.prior_strength = prior_strength
        self.max_iter = max_iter
        self.tol = tol
        self.dependencies = dependencies

    def _fit(self, statistics: VoteStatistics) -> None:
        if self.abstain not in ("ignore", "model"):
            raise LabelModelError(f"abstain must be 'ignore' or 'model', got '{self.abstain}'")
        if not 0 < self.prior_accuracy < 1 or self.prior_strength < 0:
            raise LabelModelError(
                f"prior_accuracy must lie in (0, 1) and prior_strength be at least 0, got {self.prior_accuracy} and {self.prior_strength}"
            )
        prior, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        together = pair_frequencies(statistics)
        groups = SourceGroups.of(self.dependencies, statistics, together)
        if self.class_prior_source_ == "votes" and len(groups.pairs):
            prior = groups.weighted_prior(statistics)
        self.class_prior_ = prior
        # The silence of a source that names every class is taken to be random where silence says nothing: all that is learned of it are its
        # votes given that it votes. Of one that never names some class this would leave nothing to learn.
        names_all = np.asarray(((statistics.votes_for > 0) @ statistics.support).all(axis=1))
        random = names_all if self.abstain == "ignore" else np.zeros_like(names_all)
        pairs, shared, spoken = given_votes(together, random)
        shares = np.einsum("jaja->ja", pairs)
        mu = believed_confusions(shares, prior, statistics.support, self.prior_accuracy)
        if not three_sources_overlap(statistics, groups.apart):
            warnings.warn(
                "fewer than three independent sources overlap pairwise, so their accuracies cannot be learned from agreement; "
                f"MeTaL weighs all votes with accuracy {self.prior_accuracy}",
                stacklevel=3,
            )
            self.converged_, self.n_iter_ = True, 0
        else:
            if self.exact_prior:
                mu = with_margins(mu, shares, prior)
            belief = self.prior_strength / np.maximum(shares * statistics.n_rows, 1.0)
            gold_shares, gold_weights = _gold_shares(statistics, random)
            # With gold labels at hand the search begins where they point; it could stop at an exchange of classes otherwise.
            trusted = gold_weights / (gold_weights + (self.prior_strength + 1.0) / statistics.n_rows)
            mu = (1 - trusted) * mu + trusted * gold_shares
            weights = shared * groups.apart
            mu, self.n_iter_, self.converged_ = alternating_least_squares(
                pairs, weights, mu, prior, belief, gold_shares, gold_weights, groups, max_iter=self.max_iter, tol=self.tol
            )
            if not statistics.gold_counts.any():
                mu = mu[:, :, _better_than_chance(mu, prior)]
        mu[:, :-1] *= spoken[:, None, None]
        mu[:, -1] = np.maximum(1 - mu[:, :-1].sum(axis=1), 0)
        mu = with_a_row_of_habit(mu, np.einsum("jaja->ja", together), statistics.n_rows * prior)
        self.confusions_ = np.ascontiguousarray(mu.transpose(0, 2, 1))
        self.dependencies_ = groups.pairs
        self.tree_, self.joint_terms_ = joint_terms(groups, mu, prior, together, statistics.n_rows)

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        return group_posterior(
            votes, self.confusions_, self.class_prior_, self.tree_, self.joint_terms_, silence_speaks=self.abstain == "model"
        )


def given_votes(together: Array, random: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Pair frequencies among the rows on which those of the two sources vote whose silence is random.

    Returns
    -------
    (m, S + 1, m, S + 1) shares among those rows, (m, m) shares of those rows among all, (m,) share of rows that say something of a source
    """
    m = len(together)
    if not random.any():
        return together, np.ones((m, m)), np.ones(m)
    pairs = together.copy()
    pairs[random, -1] = 0
    pairs[:, :, random, -1] = 0
    shared = pairs.sum(axis=(1, 3))
    pairs /= np.where(shared > 0, shared, 1)[:, None, :, None]
    return pairs, shared, np.diag(shared).copy()


def alternating_least_squares(
    together: Array,
    weights: Array,
    start: Array,
    prior: Array,
    belief: Array,
    gold_shares: Array,
    gold_weights: Array,
    groups: SourceGroups,
    *,
    max_iter: int,
    tol: float,
) -> tuple[Array, int, bool]:
    """Solve together[i, :, j, :] = μ_i diag(p) μ_jᵀ (i, j of weight) and shares = μ_i p for μ (m, S + 1, k).

    Parameters
    ----------
    together : (m, S + 1, m, S + 1) float array
        Share of the rows that tell something of both on which source i says a and source j says b, abstaining last.
    weights : (m, m) float array
        Share of such rows among all; 0 for two sources of one group.
    start : (m, S + 1, k) float array
        Where to start, and the belief that `belief` (m, S + 1) weighs, relative to the evidence of all rows.
    prior : (k,) float array
    gold_shares, gold_weights : (m, S + 1, k), (m, 1, k) float arrays
        Votes given the gold class, and gold rows per class that tell something of the source, as a share of all rows.
    groups : SourceGroups
        Pairs within a group give no equations; the others count by the weight of the other source.

    Returns
    -------
    (m, S + 1, k) confusions, sweeps made, whether they converged
    """
    m, s1, k = start.shape
    shares = np.einsum("jaja->ja", together)
    # Var(together[a, b]) ≈ shares[a]·shares[b] / n: each equation of source i is divided by the share of the other source's symbol.
    weight = np.divide(groups.weights[:, None], shares, out=np.zeros_like(shares), where=shares > 0)
    others = (together * weights[:, None, :, None]).reshape(m, s1, m * s1)
    mu = start.copy()
    joint = mu * prior
    weighted = weight[:, :, None] * joint
    grams = np.einsum("jak,jal->jkl", weighted, joint)
    ridge = np.einsum("ja,k->jak", belief, prior)
    ridge_target = ridge * start + gold_weights * gold_shares
    ridge_diagonal = (ridge + gold_weights)[:, :, :, None] * np.eye(k)
    for sweep in range(1, max_iter + 1):
        moved = 0.0
        for i in groups.order:
            gram = np.tensordot(weights[i], grams, 1) + np.outer(prior, prior)
            target = others[i] @ weighted.reshape(m * s1, k) + np.outer(shares[i], prior)
            solved = np.linalg.solve(gram + ridge_diagonal[i] + 1e-12 * np.eye(k), (target + ridge_target[i])[:, :, None])[:, :, 0]
            # The overall shares are known far better than any pair, so they hold exactly (up to clipping).
            solved += np.outer(shares[i], 1 - solved.sum(axis=0))
            solved = np.maximum(solved + (shares[i] - solved @ prior)[:, None], _SMALLEST)
            solved /= solved.sum(axis=0)
            moved = max(moved, float(np.abs(solved - mu[i]).max()))
            mu[i] = solved
            joint[i] = solved * prior
            weighted[i] = weight[i][:, None] * joint[i]
            grams[i] = weighted[i].T @ joint[i]
        if moved < tol:
            return mu, sweep, True
    return mu, max_iter, False


def believed_confusions(shares: Array, prior: Array, support: NDArray[np.bool_], accuracy: float) -> Array:
    """(m, S + 1, k) confusions of sources whose votes are right with chance `accuracy`, given how often they say each symbol."""
    among = support * prior
    meant = np.divide(
        among,
        among.sum(axis=1, keepdims=True),
        out=support / support.sum(axis=1, keepdims=True),
        where=among.sum(axis=1, keepdims=True) > 0,
    )
    right = accuracy * meant + (1 - accuracy) * prior
    mu = np.empty((*shares.shape, len(prior)))
    mu[:, :-1] = shares[:, :-1, None] * right / np.maximum(prior, _SMALLEST)
    # A symbol said more often than its class occurs cannot always be right: what exceeds one is scaled back.
    mu[:, :-1] /= np.maximum(mu[:, :-1].sum(axis=1, keepdims=True), 1 - _SMALLEST)
    mu[:, -1] = 1 - mu[:, :-1].sum(axis=1)
    mu = np.maximum(mu, _SMALLEST)
    return np.asarray(mu / mu.sum(axis=1, keepdims=True))


def with_margins(mu: Array, shares: Array, prior: Array) -> Array:
    """The confusions nearest to `mu` (in relative entropy) that agree with how often each symbol is said: μ_i p = shares.

    Rows and columns of the joint tables μ_i diag(p) are scaled in turns until both margins hold (Deming and Stephan, 1940).
    """
    joint = np.maximum(mu * prior, _SMALLEST**2)
    for _ in range(_MARGIN_ROUNDS):
        joint *= (shares / np.maximum(joint.sum(axis=2), _SMALLEST**2))[:, :, None]
        joint *= (prior / np.maximum(joint.sum(axis=1), _SMALLEST**2))[:, None]
    mu = np.maximum(joint / np.maximum(prior, _SMALLEST), _SMALLEST)
    return np.asarray(mu / mu.sum(axis=1, keepdims=True))


def with_a_row_of_habit(mu: Array, habit: Array, rows: Array) -> Array:
    """Confusions (m, S + 1, k) and one more row per class, of (k,) `rows`, on which a source says what it says overall, (m, S + 1).

    Squares can be least where a chance is zero; without that row one such vote would rule a class out against all others.
    """
    return np.asarray((rows * mu + habit[:, :, None]) / (rows + 1))


def three_sources_overlap(statistics: VoteStatistics, apart: NDArray[np.bool_]) -> bool:
    """Whether some three sources of different groups vote together in pairs: the least to learn from without gold labels."""
    m, s = statistics.n_sources, statistics.n_symbols
    overlap = statistics.moments.pairs.reshape(m, s, m, s).sum(axis=(1, 3)) > 0
    linked = (overlap & apart).astype(np.float64)
    return bool(statistics.gold_counts.any() or (linked @ linked * linked).any())


def _gold_shares(statistics: VoteStatistics, random: NDArray[np.bool_]) -> tuple[Array, Array]:
    """(m, S + 1, k) votes given the gold class, (m, 1, k) gold rows behind them as a share of all; without silence where that is random."""
    m, s, k = statistics.n_sources, statistics.n_symbols, statistics.n_classes
    counts = np.zeros((m, s + 1, k))
    counts[:, :s] = statistics.moments.gold_columns.T.reshape(m, s, k)
    counts[:, s] = (statistics.gold_counts - counts[:, :s].sum(axis=1)) * ~random[:, None]
    known = counts.sum(axis=1, keepdims=True)
    return counts / np.maximum(known, 1), known / statistics.n_rows


def _better_than_chance(mu: Array, prior: Array) -> NDArray[np.intp]:
    """The order of the classes in which votes are right most often; only classes with the same prior may change places."""
    k = len(prior)
    right = (mu[:, :k] * prior).sum(axis=0)
    # A forbidden exchange costs more than any assignment can gain.
    right = np.where(np.isclose(prior[:, None], prior[None, :], rtol=1e-9, atol=0), right, -1e6)
    return np.asarray(linear_sum_assignment(-right)[1])
