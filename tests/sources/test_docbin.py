"""spaCy documents to votes and back."""

from __future__ import annotations

import pytest

spacy_tokens = pytest.importorskip("spacy.tokens", reason="needs the extra spacy")

import polars as pl  # noqa: E402
from spacy.vocab import Vocab  # noqa: E402

from steelyard.errors import VotesError  # noqa: E402
from steelyard.sources import apply, bio_tags, docs_from_votes, gazetteer, span_source, votes_from_docs  # noqa: E402

TABLE = pl.DataFrame({"tokens": [["took", "acetyl", "acid"], ["no", "pain"]]})
SOURCES = [
    gazetteer({"Drug": ["acetyl acid"], "Disease": ["pain"]}),
    span_source(name="last", labels=["Disease"])(lambda row: [(1, 2, "Disease")]),
]


def test_votes_survive_a_stored_docbin() -> None:
    votes = apply(SOURCES, TABLE, classes=bio_tags(["Drug", "Disease"]))
    stored = spacy_tokens.DocBin(docs=docs_from_votes(votes, TABLE["tokens"])).to_bytes()
    again, table = votes_from_docs(spacy_tokens.DocBin().from_bytes(stored), labels=["Drug", "Disease"])
    assert again == votes
    assert table.equals(TABLE)


def test_outside_can_be_a_vote_and_sources_can_be_chosen() -> None:
    docs = docs_from_votes(apply(SOURCES, TABLE), TABLE["tokens"])
    votes, _ = votes_from_docs(docs, sources=["last", "never"], outside="O")
    assert votes.classes == bio_tags(["Disease"])
    assert votes.codes.tolist() == [[0, 0], [1, 0], [0, 0], [0, 0], [1, 0]]


def test_overlapping_spans_are_resolved_to_the_longest() -> None:
    doc = spacy_tokens.Doc(Vocab(), words=["big", "pain"])
    doc.spans["s"] = [spacy_tokens.Span(doc, 1, 2, label="A"), spacy_tokens.Span(doc, 0, 2, label="B")]
    votes, _ = votes_from_docs([doc])
    assert votes.codes[:, 0].tolist() == [3, 4]


def test_mistakes_are_named() -> None:
    docs = docs_from_votes(apply(SOURCES, TABLE), TABLE["tokens"])
    with pytest.raises(VotesError, match="source 'gazetteer' has a span labelled 'Drug'; labels are Disease"):
        votes_from_docs(docs, labels=["Disease"])
    with pytest.raises(VotesError, match="no span groups"):
        votes_from_docs([spacy_tokens.Doc(Vocab(), words=["a"])])
    with pytest.raises(VotesError, match="do not match the tokens"):
        docs_from_votes(apply(SOURCES, TABLE), [["other"]])
