"""What every recipe with votes does after voting: fit a label model by name, score an arm, and collect what the report draws."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from steelyard import evaluation, label_models
from steelyard.errors import ConfigError
from steelyard.label_models import LabelModel
from steelyard.result import Result
from steelyard.votes import Votes


def fit_label_model(name: str, votes: Votes, y: NDArray[Any] | None = None) -> LabelModel:
    """Fit the label model of that name; ``select`` chooses one and explains it.

    Raises
    ------
    ConfigError
        No label model has that name.

    Examples
    --------
    >>> fit_label_model("MajorityVote", Votes([[0, 0], [1, 1]], classes=["HAM", "SPAM"])).classes_
    ('HAM', 'SPAM')
    """
    known = [known for known in label_models.__all__ if known not in label_models.BESIDE_MODELS]
    if name == "select":
        return label_models.select(votes, y)
    if name not in known:
        raise ConfigError(f"label model must be select or one of {', '.join(known)}, got '{name}'")
    model: LabelModel = getattr(label_models, name)()
    return model.fit(votes, y)


def add_scores(
    result: Result, arm: str, seed: int, gold: NDArray[Any], probabilities: NDArray[Any], labels: NDArray[Any] | None = None
) -> None:
    """Add accuracy, macro-F1 and log loss of an arm; `labels` (n,) where they are more than the argmax of `probabilities` (n, k).

    Examples
    --------
    >>> import numpy as np
    >>> result = Result("r")
    >>> add_scores(result, "weak", 0, np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    >>> result.mean("weak", "accuracy")
    1.0
    """
    for metric in ("accuracy", "f1_macro"):
        result.add(arm, seed, metric, getattr(evaluation, metric)(gold, probabilities if labels is None else labels))
    result.add(arm, seed, "log_loss", evaluation.log_loss(gold, probabilities))


def vote_artifacts(votes: Votes, model: LabelModel, gold: NDArray[Any] | None = None) -> dict[str, Any]:
    """The per-source table, the faults and the choice of the label model, as the report draws them.

    Examples
    --------
    >>> votes = Votes([[0, 0], [1, 1]], classes=["HAM", "SPAM"], sources=["short", "link"])
    >>> [row["source"] for row in vote_artifacts(votes, fit_label_model("MajorityVote", votes))["sources"]]
    ['short', 'link']
    """
    return {
        "sources": evaluation.accuracy_table(votes, model.accuracies_, gold).to_dicts(),
        "faults": votes.metadata.get("faults", {}),
        "explanation": getattr(model, "explanation_", f"{type(model).__name__}, as asked for"),
    }


def prediction_artifacts(gold: NDArray[Any], probabilities: NDArray[Any], classes: tuple[str, ...]) -> dict[str, Any]:
    """Calibration and confusion of predictions (n, k), as the report draws them.

    Examples
    --------
    >>> import numpy as np
    >>> prediction_artifacts(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]), ("HAM", "SPAM"))["confusion"]["matrix"]
    [[1.0, 0.0], [0.0, 1.0]]
    """
    matrix = evaluation.confusion_matrix(gold, probabilities, len(classes)).tolist()
    return {
        "calibration": evaluation.reliability_curve(gold, probabilities).to_dict(),
        "confusion": {"classes": list(classes), "matrix": matrix},
    }
