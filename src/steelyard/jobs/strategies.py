"""Strategies against the errors of a weak supervisor, joined by plus signs: a filter, a loss, several supervisors, a model in between.

``filter:0.75+product`` teaches the confident labels with the product loss. Ye, Xiao, Hui 2024, "Weak-to-Strong Generalization beyond
Accuracy", explore such strategies; which ones exactly could not be read, so these are ours, made of the remedies of Burns et al. 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import ConfigError
from steelyard.jobs.named_parts import named_arm
from steelyard.jobs.weak_labels import weak_labels
from steelyard.jobs.weak_to_strong import Arm
from steelyard.pools import Pools

CONFIDENT = 0.75
LOSSES = ("soft", "hard", "product", "confidence")
LABELS, STUDENTS = ("ensemble", "shuffled"), ("bootstrap", "twin")

Makers = Mapping[str, Callable[[], Any]]


def composed_arm(strategy: str, makers: Makers) -> Arm:
    """The arm of a strategy.

    Parameters
    ----------
    strategy : str
        Parts joined by ``+``, each changing another thing: the loss (``soft``, ``hard``, ``product``, ``confidence``,
        ``confidence:ALPHA``), which labels are taught (``filter``, ``filter:LEAST``), whose labels (``ensemble``, ``shuffled``), who
        learns (``bootstrap``, ``twin``). Another student takes no loss but soft and hard.
    makers
        Functions that make the labels (n, k) of ``ensemble`` and ``shuffled`` and the students ``bootstrap`` and ``twin``; a strategy
        that needs one of those left out is refused.

    Raises
    ------
    ConfigError
        A part is unknown, not possible here, or does not go with another.

    Examples
    --------
    >>> arm = composed_arm("filter:0.8+hard", {})
    >>> arm.confidence, arm.hard
    (0.8, True)
    """
    parts = [tuple(part.strip().partition(":")[::2]) for part in strategy.split("+")]
    changed: dict[str, Any] = {}
    for kind, parameter in parts:
        if kind in LOSSES:
            loss = named_arm(f"{kind}:{parameter}" if parameter else kind)
            changes: dict[str, Any] = {"objective": loss.objective, "hard": loss.hard}
        elif kind == "filter":
            changes = {"confidence": _share(parameter, strategy)}
        elif kind in makers:
            changes = {"labels" if kind in LABELS else "student": makers[kind]}
        else:
            known = ", ".join([*LOSSES, "filter", *LABELS, *STUDENTS])
            raise ConfigError(f"strategy '{strategy}': '{kind}' is unknown or not possible here; join some of {known} with +")
        if changed.keys() & changes.keys():
            raise ConfigError(f"strategy '{strategy}': '{kind}' changes what another part already changes; keep one of them")
        changed |= changes
    if "student" in changed and changed.get("objective") is not None:
        raise ConfigError(f"strategy '{strategy}': another student learns soft or hard labels only; leave out the loss or that student")
    # Made last, when nothing can be wrong any more: labels may cost a model's training.
    return Arm(**{name: value() if name in ("labels", "student") else value for name, value in changed.items()})


def mean_labels(
    supervisors: Sequence[Any], texts: Sequence[str], y: NDArray[np.int64], pools: Pools, classes: Sequence[str], *, seed: int = 0
) -> NDArray[np.float32]:
    """Mean of the soft labels (n, k) of several supervisors that learn from the same gold; NaN outside the unlabeled and test pools.

    Examples
    --------
    >>> from steelyard.training import SklearnStudent
    >>> texts, y = ["win cash", "call mum", "win a prize", "hello mum"], np.array([1, 0, -1, -1])
    >>> two = [SklearnStudent(), SklearnStudent()]
    >>> mean_labels(two, texts, y, Pools([0, 1], [2, 3], []), ["ham", "spam"]).argmax(axis=1)[2:]
    array([1, 0])
    """
    return np.mean([weak_labels(weak, texts, y, pools, classes, seed=seed) for weak in supervisors], axis=0, dtype=np.float32)


def shuffled_labels(labels: NDArray[np.float32], pools: Pools, seed: int) -> NDArray[np.float32]:
    """The same labels (n, k), those of the unlabeled pool dealt to its rows anew: a student of them can learn the class balance only.

    Examples
    --------
    >>> labels = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]
    >>> shuffled_labels(labels, Pools([0], [1, 2, 3], []), seed=3).argmax(axis=1)
    array([0, 1, 1, 0])
    """
    dealt = labels.copy()
    dealt[pools.unlabeled] = labels[np.random.default_rng(seed).permutation(pools.unlabeled)]
    return dealt


def other_supervisors(words: int) -> list[Any]:
    """Two supervisors that read texts in other ways than logistic regression on words: three-letter pieces, and naive Bayes on words.

    Examples
    --------
    >>> [model.steps[-1][0] for model in other_supervisors(30)]
    ['logisticregression', 'multinomialnb']
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), max_features=3 * words)
    return [
        make_pipeline(pieces, LogisticRegression(max_iter=1000)),
        make_pipeline(TfidfVectorizer(max_features=words), MultinomialNB()),
    ]


def _share(parameter: str, strategy: str) -> float:
    try:
        share = float(parameter or CONFIDENT)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise ConfigError(f"strategy '{strategy}': a filter keeps labels of at least a probability in [0, 1); write filter:0.75")
    return share
