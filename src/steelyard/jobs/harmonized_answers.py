"""Answers of a language model beside cheap sources: the task, from a named set or a user's table, and the harmonizer scored on rows it
never saw. The named sets stand in for a language model with a zero-shot classifier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from steelyard import datasets
from steelyard.datasets import TableFile, encode_labels, text_column
from steelyard.errors import ConfigError, DataError
from steelyard.jobs.sources_file import load_sources
from steelyard.label_models.harmonizer import ParetoHarmonizer
from steelyard.sources import apply, keywords, zero_shot
from steelyard.sources.answers import mentioned
from steelyard.votes import ABSTAIN, Votes

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]

CLINC150 = "clinc150"
LLM = "llm"
_SHOWN_INTENTS = 3
_RULES_PER_DOMAIN = 3
_SHORTEST_KEYWORD = 3
_FOLDS = 5
_FEWEST = 20


@dataclass(frozen=True, eq=False)
class AnswerTask:
    """n texts with one answer each.

    Parameters
    ----------
    table : polars.DataFrame
        n rows.
    on : str
        Its text column.
    votes : Votes
        Of the cheap sources, n rows.
    answers : (n,) int64
        Classes that the language model named, -1 = unsure or unreadable.
    y : (n,) int64
        Gold, -1 = unknown: to measure on, and on `valid` for baselines that need some.
    train, valid, test : int arrays
        Rows. Where `train` and `test` are the same rows, each is scored by a harmonizer that did not learn from it.
    probabilities : (n, k) float array, optional
        What the language model says of each class; or `confidence` (n,) of the class it names, NaN where it does not say.
    about : dict
        Name, licence, citation and checksum of the data.
    """

    table: pl.DataFrame
    on: str
    votes: Votes
    answers: Codes
    y: Codes
    train: Codes
    valid: Codes
    test: Codes
    probabilities: NDArray[np.float32] | None = None
    confidence: Floats | None = None
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the k classes."""
        return self.votes.classes

    @property
    def joined(self) -> Votes:
        """(n, m + 1) votes of the sources and, last, of the language model."""
        return self.votes.with_sources(self.answers_alone)

    @property
    def answers_alone(self) -> Votes:
        """(n, 1) votes of the language model."""
        return Votes(self.answers[:, None], classes=self.classes, sources=[LLM])


def harmonized(model: ParetoHarmonizer, features: NDArray[np.float32], votes: Votes, task: AnswerTask) -> NDArray[np.float32]:
    """Probabilities (t, k) of the test rows, fitted on the training rows, or over folds where they are the same rows.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, rows = rng.normal(size=(200, 2)).astype(np.float32), np.arange(200)
    >>> y = (x[:, 0] > 0).astype(np.int64)
    >>> votes = Votes(y[:, None], classes=["no", "yes"], sources=["rule"])
    >>> task = AnswerTask(pl.DataFrame({"text": [""] * 200}), "text", votes, 1 - y, y, rows, rows[:0], rows)
    >>> h = harmonized(ParetoHarmonizer(hidden=None, epochs=30, learning_rate=0.05), x, votes, task)
    >>> bool((h.argmax(1) == y).mean() > 0.9)
    True
    """
    if not np.array_equal(task.train, task.test):
        fitted = model.fit(features[task.train], votes.take(task.train))
        return fitted.predict_proba(features[task.test])
    if len(features) < _FEWEST:
        raise ConfigError(f"{len(features)} rows are too few to fit a harmonizer and score it on others; give at least {_FEWEST}")
    fold = np.random.default_rng(model.seed).permutation(len(features)) % _FOLDS
    h = np.zeros((len(features), votes.n_classes), dtype=np.float32)
    for f in range(fold.max() + 1):
        learned, scored = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        h[scored] = model.fit(features[learned], votes.take(learned)).predict_proba(features[scored])
    return h[task.test]


def load_named_task(name: str, seed: int) -> AnswerTask:
    """A named data set with sources, and a zero-shot classifier in the place of a language model.

    For clinc150 the classes are the 10 domains; the classifier knows three intent names of each, drawn by `seed`; the sources are the words
    of all intent names that belong to one domain only, in three lists per domain. Other sets need published votes; there the classifier
    knows the class names. No label of any row is read for either.

    Raises
    ------
    DataError, ConfigError
        The data cannot be read, or come without votes.
    """
    data = datasets.load(name)
    about = {key: getattr(data, key) for key in ("name", "licence", "citation", "checksum")}
    on: str
    if data.name == CLINC150:
        parts = [data[split] for split in ("train", "val", "test")]
        table = pl.concat(parts).rename({"label": "intent", "domain": "label"})
        intents = _intents_by_domain(table)
        rng = np.random.default_rng(seed)
        shown = {domain: [str(i).replace("_", " ") for i in rng.choice(names, _SHOWN_INTENTS, False)] for domain, names in intents.items()}
        votes = apply(keyword_sources(intents), table.select("text"), classes=list(intents))
        on = "text"
    else:
        if not data.votes or not isinstance(data.on, str) or data.is_sequence:
            raise ConfigError(f"data set '{name}' has no texts with published votes; use clinc150, one that has, or a table with --llm")
        data, on = data.divided(), str(data.on)
        names = [split for split in ("train", "valid", "dev", "test") if split in data.votes]
        same = [split for split in names if data.votes[split].sources == data.votes[names[-1]].sources]
        parts = [data[split] for split in same]
        table = pl.concat([part.select(on, pl.col(data.label).alias("label")) for part in parts])
        votes = Votes.concat([data.votes[split] for split in same])
        shown = {label: [label.replace("_", " ")] for label in data.classes}
    ends = np.cumsum([0, *(len(part) for part in parts)])
    rows = [np.arange(start, stop) for start, stop in pairwise(ends)]
    if len(rows) < 2:
        raise ConfigError(
            f"data set '{name}' has one split with all its sources; two are needed to learn from one and measure on the other"
        )
    valid = rows[1] if len(rows) > 2 else rows[0][:0]
    probabilities = zero_shot(shown, on=on).predict_proba(table.select(on))
    y = encode_labels(table["label"], votes.classes)
    return AnswerTask(table, on, votes, probabilities.argmax(axis=1), y, rows[0], valid, rows[-1], probabilities, about=about)


def keyword_sources(intents: Mapping[str, Sequence[str]]) -> list[Any]:
    """Words of intent names that occur in one domain only, stop words left out, as three keyword sources per domain.

    Examples
    --------
    >>> sources = keyword_sources({"bank": ["pay_invoice", "balance"], "travel": ["book_flight", "pay_visa"]})
    >>> [(source.name, source.label) for source in sources]
    [('balance', 'bank'), ('invoice', 'bank'), ('book', 'travel'), ('flight', 'travel'), ('visa', 'travel')]
    """
    words = {domain: {word for name in names for word in name.split("_")} for domain, names in intents.items()}
    found = []
    for domain, own in words.items():
        others = set().union(*(said for other, said in words.items() if other != domain))
        rules = sorted(word for word in own - others if len(word) >= _SHORTEST_KEYWORD and word not in ENGLISH_STOP_WORDS)
        for part in range(_RULES_PER_DOMAIN):
            listed = rules[part::_RULES_PER_DOMAIN]
            if listed:
                found.append(keywords(listed, on="text", label=domain, whole_words=True, name=", ".join(listed)))
    return found


def load_table_task(
    path: str,
    *,
    text: str | None,
    label: str,
    llm: str | None,
    confidence: str | None,
    sources: str | None,
    votes: Sequence[str],
    classes: Sequence[str],
) -> AnswerTask:
    """A user's own table: a text column, the model's answers in words, and votes as columns of class names or a file of sources.

    Parameters
    ----------
    path : str
        Parquet, CSV or JSON lines.
    text : str, optional
        Text column; the longest one when left out.
    label : str
        Gold column, may be missing; hidden from the sources.
    llm : str, optional
        Column of the model's answers: the class named first counts, "unsure" or none is no answer. Left out: to be asked.
    confidence : str, optional
        Column of the model's own confidence in [0, 1].
    sources : str, optional
        Python file of sources.
    votes : sequence of str
        Columns that hold votes as class names, null = abstains.
    classes : sequence of str
        Class names; left out: those of the sources file, the vote columns and the gold column.

    Raises
    ------
    DataError, ConfigError, SourceError
        A column is missing, holds something else, or fewer than two classes are known.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "mail.csv"
    >>> _ = file.write_text("text,said,rule\\nfree money,It is SPAM.,SPAM\\nsee you,unsure,HAM\\n")
    >>> given = dict(text=None, label="label", llm="said", confidence=None, sources=None, votes=["rule"], classes=[])
    >>> task = load_table_task(str(file), **given)
    >>> task.classes, task.answers.tolist(), task.y.tolist()
    (('HAM', 'SPAM'), [1, -1], [-1, -1])
    """
    file = TableFile(path)
    file.require(*votes, *(name for name in (text, llm, confidence) if name))
    table = file.read()
    if not votes and sources is None:
        raise ConfigError("name what votes beside the model: --votes with columns of class names, or --sources with a Python file")
    on = text or text_column(table, without=(label, *votes, llm or ""), where=f"data file '{path}'")
    table = table.with_columns(pl.col(name).cast(pl.String) for name in (*votes, *([label] if label in table.columns else [])))
    found = load_sources(sources) if sources else None
    named = list(classes or (found.class_names() if found and not votes else ()))
    if not named:
        columns = [*votes, *([label] if label in table.columns else [])]
        named = sorted(
            {value for name in columns for value in table[name].drop_nulls().unique()} | set(found.class_names() if found else ())
        )
    if len(named) < 2:
        raise ConfigError(f"only {len(named)} class is known ({', '.join(named) or 'none'}); name all with --classes A,B")
    for name in votes:
        stranger = next((value for value in table[name].drop_nulls().unique() if value not in named), None)
        if stranger is not None:
            raise DataError(f"column '{name}' of '{path}' votes '{stranger}', which is no class; classes are {', '.join(named)}")
    columns_said = [encode_labels(table[name], tuple(named)) for name in votes]
    cast = Votes(np.stack(columns_said, axis=1), classes=named, sources=list(votes)) if votes else None
    if found:
        ran = apply(found.sources, table.drop(name for name in (label, llm) if name in table.columns), classes=named)
        cast = ran if cast is None else cast.with_sources(ran)
    assert cast is not None
    sure = None
    if confidence:
        sure = table[confidence].cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
        if not (np.isnan(sure) | ((sure >= 0) & (sure <= 1))).all():
            raise DataError(f"column '{confidence}' of '{path}' must hold the model's confidence between 0 and 1, or null")
    y = encode_labels(table[label], tuple(named)) if label in table.columns else np.full(len(table), ABSTAIN)
    answers = np.full(len(table), ABSTAIN) if llm is None else read_answers(table[llm], named)
    rows = np.arange(len(table))
    about = {"name": Path(path).stem, "licence": "your own", "citation": "your own", "checksum": file.fingerprint()}
    return AnswerTask(table, on, cast, answers, y, rows, rows[:0], rows, confidence=sure, about=about)


def read_answers(column: pl.Series, classes: Sequence[str]) -> Codes:
    """(n,) class that each answer mentions first; -1 for "unsure", for none, and for null.

    Examples
    --------
    >>> read_answers(pl.Series(["Probably spam, not ham", "Unsure; spam?", None, "eggs"]), ["HAM", "SPAM"]).tolist()
    [1, -1, -1, -1]
    """
    index = {name: code for code, name in enumerate(classes)}
    words = (*classes, "unsure")
    return np.array([index.get(mentioned(text or "", words) or "", ABSTAIN) for text in column.cast(pl.String)], dtype=np.int64)


def asked_again(task: AnswerTask, answers: Codes) -> AnswerTask:
    """The task with other answers, whose confidence is not known.

    Examples
    --------
    >>> votes = Votes([[0]], classes=["no", "yes"])
    >>> rows = np.arange(1)
    >>> task = AnswerTask(pl.DataFrame({"text": ["a"]}), "text", votes, rows, rows, rows, rows, rows)
    >>> asked_again(task, np.array([1])).answers.tolist()
    [1]
    """
    return replace(task, answers=answers, probabilities=None, confidence=None)


def _intents_by_domain(table: pl.DataFrame) -> dict[str, list[str]]:
    pairs = table.select("label", "intent").unique().sort("label", "intent")
    return {str(key[0]): part["intent"].to_list() for key, part in pairs.partition_by("label", as_dict=True, maintain_order=True).items()}
