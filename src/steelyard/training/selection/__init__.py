"""Which examples a student sees and how much each counts: a selection turns targets into fewer or reweighted targets."""

from steelyard.training.selection.confidence import select_confident

__all__ = ["select_confident"]
