"""Sources that are one vectorised expression: keywords, a regular expression, or any condition on columns.

They run in polars' Rust engine on all cores, hundreds of times faster than the same rule as a Python function.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from steelyard.errors import SourceError
from steelyard.sources.base import Source, SourceVotes, check_columns, label_names

# A regular expression of more words is searched no faster than their Aho-Corasick automaton, and may outgrow its size limit.
_MOST_ALTERNATIVES = 100


class ExpressionSource(Source):
    """Vote ``label`` wherever a boolean polars expression holds.

    Examples
    --------
    >>> liked = ExpressionSource(pl.col("likes") > 2, label="HAM", name="liked")
    >>> liked.vote(pl.DataFrame({"likes": [0, 5, None]})).codes
    array([-1,  0, -1], dtype=int8)
    """

    def __init__(self, condition: pl.Expr, *, label: str, name: str, named_by_default: bool = False) -> None:
        self.condition, self.label, self.name = condition, label, name
        self.named_by_default = named_by_default
        self.labels = label_names(name, (label,))
        self.needs = tuple(condition.meta.root_names())

    def vote(self, batch: pl.DataFrame) -> SourceVotes:
        """Evaluate the condition; null counts as false."""
        check_columns(self.name, self.needs, batch.columns)
        return self.vote_where(batch.select(self.condition.alias(self.name)).to_series(), batch.height)

    def vote_where(self, hit: pl.Series, height: int) -> SourceVotes:
        """Vote for the rows of a table of this height on which the condition, evaluated already, holds."""
        if hit.dtype != pl.Boolean:
            raise SourceError(
                f"source {self.name!r} is of type {hit.dtype}, not a condition; write a comparison such as 'length(text) < 20'"
            )
        if len(hit) != height:  # a condition on the whole column, or on a literal, holds for every row or none
            hit = hit.new_from_index(0, height)
        return SourceVotes.where(hit, self.label)


def evaluate_together(sources: Sequence[ExpressionSource], frame: pl.DataFrame) -> dict[str, pl.Series]:
    """Evaluate the conditions of several sources in one query, in which columns run side by side and common parts are computed once.

    Empty when one of them fails: each source then votes by itself, so that the fault is its own.

    Examples
    --------
    >>> rules = [keywords(["Free"], label="SPAM", name="free"), regex("song", label="HAM", name="song")]
    >>> evaluate_together(rules, pl.DataFrame({"text": ["free song"]}))["free"].to_list()
    [True]
    """
    try:
        hits = frame.lazy().select([source.condition.alias(f"{i}") for i, source in enumerate(sources)]).collect()
    except pl.exceptions.PolarsError:
        return {}
    return {source.name: hits[f"{i}"] for i, source in enumerate(sources)}


def keywords(
    words: str | Sequence[str],
    on: str = "text",
    *,
    label: str,
    case_sensitive: bool = False,
    whole_words: bool = False,
    name: str | None = None,
) -> Source:
    """Vote ``label`` for texts that contain one of the words or phrases.

    Parameters
    ----------
    words : str or sequence of str
        What to look for, literally.
    on : str
        The column of texts.
    label : str
        What a hit votes for.
    case_sensitive : bool
        Otherwise letters match in either case, also outside ASCII.
    whole_words : bool
        Whether a hit must not touch a further letter, digit or underscore.
    name : str, optional
        Name of the source; made from the first words by default.

    Raises
    ------
    SourceError
        When there is no word, or one that is empty or no text.

    Examples
    --------
    >>> advert = keywords(["subscribe", "check out"], on="text", label="SPAM")
    >>> advert.name, advert.vote(pl.DataFrame({"text": ["Check out my song", "lovely"]})).codes.tolist()
    ('keywords_subscribe_check_out', [0, -1])
    """
    words = [words] if isinstance(words, str) else list(words)
    made_up, name = name is None, name or _name("keywords", *map(str, words[:3]))
    if not words or not all(isinstance(word, str) and word for word in words):
        raise SourceError(f"source {name!r} needs at least one word, and each must be a text that is not empty")
    text = pl.col(on)
    if not case_sensitive:
        # Lower-casing is what many rules on one column share; a search that folds case as it goes is done for each anew.
        text, words = text.str.to_lowercase(), [word.lower() for word in words]
    pattern = "|".join(_escape(word) for word in words)
    if whole_words:
        found = text.str.contains(rf"\b{{start-half}}(?:{pattern})\b{{end-half}}")
    elif len(words) <= _MOST_ALTERNATIVES:
        found = text.str.contains(pattern)
    else:
        found = text.str.contains_any(words)
    return ExpressionSource(found, label=label, name=name, named_by_default=made_up)


def regex(pattern: str, on: str = "text", *, label: str, name: str | None = None) -> Source:
    """Vote ``label`` for texts in which a regular expression matches somewhere.

    The syntax is that of Rust's ``regex``: linear time, no look-around or back-references; ``(?i)`` at the front ignores case.

    Raises
    ------
    SourceError
        When the pattern is not one.

    Examples
    --------
    >>> link = regex(r"https?://", on="text", label="SPAM", name="has_link")
    >>> link.vote(pl.DataFrame({"text": ["see http://a.b", "lovely"]})).codes.tolist()
    [0, -1]
    """
    made_up, name = name is None, name or _name("regex", pattern)
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        # Only the last line says what is wrong; the ones above draw the pattern and polars' own plan.
        reason = next((line for line in reversed(str(error).splitlines()) if line.startswith("error:")), str(error).splitlines()[0])
        raise SourceError(f"source {name!r}: {pattern!r} is not a regular expression that Rust's regex knows ({reason})") from None
    return ExpressionSource(pl.col(on).str.contains(pattern), label=label, name=name, named_by_default=made_up)


def expr(condition: str | pl.Expr, *, label: str, name: str | None = None) -> Source:
    """Vote ``label`` wherever a condition on columns holds.

    Parameters
    ----------
    condition : str or polars.Expr
        A polars expression, or a condition in SQL: ``"likes > 3 AND text LIKE '%song%'"``. ``len(text)`` counts characters.
    label : str
        What a hit votes for.
    name : str, optional
        Name of the source; made from the condition by default.

    Raises
    ------
    SourceError
        When the string is not such a condition.

    Examples
    --------
    >>> short = expr("len(text) < 20", label="HAM")
    >>> short.vote(pl.DataFrame({"text": ["lovely", "a comment that goes on and on"]})).codes.tolist()
    [0, -1]
    """
    made_up, name = name is None, name or _name("expr", str(condition))
    if isinstance(condition, str):
        try:
            condition = pl.sql_expr(_with_len(condition))
        except pl.exceptions.PolarsError as error:
            raise SourceError(f"source {name!r}: {condition!r} is not a condition in SQL: {error}") from error
    return ExpressionSource(condition, label=label, name=name, named_by_default=made_up)


def _with_len(condition: str) -> str:
    """Write Python's ``len(`` as SQL's ``length(``, except inside quotes."""
    quoted_or_len = re.compile(r"""('(?:[^']|'')*'|"[^"]*")|\blen\s*\(""", re.IGNORECASE)
    return quoted_or_len.sub(lambda match: match[1] or "length(", condition)


def _escape(word: str) -> str:
    """Quote a word for Rust's regex, which refuses the backslashes that Python puts before harmless letters."""
    return re.sub(r"([\\.+*?()|\[\]{}^$#&\-~])", r"\\\1", word)


def _name(kind: str, *parts: str) -> str:
    words = re.sub(r"\W+", "_", "_".join(parts)).strip("_")
    return f"{kind}_{words}"[:48].rstrip("_")
