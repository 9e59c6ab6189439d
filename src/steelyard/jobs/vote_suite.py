"""The answers of many models to many annotation tasks as votes: each model alone, and label models that have seen no gold.

The models of Dominguez-Olmedo et al. 2024, "Lawma", as published in `llm_votes_legal`: six general ones answered zero-shot, two were
fine-tuned on these tasks, one is an encoder that hardly ever changes its answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from steelyard import datasets
from steelyard.datasets import encode_labels
from steelyard.datasets.registry import find
from steelyard.errors import ConfigError
from steelyard.jobs.weighing import fit_label_model
from steelyard.votes import Votes

SPECIALISED = ("lawma-70b", "lawma-8b", "legalbert")


def load_vote_tasks(name: str) -> dict[str, tuple[Votes, NDArray[np.int64]]]:
    """Task -> votes (n × models) and gold (n,) of a data set of several tasks.

    Raises
    ------
    ConfigError
        The data set has no parts, or no votes.
    """
    card, _ = find(name, whole=True)
    tasks = {}
    for part in card.subsets:
        found = datasets.load(f"{name}/{part}")
        if "all" not in found.votes:
            raise ConfigError(f"data set '{name}' has no votes of models for all its cases; name another, or none")
        tasks[part] = found.votes["all"], encode_labels(found["all"][found.label], found.classes)
    if not tasks:
        raise ConfigError(f"data set '{name}' is one task; votes are weighed over a set of tasks, such as llm_votes_legal")
    return tasks


def answers_right(
    tasks: Mapping[str, tuple[Votes, NDArray[np.int64]]], label_models: Sequence[str], *, without: Sequence[str] = ()
) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Model or label model -> task -> whether each case is right; a label model is fitted to each task's votes alone, without gold.

    Parameters
    ----------
    without
        Voters that are left out of the label models.

    Examples
    --------
    >>> votes = Votes([[0, 0, 1], [1, 1, 0], [1, 1, 1]], classes=["no", "yes"], sources=["a", "b", "c"])
    >>> right = answers_right({"t": (votes, np.array([0, 1, 1]))}, ["MajorityVote"], without=["c"])
    >>> {name: cases["t"].tolist() for name, cases in right.items()}
    {'MajorityVote': [True, True, True], 'a': [True, True, True], 'b': [True, True, True], 'c': [False, False, True]}
    """
    right: dict[str, dict[str, NDArray[np.bool_]]] = {name: {} for name in label_models}
    for task, (votes, gold) in tasks.items():
        codes = np.asarray(votes.codes)
        heard = Votes(codes[:, [name not in without for name in votes.sources]], classes=votes.classes)
        for name in label_models:
            right[name][task] = fit_label_model(name, heard).predict_proba(heard).argmax(axis=1) == gold
        for column, name in enumerate(votes.sources):
            right.setdefault(name, {})[task] = codes[:, column] == gold
    return right
