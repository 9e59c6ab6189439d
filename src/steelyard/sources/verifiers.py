"""Verifiers as sources: scores of candidate responses become votes right or wrong, and so does how often an answer is given.

Saad-Falcon et al. 2025, "Shrinking the Generation-Verification Gap with Weak Verifiers". To weigh them beside each other with a choice per
query, see `steelyard.label_models.VerifierEnsemble`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import SourceError
from steelyard.score_scales import Scaling, ScoreScale, balance_thresholds
from steelyard.sources.base import Source, SourceVotes, check_columns

Score = Callable[[pl.DataFrame], ArrayLike]


def verifier(
    scores: str | Score,
    *,
    name: str | None = None,
    threshold: float | Literal["class-balance"] = "class-balance",
    balance: float | None = None,
    scale: Scaling = "range",
    labels: tuple[str, str] = ("wrong", "right"),
) -> VerifierSource:
    """Make a source of a column of scores, or of a function that scores the rows of a table.

    Parameters
    ----------
    scores : str or callable
        Name of a numeric column, or a function of the table that returns (n,) scores; NaN or null abstains.
    name : str, optional
        Name of the source; that of the column or function when left out.
    threshold : float or "class-balance"
        On the scale [0, 1]: from where on a score says right. By the class balance, it says right on a share `balance` of the rows.
    balance : float, optional
        P(a response is right), needed by "class-balance".
    scale : {"range", "quantile", "winsorize"}
        How scores are brought to [0, 1]; learned from the whole table.
    labels : (str, str)
        Names of the classes below and above the threshold.

    Raises
    ------
    SourceError
        The class balance is unknown; the column is missing, not numeric, or never varies.

    Examples
    --------
    >>> from steelyard.sources import apply
    >>> table = {"judge": [9.0, 2.0, None, 7.0, 1.0]}
    >>> votes = apply([verifier("judge", balance=0.5)], table)
    >>> votes.codes.ravel().tolist(), votes.classes
    ([1, 0, -1, 1, 0], ('wrong', 'right'))
    """
    if threshold == "class-balance" and balance is None:
        raise SourceError("the class balance is unknown: give balance, the chance that a response is right, or a threshold between 0 and 1")
    for option, value in (("threshold", threshold), ("balance", balance)):
        if isinstance(value, int | float) and not 0 < value < 1:
            raise SourceError(f"verifier: {option} is {value}; it must lie between 0 and 1")
    called = name or str(scores if isinstance(scores, str) else getattr(scores, "__name__", "verifier"))
    return VerifierSource(called, scores, threshold, balance, scale, labels)


def agreement(
    *, answer: str = "answer", query: str = "query", name: str = "majority", balance: float | None = None, threshold: float = 0.5
) -> VerifierSource:
    """How often a query's responses give the same answer, as a verifier; scaled within the query, where all agree it is 1.

    Parameters
    ----------
    answer, query : str
        Columns of the extracted answers (empty or null = none, which never agrees) and of the query they belong to.
    name : str
    balance : float, optional
        With it the threshold is the class-balance quantile instead of `threshold`.
    threshold : float

    Examples
    --------
    >>> from steelyard.sources import apply
    >>> table = {"query": ["a", "a", "a", "b"], "answer": ["7", "7", "8", "3"]}
    >>> apply([agreement()], table).codes.ravel().tolist()
    [1, 1, 0, 1]
    """
    source = VerifierSource(
        name, _Agreement(answer, query), "class-balance" if balance else threshold, balance, "range", ("wrong", "right")
    )
    source.needs = (query, answer)
    return source


class VerifierSource(Source):
    """Scores of one verifier as votes; made by `verifier` and `agreement`. The confidence of a vote is its distance to the threshold."""

    def __init__(
        self,
        name: str,
        scores: str | Score,
        threshold: float | Literal["class-balance"],
        balance: float | None,
        scale: Scaling,
        labels: tuple[str, str],
    ) -> None:
        self.name, self.labels = name, labels
        self.scores, self.threshold, self.balance, self.scale = scores, threshold, balance, scale
        self.needs = (scores,) if isinstance(scores, str) else ()

    def fit(self, data: pl.DataFrame) -> None:
        """Learn scale and threshold from all rows."""
        if isinstance(self.scores, _Agreement):
            self.scores.learn(data)
        x = self._values(data)[:, None]
        if len(np.unique(x[~np.isnan(x)])) < 2 and not isinstance(self.scores, _Agreement):
            raise SourceError(f"verifier '{self.name}' gives every response the same score, so it chooses nothing; leave it out")
        self._scale = ScoreScale.of(x, self.scale)
        scaled = self._scale.apply(x)
        self._tau = (
            float(balance_thresholds(scaled, self.balance or 0.5)[0]) if self.threshold == "class-balance" else float(self.threshold)
        )

    def vote(self, batch: pl.DataFrame) -> SourceVotes:
        """Vote right from the threshold on, wrong below, and abstain without a score."""
        if not hasattr(self, "_tau"):
            self.fit(batch)
        scaled = self._scale.apply(self._values(batch)[:, None])[:, 0]
        right = scaled >= self._tau
        known = ~np.isnan(scaled)
        room = np.where(right, 1 - self._tau, self._tau)
        sure = 0.5 + 0.5 * np.abs(scaled - self._tau) / np.where(room > 0, room, 1.0)
        codes = np.where(known, right.astype(np.int32), -1).astype(np.int32)
        return SourceVotes(codes, self.labels or (), np.where(known, np.clip(sure, 0, 1), np.nan).astype(np.float32))

    def _values(self, data: pl.DataFrame) -> NDArray[np.float64]:
        check_columns(self.name, self.needs, data.columns)
        if isinstance(self.scores, str):
            column = data[self.scores]
            if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
                raise SourceError(f"verifier '{self.name}': column '{self.scores}' holds {column.dtype}, not scores; make it numeric")
            return column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        values = np.asarray(self.scores(data), dtype=np.float64)
        if values.shape != (len(data),):
            raise SourceError(f"verifier '{self.name}' returned scores of shape {values.shape} for {len(data)} rows; return one per row")
        return values


class _Agreement:
    """Shares of answers within their query, learned from all rows so that batches may cut a query apart."""

    def __init__(self, answer: str, query: str) -> None:
        self.answer, self.query = answer, query

    def learn(self, data: pl.DataFrame) -> None:
        """Count."""
        given = pl.col(self.answer).cast(pl.String).fill_null("")
        counted = data.select(pl.col(self.query).alias("q"), given.alias("a")).group_by("q", "a").len()
        counted = counted.with_columns(pl.when(pl.col("a") == "").then(0).otherwise(pl.col("len")).alias("len").cast(pl.Float64))
        low, high = pl.col("len").min().over("q"), pl.col("len").max().over("q")
        self._share = counted.with_columns(pl.when(high > low).then((pl.col("len") - low) / (high - low)).otherwise(1.0).alias("share"))

    def __call__(self, data: pl.DataFrame) -> NDArray[np.float64]:
        """Look up the share of each row's answer."""
        keys = data.select(pl.col(self.query).alias("q"), pl.col(self.answer).cast(pl.String).fill_null("").alias("a"))
        return keys.join(self._share, on=["q", "a"], how="left", maintain_order="left")["share"].fill_null(np.nan).to_numpy()
