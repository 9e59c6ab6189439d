"""Gazetteers: lists of names per label, matched longest first at token boundaries by an Aho–Corasick automaton.

Aho and Corasick, 1975, "Efficient string matching": one pass over the text however many names there are. The automaton is that of polars.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard.errors import SourceError
from steelyard.sources.base import Source, SourceVotes, check_columns, label_names
from steelyard.sources.spans import Outside, bio_tags, check_outside, outside_code, paint
from steelyard.votes import ABSTAIN

#: Every token is wrapped in a pair of control characters, so that a name can only match from the start of a token to the end of one.
OPEN, CLOSE = "\x1e", "\x1f"
WORDS = r"\w+|[^\w\s]"


def gazetteer(
    entries: Mapping[str, Sequence[str]],
    on: str = "tokens",
    *,
    case_sensitive: bool = False,
    outside: Outside = "abstain",
    name: str = "gazetteer",
) -> Source:
    """Vote for the label under which a name is listed.

    On a column of token lists it is a span source: leftmost-longest matches, one vote per token for a BIO tag. On a column of texts it
    votes once per row, for the label of the name of most words that occurs, then the leftmost.

    Parameters
    ----------
    entries : mapping of label to names
        Names are matched as they split at spaces, and as they split at punctuation too.
    on : str
        The column of tokens or of texts.
    case_sensitive : bool
        Whether case matters.
    outside : {"abstain", "O"}
        What tokens outside the matches get, see ``spans``.
    name : str
        Name of the source.

    Raises
    ------
    SourceError
        When no name is listed, one is empty, or one is listed under two labels.

    Examples
    --------
    >>> places = gazetteer({"City": ["New York", "York"], "River": ["Ouse"]})
    >>> votes = places.vote(pl.DataFrame({"tokens": [["from", "York", "to", "new", "york"]]}))
    >>> [votes.labels[code] if code >= 0 else None for code in votes.codes]
    [None, 'B-City', None, 'B-City', 'I-City']
    """
    return Gazetteer(entries, on=on, case_sensitive=case_sensitive, outside=outside, name=name)


class Gazetteer(Source):
    """Names per label as a source; made by ``gazetteer``."""

    def __init__(
        self,
        entries: Mapping[str, Sequence[str]],
        *,
        on: str = "tokens",
        case_sensitive: bool = False,
        outside: Outside = "abstain",
        name: str = "gazetteer",
    ) -> None:
        self.name, self.on, self.case_sensitive, self.outside = name, on, case_sensitive, check_outside(name, outside)
        if not isinstance(entries, Mapping):
            raise SourceError(f"source {name!r} needs names by label, as in {{'DRUG': ['aspirin', 'ibuprofen']}}, not {entries!r:.60}")
        entries = {label: [names] if isinstance(names, str) else names for label, names in entries.items()}
        self.entity_labels = label_names(name, entries)
        self.needs = (on,)
        listed = [(code, phrase) for code, phrases in enumerate(entries.values()) for phrase in phrases]
        spellings = [
            (code, phrase, _wrapped(tokens)) for code, phrase in listed for tokens in dict.fromkeys((tuple(phrase.split()), _words(phrase)))
        ]
        folded = self._fold(pl.Series([pattern for *_, pattern in spellings], dtype=pl.String))
        patterns: dict[str, int] = {}
        for (code, phrase, _), pattern in zip(spellings, folded, strict=True):
            if not pattern:
                raise SourceError(f"source {name!r} lists an empty name under {self.entity_labels[code]!r}; remove it")
            if patterns.setdefault(pattern, code) != code:
                both = f"both {self.entity_labels[patterns[pattern]]!r} and {self.entity_labels[code]!r}"
                raise SourceError(f"source {name!r} lists {phrase!r} under {both}; keep one")
        if not patterns:
            raise SourceError(f"source {name!r} lists no names; give at least one")
        # Longest first: of the names that begin at the same token polars takes the one that is listed first.
        self._patterns = dict(sorted(patterns.items(), key=lambda item: (-item[0].count(OPEN), -len(item[0]), item[0])))

    def fit(self, data: pl.DataFrame) -> None:
        """See from the type of the column whether votes are for BIO tags or for the labels themselves."""
        self.labels = bio_tags(self.entity_labels) if isinstance(data[self.on].dtype, pl.List) else self.entity_labels

    def vote(self, batch: pl.DataFrame) -> SourceVotes:
        """Find the names in the tokens or texts of the batch."""
        check_columns(self.name, self.needs, batch.columns)
        column = batch[self.on]
        by_token = isinstance(column.dtype, pl.List)
        if not by_token and column.dtype != pl.String:
            raise SourceError(f"source {self.name!r} needs texts or lists of tokens, but the column {self.on!r} is of type {column.dtype}")
        tokens = column if by_token else column.str.extract_all(WORDS)
        starts, lengths, labels, groups = self._matches(tokens)
        if by_token:
            codes = paint(starts, starts + lengths, labels, int(groups[-1]), outside_code(self.outside))
            return SourceVotes(codes, bio_tags(self.entity_labels), groups=groups)
        rows = np.searchsorted(groups, starts, side="right") - 1
        codes = np.full(len(batch), ABSTAIN, dtype=np.int32)
        order = np.lexsort((-starts, lengths))  # later writes win: the longest, then the leftmost
        codes[rows[order]] = labels[order]
        return SourceVotes(codes, self.entity_labels)

    def _matches(self, tokens: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return first token, number of tokens and label of each match, and the offsets of the documents."""
        sizes = tokens.list.len().fill_null(0).to_numpy().astype(np.int64)
        groups = np.concatenate([[0], np.cumsum(sizes)])
        clean = pl.element().cast(pl.String).fill_null("").str.replace_all(f"[{OPEN}{CLOSE}]", " ")
        wrapped = (
            tokens.to_frame("tokens")
            .select(
                pl.when(pl.col("tokens").list.len() > 0)
                .then(OPEN + pl.col("tokens").list.eval(clean).list.join(CLOSE + OPEN) + CLOSE)
                .otherwise(pl.lit(""))
                .alias("text")
            )
            .to_series()
        )
        wrapped = self._fold(wrapped)
        patterns = list(self._patterns)
        found = wrapped.to_frame("text").select(
            at=pl.col("text").str.find_many(patterns, leftmost=True),
            name=pl.col("text").str.extract_many(patterns, leftmost=True),
            document=pl.col("text").str.len_bytes().cum_sum() - pl.col("text").str.len_bytes(),
        )
        flat = found.explode("at", "name").drop_nulls("at")
        text = np.frombuffer("".join(wrapped.to_list()).encode(), dtype=np.uint8)
        token_at = np.cumsum(text == ord(OPEN)) - 1  # the token that each byte of the concatenated documents belongs to
        starts = token_at[(flat["document"] + flat["at"]).to_numpy()] if len(flat) else np.empty(0, dtype=np.int64)
        lengths = flat["name"].str.count_matches(OPEN, literal=True).to_numpy().astype(np.int64)
        labels = flat["name"].replace_strict(self._patterns, return_dtype=pl.Int64).to_numpy()
        return starts.astype(np.int64), lengths, labels, groups

    def _fold(self, texts: pl.Series) -> pl.Series:
        return texts if self.case_sensitive else texts.str.to_lowercase()


def _words(phrase: str) -> tuple[str, ...]:
    return tuple(re.findall(WORDS, phrase))


def _wrapped(tokens: Sequence[str]) -> str:
    return "".join(f"{OPEN}{token}{CLOSE}" for token in tokens)
