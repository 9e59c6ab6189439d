"""How well risks foretell wrong answers: what one would use without a harmonizer, the scores of every arm, and what asking again gains."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.evaluation import TemperatureScaling, accuracy, risk_scores
from steelyard.jobs.harmonized_answers import AnswerTask, Codes, Floats
from steelyard.jobs.weighing import fit_label_model
from steelyard.label_models.harmonizer import answer_risk
from steelyard.label_models.source_weights import vote_shares
from steelyard.result import Result

Arm = tuple[Floats, Codes | None]
"""Risk of each test answer (t,), and the labels (t,) that the arm itself would give, if it gives any."""

_FEWEST = 50


def baseline_risks(task: AnswerTask, label_model: str) -> dict[str, Arm]:
    """Risks without a harmonizer: the model's own confidence, that confidence with a temperature fitted on gold, votes counted or weighed.

    Examples
    --------
    >>> import polars as pl
    >>> from steelyard.votes import Votes
    >>> votes = Votes([[0, 0], [1, 1], [0, 1], [1, 1]], classes=["no", "yes"], sources=["a", "b"])
    >>> rows = np.arange(4)
    >>> task = AnswerTask(pl.DataFrame({"text": list("wxyz")}), "text", votes, np.array([0, 1, 1, 0]), rows, rows, rows[:0], rows)
    >>> arms = baseline_risks(task, "MajorityVote")
    >>> list(arms), arms["vote share"][0].round(2).tolist()
    (['vote share', 'label model'], [0.0, 0.0, 0.33, 0.67])
    """
    answers, arms = task.answers[task.test], dict[str, Arm]()
    if task.probabilities is not None:
        own = task.probabilities
        arms["own confidence"] = answer_risk(own[task.test], answers), None
        if (task.y[task.valid] >= 0).any():
            scaled = TemperatureScaling().fit(own[task.valid], task.y[task.valid]).transform(own[task.test])
            arms["own confidence, tempered"] = answer_risk(scaled, answers), None
    elif task.confidence is not None:
        arms["own confidence"] = np.where(answers >= 0, 1 - task.confidence[task.test], np.nan), None
    joined = task.joined.take(task.test)
    shares = vote_shares(joined)
    q = np.full((len(task.test), len(task.classes)), 1 / len(task.classes))
    q[shares.rows] = shares.probabilities
    arms["vote share"] = answer_risk(q, answers), q.argmax(axis=1)
    weighed = fit_label_model(label_model, task.joined.take(task.train)).predict_proba(joined)
    arms["label model"] = answer_risk(weighed, answers), weighed.argmax(axis=1)
    return arms


def add_risk_scores(result: Result, name: str, seed: int, arm: Arm, task: AnswerTask, share: float) -> dict[str, Any]:
    """Add the scores of an arm over the test rows with gold, and return its risk–coverage curve.

    ``accuracy`` of its own labels; ``ece``, ``r2``, ``auroc``, ``aurc`` of its risk; ``riskiest_wrong``, the share of wrong answers among
    the riskiest `share`; ``corrected/error``, what is wrong when those answers (and missing ones) are replaced by its own labels.

    Examples
    --------
    >>> import polars as pl
    >>> from steelyard.votes import Votes
    >>> votes, rows = Votes([[0], [0], [1], [1]], classes=["no", "yes"]), np.arange(4)
    >>> task = AnswerTask(pl.DataFrame({"text": list("wxyz")}), "text", votes, np.zeros(4, int), np.array([0, 0, 0, 1]), rows, rows, rows)
    >>> result = Result("r")
    >>> _ = add_risk_scores(result, "method", 0, (np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 0, 1, 1])), task, share=0.25)
    >>> result.mean("method", "auroc"), result.mean("method", "corrected/error")
    (1.0, 0.0)
    """
    risk, labels = arm
    y, answers = task.y[task.test], task.answers[task.test]
    known = y >= 0
    if labels is not None:
        result.add(name, seed, "accuracy", accuracy(y[known], labels[known]))
    judged = known & (answers >= 0) & ~np.isnan(risk)
    if not judged.any():
        return {}
    wrong = answers != y
    scores = risk_scores(risk[judged], wrong[judged])
    for metric, value in {"ece": scores.ece, "r2": scores.r2, "auroc": scores.auroc, "aurc": scores.coverage.area}.items():
        if np.isfinite(value):
            result.add(name, seed, metric, value)
    ranked = np.flatnonzero(judged)[np.argsort(-risk[judged], kind="stable")]
    riskiest = ranked[: max(1, round(share * len(ranked)))]
    result.add(name, seed, "riskiest_wrong", float(wrong[riskiest].mean()))
    if labels is not None:
        corrected = np.where(answers >= 0, answers, labels)
        corrected[riskiest] = labels[riskiest]
        result.add(name, seed, "corrected/error", float((corrected != y)[known].mean()))
    return scores.coverage.to_dict()


def source_scores(h: NDArray[np.float32], task: AnswerTask) -> list[dict[str, Any]]:
    """What the harmonizer's risk says of every source, the model included: votes, mean risk, share wrong, ece, r2, auroc.

    Examples
    --------
    >>> import polars as pl
    >>> from steelyard.votes import Votes
    >>> rows, y = np.arange(100), np.arange(100) % 2
    >>> task = AnswerTask(pl.DataFrame({"text": [""] * 100}), "text", Votes(y[:, None], classes=["a", "b"]), y, y, rows, rows, rows)
    >>> [line["source"] for line in source_scores(np.full((100, 2), 0.5, np.float32), task)]
    ['source_0', 'llm']
    """
    votes, y = task.joined.take(task.test), task.y[task.test]
    lines = []
    for j, name in enumerate(votes.sources):
        said = np.asarray(votes.column(j))
        judged = (said >= 0) & (y >= 0)
        if judged.sum() < _FEWEST:
            continue
        risk, wrong = answer_risk(h[judged], said[judged]), said[judged] != y[judged]
        scores = risk_scores(risk, wrong)
        figures = {"ece": scores.ece, "r2": scores.r2, "auroc": scores.auroc}
        lines.append({"source": name, "votes": int(judged.sum()), "mean_risk": float(risk.mean()), "wrong": float(wrong.mean()), **figures})
    return lines


def mean_curves(curves: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Risk–coverage curves of several arms, each the mean over seeds, as `steelyard.report.curve_plot` draws them.

    Examples
    --------
    >>> curve = {"coverage": [0.5, 1.0], "risk": [0.0, 0.2], "area": 0.1}
    >>> mean_curves({"method": [curve, curve]})["arms"]
    [{'name': 'method, area 0.100; at the end', 'steps': [0.5, 1.0], 'loss': [0.0, 0.2]}]
    """
    arms = []
    for name, found in curves.items():
        shortest = min(len(curve["risk"]) for curve in found)
        risk = np.mean([curve["risk"][:shortest] for curve in found], axis=0)
        area = float(np.mean([curve["area"] for curve in found]))
        arms.append({"name": f"{name}, area {area:.3f}; at the end", "steps": found[0]["coverage"][:shortest], "loss": risk.tolist()})
    return {"x": "share of answers kept, least risky first", "y": "error rate", "arms": arms}
