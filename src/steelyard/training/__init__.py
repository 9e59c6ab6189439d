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
    from steelyard.training.joint import ASTRA, COSINE, DenoisingAttention, ImplyLoss, JointStudent, WeaSEL
    from steelyard.training.logistic import soft_logistic_regression
    from steelyard.training.objectives import (
        ConfidenceLoss,
        Distillation,
        DistillMix,
        Objective,
        ProductLoss,
        SoftCrossEntropy,
        TokenWeighted,
        distillation,
        soft_cross_entropy,
    )
    from steelyard.training.policy import Policy
    from steelyard.training.pretraining import CausalPretrainer
    from steelyard.training.probe import ProbeStudent
    from steelyard.training.probe_after import ProbeAfter
    from steelyard.training.reward import RewardStudent
    from steelyard.training.selection import select_confident
    from steelyard.training.selection.loss_reweighting import LossReweighter, ReweightedLoss
    from steelyard.training.selection.query_strategies import KCenterQuery, OracleQuery, QueryStrategy, UncertaintyQuery, UniformQuery
    from steelyard.training.selection.robust_distillation import RobustActiveQuery, solve_game
    from steelyard.training.sklearn_student import SklearnStudent
    from steelyard.training.student import StudentTrainer
    from steelyard.training.token_student import TokenStudent

__all__ = [
    "ASTRA",
    "COSINE",
    "AnswerPolicy",
    "BootstrapChain",
    "CausalPretrainer",
    "CausalStudent",
    "ConfidenceLoss",
    "DenoisingAttention",
    "DistillMix",
    "Distillation",
    "GenerativeStart",
    "HeadStudent",
    "ImplyLoss",
    "JointStudent",
    "KCenterQuery",
    "LossReweighter",
    "Objective",
    "OracleQuery",
    "Policy",
    "ProbeAfter",
    "ProbeStudent",
    "ProductLoss",
    "QueryStrategy",
    "RewardStudent",
    "ReweightedLoss",
    "RobustActiveQuery",
    "SklearnStudent",
    "SoftCrossEntropy",
    "Student",
    "StudentTrainer",
    "TokenStudent",
    "TokenWeighted",
    "UncertaintyQuery",
    "UniformQuery",
    "WeaSEL",
    "distillation",
    "load_student",
    "select_confident",
    "soft_cross_entropy",
    "soft_logistic_regression",
    "solve_game",
]

_HOME = {
    "ASTRA": "joint",
    "AnswerPolicy": "answer_policy",
    "BootstrapChain": "bootstrap",
    "COSINE": "joint",
    "CausalPretrainer": "pretraining",
    "CausalStudent": "causal_student",
    "ConfidenceLoss": "objectives",
    "DenoisingAttention": "joint",
    "DistillMix": "objectives",
    "GenerativeStart": "generative_start",
    "HeadStudent": "head",
    "ImplyLoss": "joint",
    "JointStudent": "joint",
    "LossReweighter": "selection.loss_reweighting",
    "Objective": "objectives",
    "Policy": "policy",
    "ProbeAfter": "probe_after",
    "ProbeStudent": "probe",
    "ProductLoss": "objectives",
    "RewardStudent": "reward",
    "ReweightedLoss": "selection.loss_reweighting",
    "SklearnStudent": "sklearn_student",
    "SoftCrossEntropy": "objectives",
    "Student": "base",
    "StudentTrainer": "student",
    "TokenStudent": "token_student",
    "TokenWeighted": "objectives",
    "WeaSEL": "joint",
    "load_student": "base",
    "select_confident": "selection",
    "soft_cross_entropy": "objectives",
    "soft_logistic_regression": "logistic",
    "Distillation": "objectives",
    "KCenterQuery": "selection.query_strategies",
    "OracleQuery": "selection.query_strategies",
    "QueryStrategy": "selection.query_strategies",
    "RobustActiveQuery": "selection.robust_distillation",
    "UncertaintyQuery": "selection.query_strategies",
    "UniformQuery": "selection.query_strategies",
    "solve_game": "selection.robust_distillation",
    "distillation": "objectives",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"steelyard.training.{_HOME[name]}"), name)
    raise AttributeError(f"module 'steelyard.training' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
