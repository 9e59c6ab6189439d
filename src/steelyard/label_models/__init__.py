"""How votes are weighed: one file per label model, all with one interface (`fit`, `partial_fit`, `predict_proba`, `predict`)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "LabelModel": "base",
    "MajorityVote": "majority_vote",
    "DawidSkene": "dawid_skene",
    "MeTaL": "metal",
    "TripletModel": "triplet",
    "SequenceHMM": "sequence_hmm",
    "HyperLabelModel": "hyper_label_model",
    "ConditionalHMM": "conditional_hmm",
    "learn_dependencies": "dependencies",
    "select": "selection",
    "summarize": "summarizing",
    "GLAD": "glad",
    "MACE": "mace",
    "IBCC": "ibcc",
    "EBCC": "ebcc",
    "Cage": "cage",
    "DataProgramming": "data_programming",
    "KOS": "kos",
    "MMSR": "m_msr",
    "Wawa": "wawa",
    "ZeroBasedSkill": "zero_based_skill",
    "BradleyTerry": "bradley_terry",
    "NoisyBradleyTerry": "noisy_bradley_terry",
    "Comparisons": "comparisons",
    "MultiLabelVote": "multi_label",
    "multi_label_votes": "multi_label",
    "CrowdLab": "crowdlab",
    "ParetoHarmonizer": "harmonizer",
    "LabelIssues": "confident_learning",
    "label_issues": "confident_learning",
    "SegmentationMajority": "segmentation",
    "SegmentationEM": "segmentation",
    "SegmentationRASA": "segmentation",
    "Rover": "texts",
    "Answers": "answers",
    "ClosestToAverage": "embeddings",
    "Rasa": "embeddings",
    "VerifierEnsemble": "verifier_ensemble",
    "EuclideanMetric": "metric_space",
    "GraphMetric": "graph_metric",
    "LabelMetric": "metric_space",
    "MatrixMetric": "metric_space",
    "PartedMetric": "parted_metric",
}

__all__ = [
    "EBCC",
    "GLAD",
    "IBCC",
    "KOS",
    "MACE",
    "MMSR",
    "Answers",
    "BradleyTerry",
    "Cage",
    "ClosestToAverage",
    "Comparisons",
    "ConditionalHMM",
    "CrowdLab",
    "DataProgramming",
    "DawidSkene",
    "EuclideanMetric",
    "GraphMetric",
    "HyperLabelModel",
    "LabelIssues",
    "LabelMetric",
    "LabelModel",
    "MajorityVote",
    "MatrixMetric",
    "MeTaL",
    "MultiLabelVote",
    "NoisyBradleyTerry",
    "ParetoHarmonizer",
    "PartedMetric",
    "Rasa",
    "Rover",
    "SegmentationEM",
    "SegmentationMajority",
    "SegmentationRASA",
    "SequenceHMM",
    "TripletModel",
    "VerifierEnsemble",
    "Wawa",
    "ZeroBasedSkill",
    "label_issues",
    "learn_dependencies",
    "multi_label_votes",
    "select",
    "summarize",
]

# Public names that are not label models to be fitted from votes alone, by name.
BESIDE_MODELS = frozenset(
    {
        "Answers",
        "BradleyTerry",
        "ClosestToAverage",
        "Comparisons",
        "CrowdLab",
        "LabelIssues",
        "LabelModel",
        "MultiLabelVote",
        "NoisyBradleyTerry",
        "ParetoHarmonizer",
        "Rasa",
        "Rover",
        "SegmentationEM",
        "SegmentationMajority",
        "SegmentationRASA",
        "VerifierEnsemble",
        "label_issues",
        "learn_dependencies",
        "multi_label_votes",
        "select",
        "summarize",
        "EuclideanMetric",
        "GraphMetric",
        "LabelMetric",
        "MatrixMetric",
        "PartedMetric",
    }
)

if TYPE_CHECKING:
    from steelyard.label_models.answers import Answers
    from steelyard.label_models.base import LabelModel
    from steelyard.label_models.bradley_terry import BradleyTerry
    from steelyard.label_models.cage import Cage
    from steelyard.label_models.comparisons import Comparisons
    from steelyard.label_models.conditional_hmm import ConditionalHMM
    from steelyard.label_models.confident_learning import LabelIssues, label_issues
    from steelyard.label_models.crowdlab import CrowdLab
    from steelyard.label_models.data_programming import DataProgramming
    from steelyard.label_models.dawid_skene import DawidSkene
    from steelyard.label_models.dependencies import learn_dependencies
    from steelyard.label_models.ebcc import EBCC
    from steelyard.label_models.embeddings import ClosestToAverage, Rasa
    from steelyard.label_models.glad import GLAD
    from steelyard.label_models.graph_metric import GraphMetric
    from steelyard.label_models.harmonizer import ParetoHarmonizer
    from steelyard.label_models.hyper_label_model import HyperLabelModel
    from steelyard.label_models.ibcc import IBCC
    from steelyard.label_models.kos import KOS
    from steelyard.label_models.m_msr import MMSR
    from steelyard.label_models.mace import MACE
    from steelyard.label_models.majority_vote import MajorityVote
    from steelyard.label_models.metal import MeTaL
    from steelyard.label_models.metric_space import EuclideanMetric, LabelMetric, MatrixMetric
    from steelyard.label_models.multi_label import MultiLabelVote, multi_label_votes
    from steelyard.label_models.noisy_bradley_terry import NoisyBradleyTerry
    from steelyard.label_models.parted_metric import PartedMetric
    from steelyard.label_models.segmentation import SegmentationEM, SegmentationMajority, SegmentationRASA
    from steelyard.label_models.selection import select
    from steelyard.label_models.sequence_hmm import SequenceHMM
    from steelyard.label_models.summarizing import summarize
    from steelyard.label_models.texts import Rover
    from steelyard.label_models.triplet import TripletModel
    from steelyard.label_models.verifier_ensemble import VerifierEnsemble
    from steelyard.label_models.wawa import Wawa
    from steelyard.label_models.zero_based_skill import ZeroBasedSkill


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"steelyard.label_models.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'steelyard.label_models' has no attribute '{name}'")
