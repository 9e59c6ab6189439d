"""Sources that mark spans of tokens, as votes for BIO tags: one vote per token, documents as groups.

A span is ``(start, end, label)`` in tokens, end exclusive. With ``outside="abstain"`` a source says nothing about tokens that it did not
mark: right for rules of low recall, whose silence is no evidence. With ``outside="O"`` its silence votes that the token is no entity:
right for a tagger that has looked at everything. Where all sources abstain, ``O`` gets no vote and only a class prior can choose it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import SourceError, VotesError
from steelyard.sources.base import RowSource, Source, SourceVotes, check_columns, label_names
from steelyard.sources.faults import Faults
from steelyard.sources.rows import MissingColumn, RowBatch
from steelyard.votes import ABSTAIN

Outside = Literal["abstain", "O"]


class Span(NamedTuple):
    """Tokens ``start`` to ``end`` (exclusive) of a document, and what they are.

    Examples
    --------
    >>> Span(0, 2, "Disease").end
    2
    """

    start: int
    end: int
    label: str


def bio_tags(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the tags of the BIO scheme: ``O``, then ``B-`` and ``I-`` of each label (Ramshaw and Marcus, 1995).

    Examples
    --------
    >>> bio_tags(["Chemical", "Disease"])
    ('O', 'B-Chemical', 'I-Chemical', 'B-Disease', 'I-Disease')
    """
    return ("O", *(f"{prefix}-{label}" for label in labels for prefix in "BI"))


def encode_bio(spans: Iterable[tuple[int, int, str]], n_tokens: int) -> list[str]:
    """Return the BIO tags of one document; of overlapping spans the longest counts, then the leftmost.

    Raises
    ------
    VotesError
        When a span is empty or reaches beyond the document.

    Examples
    --------
    >>> encode_bio([(1, 3, "Disease")], 4)
    ['O', 'B-Disease', 'I-Disease', 'O']
    """
    tags = ["O"] * n_tokens
    for start, end, label in spans_without_overlap(spans):
        if not 0 <= start < end <= n_tokens:
            raise VotesError(f"the span ({start}, {end}) does not fit a document of {n_tokens} tokens")
        tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
    return tags


def decode_bio(tags: Sequence[str]) -> list[Span]:
    """Return the spans of one document's BIO tags; an ``I-`` that continues nothing begins a span, as in the CoNLL evaluation.

    Examples
    --------
    >>> decode_bio(["B-Disease", "I-Disease", "O", "I-Chemical"])
    [Span(start=0, end=2, label='Disease'), Span(start=3, end=4, label='Chemical')]
    """
    spans: list[Span] = []
    start, label = 0, ""
    for at, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if label and (prefix != "I" or kind != label):
            spans.append(Span(start, at, label))
            label = ""
        if not label and prefix in ("B", "I"):
            start, label = at, kind
    return spans


def spans_without_overlap(spans: Iterable[tuple[int, int, str]]) -> list[Span]:
    """Keep the longest of overlapping spans, then the leftmost, in the order of the text.

    Examples
    --------
    >>> spans_without_overlap([(0, 1, "A"), (0, 3, "B"), (3, 4, "A")])
    [Span(start=0, end=3, label='B'), Span(start=3, end=4, label='A')]
    """
    kept: list[Span] = []
    taken: set[int] = set()
    for start, end, label in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
        if taken.isdisjoint(range(start, end)):
            kept.append(Span(start, end, label))
            taken.update(range(start, end))
    return sorted(kept)


def paint(
    starts: ArrayLike, ends: ArrayLike, labels: ArrayLike, n_tokens: int, fill: int | NDArray[np.int32] = ABSTAIN
) -> NDArray[np.int32]:
    """Write disjoint spans as codes of ``bio_tags``.

    Parameters
    ----------
    starts, ends : (s,) int
        Bounds in tokens of the concatenated documents.
    labels : (s,) int
        Index of the label of each span.
    n_tokens : int
        Number of tokens of all documents.
    fill : int or (n_tokens,) int32
        Code of the tokens outside.

    Examples
    --------
    >>> paint([1], [3], [0], 4).tolist()
    [-1, 1, 2, -1]
    """
    starts, ends, labels = (np.asarray(values, dtype=np.int64) for values in (starts, ends, labels))
    codes = np.array(np.broadcast_to(np.asarray(fill, dtype=np.int32), n_tokens))
    lengths = ends - starts
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    codes[np.repeat(starts, lengths) + within] = np.repeat(2 * labels + 2, lengths)  # I
    codes[starts] = 2 * labels + 1  # B
    return codes


def spans_in(votes: SourceVotes) -> list[list[Span]]:
    """Return the spans of each document in the token votes of one source.

    Examples
    --------
    >>> votes = SourceVotes(np.array([1, 2, -1, 1]), bio_tags(["Disease"]), groups=np.array([0, 3, 4]))
    >>> spans_in(votes)
    [[Span(start=0, end=2, label='Disease')], [Span(start=0, end=1, label='Disease')]]
    """
    if votes.groups is None:
        raise VotesError("these votes are on rows, not on tokens of documents; spans need a span source")
    names = [*votes.labels, "O"]
    return [decode_bio([names[code] for code in votes.codes[a:b]]) for a, b in zip(votes.groups[:-1], votes.groups[1:], strict=True)]


def span_source(
    *, labels: Sequence[str] | None = None, on: str = "tokens", outside: Outside = "abstain", name: str | None = None
) -> Callable[[Callable[[Any], Iterable[tuple[int, int, str]]]], SpanSource]:
    """Make a function that finds spans in a document a source of token votes.

    The function gets one row, as a labelling function does, and returns ``(start, end, label)`` triples in tokens, end exclusive.

    Parameters
    ----------
    labels : sequence of str, optional
        Labels of the spans; without it the tags are those observed.
    on : str
        The column of token lists that spans refer to.
    outside : {"abstain", "O"}
        Whether tokens outside the spans are left open or voted to be no entity; it holds for documents without any span as well.
    name : str, optional
        Name of the source; the function's own name by default.

    Examples
    --------
    >>> @span_source(labels=["Drug"])
    ... def suffix(row):
    ...     return [(i, i + 1, "Drug") for i, token in enumerate(row.tokens) if token.endswith("mab")]
    >>> suffix.vote(pl.DataFrame({"tokens": [["took", "rituximab"], ["no"]]})).codes.tolist()
    [-1, 1, -1]
    """

    def decorate(function: Callable[[Any], Iterable[tuple[int, int, str]]]) -> SpanSource:
        return SpanSource(function, name=name or str(getattr(function, "__name__", "span_source")), labels=labels, on=on, outside=outside)

    return decorate


class SpanSource(RowSource):
    """A function of one document as a source; made by ``span_source``."""

    def __init__(
        self,
        function: Callable[[Any], Iterable[tuple[int, int, str]]],
        *,
        name: str,
        labels: Sequence[str] | None = None,
        on: str = "tokens",
        outside: Outside = "abstain",
    ) -> None:
        self.function, self.name, self.on, self.outside = function, name, on, check_outside(name, outside)
        self.span_labels = None if labels is None else label_names(name, labels)
        self.labels = None if labels is None else bio_tags(labels)
        self.needs = (on,)

    def __call__(self, row: Any) -> Iterable[tuple[int, int, str]]:
        """Call the function itself."""
        return self.function(row)

    def vote_rows(self, rows: RowBatch, skip: frozenset[int] = frozenset()) -> SourceVotes:
        """Call the function on each document; a document on which it raises is one fault and abstains on all its tokens."""
        check_columns(self.name, self.needs, rows.columns.names)
        lengths = np.array([len(tokens or ()) for tokens in rows.columns[self.on]], dtype=np.int64)
        groups = np.concatenate([[0], np.cumsum(lengths)])
        silent = np.ones(rows.height, dtype=bool)
        known = {label: code for code, label in enumerate(self.span_labels or ())}
        starts, ends, labels, faults = [], [], [], None
        for position, row in rows.visit(skip):
            try:
                found = spans_without_overlap(self.function(row) or ())
            except MissingColumn as error:
                raise SourceError(f"source {self.name!r}: {error}") from error
            except Exception as error:
                faults = replace(faults, count=faults.count + 1) if faults else Faults.of(error, rows.first_row + position)
                continue
            silent[position] = False
            for start, end, label in found:
                self._check(start, end, label, int(lengths[position]), rows.first_row + position)
                starts.append(groups[position] + start)
                ends.append(groups[position] + end)
                labels.append(known.setdefault(label, len(known)))
        fill = np.where(np.repeat(silent, lengths), ABSTAIN, outside_code(self.outside)).astype(np.int32)
        return SourceVotes(paint(starts, ends, labels, int(groups[-1]), fill), bio_tags(known), groups=groups, faults=faults)

    def _check(self, start: int, end: int, label: str, length: int, row: int) -> None:
        if not 0 <= start < end <= length:
            raise VotesError(f"source {self.name!r} returned the span ({start}, {end}) for row {row}, which has {length} tokens")
        if self.span_labels is not None and label not in self.span_labels:
            raise VotesError(f"source {self.name!r} returned {label!r} for row {row}; its labels are {', '.join(self.span_labels)}")


def document_consistency(
    sources: Sequence[Source], *, on: str = "tokens", outside: Outside = "abstain", name: str = "document_consistency"
) -> Source:
    """Vote wherever other sources saw the same words as a span elsewhere in the same document.

    One sense per discourse (Gale, Church and Yarowsky, 1992): a mention that a rule recognises in one place is the same thing in the next.
    An occurrence is judged by the *other* occurrences only, so that this source adds evidence rather than repeating it; when these
    disagree evenly it is silent.

    Parameters
    ----------
    sources : sequence of Source
        Span sources on the same column.
    on : str
        The column of token lists.
    outside : {"abstain", "O"}
        What tokens outside get.
    name : str
        Name of the source.

    Examples
    --------
    >>> @span_source(labels=["Drug"])
    ... def introduced(row):
    ...     return [(i + 1, i + 2, "Drug") for i, token in enumerate(row.tokens) if token == "drug"]
    >>> documents = pl.DataFrame({"tokens": [["the", "drug", "xyz", "works", ";", "xyz", "helps"]]})
    >>> document_consistency([introduced]).vote(documents).codes.tolist()
    [-1, -1, -1, -1, -1, 1, -1]
    """
    return _DocumentConsistency(sources, on=on, outside=outside, name=name)


class _DocumentConsistency(Source):
    def __init__(self, sources: Sequence[Source], *, on: str, outside: Outside, name: str) -> None:
        self.sources, self.on, self.name, self.outside = tuple(sources), on, name, check_outside(name, outside)
        tags = [source.labels for source in self.sources]
        declared = dict.fromkeys(tag for labels in tags for tag in labels or ())
        self.labels = None if None in tags else tuple(declared)
        self.needs = (on,)

    def fit(self, data: pl.DataFrame) -> None:
        for source in self.sources:
            source.fit(data)

    def vote(self, batch: pl.DataFrame) -> SourceVotes:
        check_columns(self.name, self.needs, batch.columns)
        documents: list[list[str]] = [tokens or [] for tokens in batch[self.on].to_list()]
        seen = [spans_in(source.vote(batch)) for source in self.sources]
        groups = np.concatenate([[0], np.cumsum([len(tokens) for tokens in documents])]).astype(np.int64)
        declared = [tag[2:] for tag in self.labels or () if tag.startswith("B-")]
        known = {label: code for code, label in enumerate(declared)}
        painted: list[tuple[int, int, int]] = []
        for i, tokens in enumerate(documents):
            mentions = [span for per_source in seen for span in per_source[i]]
            for start, end, label in spans_without_overlap(_repetitions(tokens, mentions)):
                painted.append((int(groups[i]) + start, int(groups[i]) + end, known.setdefault(label, len(known))))
        starts, ends, labels = zip(*painted, strict=True) if painted else ((), (), ())
        codes = paint(starts, ends, labels, int(groups[-1]), outside_code(self.outside))
        return SourceVotes(codes, bio_tags(known), groups=groups)


def _repetitions(tokens: list[str], mentions: list[Span]) -> list[Span]:
    """Return the places where the words of a mention occur, labelled by what was seen at their other places."""
    seen: dict[tuple[str, ...], dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for start, end, label in mentions:
        seen[tuple(tokens[start:end])][start][label] += 1
    lengths = sorted({len(words) for words in seen})
    found = []
    for start in range(len(tokens)):
        for length in lengths:
            places = seen.get(tuple(tokens[start : start + length]))
            if places is None or start + length > len(tokens):
                continue
            elsewhere = sum((counts for place, counts in places.items() if place != start), start=Counter[str]())
            best = elsewhere.most_common(2)
            if best and (len(best) == 1 or best[0][1] > best[1][1]):
                found.append(Span(start, start + length, best[0][0]))
    return found


def check_outside(name: str, outside: str) -> Outside:
    """Return ``outside`` when it is one of the two policies.

    Examples
    --------
    >>> check_outside("tagger", "O")
    'O'
    """
    if outside not in ("abstain", "O"):
        raise SourceError(f"source {name!r}: outside is 'abstain' or 'O', not {outside!r}")
    return outside  # type: ignore[return-value]


def outside_code(outside: Outside) -> int:
    """Return the code of a token outside all spans.

    Examples
    --------
    >>> outside_code("O"), outside_code("abstain")
    (0, -1)
    """
    return 0 if outside == "O" else ABSTAIN
