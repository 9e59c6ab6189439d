"""Everything a weighted ensemble of verifiers is compared with, on the same responses: scores per response, one array per way to choose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from steelyard.errors import ConfigError
from steelyard.evaluation.answer_selection import selection_accuracy
from steelyard.score_scales import ScoreScale, balance_thresholds, votes_above
from steelyard.training.scorer import ScoreStudent
from steelyard.verifier_scores import VerifierScores

Floats = NDArray[np.float64]


def shuffled(scores: VerifierScores, seed: int) -> VerifierScores:
    """The responses of every query in another order, so that who generated which tells nothing."""
    order = np.lexsort((np.random.default_rng(seed).random(len(scores)), scores.query_of))
    parts = {name: getattr(scores, name) for name in ("answers", "prompts", "responses")}
    texts = {name: None if column is None else tuple(column[i] for i in order) for name, column in parts.items()}
    labels = None if scores.labels is None else scores.labels[order]
    return VerifierScores(scores.values[order], scores.offsets, scores.names, labels=labels, **texts)


def label_free_arms(scores: VerifierScores, balance: float) -> dict[str, Floats]:
    """Majority (where there are answers), mean of the scaled scores, and the number of yes at the class-balance thresholds."""
    given = scores.with_majority() if scores.answers is not None else scores
    usable = np.array([len(np.unique(column[~np.isnan(column)])) > 1 for column in given.values.T])
    scaled = np.nan_to_num(ScoreScale.of(given.values[:, usable]).apply(given.values[:, usable]))
    mean = scaled.mean(axis=1)
    vote = votes_above(scaled, balance_thresholds(scaled, balance)).sum(axis=1) + 1e-3 * mean
    return ({"majority": scores.majority()} if scores.answers is not None else {}) | {"mean": mean, "vote": vote}


def labelled_arms(scores: VerifierScores, shares: tuple[float, ...], seed: int) -> dict[str, Floats]:
    """The best single verifier, chosen on all labels, and logistic regression of right on the scaled scores with a share of them.

    The regression is cross-fitted: each half of the queries is scored by a model of a share of the other half.
    """
    assert scores.labels is not None
    right = scores.labels == 1
    filled = np.where(np.isnan(scores.values), np.nanmin(scores.values, axis=0), scores.values)
    best = max(range(filled.shape[1]), key=lambda j: selection_accuracy(right, scores.offsets, filled[:, j]))
    arms = {"best verifier": filled[:, best]}
    given = scores.with_majority() if scores.answers is not None else scores
    scaled = np.nan_to_num(ScoreScale.of(given.values).apply(given.values))
    order = np.random.default_rng(seed).permutation(scores.n_queries)
    halves = order[::2], order[1::2]
    for share in shares:
        score = np.zeros(len(scores))
        for learned, judged in (halves, halves[::-1]):
            rows = np.isin(scores.query_of, learned[: max(2, round(share * len(learned)))])
            other = np.isin(scores.query_of, judged)
            if len(np.unique(right[rows])) == 2:
                score[other] = LogisticRegression(max_iter=1000).fit(scaled[rows], right[rows]).decision_function(scaled[other])
        arms[f"logistic {share:.0%}"] = score
    return arms


def distilled(
    scores: VerifierScores, target: Floats, how: str, *, held_out: float = 1 / 3, seed: int = 0
) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores of a small student of `target` for the queries held out from it, and which rows these are.

    `how` is "ridge" or "mlp" (packaged encoder), or the name or folder of a Hugging Face model that becomes a cross-encoder.
    """
    if scores.prompts is None or scores.responses is None:
        raise ConfigError("distillation reads texts: the scores need the columns prompt and response, or use --distill none")
    held = np.random.default_rng(seed).permutation(scores.n_queries)[: max(1, round(held_out * scores.n_queries))]
    judged = np.isin(scores.query_of, held)
    student = ScoreStudent(tune=how, seed=seed) if how in ("ridge", "mlp") else ScoreStudent(how, tune="full", seed=seed)  # type: ignore[arg-type]
    prompts, texts = (np.asarray(column, dtype=object) for column in (scores.prompts, scores.responses))
    student.fit(prompts[~judged].tolist(), texts[~judged].tolist(), target[~judged])
    return student.score(prompts[judged].tolist(), texts[judged].tolist()).astype(np.float64), judged
