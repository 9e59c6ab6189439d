"""TripletModel: source accuracies in closed form. What three sources share pairwise tells how much each of them knows about the class.

Fu, Chen, Sala, Hooper, Fatahalian, Ré (2020), "Fast and Three-rious: Speeding Up Weak Supervision with Triplet Methods"; the
class-conditional variant, which does not assume equal accuracy on both classes, is our own.
"""

from __future__ import annotations

import warnings
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import LabelModelError
from steelyard.label_models.base import LabelModel, starting_prior
from steelyard.label_models.metal import believed_confusions, three_sources_overlap, with_a_row_of_habit
from steelyard.label_models.pair_frequencies import pair_frequencies
from steelyard.label_models.source_groups import Pairs, SourceGroups, group_posterior, joint_terms
from steelyard.vote_statistics import Keep, VoteStatistics
from steelyard.votes import Votes

Array = NDArray[np.float64]
_SMALLEST = 1e-6
_REST_ROUNDS = 10


class TripletModel(LabelModel):
    r"""Closed-form label model. Class c is set against the rest: v_i = +1 for a vote on c, -1 on another class, 0 when abstaining.

    *class-conditional* (default). Cov(v_i, v_j) = p (1 - p) b_i b_j with b_i = E[v_i | c] - E[v_i | rest], p = P(c), hence
    |b_i| = median over pairs (j, l) of sqrt(|C_ij C_il / C_jl| / (p (1 - p))). With b known, every symbol a of every source follows:
    P(i says a | c) = P(i says a) + (1 - p) Σ_j Cov(1[i says a], v_j) b_j / (p (1 - p) Σ_j b_j²), j ≠ i. Silence may depend on the class.

    *symmetric* (FlyingSquid). E[v_i v_j] = a_i a_j with a_i = E[v_i Y]: equally accurate on both classes, silent independently of them
    as far as a source's votes allow (one that only ever names one class is not).

    Signs follow the leading eigenvector of the covariances: most sources are taken to be better than chance, and in the symmetric variant
    all that name one class only.

    Parameters
    ----------
    variant : {"class-conditional", "symmetric"}
    abstain : {"ignore", "model"}
        Whether a silent source says nothing about a row, or its silence is evidence too.
    class_prior : (k,) float array, optional
        P(class), which pairwise moments cannot tell. Otherwise from gold labels (ten per class at least), else from how often
        sources name each class; Snorkel's LabelModel takes it as uniform.
    prior_accuracy, prior_strength : float, float
        Belief that a vote is right, and how many votes per symbol weigh as much; it keeps rarely used symbols in place. Besides, every
        class gets one row of each source's overall habit, so that no vote is taken to be impossible.
    dependencies : sequence of (source, source), "learn" or None
        Sources, by name or index, that depend on each other given the class; as in `MeTaL`. Triplets are taken from different groups.

    Attributes
    ----------
    dependencies_ : (e, 2) int64
        Indices of the dependent pairs that were used.

    Notes
    -----
    With more than two classes the rest is itself a mixture, whose own covariance is taken out from the previous solution in a few rounds
    (class-conditional), and the rows P(· | c) of all classes make one confusion matrix, so posteriors need no one-vs-rest softmax.
    Without three sources that overlap pairwise the belief is kept (a vote with equal accuracies) and a warning given.

    Examples
    --------
    >>> from steelyard import Votes
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 5000)
    >>> codes = np.where(rng.random((5000, 4)) < [0.9, 0.8, 0.7, 0.6], truth[:, None], 1 - truth[:, None])
    >>> TripletModel().fit(Votes(codes, classes=["HAM", "SPAM"])).accuracies_.round(1).tolist()
    [0.9, 0.8, 0.7, 0.6]
    """

    keep: ClassVar[Keep] = "moments"

    def __init__(
        self,
        variant: Literal["class-conditional", "symmetric"] = "class-conditional",
        abstain: Literal["ignore", "model"] = "ignore",
        class_prior: ArrayLike | None = None,
        prior_accuracy: float = 0.7,
        prior_strength: float = 30.0,
        dependencies: Pairs | Literal["learn"] | None = None,
    ) -> None:
        self.variant = variant
        self.abstain = abstain
        self.class_prior = class_prior
        self.prior_accuracy = prior_accuracy
        self.prior_strength = prior_strength
        self.dependencies = dependencies

    def _fit(self, statistics: VoteStatistics) -> None:
        if self.variant not in ("class-conditional", "symmetric"):
            raise LabelModelError(f"variant must be 'class-conditional' or 'symmetric', got '{self.variant}'")
        if self.abstain not in ("ignore", "model"):
            raise LabelModelError(f"abstain must be 'ignore' or 'model', got '{self.abstain}'")
        if not 0 < self.prior_accuracy < 1 or self.prior_strength < 0:
            raise LabelModelError(
                f"prior_accuracy must lie in (0, 1) and prior_strength be at least 0, got {self.prior_accuracy} and {self.prior_strength}"
            )
        self.class_prior_, self.class_prior_source_ = starting_prior(self.class_prior, statistics)
        together = pair_frequencies(statistics)
        groups = SourceGroups.of(self.dependencies, statistics, together)
        if self.class_prior_source_ == "votes" and len(groups.pairs):
            self.class_prior_ = groups.weighted_prior(statistics)
        shares = np.einsum("jaja->ja", together)
        believed = believed_confusions(shares, self.class_prior_, statistics.support, self.prior_accuracy)
        if statistics.n_classes == 1 or not three_sources_overlap(statistics, groups.apart):
            warnings.warn(
                "fewer than three independent sources overlap pairwise, so their accuracies cannot be learned from agreement; "
                f"TripletModel weighs all votes with accuracy {self.prior_accuracy}",
                stacklevel=4,
            )
            mu = believed
        else:
            given = (together, self.class_prior_, statistics.support, statistics.n_rows, groups)
            solved = class_conditional_triplets(*given, believed) if self.variant == "class-conditional" else symmetric_triplets(*given)
            mu = self._with_belief(solved, believed, shares, statistics)
            mu = with_a_row_of_habit(mu, shares, statistics.n_rows * self.class_prior_)
        self.confusions_ = np.ascontiguousarray(mu.transpose(0, 2, 1))
        self.dependencies_ = groups.pairs
        self.tree_, self.joint_terms_ = joint_terms(groups, mu, self.class_prior_, together, statistics.n_rows)

    def _with_belief(self, solved: Array, believed: Array, shares: Array, statistics: VoteStatistics) -> Array:
        """Average of moments (one count per vote), belief (`prior_strength` counts) and gold rows (one count each)."""
        m, s, k = statistics.n_sources, statistics.n_symbols, statistics.n_classes
        votes = (shares * statistics.n_rows)[:, :, None]
        gold = np.zeros((m, s + 1, k))
        gold[:, :s] = statistics.moments.gold_columns.T.reshape(m, s, k)
        gold[:, s] = statistics.gold_counts - gold[:, :s].sum(axis=1)
        mixed = votes * solved + self.prior_strength * believed + gold
        mixed /= np.maximum(votes + self.prior_strength + statistics.gold_counts, 1.0)
        mixed = np.maximum(mixed, _SMALLEST)
        return np.asarray(mixed / mixed.sum(axis=1, keepdims=True))

    def _posterior(self, votes: Votes) -> NDArray[np.float32]:
        return group_posterior(
            votes, self.confusions_, self.class_prior_, self.tree_, self.joint_terms_, silence_speaks=self.abstain == "model"
        )


def class_conditional_triplets(
    together: Array, prior: Array, support: NDArray[np.bool_], n_rows: int, groups: SourceGroups, believed: Array
) -> Array:
    """(m, S + 1, k) confusions from pair frequencies (m, S + 1, m, S + 1), each class against the rest.

    With more than two classes the rounds start from what is `believed` and go half of the way each: they can swing otherwise.
    """
    m, k = len(together), len(prior)
    shares = np.einsum("jaja->ja", together)
    covariance = together - shares[:, :, None, None] * shares[None, None]
    covariance[np.arange(m), :, np.arange(m), :] = 0
    mu = believed
    for _ in range(1 if k == 2 else _REST_ROUNDS):
        solved = np.empty_like(mu)
        for c in range(k):
            p = min(max(prior[c], 1e-6), 1 - 1e-6)
            value = _against_the_rest(support, c)
            to_value = covariance @ value
            if k > 2:
                to_value -= _covariance_within_rest(mu, prior, c, value)
            between = np.einsum("iaj,a->ij", to_value, value)
            spread = np.sqrt(np.maximum(shares @ value**2 - (shares @ value) ** 2, 0))
            strength = _triplet_medians(between, _noise(spread, n_rows), groups) / np.sqrt(p * (1 - p))
            # Votes lie in [-1, 1], so knowing the class cannot move their mean by more than 2.
            strength = np.clip(strength, -2, 2)
            weight = strength * groups.weights * groups.apart
            power = p * (1 - p) * weight @ strength
            shift = np.einsum("iaj,ij->ia", to_value, weight) / np.maximum(power, 1e-12)[:, None]
            solved[:, :, c] = shares + (1 - p) * shift * (power > 1e-12)[:, None]
            if k == 2:
                solved[:, :, 1 - c] = shares - p * shift * (power > 1e-12)[:, None]
                break
        mu = np.maximum(solved if k == 2 else (solved + mu) / 2, _SMALLEST)
        mu = mu / mu.sum(axis=1, keepdims=True)
    return mu


def symmetric_triplets(together: Array, prior: Array, support: NDArray[np.bool_], n_rows: int, groups: SourceGroups) -> Array:
    """(m, S + 1, k) confusions when a source is equally accurate on a class and on the rest, and silent independently of both."""
    shares = np.einsum("jaja->ja", together)
    m, s1 = shares.shape
    mu = np.empty((m, s1, len(prior)))
    one_sided = ((shares[:, :-1] > 0) @ support).sum(axis=1) == 1
    for c, p in enumerate(prior):
        value = _against_the_rest(support, c)
        products = np.einsum("iajb,a,b->ij", together, value, value)
        np.fill_diagonal(products, 0)
        noise = _noise(np.sqrt(shares @ value**2), n_rows)
        covariance = products - np.outer(shares @ value, shares @ value)
        # What a source that names one class shares with another tells how often that one says its class: it takes no side.
        agreement = _triplet_medians(products, noise, groups, np.where(one_sided | one_sided[:, None], 0.0, covariance))
        for_class, silent = shares @ (value > 0), shares @ (value == 0)
        against = 1 - silent - for_class
        agree = np.clip((1 + agreement - silent) / 2, 0, 1 - silent)
        # The joint table of (v, Y) has one free cell once P(v), P(Y) and P(v = Y) are known: P(v = 0, Y) = P(v = 0) P(Y) settles it. A
        # source that names one class alone cannot be silent independently of the class unless it knows nothing: there that gives way.
        hit = (for_class + agree - (1 - silent) * (1 - p)) / 2
        least = np.maximum(np.maximum(agree - against, 0), (for_class + agree + p - 1) / 2)
        most = np.minimum(np.minimum(agree, for_class), (agree - against + p) / 2)
        hit = np.clip(hit, least, most)
        miss = hit + against - agree
        within = [np.where(side, shares, 0) for side in (value > 0, value < 0, value == 0)]
        parts = [w / np.maximum(w.sum(axis=1, keepdims=True), 1e-12) for w in within]
        given_class = np.stack([hit, miss, p - hit - miss], axis=1) / p
        mu[:, :, c] = sum(part * given_class[:, [side]] for side, part in enumerate(parts))
    mu = np.maximum(mu, _SMALLEST)
    return np.asarray(mu / mu.sum(axis=1, keepdims=True))


def _against_the_rest(support: NDArray[np.bool_], c: int) -> Array:
    """(S + 1,) +1 for a symbol that names class c alone, -1 for one that excludes it, 0 for abstaining and for parents of c."""
    value = np.where(support[:, c], np.where(support.sum(axis=1) == 1, 1.0, 0.0), -1.0)
    return np.append(value, 0.0)


def _covariance_within_rest(mu: Array, prior: Array, c: int, value: Array) -> Array:
    """(m, S + 1, m) covariance of symbols with values v_j that comes from the classes other than c."""
    rest = np.delete(np.arange(len(prior)), c)
    weight = prior[rest] / max(float(prior[rest].sum()), 1e-12)
    symbols = mu[:, :, rest] - (mu[:, :, rest] @ weight)[:, :, None]
    values = np.einsum("jar,a->jr", symbols, value)
    return np.asarray(np.einsum("iar,jr,r->iaj", symbols, values, prior[rest]))


def _triplet_medians(pairs: Array, noise: Array, groups: SourceGroups, covariance: Array | None = None) -> Array:
    """(m,) signed loadings x with pairs[i, j] ≈ x_i x_j for sources apart: medians over all triplets whose denominator is above noise.

    A triplet of sources of three groups counts by the product of the weights of its two other sources. Signs come from the `covariance`
    where `pairs` are none: sources that prefer different classes disagree often, however good they are.
    """
    m = len(pairs)
    usable = groups.apart & (np.abs(pairs) > noise)
    size = np.abs(pairs)
    loadings = np.zeros(m)
    for i in range(m):
        inner = usable & groups.apart[i] & groups.apart[i][:, None]
        first, second = np.nonzero(np.triu(inner, 1))
        if len(first):
            ratios = size[i, first] * size[i, second] / size[first, second]
            loadings[i] = np.sqrt(_weighted_median(ratios, groups.weights[first] * groups.weights[second]))
    root, linked = np.sqrt(groups.weights), (pairs if covariance is None else covariance) * groups.apart
    leading = root * np.linalg.eigh(linked * np.outer(root, root))[1][:, -1]
    # The side on which a source stands of all others together; where that is nothing but rounding errors, it is taken to be good.
    side = linked @ leading * np.sign(leading.sum() or 1.0)
    sign = np.where(side < -1e-9, -1.0, 1.0)
    return sign * loadings


def _weighted_median(values: Array, weights: Array) -> float:
    """Midpoint of the values below and above which lies at most half of the weight."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    half = reached[-1] / 2
    lower = np.searchsorted(reached, half * (1 - 1e-9))
    upper = np.searchsorted(reached, half * (1 + 1e-9))
    return float((values[order[lower]] + values[order[upper]]) / 2)


def _noise(spread: Array, n_rows: int) -> Array:
    """(m, m) two standard errors of a covariance of unrelated sources."""
    return np.asarray(2 * np.outer(spread, spread) / np.sqrt(n_rows))
