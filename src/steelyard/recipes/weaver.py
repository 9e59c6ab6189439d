"""Weaver: many weak verifiers, weighed without labels, choose one of many sampled answers; a small scorer then learns their joint score.

Saad-Falcon et al. 2025, "Shrinking the Generation-Verification Gap with Weak Verifiers". In the proof a poor classifier answers CLINC150
ten times and 23 verifiers judge, most of them junk; every seed gains 6 points on the mean and 12 on the majority. Where most verifiers are
good the mean may win: on JudgeBench it is .78, Weaver .74 (votes lose by how much a response is preferred; ``--label-model continuous``:
.79), on legal questions .77, Weaver .72 (the two best pass for copies; ``--dependencies none``: .84). On school mathematics, whose rules
share a habit, the guard hands over to the majority. A junk verifier is believed to know a little (TPR - FPR up to .08; by the labels .10).
"""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from steelyard.datasets.scored_responses import load_scores
from steelyard.errors import ConfigError
from steelyard.evaluation import gap_over_seeds
from steelyard.evaluation.answer_selection import accuracy_by_difficulty, cost_curve, pass_at_k, selection_accuracy
from steelyard.jobs.verifier_arms import distilled, label_free_arms, labelled_arms, shuffled
from steelyard.jobs.verifier_bench import JUNK, bench
from steelyard.label_models.verifier_ensemble import VerifierEnsemble
from steelyard.result import Result
from steelyard.score_scales import ScoreScale, balance_thresholds, votes_above
from steelyard.verifier_scores import VerifierScores

PROOF = "clinc150"


@dataclass(frozen=True)
class Weaver:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        ``clinc150`` (the proof), ``gsm8k_weak_solutions``, ``judgebench_verdicts``, ``llm_votes_legal/TASK``, or the path of a table with
        one row per response: ``query``, perhaps ``answer``, ``label`` (1 right, 0 wrong), ``prompt`` and ``response``, and one numeric
        column per verifier.
    class_balance : str
        Chance that a response is right: a number, ``estimate`` (from the votes), or ``labels`` (share among ``gold`` labelled queries).
    gold : float
        Share of the queries whose labels ``class_balance labels`` reads.
    scale : str
        How scores are brought to [0, 1]: range, quantile, winsorize, query.
    threshold : str
        Where a score becomes a yes: ``class-balance`` or a number.
    keep : str
        Filter by the share of yes: adaptive, all, small, large, none.
    dependencies : str
        What is done about dependent verifiers: drop, model, none.
    label_model : str
        dawid-skene, metal, triplet, or continuous.
    strategy : str
        One model per dataset, per cluster (difficulty, embedding, random), or per query (nearest).
    guard : bool
        Fall back to the majority where what verifiers share cannot be told from a habit.
    distill : tuple of str
        Students of the joint score: ridge, mlp (on frozen features), or the name or folder of a Hugging Face encoder; none for none.
    shares : tuple of str
        Percent of the labels that the logistic regressions beside it may read.
    seeds : tuple of int
        Each draws its own bench (proof) or order of responses and labelled queries.
    """

    data: str = PROOF
    class_balance: str = "estimate"
    gold: float = 0.01
    scale: str = "range"
    threshold: str = "class-balance"
    keep: str = "adaptive"
    dependencies: str = "drop"
    label_model: str = "dawid-skene"
    strategy: str = "dataset"
    guard: bool = True
    distill: tuple[str, ...] = ("none",)
    shares: tuple[str, ...] = ("1", "5", "20", "100")
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: Weaver) -> Result:
    """Weigh the verifiers and choose, on every seed.

    Returns
    -------
    Result
        Arms ``first`` (any response), ``majority``, ``mean``, ``vote``, ``method``, ``oracle`` (pass@R), ``distilled …``, and two kinds
        that read labels, ``best verifier`` and ``logistic …``; metrics ``accuracy`` of the chosen response and ``gap`` (pass@R less it);
        ``retained`` is the share of the method's accuracy that a student keeps on the same held-out queries. Without labels there are no
        arms; artifact ``verifiers`` has the weights and ``chosen`` the choice per query.

    Raises
    ------
    ConfigError, DataError, LabelModelError
        An option names nothing, the table holds no scores, the class balance is unknown.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "scores.csv"
    >>> rows = [f"{q},{r},{int(r == 0)},{(r == 0) + q % 3},{2 * (r == 0) + q % 5},{(r == 0) + r % 2}" for q in range(40) for r in range(3)]
    >>> _ = file.write_text("\\n".join(["query,answer,label,a,b,c", *rows]))
    >>> result = run(Weaver(str(file), class_balance="0.33", guard=False, shares=(), seeds=(0,)))
    >>> result.arms, result.mean("oracle", "accuracy")
    (['first', 'majority', 'mean', 'vote', 'method', 'best verifier', 'oracle'], 1.0)
    """
    if not config.seeds or not 0 < config.gold <= 1:
        raise ConfigError(f"seeds is {config.seeds} and gold {config.gold}; give at least one seed and a share above 0 and at most 1")
    result = Result("weaver", dataclasses.asdict(config))
    loaded = None if config.data == PROOF else load_scores(config.data)
    about = {"name": PROOF, "licence": "CC BY 3.0", "citation": "Larson et al. 2019, CLINC150"} if loaded is None else loaded[1]
    result.artifacts |= {"data": {**about, "train": "all queries, without labels", "test": "the same queries"}, "verifiers": {}, "fit": {}}
    for seed in config.seeds:
        began = time.perf_counter()
        _one_seed(config, bench(seed) if loaded is None else shuffled(loaded[0], seed), seed, result)
        result.timings[f"seed {seed}"] = time.perf_counter() - began
    if {"mean", "oracle"} <= set(result.arms):
        three = [list(result.values(arm, "accuracy").values()) for arm in ("mean", "method", "oracle")]
        result.artifacts["gap"] = {**gap_over_seeds(*three).to_dict(), "student_name": "weighted ensemble"}
    return result


def _one_seed(config: Weaver, scores: VerifierScores, seed: int, result: Result) -> None:
    weaver = VerifierEnsemble(
        threshold=_number_or(config.threshold, "class-balance", "threshold"),
        **{name: getattr(config, name) for name in ("scale", "keep", "dependencies", "label_model", "strategy", "guard")},
    )
    balance, y = _number_or(config.class_balance, ("estimate", "labels"), "class_balance"), None
    if balance == "labels" and scores.labels is not None:
        read = np.random.default_rng(seed).permutation(scores.n_queries)[: max(1, round(config.gold * scores.n_queries))]
        y = np.where(np.isin(scores.query_of, read), scores.labels, -1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        weaver.fit(dataclasses.replace(scores, labels=None), class_balance=balance, y=y)
    chosen = weaver.select(scores)
    probability = weaver.predict_proba(scores)
    told = list(dict.fromkeys(str(warning.message) for warning in said))
    result.artifacts["fit"][str(seed)] = {
        "class_balance": weaver.class_balance_,
        "labels_used": weaver.labels_used_,
        "guard": weaver.guard_,
        "warnings": told,
    }
    result.artifacts["verifiers"][str(seed)] = weaver.verifiers_.to_dicts()
    if config.data != PROOF and seed == config.seeds[0]:
        result.artifacts["chosen"] = chosen.tolist()
    if scores.labels is None or (scores.labels < 0).any():
        return
    right, offsets = scores.labels, scores.offsets
    method = probability
    if not weaver.guard_:
        # One response per query: the chosen one stands above all others. What the guard leaves tied counts as a draw, as in the majority.
        method = np.zeros(len(scores))
        method[offsets[:-1] + chosen] = 1
    shares = tuple(float(share) / 100 for share in config.shares)
    free, labelled = label_free_arms(scores, weaver.class_balance_), labelled_arms(scores, shares, seed)
    reach = pass_at_k(right, offsets, int(np.diff(offsets).max()))
    measured = {"first": np.zeros(len(scores)), **free, "method": method, **labelled, "oracle": right.astype(np.float64)}
    for arm, values in measured.items():
        accuracy = selection_accuracy(right, offsets, values)
        result.add(arm, seed, "accuracy", accuracy).add(arm, seed, "gap", reach - accuracy)
    for how in config.distill if config.distill != ("none",) else ():
        student, held = distilled(scores, probability, how, seed=seed)
        part = np.r_[0, np.diff(offsets)[np.unique(scores.query_of[held])].cumsum()]
        own, teacher = (selection_accuracy(right[held], part, values) for values in (student, method[held]))
        result.add(f"distilled {how}", seed, "accuracy", own).add(
            f"distilled {how}", seed, "retained", own / teacher if teacher else math.nan
        )
    if config.data == PROOF:
        _junk_rates(scores, weaver, result, seed)
    if seed == config.seeds[0]:
        difficulty = scores.distinct_answers() if scores.answers is not None else np.diff(offsets)
        result.artifacts["difficulty"] = {
            arm: accuracy_by_difficulty(right, offsets, values, difficulty) for arm, values in {**free, "method": method}.items()
        }
        curve: dict[str, Any] = {"method": probability} | free
        sizes = [r for r in (1, 2, 4, 8, 16, 32, 64, 128) if r <= int(np.diff(offsets).max())]
        costs = {name: float(len(scores.names) if name != "majority" else 0) for name in curve}
        result.artifacts["cost"] = cost_curve(right, offsets, curve, costs, sizes)


def _junk_rates(scores: VerifierScores, weaver: VerifierEnsemble, result: Result, seed: int) -> None:
    """The largest |TPR - FPR| of a verifier that knows nothing: as it was believed, and as the labels show it."""
    believed = [abs(row["tpr"] - row["fpr"]) for row in result.artifacts["verifiers"][str(seed)] if row["name"] in JUNK and row["kept"]]
    seen = scores.select([scores.names.index(name) for name in JUNK])
    scaled = ScoreScale.of(seen.values).apply(seen.values)
    votes, right = votes_above(scaled, balance_thresholds(scaled, weaver.class_balance_)), scores.labels == 1
    true = np.abs(votes[right].mean(axis=0) - votes[~right].mean(axis=0))
    result.add("method", seed, "junk_rate_gap_true", float(true.max()))
    result.add("method", seed, "junk_rate_gap", max(believed, default=math.nan))


def _number_or(value: str, words: str | tuple[str, ...], option: str) -> Any:
    allowed = (words,) if isinstance(words, str) else words
    if value in allowed:
        return value
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"{option} is '{value}'; use {', '.join(allowed)} or a number between 0 and 1") from None
