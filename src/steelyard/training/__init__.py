"""Who learns: students trained on probabilistic labels, the objectives they minimise, the selections that pick their examples.

`StudentTrainer` fine-tunes any Hugging Face text model; `ProbeStudent` and `HeadStudent` learn on frozen features; `SklearnStudent`
needs no torch; `TokenStudent` tags words. All have `fit(data, targets)`, `predict_proba(data)`, `predict(data)`, `save(folder)` and
`load(folder)`. What writes text is a `Policy`: `CausalStudent`, `AnswerPolicy`; `RewardStudent` judges texts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.training.answer_policy import AnswerPolicy
    from steelyard.training.base import Student, load_student
    from steelyard.training.bootstrap import BootstrapChain
    from steelyard.training.causal_student import CausalStudent
    from steelyard.training.generative_start import GenerativeStart
    from steelyard.training.head import HeadStudent
    from steelyard.training.logistic import soft_logistic_regression
    from steelyard.training.objectives import (
        ConfidenceLoss,
        DistillMix,
        Objective,
        ProductLoss,
        SoftCrossEntropy,
        TokenWeighted,
        soft_cross_entropy,
    )
    from steelyard.training.policy import Policy
    from steelyard.training.pretraining import CausalPretrainer
    from steelyard.training.probe import ProbeStudent
    from steelyard.training.probe_after import ProbeAfter
    from steelyard.training.reward import RewardStudent
    from steelyard.training.selection import select_confident
    from steelyard.training.selection.loss_reweighting import LossReweighter, ReweightedLoss
    from steelyard.training.sklearn_student import SklearnStudent
    from steelyard.training.student import StudentTrainer
    from steelyard.training.token_student import TokenStudent

__all__ = [
    "AnswerPolicy",
    "BootstrapChain",
    "CausalPretrainer",
    "CausalStudent",
    "ConfidenceLoss",
    "DistillMix",
    "GenerativeStart",
    "HeadStudent",
    "LossReweighter",
    "Objective",
    "Policy",
    "ProbeAfter",
    "ProbeStudent",
    "ProductLoss",
    "RewardStudent",
    "ReweightedLoss",
    "SklearnStudent",
    "SoftCrossEntropy",
    "Student",
    "StudentTrainer",
    "TokenStudent",
    "TokenWeighted",
    "load_student",
    "select_confident",
    "soft_cross_entropy",
    "soft_logistic_regression",
]

_HOME = {
    "AnswerPolicy": "answer_policy",
    "BootstrapChain": "bootstrap",
    "CausalPretrainer": "pretraining",
    "CausalStudent": "causal_student",
    "ConfidenceLoss": "objectives",
    "DistillMix": "objectives",
    "GenerativeStart": "generative_start",
    "HeadStudent": "head",
    "LossReweighter": "selection.loss_reweighting",
    "Objective": "objectives",
    "Policy": "policy",
    "ProbeAfter": "probe_after",
    "ProbeStudent": "probe",
    "ProductLoss": "objectives",
    "ReweightedLoss": "selection.loss_reweighting",
    "RewardStudent": "reward",
    "SklearnStudent": "sklearn_student",
    "SoftCrossEntropy": "objectives",
    "Student": "base",
    "StudentTrainer": "student",
    "TokenWeighted": "objectives",
    "TokenStudent": "token_student",
    "load_student": "base",
    "select_confident": "selection",
    "soft_cross_entropy": "objectives",
    "soft_logistic_regression": "logistic",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"steelyard.training.{_HOME[name]}"), name)
    raise AttributeError(f"module 'steelyard.training' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
