"""What a student minimises: each published loss is one small `Objective`, usable by any trainer that has logits and targets."""

from steelyard.training.objectives.confidence import ConfidenceLoss
from steelyard.training.objectives.objective import Objective
from steelyard.training.objectives.pairwise import PairwiseBCE
from steelyard.training.objectives.product import ProductLoss
from steelyard.training.objectives.soft_cross_entropy import SoftCrossEntropy, soft_cross_entropy

__all__ = ["ConfidenceLoss", "Objective", "PairwiseBCE", "ProductLoss", "SoftCrossEntropy", "soft_cross_entropy"]
