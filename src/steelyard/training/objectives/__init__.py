"""What a student minimises: each published loss is one small `Objective`, usable by any trainer that has logits and targets."""

from steelyard.training.objectives.objective import Objective
from steelyard.training.objectives.soft_cross_entropy import SoftCrossEntropy, soft_cross_entropy

__all__ = ["Objective", "SoftCrossEntropy", "soft_cross_entropy"]
