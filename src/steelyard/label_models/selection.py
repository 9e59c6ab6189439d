"""Which label model for these votes? `select` leaves the majority vote only on evidence, and says what the evidence was.

The evidence needs no labels: on rows where a model and the vote disagree, do sources that neither of them saw side with the model?
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from steelyard.errors import LabelModelError
from steelyard.label_models.base import LabelModel, as_votes
from steelyard.label_models.dawid_skene import DawidSkene
from steelyard.label_models.majority_vote import MajorityVote, is_tagging
from steelyard.label_models.metal import MeTaL
from steelyard.label_models.sequence_hmm import SequenceHMM, legal_moves
from steelyard.label_models.triplet import TripletModel
from steelyard.vote_statistics import checked_gold
from steelyard.votes import Votes

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Tags = tuple[tuple[str, ...], NDArray[np.int64]]

_MOST_ROWS = 20_000
_MOST_TOKENS = 60_000
_FOLDS = 8
# Held-out votes are evidence under assumptions, gold labels are not: all unlabelled rows of a dispute together count as this many labels.
_UNLABELLED_WORTH = 50.0
_DRAWS = 1000


@dataclass(frozen=True)
class _Dispute:
    """Rows on which the model says `model` and the vote says `vote`, with the evidence on who is right."""

    model: int
    vote: int
    share: float
    chances: Array
    density: Array

    @property
    def chance(self) -> float:
        """P(model right | one of both is)."""
        return float(self.chances @ self.density)


def select(
    votes: Votes | ArrayLike, y: ArrayLike | None = None, candidates: Sequence[LabelModel] | None = None, seed: int = 0
) -> LabelModel:
    """Fit the label model that these votes call for; the majority vote unless another is better beyond doubt.

    *Disputes.* Sources are held out in turn (in groups, when there are more than eight) and every candidate is fitted from the others.
    Rows on which a candidate and the majority vote agree show how each held-out source votes, or keeps silent, when the class is k:
    r_j(l | k). On a disputed row (candidate a, vote b) the held-out votes favour a by Π_j r_j(L_j | a) / r_j(L_j | b). All rows of a
    dispute give a posterior of π_ab, the chance that the candidate is the one who is right; gold labels enter as certain rows. Classes on
    which candidate and vote mostly differ cannot be learned this way and stay open.

    *Decision.* Estimated gains in accuracy and macro-F1 over the vote follow from π and the disputes of the models fitted from all
    sources. A candidate qualifies when both gains are above zero with 95 % probability given the rows and the held-out groups are of one
    mind: none speaks against it with more than a tenth of the strongest voice for it (a few sources that share an error must not carry
    the choice). Gold labels that alone show both gains make up for disunity, and for a class that a single source names: what that source
    says cannot be checked against another, so that without labels nothing but the vote is considered. For tags the presumption
    is the other way round, since a vote token by token knows neither the tagging scheme nor the neighbours: a candidate that keeps to the
    scheme qualifies when both estimated gains are positive. The one with the largest sum of gains wins.

    Parameters
    ----------
    votes : Votes or (n, m) int array
        With ``groups`` and a class "O" they are tags of tokens, and `SequenceHMM` is a candidate.
    y : (n,) int array, optional
        Gold labels where known, -1 elsewhere: they weigh in the choice and are given to the winner.
    candidates : sequence of unfitted LabelModel, optional
        What to try beside `MajorityVote`.
    seed : int
        Draws the rows looked at (at most 20,000) and the groups of sources.

    Returns
    -------
    LabelModel
        Fitted on all of `votes`. Its ``explanation_`` (JSON-able) holds "chosen", "reason" (a sentence), "scores" (per candidate: gains
        with 90 % intervals, share of rows disputed, which bounds any gain in accuracy) and "class_prior_source".

    Raises
    ------
    LabelModelError
        When there are no rows or no sources.

    Notes
    -----
    The estimate assumes that sources err independently given the class. Sources that copy each other can speak for a wrong model.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(0, 2, 3000)
    >>> codes = np.where(rng.random((3000, 6)) < [0.95, 0.9, 0.55, 0.55, 0.55, 0.55], truth[:, None], 1 - truth[:, None])
    >>> model = select(Votes(codes, classes=["HAM", "SPAM"]))
    >>> model.explanation_["chosen"] == "MajorityVote"
    False
    """
    held = as_votes(votes)
    if held.n_rows == 0 or held.n_sources == 0:
        raise LabelModelError(f"nothing to select a label model from: there are no {'rows of votes' if held.n_rows == 0 else 'sources'}")
    gold = checked_gold(y, held.n_rows, held.n_classes)
    vote = MajorityVote()
    models = {_name(model): model for model in (_default_candidates(held) if candidates is None else candidates)}
    rng = np.random.default_rng(seed)
    sample, sample_gold = _sample(held, gold, rng)
    with warnings.catch_warnings():
        # Fits on few rows or sources warn about things that the comparison itself judges.
        warnings.simplefilter("ignore", UserWarning)
        scores = _score_candidates(sample, sample_gold, vote, models, rng)
    qualified = [name for name, score in scores.items() if score["qualifies"]]
    chosen = max(qualified, key=lambda name: scores[name]["accuracy_gain"] + scores[name]["macro_f1_gain"]) if qualified else "MajorityVote"
    winner = clone(models[chosen] if qualified else vote).fit(held, gold if (gold >= 0).any() else None)
    winner.explanation_ = {
        "chosen": chosen,
        "reason": _reason(chosen, scores, int((gold >= 0).sum())),
        "scores": scores,
        "rows_compared": sample.n_rows,
        "gold_labels": int((gold >= 0).sum()),
        "class_prior_source": winner.class_prior_source_,
        "seed": seed,
    }
    return winner


def _default_candidates(votes: Votes) -> list[LabelModel]:
    if is_tagging(votes):
        return [SequenceHMM()]
    return [DawidSkene(), MeTaL(), *([TripletModel()] if votes.n_classes == 2 else [])]


def _score_candidates(
    votes: Votes, gold: Labels, vote: LabelModel, models: dict[str, LabelModel], rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    tags = (votes.classes, votes.groups) if is_tagging(votes) and votes.groups is not None else None
    by_vote = clone(vote).fit(votes).predict(votes)
    by_model = {name: clone(model).fit(votes).predict(votes) for name, model in models.items()}
    evidence: dict[str, list[tuple[Labels, Labels, Array]]] = {name: [] for name in models}
    if votes.n_sources > 2:
        for hidden in np.array_split(rng.permutation(votes.n_sources), min(votes.n_sources, _FOLDS)):
            seen = votes.select(np.setdiff1d(np.arange(votes.n_sources), hidden).tolist())
            unseen = votes.select(np.sort(hidden).tolist())
            fold_vote = clone(vote).fit(seen).predict(seen)
            for name, model in models.items():
                fold_model = clone(model).fit(seen).predict(seen)
                evidence[name].append((fold_model, fold_vote, _log_habits(unseen, fold_model, fold_vote, seen.coverage)))
    corroborated = _every_class_has_two_sources(votes)
    return {name: _judge(by_model[name], by_vote, evidence[name], gold, votes.n_classes, rng, tags, corroborated) for name in models}


def _every_class_has_two_sources(votes: Votes) -> bool:
    named = [votes.support[np.unique(said[said >= 0])].any(axis=0) for said in (votes.column(j) for j in range(votes.n_sources))]
    return bool((np.sum(named, axis=0) >= 2).all())


def _judge(
    model: Labels,
    vote: Labels,
    evidence: list[tuple[Labels, Labels, Array]],
    gold: Labels,
    k: int,
    rng: np.random.Generator,
    tags: Tags | None,
    corroborated: bool,
) -> dict[str, Any]:
    """Estimated gains over the vote, and whether rows and held-out sources, or gold labels alone, put them beyond doubt."""
    unknown = np.full_like(gold, -1)
    score = _gains(_disputes(model, vote, evidence, gold, k), model, vote, k, rng)
    by_group = [float(sum(d.share * (2 * d.chance - 1) for d in _disputes(model, vote, [part], unknown, k))) for part in evidence]
    score["gain_by_held_out_group"] = by_group
    of_one_mind = corroborated and bool(by_group) and min(by_group) >= -0.1 * max(by_group)
    in_gold = bool((gold >= 0).any()) and _beyond_doubt(_gains(_disputes(model, vote, [], gold, k), model, vote, k, rng))
    score["qualifies"] = _beyond_doubt(score) and (of_one_mind or in_gold)
    if tags is not None:
        score["vote_breaks_scheme"], broken = _illegal_share(vote, *tags), _illegal_share(model, *tags)
        score["qualifies"] |= broken == 0 and min(score["accuracy_gain"], score["macro_f1_gain"]) > 0
    return score


def _illegal_share(path: Labels, classes: tuple[str, ...], groups: NDArray[np.int64]) -> float:
    """Share of tokens whose tag may not stand where it stands."""
    starts, moves = legal_moves(classes)
    legal = np.append(True, moves[path[:-1], path[1:]])
    first = groups[:-1][np.diff(groups) > 0]
    legal[first] = starts[path[first]]
    return float((~legal).mean())


def _beyond_doubt(score: dict[str, Any]) -> bool:
    return bool(min(score["accuracy_gain_interval"][0], score["macro_f1_gain_interval"][0]) > 0)


def _log_habits(unseen: Votes, model: Labels, vote: Labels, covered: NDArray[np.bool_]) -> Array:
    """(n, k) log-likelihood of each row's held-out votes under each class, learned where model and vote agree; NaN if they hardly do."""
    k, s = unseen.n_classes, len(unseen.support)
    agreed = (model == vote) & covered
    total = np.zeros((unseen.n_rows, k))
    # Two labellings that mostly differ on a class, as when classes are exchanged, agree on it where both are odd.
    meant = np.maximum(np.bincount(model[covered], minlength=k), np.bincount(vote[covered], minlength=k))
    total[:, 2 * np.bincount(model[agreed], minlength=k) < meant] = np.nan
    for j in range(unseen.n_sources):
        said = unseen.column(j).astype(np.int64)
        said = np.where(said < 0, s, said)
        joint = np.bincount(model[agreed] * (s + 1) + said[agreed], minlength=k * (s + 1)).reshape(k, s + 1).astype(np.float64)
        # A class with few agreed rows is taken to look like all rows: its disputes are then left open.
        overall = (joint.sum(axis=0) + 1 / (s + 1)) / (joint.sum() + 1)
        habits = (joint + 20 * overall) / (joint.sum(axis=1, keepdims=True) + 20)
        total += np.log(habits[:, said]).T
    return total


def _disputes(model: Labels, vote: Labels, evidence: list[tuple[Labels, Labels, Array]], gold: Labels, k: int) -> list[_Dispute]:
    """Every (model's class, vote's class) pair with its share of rows and the posterior of the model being right."""
    chances = (np.arange(200) + 0.5) / 200
    found = []
    pairs, rows = np.unique((model * k + vote)[model != vote], return_counts=True)
    for pair, count in zip(pairs, rows, strict=True):
        a, b = divmod(int(pair), k)
        log_odds = [habits[on, a] - habits[on, b] for said, other, habits in evidence for on in [(said == a) & (other == b)]]
        ratios = np.clip(np.nan_to_num(np.concatenate(log_odds)), -30, 30) if log_odds else np.empty(0)
        # One look per group of held-out sources: the same row again is not a new row.
        worth = min(1 / max(len(evidence), 1), _UNLABELLED_WORTH / max(len(ratios), 1))
        log_density = np.log(chances * (1 - chances))
        for chunk in np.array_split(ratios, max(1, len(ratios) // 4096)):
            log_density += worth * np.log(chances[:, None] * np.exp(chunk) + (1 - chances[:, None])).sum(axis=1)
        known = (model == a) & (vote == b) & (gold >= 0)
        log_density += (gold[known] == a).sum() * np.log(chances) + (gold[known] == b).sum() * np.log1p(-chances)
        density = np.exp(log_density - log_density.max())
        found.append(_Dispute(a, b, count / len(model), chances, density / density.sum()))
    return found


def _gains(disputes: list[_Dispute], model: Labels, vote: Labels, k: int, rng: np.random.Generator) -> dict[str, Any]:
    """Estimated gains over the vote, in points of accuracy and macro-F1, with 90 % intervals."""
    agreed = np.bincount(model[model == vote], minlength=k) / len(model)
    right_by_model, right_by_vote = (np.tile(agreed, (_DRAWS, 1)) for _ in range(2))
    said_by_model, said_by_vote = agreed.copy(), agreed.copy()
    for d in disputes:
        drawn = rng.choice(d.chances, size=_DRAWS, p=d.density)
        right_by_model[:, d.model] += d.share * drawn
        right_by_vote[:, d.vote] += d.share * (1 - drawn)
        said_by_model[d.model] += d.share
        said_by_vote[d.vote] += d.share
    # Rows on which both are right are in both counts; truth per class = agreed rows + both sides' wins.
    truth = right_by_model + right_by_vote - agreed
    occurs = truth.mean(axis=0) > 0
    scores = [
        (2 * right / np.maximum(truth + said, 1e-12))[:, occurs].mean(axis=1)
        for right, said in ((right_by_model, said_by_model), (right_by_vote, said_by_vote))
    ]
    accuracy, macro_f1 = (right_by_model - right_by_vote).sum(axis=1), scores[0] - scores[1]
    report: dict[str, Any] = {"disputed": float((model != vote).mean())}
    for name, gain in (("accuracy_gain", accuracy), ("macro_f1_gain", macro_f1)):
        report[name] = float(gain.mean())
        report[name + "_interval"] = [float(q) for q in np.quantile(gain, [0.05, 0.95])]
    return report


def _sample(votes: Votes, gold: Labels, rng: np.random.Generator) -> tuple[Votes, Labels]:
    """At most so many rows, gold ones first; of tagged documents whole ones."""
    if votes.groups is None:
        if votes.n_rows <= _MOST_ROWS:
            return votes, gold
        order = np.lexsort((rng.random(votes.n_rows), gold < 0))[:_MOST_ROWS]
        return votes.take(np.sort(order)), gold[np.sort(order)]
    if votes.n_rows <= _MOST_TOKENS:
        return votes, gold
    lengths = np.diff(votes.groups)
    order = rng.permutation(len(lengths))
    kept = np.sort(order[: max(1, int((lengths[order].cumsum() <= _MOST_TOKENS).sum()))])
    rows = np.concatenate([np.arange(votes.groups[g], votes.groups[g + 1]) for g in kept])
    offsets = np.concatenate([[0], lengths[kept].cumsum()])
    below = {parent: list(children) for parent, children in votes.hierarchy.items()}
    part = votes.take(rows)
    return Votes(
        part.csr if part.is_sparse else part.codes, classes=votes.classes, sources=votes.sources, groups=offsets, hierarchy=below
    ), gold[rows]


def _name(model: LabelModel) -> str:
    """The model with its parameters that are not defaults, as scikit-learn prints it."""
    return type(model).__name__ if model.get_params() == type(model)().get_params() else " ".join(repr(model).split())


def _reason(chosen: str, scores: dict[str, dict[str, Any]], n_gold: int) -> str:
    basis = f"{n_gold} gold labels and held-out sources" if n_gold else "held-out sources"
    if not scores:
        return "MajorityVote: there was nothing to compare it with."
    if chosen == "MajorityVote":
        best = max(scores, key=lambda name: scores[name]["accuracy_gain"])
        low, high = scores[best]["accuracy_gain_interval"]
        return (
            f"MajorityVote: no other model is better beyond doubt; judged by {basis}, {best} changes accuracy by "
            f"{100 * low:+.1f} to {100 * high:+.1f} points and would change {scores[best]['disputed']:.1%} of the rows."
        )
    score = scores[chosen]
    if "vote_breaks_scheme" in score:
        return (
            f"{chosen}: it keeps to the tagging scheme, which the vote breaks at {score['vote_breaks_scheme']:.2%} of the tokens, "
            f"and differs from the vote on {score['disputed']:.1%} of them; {basis} do not speak against it (estimated gain "
            f"{100 * score['macro_f1_gain']:.1f} points of macro-F1)."
        )
    return (
        f"{chosen}: it differs from the majority vote on {score['disputed']:.1%} of the rows and, judged by {basis}, gains "
        f"{100 * score['accuracy_gain']:.1f} points of accuracy and {100 * score['macro_f1_gain']:.1f} of macro-F1 (estimates)."
    )
