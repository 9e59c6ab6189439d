"""The real vote sets of the accuracy benchmark: which rows a model is fitted on, and which it is judged on."""

from dataclasses import dataclass

import numpy as np

from steelyard import Votes, datasets
from steelyard.datasets.registry import CARDS

INDUCTIVE = ["youtube", "sms", "trec", "yoruba", "hausa", "census", "chemprot"]
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
    """Every classification set. hate_speech_crowd_counts is left out: its gold label is the majority of its own votes."""
    sets = []
    for name in INDUCTIVE:
        data = datasets.load(name)
        # ChemProt's training part has no votes of single functions, so its validation votes serve (its labels do not).
        split = "valid" if name == "chemprot" else "train"
        sets.append(VoteSet(name, data.votes[split], data.votes["test"], data.labels("test"), f"fit on {split}, judged on test"))
    sets.append(transductive("spouse", "spouse", "test"))
    sets.append(transductive("bluebirds", "bluebirds", "all"))
    sets += [transductive(f"legal/{task}", f"llm_votes_legal/{task}", "all") for task in LEGAL]
    return sets


def transductive(name: str, dataset: str, split: str) -> VoteSet:
    """Fit on the votes of the very rows to be judged, as crowd models do; labels stay hidden."""
    data = datasets.load(dataset)
    votes, labels = data.votes[split], data.labels(split)
    known = np.flatnonzero(labels >= 0)
    votes = Votes(np.asfortranarray(votes.codes[known]), classes=votes.classes, sources=votes.sources)
    return VoteSet(name, votes, votes, labels[known], "fitted on the judged rows' votes")
