"""Which examples a student sees and how much each counts: a selection turns targets into fewer or reweighted targets."""

from steelyard.training.selection.agreement import answer_consistency, majority_pairs
from steelyard.training.selection.confidence import select_confident
from steelyard.training.selection.error_rate import mix_error_rate, select_traces

__all__ = ["answer_consistency", "majority_pairs", "mix_error_rate", "select_confident", "select_traces"]
