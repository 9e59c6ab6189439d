"""Clusters that become classes: recovery of known clusters, the Hungarian mapping, new rows, and warnings when labels do not suffice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import beta

from steelyard.errors import SourceError
from steelyard.sources import Goggles
from steelyard.sources.clusters import BernoulliMixture, contingency, feasibility, map_clusters, mapping_certainty


def blobs(n: int = 300, apart: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    return rng.normal(size=(n, 3)) + apart * np.eye(3)[y], y


def test_clusters_get_the_right_names_on_rows_seen_and_new() -> None:
    X, y = blobs()
    goggles = Goggles().fit(X[:60], y[:60], X[60:200], classes=["a", "b", "c"])
    assert (goggles.predict_proba(X[200:]).argmax(axis=1) == y[200:]).mean() > 0.95
    assert goggles.feasibility_ > 0.99
    assert goggles.certainty_ > 0.99
    votes = goggles.vote(X[200:], threshold=0.5)
    assert votes.sources == ("goggles",)
    assert np.isfinite(goggles.predict_proba(X)).all()


def test_renaming_the_classes_renames_the_answers() -> None:
    X, y = blobs()
    other = np.array([2, 0, 1])
    first = Goggles().fit(X[:60], y[:60], X[60:]).predict_proba(X)
    second = Goggles().fit(X[:60], other[y[:60]], X[60:]).predict_proba(X)
    assert second[:, other] == pytest.approx(first)


def test_a_second_embedding_adds_its_own_affinities() -> None:
    X, y = blobs()
    noise = np.random.default_rng(1).normal(size=X.shape)
    both = Goggles().fit({"x": X[:60], "noise": noise[:60]}, y[:60], {"x": X[60:], "noise": noise[60:]})
    assert len(both.bases_) == 2
    with pytest.raises(SourceError, match="fitted on the embeddings x, noise, got x"):
        both.predict_proba({"x": X})


def test_the_mapping_is_the_best_of_all_permutations() -> None:
    table = np.random.default_rng(0).random((4, 4))
    best = max(itertools.permutations(range(4)), key=lambda order: table[range(4), order].sum())
    assert map_clusters(table).tolist() == list(best)


def test_the_mixture_recovers_its_components() -> None:
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 2000)
    means = np.array([[0.9, 0.8, 0.2, 0.1], [0.2, 0.3, 0.7, 0.9]])
    found = BernoulliMixture(2).fit((rng.random((2000, 4)) < means[z]).astype(float))
    order = np.argsort(-found.means_[:, 0])
    assert found.means_[order] == pytest.approx(means, abs=0.05)
    assert found.shares_ == pytest.approx([0.5, 0.5], abs=0.05)


def test_sufficiency_is_the_beta_tail_and_grows_with_labels() -> None:
    table = contingency(np.eye(2)[np.repeat([0, 1], 10)], np.array([0] * 9 + [1] + [1] * 8 + [0] * 2))
    mapping = map_clusters(table)
    assert feasibility(table, mapping) == pytest.approx(beta.sf(0.7, 1 + 17, 1 + 3))
    assert mapping_certainty(table, mapping) < mapping_certainty(10 * table, mapping)


def test_labels_that_say_nothing_give_a_warning_and_few_rows_an_error() -> None:
    X, _ = blobs(apart=0.0)
    y = np.arange(9) % 3
    with pytest.warns(UserWarning, match="do not tell which cluster is which class"):
        Goggles(warn_below=0.99).fit(X[:9], y, X[9:])
    with pytest.raises(SourceError, match="too few for 3 clusters"):
        Goggles().fit(X[:3], y[:3], X[3:5])
    with pytest.raises(SourceError, match="class 'c' is absent"):
        Goggles().fit(X[:9], y % 2, X[9:], classes=["a", "b", "c"])
    with pytest.raises(SourceError, match="no clusters yet"):
        Goggles().predict_proba(X)
