"""The real vote sets of the accuracy and parity benchmarks: which rows a model is fitted on, and which it is judged on."""

from dataclasses import dataclass

import numpy as np

from steelyard import Votes, datasets
from steelyard.datasets.registry import CARDS

INDUCTIVE = ["youtube", "sms", "trec", "yoruba", "hausa", "census", "chemprot"]
TRANSDUCTIVE = "fitted on the judged rows' votes"
LEGAL = next(card for card in CARDS if card.name == "llm_votes_legal").subsets


@dataclass(frozen=True)
class VoteSet:
    """Votes to fit on, votes to judge on with their labels; `protocol` says how the two relate."""

    name: str
    fit: Votes
    test: Votes
    labels: np.ndarray
    protocol: str


def vote_sets() -> list[VoteSet]:
    """Every classification set."""
    sets = []
    for name in INDUCTIVE:
        data = datasets.load(name)
        # ChemProt's training part has no votes of single functions, so its validation votes serve (its labels do not).
        split = "valid" if name == "chemprot" else "train"
        sets.append(VoteSet(name, data.votes[split], data.votes["test"], data.labels("test"), f"fit on {split}, judged on test"))
    sets.append(transductive("spouse", "spouse", "test"))
    sets.append(transductive("bluebirds", "bluebirds", "all"))
    sets.append(transductive("judgebench", "judgebench", "all"))
    sets.append(hate_speech())
    sets += [transductive(f"legal/{task}", f"llm_votes_legal/{task}", "all") for task in LEGAL]
    return sets


def token_sets() -> list[VoteSet]:
    """The entity sets' test tokens as rows without neighbours, for models of single rows; functions that never name an entity left out."""
    sets = []
    for name in ("ncbi_disease", "bc5cdr"):
        data = datasets.load(name)
        votes = data.votes["test"]
        naming = [j for j in range(votes.n_sources) if (votes.column(j) > 0).any()]
        sources = [votes.sources[j] for j in naming]
        plain = Votes(np.asfortranarray(votes.codes[:, naming]), classes=votes.classes, sources=sources)
        tags = np.concatenate([[votes.classes.index(tag) for tag in document] for document in data["test"]["label"].to_list()])
        sets.append(VoteSet(f"{name} tokens", plain, plain, tags, TRANSDUCTIVE))
    return sets


def hate_speech() -> VoteSet:
    """Counts of anonymous votes, dealt at random to as many anonymous sources. The gold label is the majority of these very votes: no model
    can beat the vote here, and the set only tells which models leave it."""
    data = datasets.load("hate_speech_crowd_counts")
    table = data["all"]
    counts = table.select("votes_hate", "votes_offensive", "votes_neither").to_numpy()
    most = int(counts.sum(axis=1).max())
    in_order = (np.arange(most)[None, :, None] >= counts.cumsum(axis=1)[:, None, :]).sum(axis=2)
    codes = np.where(in_order < 3, in_order, -1).astype(np.int8)
    # Votes of a row change places among the sources that a row of its size has.
    drawn = np.where(codes >= 0, np.random.default_rng(0).random(codes.shape), np.arange(1, most + 1))
    codes = np.take_along_axis(codes, drawn.argsort(axis=1), axis=1)
    names = [name.removeprefix("votes_") for name in ("votes_hate", "votes_offensive", "votes_neither")]
    votes = Votes(np.asfortranarray(codes), classes=names, sources=[f"worker {j + 1}" for j in range(most)])
    labels = np.array([names.index(data.classes[label]) for label in data.labels("all")])
    return VoteSet("hate_speech", votes, votes, labels, TRANSDUCTIVE)


def transductive(name: str, dataset: str, split: str) -> VoteSet:
    """Fit on the votes of the very rows to be judged, as crowd models do; labels stay hidden."""
    data = datasets.load(dataset)
    votes, labels = data.votes[split], data.labels(split)
    known = np.flatnonzero(labels >= 0)
    votes = Votes(np.asfortranarray(votes.codes[known]), classes=votes.classes, sources=votes.sources)
    return VoteSet(name, votes, votes, labels[known], TRANSDUCTIVE)
