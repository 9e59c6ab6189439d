"""A generator that is often wrong and verifiers of every quality, made from the intents of CLINC150: what weighing verifiers is proved on.

Everything that answers or scores is a prototype classifier on few examples and dimensions of frozen sentence embeddings, or knows nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steelyard import datasets
from steelyard.encoders import OFFLINE, TextEncoder
from steelyard.verifier_scores import VerifierScores

Floats = NDArray[np.float64]

# Of each verifier: examples per class, dimensions, share of wrong examples, noise added to its scores.
PROTOTYPES = (
    (1, 8, 0.0, 0.0),
    (1, 16, 0.0, 0.0),
    (1, 32, 0.0, 0.0),
    (2, 16, 0.0, 0.0),
    (2, 32, 0.3, 0.0),
    (4, 64, 0.5, 0.0),
    (8, 64, 0.0, 0.3),
    (8, 32, 0.0, 0.2),
    (4, 16, 0.0, 0.1),
)
JUNK = ("uniform 1", "uniform 2", "uniform 3", "uniform 4", "coin .3", "coin .6", "taste 1", "taste 2", "taste 3", "query")
"""Verifiers that know nothing: noise, coins, a liking for some intents whatever is asked, a liking for some queries."""

NEAR_JUNK = ("faint 1", "faint 2", "faint 3")
"""One example, four dimensions, and noise several times as large as the score."""


def embedded_intents(encoder: str = OFFLINE) -> tuple[list[str], Floats, NDArray[np.int64], Floats, NDArray[np.int64], tuple[str, ...]]:
    """Test texts, their unit vectors and classes; vectors and classes of the training rows; names of the intents. Out of scope is out."""
    data = datasets.load("clinc150")
    names = tuple(name for name in data.classes if name != "oos")
    frozen = TextEncoder(encoder, max_length=64)
    parts = {split: data[split] for split in ("train", "val", "test")}
    texts = {split: part["text"].to_list() for split, part in parts.items()}
    y = {split: np.searchsorted(names, part["label"].to_numpy().astype(str)) for split, part in parts.items()}
    known = np.vstack([frozen.encode(texts["train"]), frozen.encode(texts["val"])])
    vectors, classes = frozen.encode(texts["test"]).astype(np.float64), np.r_[y["train"], y["val"]].astype(np.int64)
    return texts["test"], vectors, y["test"].astype(np.int64), known.astype(np.float64), classes, names


def bench(seed: int, responses: int = 10, encoder: str = OFFLINE) -> VerifierScores:
    """Answers of the generator to every test query with the scores of 22 verifiers; texts and truth included.

    The generator has one example per intent on 64 random dimensions and samples `responses` answers at a temperature of 1/14.
    """
    texts, x, y, known, classes, names = embedded_intents(encoder)
    rng = np.random.default_rng(seed)
    n, k = len(x), len(names)
    logits = 14 * _prototypes(rng, x, known, classes, k, 1, 64, 0.0)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    cumulative = (p / p.sum(axis=1, keepdims=True)).cumsum(axis=1)
    drawn = rng.random((n, responses))
    told = np.stack([(drawn[:, r, None] > cumulative).sum(axis=1) for r in range(responses)], axis=1).clip(0, k - 1)
    asked = np.arange(n)[:, None]
    scores = {}
    for number, (shots, dimensions, wrong, noise) in enumerate(PROTOTYPES, start=1):
        own = _prototypes(rng, x, known, classes, k, shots, dimensions, wrong)[asked, told]
        scores[f"prototypes {number}"] = own + noise * rng.normal(size=told.shape)
    scores |= {name: rng.random(told.shape) for name in JUNK[:4]}
    scores |= {name: (rng.random(told.shape) < chance).astype(float) for name, chance in zip(JUNK[4:6], (0.3, 0.6), strict=True)}
    scores |= {name: rng.normal(size=k)[told] for name in JUNK[6:9]}
    scores[JUNK[9]] = rng.random((n, 1)) + 0.3 * rng.random(told.shape)
    for name, noise in zip(NEAR_JUNK, (1.0, 1.5, 2.0), strict=True):
        scores[name] = _prototypes(rng, x, known, classes, k, 1, 4, 0.0)[asked, told] + noise * rng.normal(size=told.shape)
    spoken = [name.replace("_", " ") for name in names]
    answers = [spoken[c] for c in told.ravel()]
    return VerifierScores(
        np.column_stack([column.ravel() for column in scores.values()]),
        np.arange(n + 1) * responses,
        tuple(scores),
        tuple(answers),
        (told == y[:, None]).ravel().astype(np.int64),
        prompts=tuple(np.repeat(np.asarray(texts, dtype=object), responses)),
        responses=tuple(answers),
    )


def _prototypes(
    rng: np.random.Generator, x: Floats, known: Floats, classes: NDArray[np.int64], k: int, shots: int, dimensions: int, wrong: float
) -> Floats:
    """(n, k) cosines with the means of `shots` examples per class on random dimensions; a share `wrong` of the examples is of any class."""
    projection = rng.normal(size=(x.shape[1], dimensions))
    centers = np.empty((k, x.shape[1]))
    for c in range(k):
        examples = rng.choice(np.flatnonzero(classes == c), shots, replace=False)
        mistaken = rng.random(shots) < wrong
        examples[mistaken] = rng.integers(0, len(classes), mistaken.sum())
        centers[c] = known[examples].mean(axis=0)
    a, b = x @ projection, centers @ projection
    return np.asarray((a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T)
