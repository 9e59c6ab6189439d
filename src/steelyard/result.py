"""Result: the honest number at the end of the line. One row per arm × seed × metric.

By convention the arms are "weak" (the supervisor), "baseline", "method" (or "student") and "ceiling" (the same student on gold labels).
A claim is always `Result.compare(...)`: a paired difference over seeds with its interval.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard.errors import DataError
from steelyard.storage import read_json, write_json

if TYPE_CHECKING:
    import polars as pl

LOWER_IS_BETTER = frozenset(
    [
        *("log_loss", "loss", "nll", "perplexity", "ece", "brier", "aurc", "risk", "error", "error_rate", "wer", "cer", "mae", "mse"),
        *("rmse", "mean_toxicity", "expected_max_toxicity", "toxicity_probability"),
    ]
)


class Row(NamedTuple):
    """One measured number."""

    arm: str
    seed: int
    metric: str
    value: float


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """A paired difference `method − baseline` with its interval and two-sided p-value.

    `note` is empty, or says why a number is missing or needs care.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int
    metric: str = ""
    method: str = ""
    baseline: str = ""
    confidence: float = 0.95
    note: str = ""

    @property
    def verdict(self) -> str:
        """Judge the difference in the metric's own direction: "better" or "worse" where the interval excludes zero, else "unclear"."""
        if math.isnan(self.p_value) or not (self.low > 0 or self.high < 0):
            return "unclear"
        return "better" if (self.difference > 0) == higher_is_better(self.metric) else "worse"

    def __str__(self) -> str:
        what = f"{self.method} − {self.baseline}" if self.method else "difference"
        interval = (
            "no interval"
            if math.isnan(self.low)
            else f"{self.confidence:.0%} interval [{self.low:+.4f}, {self.high:+.4f}], p = {self.p_value:.3g}"
        )
        note = f" ({self.note})" if self.note else ""
        return f"{self.metric or 'value'}: {what} = {self.difference:+.4f}, {interval}, n = {self.n}{note}"


@dataclasses.dataclass
class Result:
    """What a run measured.

    Parameters
    ----------
    name : str
        What was run; the title of the report.
    config : dict
        JSON-able configuration.
    artifacts : dict
        JSON-able data that the report draws: "gap", "sources", "calibration", "risk_coverage", "confusion", "agreement",
        "deception", "worst_rows", "faults", "explanation". A missing one leaves its section out.
    timings : dict
        Seconds by stage.
    rows : list of Row
        The measured numbers; filled with `add`.

    Examples
    --------
    >>> result = Result("demo", config={"k": 2})
    >>> for seed, (base, ours) in enumerate([(0.70, 0.78), (0.72, 0.79), (0.71, 0.80)]):
    ...     _ = result.add("baseline", seed, "accuracy", base).add("method", seed, "accuracy", ours)
    >>> comparison = result.compare("method", "baseline", metric="accuracy")
    >>> round(comparison.difference, 3), comparison.n, comparison.verdict
    (0.08, 3, 'better')
    """

    name: str
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    artifacts: dict[str, Any] = dataclasses.field(default_factory=dict)
    timings: dict[str, float] = dataclasses.field(default_factory=dict)
    rows: list[Row] = dataclasses.field(default_factory=list)

    def add(self, arm: str, seed: int, metric: str, value: float) -> Result:
        """Record one number and return the result itself. NaN means "undefined here"; an infinite or repeated number raises `DataError`."""
        number = float(value)
        if math.isinf(number):
            raise DataError(f"result '{self.name}': {metric} of arm '{arm}', seed {seed} is infinite; clip it or record NaN")
        if any((row.arm, row.seed, row.metric) == (arm, seed, metric) for row in self.rows):
            raise DataError(f"result '{self.name}': {metric} of arm '{arm}', seed {seed} was already added; give each run its own seed")
        self.rows.append(Row(str(arm), int(seed), str(metric), number))
        return self

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in the order they were first added."""
        return list(dict.fromkeys(row.arm for row in self.rows))

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, in the order they were first added."""
        return list(dict.fromkeys(row.metric for row in self.rows))

    def values(self, arm: str, metric: str) -> dict[int, float]:
        """Return the number of every seed for this arm and metric; an unknown arm or metric raises `DataError` naming the known ones."""
        found = {row.seed: row.value for row in self.rows if row.arm == arm and row.metric == metric}
        if not found:
            known = ", ".join(f"{a}/{m}" for a in self.arms for m in self.metrics if any(r.arm == a and r.metric == m for r in self.rows))
            raise DataError(f"result '{self.name}' has no '{metric}' for arm '{arm}'; it has {known or 'no rows yet'}")
        return found

    def mean(self, arm: str, metric: str) -> float:
        """Mean over seeds."""
        return float(np.mean(list(self.values(arm, metric).values())))

    def interval(self, arm: str, metric: str, confidence: float = 0.95) -> tuple[float, float, float]:
        """Mean over seeds and its Student-t interval: (mean, low, high); low and high are NaN for one seed."""
        return mean_interval(list(self.values(arm, metric).values()), confidence)

    def compare(
        self, method: str = "method", baseline: str = "baseline", metric: str | None = None, confidence: float = 0.95
    ) -> Comparison:
        """Compare two arms, paired over the seeds they share.

        The interval is Student's t on the n paired differences, `mean ± t(n−1) · s/√n`: exact for normal differences at any n ≥ 2, and
        wide for few seeds, as it should be (t is 12.7 for two seeds, 4.3 for three). One seed has no spread: the interval and the p-value
        are NaN and `note` says so.

        Parameters
        ----------
        method, baseline : str
            Two arms.
        metric : str, optional
            May be left out when the result has only one metric.
        confidence : float
            Coverage of the interval, in (0, 1).

        Raises
        ------
        DataError
            If an arm or the metric is unknown, or the two arms share no seed.
        """
        if metric is None:
            if len(self.metrics) != 1:
                raise DataError(f"result '{self.name}' has {len(self.metrics)} metrics ({', '.join(self.metrics)}); say which with metric=")
            metric = self.metrics[0]
        first, second = self.values(method, metric), self.values(baseline, metric)
        shared = sorted(first.keys() & second.keys())
        if not shared:
            raise DataError(
                f"result '{self.name}': arms '{method}' (seeds {sorted(first)}) and '{baseline}' (seeds {sorted(second)}) share no seed; "
                "run both on the same seeds"
            )
        comparison = paired_t([first[s] for s in shared], [second[s] for s in shared], confidence)
        notes = [comparison.note] if comparison.note else []
        if left_out := len(first.keys() ^ second.keys()):
            notes.append(f"{left_out} seed(s) of only one arm left out")
        return dataclasses.replace(comparison, metric=metric, method=method, baseline=baseline, note="; ".join(notes))

    def table(self, confidence: float = 0.95) -> pl.DataFrame:
        """Summarise over seeds: one row per metric and arm with mean, std (n−1), low and high of the t interval, and n."""
        import polars as pl

        measured: dict[tuple[str, str], list[float]] = {}
        for row in self.rows:
            measured.setdefault((row.metric, row.arm), []).append(row.value)
        lines = []
        for metric in self.metrics:
            for arm in self.arms:
                if numbers := measured.get((metric, arm)):
                    mean, low, high = mean_interval(numbers, confidence)
                    std = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else math.nan
                    lines.append((metric, arm, mean, std, low, high, len(numbers)))
        names = {
            "metric": pl.String,
            "arm": pl.String,
            "mean": pl.Float64,
            "std": pl.Float64,
            "low": pl.Float64,
            "high": pl.Float64,
            "n": pl.Int64,
        }
        return pl.DataFrame(lines, schema=names, orient="row")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON types: arrays become lists, frames lists of records, NaN becomes null."""
        rows = [row._asdict() for row in self.rows]
        parts = {"config": self.config, "artifacts": self.artifacts, "timings": self.timings}
        return {"name": self.name, "rows": plain(rows), **{key: plain(value) for key, value in parts.items()}}

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write to a file, atomically."""
        write_json(path, self.to_dict())

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Result:
        """Read what `to_json` wrote; a missing, truncated or foreign file raises `DataError` naming it."""
        content = read_json(path)
        try:
            rows = [
                Row(str(r["arm"]), int(r["seed"]), str(r["metric"]), math.nan if r["value"] is None else float(r["value"]))
                for r in content["rows"]
            ]
            return cls(str(content["name"]), dict(content["config"]), dict(content["artifacts"]), dict(content["timings"]), rows)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"file '{path}' is JSON but not a steelyard result ({type(error).__name__}: {error}); write it with Result.to_json"
            ) from None


def higher_is_better(metric: str) -> bool:
    """Say whether more is better; a prefix as in "trec/log_loss" does not matter.

    Examples
    --------
    >>> higher_is_better("accuracy"), higher_is_better("trec/log_loss")
    (True, False)
    """
    return metric.rsplit("/", 1)[-1].lower() not in LOWER_IS_BETTER


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and Student-t interval `mean ± t(n−1) · s/√n`; low and high are NaN for fewer than two values.

    Examples
    --------
    >>> [round(x, 3) for x in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    from scipy.special import stdtrit

    if not 0 < confidence < 1:
        raise DataError(f"confidence must lie between 0 and 1, not {confidence}; 0.95 is usual")
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    if x.size < 2:
        return mean, math.nan, math.nan
    half = float(stdtrit(x.size - 1, 0.5 + confidence / 2) * x.std(ddof=1) / math.sqrt(x.size))
    return mean, mean - half, mean + half


def paired_t(method: Sequence[float] | np.ndarray, baseline: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Comparison:
    """Paired Student-t test and interval (Student, 1908) of two equally long lists, element i of both from seed i.

    Where all differences are equal the interval has no width and there is no p-value (1 if they are all zero); `note` says so.

    Examples
    --------
    >>> paired_t([0.8, 0.9, 0.85], [0.7, 0.75, 0.8]).n
    3
    >>> print(paired_t([0.8], [0.7]))
    value: difference = +0.1000, no interval, n = 1 (one pair has no spread: run more seeds for an interval)
    """
    from scipy.special import stdtr

    a, b = np.asarray(method, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise DataError(f"a paired comparison needs two equally long lists, not shapes {a.shape} and {b.shape}")
    d = a - b
    mean, low, high = mean_interval(d, confidence)
    if d.size == 1:
        return Comparison(
            mean, low, high, math.nan, 1, confidence=confidence, note="one pair has no spread: run more seeds for an interval"
        )
    standard_error = float(d.std(ddof=1)) / math.sqrt(d.size)
    if standard_error <= 1e-12 * max(1.0, abs(mean)):
        p_value = 1.0 if abs(mean) <= 1e-12 else math.nan
        return Comparison(
            mean, mean, mean, p_value, d.size, confidence=confidence, note="all pairs differ equally: seeds carry no spread to judge by"
        )
    p_value = float(2 * stdtr(d.size - 1, -abs(mean) / standard_error))
    return Comparison(mean, low, high, p_value, d.size, confidence=confidence)


def plain(value: Any) -> Any:
    """Turn arrays, frames, data classes, tuples and NaN into what JSON can hold (NaN and infinities become None)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if hasattr(value, "to_dicts"):
        return plain(value.to_dicts())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
