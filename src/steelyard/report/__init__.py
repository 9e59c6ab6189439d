"""From a `Result` to something a person looks at: terminal tables, pictures, one self-contained HTML page."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "DARK": "palette",
    "LIGHT": "palette",
    "arm_plot": "arms",
    "board_table": "board",
    "calibration_plot": "plots",
    "confusion_plot": "plots",
    "curve_plot": "curves",
    "gap_bar": "beam",
    "gap_text": "terminal",
    "print_result": "terminal",
    "profile_plot": "board",
    "render_report": "html",
    "result_table": "terminal",
    "risk_coverage_plot": "plots",
    "source_table": "terminal",
    "sweep_plot": "plots",
    "write_report": "html",
}

__all__ = [
    "DARK",
    "LIGHT",
    "arm_plot",
    "board_table",
    "calibration_plot",
    "confusion_plot",
    "curve_plot",
    "gap_bar",
    "gap_text",
    "print_result",
    "profile_plot",
    "render_report",
    "result_table",
    "risk_coverage_plot",
    "source_table",
    "sweep_plot",
    "write_report",
]

if TYPE_CHECKING:
    from steelyard.report.arms import arm_plot
    from steelyard.report.beam import gap_bar
    from steelyard.report.board import board_table, profile_plot
    from steelyard.report.curves import curve_plot
    from steelyard.report.html import render_report, write_report
    from steelyard.report.palette import DARK, LIGHT
    from steelyard.report.plots import calibration_plot, confusion_plot, risk_coverage_plot, sweep_plot
    from steelyard.report.terminal import gap_text, print_result, result_table, source_table


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'steelyard.report' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"steelyard.report.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
