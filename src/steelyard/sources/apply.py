"""Run sources over data: their votes, side by side, as one ``Votes``.

Vectorised sources see the whole table at once. Sources that visit rows in Python share one pass, spread over the cores when it lasts.
A source that fails on a row abstains there and is counted in ``votes.metadata["faults"]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard.engines import Engine, get_engine
from steelyard.errors import SourceError, SteelyardError, VotesError
from steelyard.sources.base import RowSource, Source, SourceVotes, check_columns
from steelyard.sources.expressions import ExpressionSource, evaluate_together
from steelyard.sources.faults import Faults
from steelyard.sources.preprocessors import Failures, Preprocessor
from steelyard.sources.rows import RowBatch
from steelyard.sources.tables import as_table
from steelyard.vote_checks import unique_names
from steelyard.votes import ABSTAIN, Votes

#: Rows that a worker takes at a time: enough to make handing over cheap, few enough to show progress.
CHUNK = 4096
#: Rows visited first, in this process: they fetch the columns that functions use before processes are forked.
FIRST = 16


def apply(
    sources: Sequence[Source],
    data: Any,
    *,
    classes: Sequence[str] | None = None,
    hierarchy: Mapping[str, Sequence[str]] | None = None,
    on_error: Literal["abstain", "raise"] = "abstain",
    strict: bool = False,
    engine: str | Engine = "local",
    workers: int | None = None,
    progress: bool | None = None,
) -> Votes:
    """Let every source vote on every row.

    Parameters
    ----------
    sources : sequence of Source
        Labelling functions, keywords, models …; their names must differ.
    data : table
        A polars, pandas, Arrow or Hugging Face table, a dict of columns, a list or column of str (``text``), or a list of dict; n rows.
    classes : sequence of str, optional
        Names of the classes. By default the labels that sources declare, in the order of the sources, then the others, sorted.
    hierarchy : mapping of parent to child names, optional
        Lets a source vote for a parent, which stands for any of its children.
    on_error : {"abstain", "raise"}
        What to do when a source raises on a row.
    strict : bool
        The same as ``on_error="raise"``.
    engine, workers
        Where Python functions run, see ``get_engine``; other sources use all cores by themselves. ``workers=1`` stays in this process.
    progress : bool, optional
        Show a progress bar; by default on a terminal when functions take long.

    Returns
    -------
    Votes (n, m), one row per token and documents as ``groups`` when the sources are span sources. ``metadata["faults"]`` maps the name of
    each source that failed to its ``count``, ``first_row``, ``message`` and ``traceback``.

    Raises
    ------
    SourceError
        When there is no source, two share a name, one reads a column that the data lacks, or one fails and faults are to be raised.
    VotesError
        When a source returns something that is not a class.
    DataError
        When there are no rows.

    Examples
    --------
    >>> from steelyard.sources.expressions import expr, keywords
    >>> rules = [keywords(["subscribe"], label="SPAM"), expr("len(text) < 10", label="HAM")]
    >>> votes = apply(rules, ["Subscribe!!!", "so nice", "what a song"])
    >>> votes.classes, votes.codes.tolist()
    (('SPAM', 'HAM'), [[0, -1], [-1, 1], [-1, -1]])
    """
    if on_error not in ("abstain", "raise"):
        raise SourceError(f"on_error is 'abstain' or 'raise', not {on_error!r}")
    sources = _checked(sources)
    frame, failures = _prepare(as_table(data), sources)
    for source in sources:
        if source.needs:
            check_columns(source.name, source.needs, frame.columns)
        source.fit(frame)
    return _votes(sources, frame, failures, classes, hierarchy, strict or on_error == "raise", get_engine(engine, workers), progress)


def apply_batches(
    sources: Sequence[Source],
    batches: Iterable[Any],
    *,
    classes: Sequence[str],
    hierarchy: Mapping[str, Sequence[str]] | None = None,
    strict: bool = False,
    engine: str | Engine = "local",
    workers: int | None = None,
) -> Iterator[Votes]:
    """Yield the votes on each table of a stream, so that data need not fit in memory.

    ``classes`` must be named, for a later batch may show labels that an earlier one did not. Sources that learn must have learnt
    already: no ``fit`` is called. Rows in faults and messages are counted within their batch.

    Examples
    --------
    >>> from steelyard.sources.expressions import keywords
    >>> stream = (["free money", "nice"], ["money"])
    >>> [votes.codes.tolist() for votes in apply_batches([keywords("money", label="SPAM")], stream, classes=["HAM", "SPAM"])]
    [[[1], [-1]], [[1]]]
    """
    sources, runner = _checked(sources), get_engine(engine, workers)
    for batch in batches:
        frame, failures = _prepare(as_table(batch), sources)
        for source in sources:
            check_columns(source.name, source.needs, frame.columns)
        yield _votes(sources, frame, failures, classes, hierarchy, strict, runner, progress=False)


def _checked(sources: Sequence[Source]) -> list[Source]:
    if isinstance(sources, Source):
        sources = [sources]
    names: set[str] = set()
    for source in sources:
        if not isinstance(source, Source):
            raise SourceError(f"{source!r} is not a source; put @labeling_function above a function to make it one")
        if source.name in names:
            raise SourceError(f"two sources are named {source.name!r}; give one of them another name")
        names.add(source.name)
    if not names:
        raise SourceError("there are no sources; give at least one")
    return list(sources)


def _votes(
    sources: list[Source],
    frame: pl.DataFrame,
    failures: dict[Preprocessor, Failures],
    classes: Sequence[str] | None,
    hierarchy: Mapping[str, Sequence[str]] | None,
    strict: bool,
    engine: Engine,
    progress: bool | None,
) -> Votes:
    by_row = [source for source in sources if isinstance(source, RowSource)]
    found: dict[str, SourceVotes | Faults] = dict(_visit_rows(by_row, frame, failures, strict, engine, progress)) if by_row else {}
    hits = evaluate_together([source for source in sources if isinstance(source, ExpressionSource)], frame)
    for source in sources:
        if source.name not in found:
            found[source.name] = _vote_at_once(source, frame, failures, strict, hits.get(source.name))
    groups, n = _layout(sources, found, frame.height)
    columns = {source.name: _column(found[source.name], n) for source in sources}
    classes = _classes(sources, columns) if classes is None else unique_names(classes, "class")
    return _assemble(sources, columns, classes, hierarchy or {}, groups, n)


# Preprocessors


def _prepare(frame: pl.DataFrame, sources: Sequence[Source]) -> tuple[pl.DataFrame, dict[Preprocessor, Failures]]:
    """Compute for the whole table the columns that a vectorised source uses, or whose making involves the whole table."""
    failures: dict[Preprocessor, Failures] = {}
    for source in sources:
        if not isinstance(source, RowSource) or any(preprocessor.batch for preprocessor in source.preprocessors):
            for preprocessor in source.preprocessors:
                if preprocessor not in failures:
                    frame, failures[preprocessor] = preprocessor.add_batch(frame)
    return frame, failures


def _lost_rows(source: Source, failures: Mapping[Preprocessor, Failures]) -> Failures:
    """Return the rows for which something that the source builds on could not be computed."""
    return {row: fault for preprocessor in source.preprocessors for row, fault in failures.get(preprocessor, {}).items()}


# Voting


def _vote_at_once(
    source: Source, frame: pl.DataFrame, failures: dict[Preprocessor, Failures], strict: bool, hit: pl.Series | None
) -> SourceVotes | Faults:
    """Let a vectorised source vote, on the condition `hit` if it was evaluated already; when it fails, it fails on every row."""
    try:
        if isinstance(source, ExpressionSource) and hit is not None:  # noqa: SIM108 - one line would not fit
            votes = source.vote_where(hit, frame.height)
        else:
            votes = source.vote(frame)
    except SteelyardError:
        raise
    except Exception as error:
        if strict:
            raise SourceError(f"source {source.name!r} failed: {type(error).__name__}: {error}") from error
        return Faults.of(error, row=0, count=frame.height)
    expected = frame.height if votes.groups is None else int(votes.groups[-1])
    if len(votes) != expected:
        raise VotesError(f"source {source.name!r} gave {len(votes)} votes for {expected} rows; a source votes once per row")
    lost = _lost_rows(source, failures) if votes.groups is None else {}
    if lost:
        codes = votes.codes.copy()
        codes[list(lost)] = ABSTAIN
        votes = replace(votes, codes=codes, faults=Faults.total([votes.faults, *lost.values()]))
    if strict and votes.faults is not None:
        raise _fault_error(source, votes.faults)
    return votes


def _visit_rows(
    sources: list[RowSource],
    frame: pl.DataFrame,
    failures: dict[Preprocessor, Failures],
    strict: bool,
    engine: Engine,
    progress: bool | None,
) -> Iterator[tuple[str, SourceVotes]]:
    """Let all row sources vote in one pass over the rows, chunk by chunk."""
    table = RowBatch.of(frame)
    preprocessors = list(dict.fromkeys(p for source in sources for p in source.preprocessors))

    def vote(rows: range) -> list[SourceVotes]:
        chunk = table.slice(rows)
        failed: dict[Preprocessor, Failures] = {}
        for preprocessor in preprocessors:
            if preprocessor in failures:
                failed[preprocessor] = {row - rows.start: fault for row, fault in failures[preprocessor].items() if row in rows}
            else:
                chunk, failed[preprocessor] = preprocessor.add_rows(chunk)
        return [_vote_in_chunk(source, chunk, failed) for source in sources]

    parts: list[list[SourceVotes]] = []
    for part in engine.map_batches(vote, _chunks(frame.height, engine), progress):
        if strict:
            _raise_first(sources, part)
        parts.append(part)
    for j, source in enumerate(sources):
        yield source.name, _concatenated([part[j] for part in parts])


def _vote_in_chunk(source: RowSource, chunk: RowBatch, failed: dict[Preprocessor, Failures]) -> SourceVotes:
    lost = _lost_rows(source, failed)
    votes = source.vote_rows(chunk, frozenset(lost))
    return replace(votes, faults=Faults.total([votes.faults, *lost.values()])) if lost else votes


def _chunks(n: int, engine: Engine) -> list[range]:
    """Split n rows so that each worker gets several chunks, after a short first one."""
    size = max(1, min(CHUNK, n // (8 * (engine.workers or 4))))
    starts = [0, *range(min(FIRST, n), n, size)]
    return [range(start, stop) for start, stop in zip(starts, [*starts[1:], n], strict=True)]


def _concatenated(parts: list[SourceVotes]) -> SourceVotes:
    """Join the chunks of one source, which may have met labels in different orders."""
    names = {label: code for code, label in enumerate(dict.fromkeys(label for part in parts for label in part.labels))}
    codes = [_translation(part.labels, names)[part.codes] for part in parts]
    confidences = groups = None
    if any(part.confidences is not None for part in parts):
        unknown = [np.full(len(part), np.nan, dtype=np.float32) if part.confidences is None else part.confidences for part in parts]
        confidences = np.concatenate(unknown)
    if parts[0].groups is not None:
        lengths = [np.diff(part.groups) for part in parts if part.groups is not None]
        groups = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    faults = Faults.total(part.faults for part in parts)
    return SourceVotes(np.concatenate(codes), tuple(names), confidences, groups, faults)


def _translation(labels: Sequence[str], codes: Mapping[str, int], unknown: int = ABSTAIN) -> NDArray[np.int32]:
    """Return the table that turns an index into ``labels`` into a code; its last entry serves index -1, the abstention."""
    return np.array([*(codes.get(label, unknown) for label in labels), ABSTAIN], dtype=np.int32)


# Faults


def _raise_first(sources: Sequence[Source], part: list[SourceVotes]) -> None:
    failed = [(votes.faults.first_row, j, votes.faults) for j, votes in enumerate(part) if votes.faults is not None]
    if failed:
        _, j, faults = min(failed, key=lambda entry: entry[:2])
        raise _fault_error(sources[j], faults)


def _fault_error(source: Source, faults: Faults) -> SourceError:
    error = SourceError(f"source {source.name!r} failed on row {faults.first_row}: {faults.message}")
    error.add_note(faults.traceback)
    return error


# One matrix


def _layout(sources: Sequence[Source], found: Mapping[str, SourceVotes | Faults], height: int) -> tuple[NDArray[np.int64] | None, int]:
    """Check that all sources vote on the same units, rows or tokens; return the offsets of documents and the number of units."""
    first: tuple[Source, NDArray[np.int64] | None] | None = None
    for source in sources:
        votes = found[source.name]
        if isinstance(votes, Faults):
            continue
        if first is None:
            first = source, votes.groups
        elif (first[1] is None) != (votes.groups is None):
            by_token, by_row = (first[0], source) if votes.groups is None else (source, first[0])
            raise SourceError(f"source {by_token.name!r} votes once per token but {by_row.name!r} once per row; apply them separately")
        elif votes.groups is not None and not np.array_equal(votes.groups, first[1]):  # type: ignore[arg-type]
            raise SourceError(f"sources {first[0].name!r} and {source.name!r} read token columns of different lengths; use the same column")
    groups = first[1] if first is not None else None
    return groups, height if groups is None else int(groups[-1])


def _column(votes: SourceVotes | Faults, n: int) -> SourceVotes:
    if isinstance(votes, Faults):
        return SourceVotes(np.full(n, ABSTAIN, dtype=np.int8), (), faults=votes)
    return votes


def _observed(votes: SourceVotes) -> list[str]:
    return [
        label for label, count in zip(votes.labels, np.bincount(votes.codes + 1, minlength=len(votes.labels) + 1)[1:], strict=True) if count
    ]


def _classes(sources: Sequence[Source], columns: Mapping[str, SourceVotes]) -> tuple[str, ...]:
    """Infer the classes: declared labels in the order of the sources, then observed ones, sorted."""
    declared = dict.fromkeys(label for source in sources for label in source.labels or ())
    undeclared = {label for source in sources if source.labels is None for label in _observed(columns[source.name])}
    classes = (*declared, *sorted(undeclared - declared.keys()))
    if not classes:
        raise VotesError("no source voted on any row, so the classes are unknown; name them with classes=")
    return classes


def _assemble(
    sources: Sequence[Source],
    columns: Mapping[str, SourceVotes],
    classes: tuple[str, ...],
    hierarchy: Mapping[str, Sequence[str]],
    groups: NDArray[np.int64] | None,
    n: int,
) -> Votes:
    symbols = {name: code for code, name in enumerate((*classes, *hierarchy))}
    dtype = np.int8 if len(symbols) <= np.iinfo(np.int8).max + 1 else np.int16 if len(symbols) <= np.iinfo(np.int16).max + 1 else np.int32
    codes = np.empty((n, len(sources)), dtype=dtype, order="F")
    sure = any(votes.confidences is not None for votes in columns.values())
    confidences = np.full(codes.shape, np.nan, dtype=np.float32, order="F") if sure else None
    for j, source in enumerate(sources):
        votes = columns[source.name]
        _check_labels(source, votes, symbols, classes)
        codes[:, j] = _translation(votes.labels, symbols)[votes.codes]
        if confidences is not None and votes.confidences is not None:
            confidences[:, j] = np.where(codes[:, j] == ABSTAIN, np.nan, votes.confidences)
    faults = {source.name: asdict(fault) for source in sources if (fault := columns[source.name].faults) is not None}
    return Votes(
        codes,
        classes=classes,
        sources=[source.name for source in sources],
        confidences=confidences,
        groups=groups,
        hierarchy=hierarchy or None,
        metadata={"faults": faults} if faults else {},
    )


def _check_labels(source: Source, votes: SourceVotes, symbols: Mapping[str, int], classes: Sequence[str]) -> None:
    for label in _observed(votes):
        undeclared = source.labels is not None and label not in source.labels
        if label not in symbols or undeclared:
            row = int(np.argmax(votes.codes == votes.labels.index(label)))
            allowed = f"its labels are {', '.join(source.labels or ())}" if undeclared else f"classes are {', '.join(classes)}"
            raise VotesError(f"source {source.name!r} returned {label!r} for row {row}; {allowed}")
