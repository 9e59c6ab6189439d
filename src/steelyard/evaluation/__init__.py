"""What was gained, and how sure that is: metrics, intervals, the gap recovered, calibration, and how the sources behave together."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "accuracy_by_difficulty": "answer_selection",
    "cost_curve": "answer_selection",
    "generation_verification_gap": "answer_selection",
    "pass_at_k": "answer_selection",
    "selection_accuracy": "answer_selection",
    "Agreement": "gap",
    "DeceptionReport": "deception",
    "ErrorSplit": "deception",
    "GapRecovered": "gap",
    "Interval": "statistics",
    "KnowledgeRegions": "deception",
    "ReliabilityCurve": "calibration",
    "RiskCoverage": "calibration",
    "SpanScores": "sequences",
    "TemperatureScaling": "calibration",
    "UndefinedGap": "gap",
    "accuracy": "classification",
    "accuracy_table": "diagnostics",
    "agreement_by_supervisor_correctness": "gap",
    "balanced_accuracy": "classification",
    "bio_scores": "sequences",
    "bootstrap_interval": "statistics",
    "brier": "classification",
    "class_recall": "leaderboard",
    "conflict_matrix": "diagnostics",
    "conflict_tax": "deception",
    "confusion_matrix": "classification",
    "coverage_scores": "leaderboard",
    "deception_report": "deception",
    "disagreement": "diagnostics",
    "expected_calibration_error": "calibration",
    "f1_binary": "classification",
    "f1_macro": "classification",
    "f1_weighted": "classification",
    "gap_over_rows": "gap",
    "gap_over_seeds": "gap",
    "knowledge_regions": "deception",
    "log_loss": "classification",
    "matthews": "classification",
    "mean_interval": "statistics",
    "near_duplicates": "duplicates",
    "overlap_matrix": "diagnostics",
    "paired_difference": "statistics",
    "paired_t": "statistics",
    "performance_gap_recovered": "gap",
    "performance_profile": "leaderboard",
    "rank_strategies": "leaderboard",
    "reliability_curve": "calibration",
    "risk_coverage": "calibration",
    "risk_scores": "calibration",
    "RiskScores": "calibration",
    "sign_flip": "statistics",
    "span_scores": "sequences",
    "spans_from_bio": "sequences",
    "wilcoxon": "statistics",
    "wilson_interval": "statistics",
    "word_error_rate": "sequences",
    "worst_rows": "diagnostics",
}

__all__ = [
    "Agreement",
    "DeceptionReport",
    "ErrorSplit",
    "GapRecovered",
    "Interval",
    "KnowledgeRegions",
    "ReliabilityCurve",
    "RiskCoverage",
    "RiskScores",
    "SpanScores",
    "TemperatureScaling",
    "UndefinedGap",
    "accuracy",
    "accuracy_by_difficulty",
    "accuracy_table",
    "agreement_by_supervisor_correctness",
    "balanced_accuracy",
    "bio_scores",
    "bootstrap_interval",
    "brier",
    "class_recall",
    "conflict_matrix",
    "conflict_tax",
    "confusion_matrix",
    "cost_curve",
    "coverage_scores",
    "deception_report",
    "disagreement",
    "expected_calibration_error",
    "f1_binary",
    "f1_macro",
    "f1_weighted",
    "gap_over_rows",
    "gap_over_seeds",
    "generation_verification_gap",
    "knowledge_regions",
    "log_loss",
    "matthews",
    "mean_interval",
    "near_duplicates",
    "overlap_matrix",
    "paired_difference",
    "paired_t",
    "pass_at_k",
    "performance_gap_recovered",
    "performance_profile",
    "rank_strategies",
    "reliability_curve",
    "risk_coverage",
    "risk_scores",
    "selection_accuracy",
    "sign_flip",
    "span_scores",
    "spans_from_bio",
    "wilcoxon",
    "wilson_interval",
    "word_error_rate",
    "worst_rows",
]

if TYPE_CHECKING:
    from steelyard.evaluation.answer_selection import (
        accuracy_by_difficulty,
        cost_curve,
        generation_verification_gap,
        pass_at_k,
        selection_accuracy,
    )
    from steelyard.evaluation.calibration import (
        ReliabilityCurve,
        RiskCoverage,
        RiskScores,
        TemperatureScaling,
        expected_calibration_error,
        reliability_curve,
        risk_coverage,
        risk_scores,
    )
    from steelyard.evaluation.classification import (
        accuracy,
        balanced_accuracy,
        brier,
        confusion_matrix,
        f1_binary,
        f1_macro,
        f1_weighted,
        log_loss,
        matthews,
    )
    from steelyard.evaluation.deception import (
        DeceptionReport,
        ErrorSplit,
        KnowledgeRegions,
        conflict_tax,
        deception_report,
        knowledge_regions,
    )
    from steelyard.evaluation.diagnostics import accuracy_table, conflict_matrix, disagreement, overlap_matrix, worst_rows
    from steelyard.evaluation.duplicates import near_duplicates
    from steelyard.evaluation.gap import (
        Agreement,
        GapRecovered,
        UndefinedGap,
        agreement_by_supervisor_correctness,
        gap_over_rows,
        gap_over_seeds,
        performance_gap_recovered,
    )
    from steelyard.evaluation.leaderboard import class_recall, coverage_scores, performance_profile, rank_strategies
    from steelyard.evaluation.sequences import SpanScores, bio_scores, span_scores, spans_from_bio, word_error_rate
    from steelyard.evaluation.statistics import (
        Interval,
        bootstrap_interval,
        mean_interval,
        paired_difference,
        paired_t,
        sign_flip,
        wilcoxon,
        wilson_interval,
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'steelyard.evaluation' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"steelyard.evaluation.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
