"""What the user sees when an input is wrong: one sentence that says what, where and what to do."""

from __future__ import annotations


class SteelyardError(ValueError):
    """Base of every error that a user's input can cause."""


class VotesError(SteelyardError):
    """A vote matrix, its class names, sources, confidences or groups do not fit together."""


class SourceError(SteelyardError):
    """A source is malformed, or raised while voting in strict mode."""


class LabelModelError(SteelyardError):
    """A label model was asked for something that its votes or its state do not allow."""


class TargetsError(SteelyardError):
    """Probabilistic labels or their weights are malformed."""


class DataError(SteelyardError):
    """A table, file or named data set is missing, empty, truncated or lacks a column."""


class TrainingError(SteelyardError):
    """A student cannot be trained on what it was given."""


class ConfigError(SteelyardError):
    """An option of a recipe or of the command line is unknown or out of range."""
