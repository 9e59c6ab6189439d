"""The data of attribute extraction: strong and weak documents with tags, test documents, and a log of surface forms and values.

Doğan, Leaman, Lu 2014, "NCBI Disease Corpus" with the rules of Safranchik, Luo, Bach 2020 is the built-in stand-in for a query log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard import datasets
from steelyard.datasets.resolve import DataFile, locate
from steelyard.datasets.tables import TableFile
from steelyard.errors import ConfigError, DataError
from steelyard.evaluation.sequences import Span, spans_from_bio
from steelyard.sources.logs import BehaviourLog

NAMED = "ncbi_disease"
WEAK_RULES = ("tag-CoreDictionaryExact", "tag-BodyTerms")
_MENTIONS = DataFile("el_disease_ncbi_bc5cdr/mentions.parquet", "dd2be7f6637f9d9cc1856b05a77ed28c988ce8b1162c850a7857a8906e583988")
_TEXTS = DataFile("el_disease_ncbi_bc5cdr/documents.parquet", "9b54792e4aa2ea5dec28fc8c08269f1dd08008f79f0a09a739331c6d9437041e")
Tagged = tuple[list[list[str]], list[NDArray[np.int64]]]


@dataclass(frozen=True)
class AttributeTask:
    """What an extractor learns from and is measured on.

    Parameters
    ----------
    classes : tuple of str
        BIO tags.
    strong : documents with class indices of every word
    weak : documents with class indices, -1 = unknown
    test : documents with class indices
    log, mentions : DataFrame or None
        Columns surface, type, value (and category, count) to fit a normalizer on, and to measure it on.
    values : list of sets of (type, value), or None
        What each test document names.
    about : dict
        Name, licence, citation.
    """

    classes: tuple[str, ...]
    strong: Tagged
    weak: Tagged
    test: Tagged
    log: pl.DataFrame | None
    mentions: pl.DataFrame | None
    values: list[set[tuple[str, str]]] | None
    about: dict[str, str]

    def gold_spans(self) -> list[list[Span]]:
        """Spans of the test documents."""
        return [spans_from_bio([self.classes[c] for c in codes]) for codes in self.test[1]]


def load_task(data: str, clicks: str | None, products: str | None, strong: int, wrong_ids: float, seed: int) -> AttributeTask:
    """The built-in stand-in, or a user's own tables.

    Parameters
    ----------
    data : str
        ``ncbi_disease``, or a table with the columns ``words`` (list), ``tags`` (list of BIO tags) and ``split`` (train or test).
    clicks, products : str or None
        Tables of a `BehaviourLog`, with own data.
    strong : int
        How many documents of the stand-in have gold tags.
    wrong_ids : float
        Share of the stand-in's log whose value is replaced by another at random.
    seed : int
    """
    if data == NAMED:
        return _stand_in(strong, wrong_ids, seed)
    if clicks is None or products is None:
        raise ConfigError(f"own data need a log: give --clicks and --products beside '{data}', or use data={NAMED}")
    return _own(Path(data), Path(clicks), Path(products))


def _stand_in(strong: int, wrong_ids: float, seed: int) -> AttributeTask:
    data = datasets.load(NAMED)
    random = np.random.default_rng(seed)
    train, test = data["train"], data["test"]
    if not 0 < strong < len(train):
        raise ConfigError(f"strong must lie between 1 and {len(train) - 1}, got {strong}")
    order = random.permutation(len(train))
    votes = data.votes["train"]
    assert votes.groups is not None
    rules = [votes.sources.index(name) for name in WEAK_RULES]
    outside = votes.classes.index("O")
    named = np.where(votes.codes[:, rules] == outside, -1, votes.codes[:, rules])
    # The dictionary goes first; where no rule names a word, nothing is known of it.
    weak = np.where(named[:, 0] >= 0, named[:, 0], named[:, 1])
    gold = data.labels("train")
    documents = train["tokens"].to_list()
    parts = [(documents[i], gold[a:b], weak[a:b]) for i, (a, b) in enumerate(pairwise(votes.groups))]
    first, rest = order[:strong], order[strong:]
    bounds = np.cumsum([0, *test["tokens"].list.len().to_list()])
    test_gold = data.labels("test")
    log, mentions, concepts = _mentions(random, wrong_ids)
    values = [concepts.get(_key(" ".join(words)), set()) for words in test["tokens"].to_list()]
    return AttributeTask(
        data.classes,
        ([parts[i][0] for i in first], [parts[i][1] for i in first]),
        ([parts[i][0] for i in rest], [parts[i][2].astype(np.int64) for i in rest]),
        (test["tokens"].to_list(), [test_gold[a:b] for a, b in pairwise(bounds)]),
        log,
        mentions,
        values,
        {"name": data.name, "licence": data.licence, "citation": data.citation},
    )


def _mentions(random: np.random.Generator, wrong_ids: float) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, set[tuple[str, str]]]]:
    """A log of mentions with some wrong concepts, the test mentions, and the concepts of each test document by its text."""
    table, texts = (pl.read_parquet(locate(file)).filter(pl.col("corpus") == NAMED) for file in (_MENTIONS, _TEXTS))
    # Of several concepts the first; all of one type, since the tagger knows one.
    rows = table.with_columns(pl.col("concept_ids").list.first().alias("value"), pl.lit("Disease").alias("type")).drop_nulls("value")
    rows = rows.select("split", "doc_id", "type", pl.col("mention").str.to_lowercase().alias("surface"), "value")
    log = rows.filter(pl.col("split") == "train")
    wrong = random.random(len(log)) < wrong_ids
    noise = random.choice(log["value"].unique(maintain_order=True).to_numpy(), len(log))
    log = log.with_columns(pl.Series("value", np.where(wrong, noise, log["value"].to_numpy())))
    test = rows.filter(pl.col("split") == "test")
    text_of = dict(texts.filter(pl.col("split") == "test").select("doc_id", "text").iter_rows())
    concepts: dict[str, set[tuple[str, str]]] = {}
    for doc, value in test.select("doc_id", "value").iter_rows():
        concepts.setdefault(_key(text_of[doc]), set()).add(("Disease", value))
    return log.select("surface", "type", "value"), test.select("surface", "type", "value"), concepts


def _key(text: str) -> str:
    return re.sub(r"\W", "", text.lower())[:60]


def _own(path: Path, clicks: Path, products: Path) -> AttributeTask:
    file = TableFile(path)
    file.require("words", "tags", "split")
    table = file.read()
    tags = sorted({tag for row in table["tags"] for tag in row} - {"O"})
    log = BehaviourLog(TableFile(clicks).read(), TableFile(products).read())
    queries = log.weak_queries()
    kinds = {tag[2:] for tag in tags} | {kind for query in queries for _, _, kind in query.spans}
    classes = ("O", *(f"{side}-{kind}" for kind in sorted(kinds) for side in "BI"))
    parts = {}
    for split in ("train", "test"):
        rows = table.filter(pl.col("split") == split)
        if not len(rows):
            raise DataError(f"data file '{path}' has no rows of split '{split}'; it needs train and test")
        parts[split] = (rows["words"].to_list(), [_codes(row, classes, path) for row in rows["tags"].to_list()])
    weak = ([list(query.words) for query in queries], [_codes(query.tags(), classes, path) for query in queries])
    values = log.value_table()
    about = {"name": path.stem, "licence": "your own", "citation": "none"}
    return AttributeTask(classes, parts["train"], weak, parts["test"], values if len(values) else None, None, None, about)


def _codes(tags: Sequence[str], classes: tuple[str, ...], path: Path) -> NDArray[np.int64]:
    place = {name: i for i, name in enumerate(classes)} | {"": -1}
    unknown = [tag for tag in tags if tag not in place]
    if unknown:
        raise DataError(f"data file '{path}' has the tag '{unknown[0]}', which is not BIO; write O, B-type or I-type")
    return np.array([place[tag] for tag in tags], dtype=np.int64)
