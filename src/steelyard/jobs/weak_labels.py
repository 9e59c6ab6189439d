"""Any weak supervisor as held-out soft labels: a model trained on the gold pool, a pretrained one, sources, votes, or ready probabilities.

The first half of every weak-to-strong system (Burns et al. 2023, "Weak-to-Strong Generalization"): no row is labelled by what saw its gold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from steelyard.errors import ConfigError, TrainingError
from steelyard.jobs.weighing import fit_label_model
from steelyard.pools import Pools
from steelyard.sources import apply
from steelyard.sources.base import Source
from steelyard.targets import Targets
from steelyard.training.base import Student
from steelyard.training.rows import take_rows
from steelyard.votes import Votes


def weak_labels(
    weak: Any,
    inputs: Any,
    y: NDArray[np.int64],
    pools: Pools,
    classes: Sequence[str],
    *,
    seed: int = 0,
    label_model: str = "select",
) -> NDArray[np.float32]:
    """Label the unlabeled and the test pool with a weak supervisor.

    Parameters
    ----------
    weak
        One of: a student or scikit-learn classifier, trained here on the gold pool; a pretrained classifier (`predict_proba`, no `fit`);
        a source or a list of sources, whose votes a label model weighs; `Votes` (n rows) for that; probabilities (n, k).
    inputs
        n texts, or rows of features (n, d).
    y : (n,) int
        Gold classes; only those of the gold pool are read.
    pools
        Which rows teach the supervisor and which it labels.
    classes
        k names.
    seed
        Set as the model's `seed` or empty `random_state`.
    label_model
        Weighs votes: `select` or the name of a label model. It sees the votes of the gold and unlabeled pools and the gold labels.

    Returns
    -------
    (n, k) float32
        Rows sum to 1 in the unlabeled and the test pool and are NaN elsewhere.

    Raises
    ------
    TrainingError
        The gold pool has one class only; the supervisor names one class only; its probabilities have another shape or are not finite.
    ConfigError
        `weak` is none of the above.

    Examples
    --------
    >>> from steelyard.training import SklearnStudent
    >>> texts = ["win cash", "call mum", "win a prize", "hello mum", "cash prize", "mum says hi"]
    >>> y = np.array([1, 0, -1, -1, -1, -1])
    >>> labels = weak_labels(SklearnStudent(), texts, y, Pools([0, 1], [2, 3], [4, 5]), ["ham", "spam"])
    >>> labels[2:].argmax(axis=1)
    array([1, 0, 1, 0])
    """
    rows = np.concatenate([pools.unlabeled, pools.test])
    known = np.full(len(y), -1, dtype=np.int64)
    known[pools.gold] = y[pools.gold]
    labels = np.full((len(y), len(classes)), np.nan, dtype=np.float32)
    labels[rows] = _probabilities(weak, inputs, known, pools, rows, classes, seed, label_model)
    taught = labels[pools.unlabeled]
    named = np.unique(taught.argmax(axis=1))
    if len(named) == 1:
        raise TrainingError(
            f"the weak supervisor labels all {len(taught):,} unlabeled rows '{classes[named[0]]}', so a student has nothing to learn from "
            f"it; give it more or other gold ({len(pools.gold):,} rows) or a stronger model"
        )
    return labels


def seeded(model: Any, seed: int) -> Any:
    """An unfitted copy of a student or scikit-learn estimator, its `seed` and every empty `random_state` set.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> seeded(LogisticRegression(), 3).random_state
    3
    """
    copy = clone(model)
    chosen = {"seed": seed} if "seed" in copy.get_params(deep=False) else {}
    unset = {name: seed for name, value in copy.get_params().items() if name.rpartition("__")[2] == "random_state" and value is None}
    return copy.set_params(**chosen, **unset)


def _probabilities(
    weak: Any,
    inputs: Any,
    known: NDArray[np.int64],
    pools: Pools,
    rows: NDArray[np.int64],
    classes: Sequence[str],
    seed: int,
    label_model: str,
) -> NDArray[np.float32]:
    """(r, k) probabilities of `rows`; `known` (n,) holds the gold pool's labels and -1 elsewhere."""
    if isinstance(weak, Source) and hasattr(weak, "predict_proba"):
        return _aligned(weak, weak.predict_proba(take_rows(inputs, rows)), classes)
    if isinstance(weak, Source) or (isinstance(weak, (list, tuple)) and all(isinstance(part, Source) for part in weak)):
        weak = apply([weak] if isinstance(weak, Source) else list(weak), inputs, classes=list(classes))
    if isinstance(weak, Votes):
        seen = np.concatenate([pools.gold, pools.unlabeled])
        if tuple(weak.classes) != tuple(classes) or weak.n_rows != len(known):
            raise ConfigError(f"votes are {weak.n_rows} rows over {', '.join(weak.classes)}; give {len(known)} over {', '.join(classes)}")
        model = fit_label_model(label_model, weak.take(seen), known[seen] if len(pools.gold) else None)
        return model.predict_proba(weak.take(rows))
    if isinstance(weak, np.ndarray):
        if weak.shape != (len(known), len(classes)) or not np.isfinite(weak[rows]).all():
            raise TrainingError(
                f"weak labels of shape {weak.shape} must be ({len(known)}, {len(classes)}) and finite in the unlabeled and test pools"
            )
        return weak[rows].astype(np.float32)
    if hasattr(weak, "fit"):
        return trained_supervisor(weak, inputs, known, classes, seed).predict_proba(take_rows(inputs, rows))
    if hasattr(weak, "predict_proba"):
        return _aligned(weak, weak.predict_proba(take_rows(inputs, rows)), classes)
    raise ConfigError(f"a weak supervisor cannot be a {type(weak).__name__}; give a student, a classifier, sources, votes or probabilities")


def trained_supervisor(weak: Any, inputs: Any, known: NDArray[np.int64], classes: Sequence[str], seed: int) -> Student:
    """A student or scikit-learn classifier fitted on the rows with gold: `known` (n,) holds classes, -1 elsewhere.

    Raises
    ------
    TrainingError
        No row has gold, or only one class occurs.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> trained_supervisor(DummyClassifier(), np.zeros((3, 1)), np.array([0, 1, -1]), ["no", "yes"], 0).predict(np.zeros((1, 1)))
    array([0])
    """
    from steelyard.training.sklearn_student import SklearnStudent

    model: Student = seeded(weak if isinstance(weak, Student) else SklearnStudent(weak), seed)
    if not (known >= 0).any():
        raise TrainingError("the gold pool is empty or has no labels, so the weak supervisor has nothing to learn from; enlarge it")
    return model.fit(inputs, Targets.from_labels(known, classes))


def _aligned(model: Any, probabilities: Any, classes: Sequence[str]) -> NDArray[np.float32]:
    """Bring the columns of a pretrained model into the order of `classes`, by name where its names are the same."""
    answer = np.asarray(probabilities, dtype=np.float32)
    own = [str(name) for name in getattr(model, "labels", None) or list(getattr(model, "classes_", classes))]
    if answer.ndim != 2 or answer.shape[1] != len(classes) or not np.isfinite(answer).all():
        raise TrainingError(f"the weak supervisor answers {answer.shape[1:]} numbers per row, or none; there are {len(classes)} classes")
    return answer[:, [own.index(name) for name in classes]] if set(own) == set(classes) else answer
