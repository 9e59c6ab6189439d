"""How the sources behave together: who overlaps, who contradicts whom, how accurate each is, and which rows they quarrel about.

Vocabulary of Ratner et al., 2017, "Snorkel"; counted from the mergeable vote statistics, so cost does not grow with rows × sources².
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import DataError
from steelyard.evaluation.statistics import wilson_interval
from steelyard.votes import Votes, VoteStatistics

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]


def overlap_matrix(votes: Votes) -> Floats:
    """Share of rows on which both sources vote, (m, m), symmetric; the diagonal is each source's coverage.

    Examples
    --------
    >>> votes = Votes([[0, 0], [0, 1], [1, -1], [-1, -1]], classes=["a", "b"])
    >>> overlap_matrix(votes)
    array([[0.75, 0.5 ],
           [0.5 , 0.5 ]])
    """
    together, _ = pair_counts(votes)
    return together / max(votes.n_rows, 1)


def conflict_matrix(votes: Votes) -> Floats:
    """Share of rows on which two sources both vote and name symbols with no class in common, (m, m), symmetric, zero diagonal.

    Examples
    --------
    >>> votes = Votes([[0, 0], [0, 1], [1, -1], [-1, -1]], classes=["a", "b"])
    >>> conflict_matrix(votes)
    array([[0.  , 0.25],
           [0.25, 0.  ]])
    """
    together, agreed = pair_counts(votes)
    return (together - agreed) / max(votes.n_rows, 1)


def pair_counts(votes: Votes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows on which both sources vote, and on which their votes are compatible: two (m, m) integer matrices."""
    m, s = votes.n_sources, len(votes.support)
    pairs = VoteStatistics.from_votes(votes, keep="moments").moments.pairs.reshape(m, s, m, s)
    compatible = votes.support.astype(np.int64) @ votes.support.T.astype(np.int64) > 0
    return pairs.sum((1, 3)), np.einsum("iajb,ab->ij", pairs, compatible.astype(np.int64))


def accuracy_table(
    votes: Votes, model_accuracies: ArrayLike | None = None, y: ArrayLike | None = None, *, confidence: float = 0.95
) -> pl.DataFrame:
    """Return the per-source table with estimated accuracy beside the empirical one: the "sources" artifact of the report.

    Parameters
    ----------
    votes : Votes
    model_accuracies : (m,) float, optional
        What a label model believes (`accuracies_`); adds ``estimated_accuracy``.
    y : (n,) int, optional
        Gold labels, -1 = unknown; adds ``correct``, ``incorrect``, ``accuracy`` and its Wilson interval ``low``, ``high``.

    Returns
    -------
    polars.DataFrame
        One row per source, in the order of `votes.sources`.

    Examples
    --------
    >>> votes = Votes([[0, 1], [0, 1], [1, -1]], classes=["a", "b"], sources=["x", "y"])
    >>> accuracy_table(votes, [0.9, 0.4], y=[0, 0, 1])["accuracy"].to_list()
    [1.0, 0.0]
    """
    import polars as pl

    table = votes.summary(y)
    if model_accuracies is not None:
        estimated = np.asarray(model_accuracies, dtype=np.float64)
        if estimated.shape != (votes.n_sources,):
            raise DataError(f"model_accuracies has shape {estimated.shape}; give one accuracy for each of the {votes.n_sources} sources")
        table = table.with_columns(pl.Series("estimated_accuracy", estimated).fill_nan(None))
    if y is not None:
        correct = table["correct"].to_numpy()
        low, high = wilson_interval(correct, correct + table["incorrect"].to_numpy(), confidence)
        table = table.with_columns(pl.Series("low", low).fill_nan(None), pl.Series("high", high).fill_nan(None))
    return table


def worst_rows(
    votes: Votes,
    probabilities: ArrayLike,
    data: Sequence[Any] | pl.DataFrame | None = None,
    *,
    k: int = 20,
    y: ArrayLike | None = None,
    by: Literal["entropy", "disagreement"] = "entropy",
) -> list[dict[str, Any]]:
    """Pick the covered rows most worth reading, worst first: the "worst_rows" artifact of the report.

    Parameters
    ----------
    votes : Votes
    probabilities : (n, c) float
        What the label model made of the votes.
    data : sequence of n texts, or polars DataFrame, optional
        Shown as "text": the item itself, or the column "text", or else every column of the row.
    k : int
        How many rows.
    y : (n,) int, optional
        Gold labels, -1 = unknown; shown as "gold".
    by : {"entropy", "disagreement"}
        The model's entropy, or the share of a row's votes that contradict its most named class; each breaks the ties of the other.

    Returns
    -------
    list of dict
        "row", "votes" {source: symbol}, "label", "confidence", "entropy" (nats), "disagreement", and where given "text" and "gold".

    Examples
    --------
    >>> votes = Votes([[0, 1], [0, 0], [-1, -1]], classes=["HAM", "SPAM"], sources=["short", "link"])
    >>> rows = worst_rows(votes, [[0.5, 0.5], [0.9, 0.1], [0.5, 0.5]], ["check out", "hi", "?"], k=1)
    >>> rows[0]["text"], rows[0]["votes"]
    ('check out', {'short': 'HAM', 'link': 'SPAM'})
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.shape != (votes.n_rows, votes.n_classes):
        raise DataError(f"probabilities have shape {p.shape}, votes need ({votes.n_rows}, {votes.n_classes})")
    if data is not None and len(data) != votes.n_rows:
        raise DataError(f"data has {len(data)} rows and votes {votes.n_rows}; they must be about the same items")
    entropy = -(p * np.log(np.clip(p, 1e-300, None))).sum(1)
    split = disagreement(votes)
    first, second = (entropy, split) if by == "entropy" else (split, entropy)
    # A row that nobody voted on has the prior's entropy, which says nothing about the sources.
    covered = np.flatnonzero(votes.coverage)
    order = covered[np.lexsort((covered, -second[covered].round(9), -first[covered].round(9)))][:k]
    codes = votes.take(order).codes
    found = []
    for i, row in enumerate(order.tolist()):
        label = int(p[row].argmax())
        named = {votes.sources[j]: votes.symbols[codes[i, j]] for j in np.flatnonzero(codes[i] >= 0)}
        entry = {"row": row, "votes": named, "label": votes.classes[label], "confidence": float(p[row, label])}
        entry |= {"entropy": float(entropy[row]), "disagreement": float(split[row])}
        if data is not None:
            entry["text"] = _shown(data, row)
        if y is not None and int(np.asarray(y)[row]) >= 0:
            entry["gold"] = votes.classes[int(np.asarray(y)[row])]
        found.append(entry)
    return found


def disagreement(votes: Votes) -> Floats:
    """Share of each row's votes that contradict its most supported class, (n,) in [0, 1); 0 where nobody votes.

    Examples
    --------
    >>> disagreement(Votes([[0, 0, 1], [1, 1, -1]], classes=["a", "b"])).round(3).tolist()
    [0.333, 0.0]
    """
    csr = votes.csr
    size = np.diff(csr.indptr)
    most = np.zeros(votes.n_rows)
    support = votes.support.astype(np.float64)
    block = max(1, (1 << 22) // votes.n_classes)
    for start in range(0, votes.n_rows, block):
        stop = min(start + block, votes.n_rows)
        codes = csr.data[csr.indptr[start] : csr.indptr[stop]].astype(np.int64) - 1
        rows = np.repeat(np.arange(stop - start), size[start:stop])
        tally = np.bincount(rows * len(support) + codes, minlength=(stop - start) * len(support)).reshape(-1, len(support))
        most[start:stop] = (tally @ support).max(1)
    return np.where(size > 0, 1 - most / np.maximum(size, 1), 0.0)


def _shown(data: Any, row: int) -> str:
    if hasattr(data, "columns"):
        record = data.row(row, named=True)
        return str(record["text"]) if "text" in record else ", ".join(f"{name} = {value}" for name, value in record.items())
    item = data[row]
    return str(item["text"]) if isinstance(item, dict) and "text" in item else str(item)
