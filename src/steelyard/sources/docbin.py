"""spaCy documents as token votes and back: each key of ``doc.spans`` is a source, as skweak and spaCy's own tools keep them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from steelyard.errors import SourceError, VotesError
from steelyard.sources.base import SourceVotes
from steelyard.sources.spans import Outside, bio_tags, check_outside, outside_code, paint, spans_in, spans_without_overlap
from steelyard.votes import Votes

if TYPE_CHECKING:
    from spacy.tokens import Doc, DocBin


def votes_from_docs(
    docs: DocBin | Iterable[Doc], *, sources: Sequence[str] | None = None, labels: Sequence[str] | None = None, outside: Outside = "abstain"
) -> tuple[Votes, pl.DataFrame]:
    """Read the span groups of spaCy documents.

    Parameters
    ----------
    docs : DocBin or iterable of Doc
        Documents whose ``spans`` hold one group per source.
    sources : sequence of str, optional
        Which groups to read; all, in the order of their first appearance, by default.
    labels : sequence of str, optional
        Labels of spans, in the order the tags shall have; those that occur, sorted, by default.
    outside : {"abstain", "O"}
        What tokens outside a group's spans get, see ``spans``.

    Returns
    -------
    Votes (n_tokens, m) for BIO tags with the documents as groups, and a table with the column ``tokens``.

    Raises
    ------
    VotesError
        When a span has a label that is not among ``labels``, or there is no span group.

    Examples
    --------
    >>> from spacy.tokens import Doc, Span
    >>> from spacy.vocab import Vocab
    >>> doc = Doc(Vocab(), words=["took", "aspirin"])
    >>> doc.spans["lexicon"] = [Span(doc, 1, 2, label="Drug")]
    >>> votes, table = votes_from_docs([doc])
    >>> votes.sources, votes.classes, votes.codes.tolist()
    (('lexicon',), ('O', 'B-Drug', 'I-Drug'), [[-1], [1]])
    """
    documents = _documents(docs)
    names = list(dict.fromkeys(key for doc in documents for key in doc.spans)) if sources is None else list(sources)
    if not names:
        raise VotesError("the documents have no span groups; each source's spans belong under doc.spans[source]")
    kinds = (
        sorted({span.label_ for doc in documents for name in names for span in doc.spans.get(name, ())}) if labels is None else list(labels)
    )
    lengths = [len(doc) for doc in documents]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    fill = outside_code(check_outside("DocBin", outside))
    codes = np.empty((offsets[-1], len(names)), dtype=np.int32, order="F")
    for j, name in enumerate(names):
        starts, ends, found = [], [], []
        for doc, offset in zip(documents, offsets[:-1], strict=True):
            for span in spans_without_overlap((span.start, span.end, span.label_) for span in doc.spans.get(name, ())):
                if span.label not in kinds:
                    raise VotesError(f"source {name!r} has a span labelled {span.label!r}; labels are {', '.join(kinds)}")
                starts.append(offset + span.start)
                ends.append(offset + span.end)
                found.append(kinds.index(span.label))
        codes[:, j] = paint(starts, ends, found, int(offsets[-1]), fill)
    table = pl.DataFrame({"tokens": [[token.text for token in doc] for doc in documents]}, schema={"tokens": pl.List(pl.String)})
    return Votes(codes, classes=bio_tags(kinds), sources=names, groups=offsets), table


def docs_from_votes(votes: Votes, tokens: Iterable[Sequence[str]], *, vocab: Any = None) -> list[Doc]:
    """Write token votes as spaCy documents, each source's spans under ``doc.spans[source]``; ``DocBin(docs=...)`` stores them.

    Parameters
    ----------
    votes : Votes
        Token votes with groups.
    tokens : iterable of sequences of str
        The words of each document, for instance ``table["tokens"]``.
    vocab : spacy.vocab.Vocab, optional
        Vocabulary of the documents; a new one by default.

    Examples
    --------
    >>> votes = Votes([[1], [2], [-1]], classes=bio_tags(["Place"]), sources=["map"], groups=[0, 3])
    >>> [doc] = docs_from_votes(votes, [["New", "York", "!"]])
    >>> [(span.text, span.label_) for span in doc.spans["map"]]
    [('New York', 'Place')]
    """
    from spacy.tokens import Doc, Span
    from spacy.vocab import Vocab

    documents = [list(words) for words in tokens]
    if votes.groups is None or not np.array_equal(np.diff(votes.groups), [len(words) for words in documents]):
        raise VotesError("the votes' groups do not match the tokens; give votes on the tokens of exactly these documents")
    vocab = vocab or Vocab()
    docs = [Doc(vocab, words=words) for words in documents]
    for j, name in enumerate(votes.sources):
        column = SourceVotes(votes.column(j), votes.classes, groups=votes.groups)
        for doc, spans in zip(docs, spans_in(column), strict=True):
            doc.spans[name] = [Span(doc, span.start, span.end, label=span.label) for span in spans]
    return docs


def _documents(docs: Any) -> list[Any]:
    try:
        from spacy.tokens import DocBin
        from spacy.vocab import Vocab
    except ImportError as error:
        raise SourceError("reading spaCy documents needs spaCy; install it with: pip install 'steelyard[spacy]'") from error
    return list(docs.get_docs(Vocab()) if isinstance(docs, DocBin) else docs)
