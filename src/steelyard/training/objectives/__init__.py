"""What a student minimises: each published loss is one small `Objective`, usable by any trainer that has logits and targets."""

from steelyard.training.objectives.confidence import ConfidenceLoss
from steelyard.training.objectives.distill_mix import DistillMix
from steelyard.training.objectives.distillation import Distillation, distillation
from steelyard.training.objectives.objective import Objective
from steelyard.training.objectives.pairwise import PairwiseBCE
from steelyard.training.objectives.pareto import ParetoLoss
from steelyard.training.objectives.product import ProductLoss
from steelyard.training.objectives.soft_cross_entropy import SoftCrossEntropy, soft_cross_entropy
from steelyard.training.objectives.token_weighted import TokenWeighted, token_weighted_loss

__all__ = [
    "ConfidenceLoss",
    "DistillMix",
    "Distillation",
    "Objective",
    "PairwiseBCE",
    "ParetoLoss",
    "ProductLoss",
    "SoftCrossEntropy",
    "TokenWeighted",
    "distillation",
    "soft_cross_entropy",
    "token_weighted_loss",
]
