from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from steelyard import ABSTAIN, Votes, VoteStatistics
from steelyard.errors import LabelModelError
from steelyard.label_models.pair_frequencies import pair_frequencies
from steelyard.label_models.source_groups import SourceGroups, checked_pairs, copied_votes, group_posterior, joint_terms

Array = NDArray[np.float64]
PRIOR = np.array([0.5, 0.3, 0.2])


def confusion(right: float, silent: float, k: int = 3) -> Array:
    """(k + 1, k) P(symbol | class)."""
    spoken = np.full((k, k), (1 - right) / (k - 1)) + np.eye(k) * (right - (1 - right) / (k - 1))
    return np.vstack([(1 - silent) * spoken, np.full(k, silent)])


def copying(chance: float, own: Array) -> Array:
    """(a, b, k) P(b | a, k) of a source that repeats a with some chance and else votes by `own`."""
    return chance * np.eye(len(own))[:, :, None] + (1 - chance) * own[None]


def no_groups(m: int) -> tuple[NDArray[np.bool_], Array]:
    return ~np.eye(m, dtype=bool), np.ones(m)


@pytest.mark.parametrize("chance", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("swapped", [False, True])
def test_copied_votes_follow_from_the_pair_table(chance: float, swapped: bool) -> None:
    first, own = confusion(0.8, 0.2), confusion(0.65, 0.4)
    joint = first[:, None] * copying(chance, own)
    second = joint.sum(axis=0)
    given = (second, first, PRIOR, (joint @ PRIOR).T) if swapped else (first, second, PRIOR, joint @ PRIOR)
    found = copied_votes(*given, n_rows=10**8)
    np.testing.assert_allclose(found.transpose(1, 0, 2) if swapped else found, joint, atol=1e-4)


def test_a_tree_of_copies_gives_the_exact_posterior() -> None:
    """Source 0 is repeated by 1 and 2, 2 by 3; 4 is alone. Every pattern is scored and compared with the sum over the known joint."""
    k, chances = 3, {1: (0, 0.6), 2: (0, 0.3), 3: (2, 0.8)}
    own = [confusion(right, 0.0) for right in (0.8, 0.6, 0.7, 0.55, 0.75)]
    patterns = np.array(list(itertools.product(range(k), repeat=5)))
    likelihood = own[0][patterns[:, 0]] * own[4][patterns[:, 4]]
    for j, (parent, chance) in chances.items():
        likelihood = likelihood * copying(chance, own[j])[patterns[:, parent], patterns[:, j]]
    exact = likelihood * PRIOR
    exact /= exact.sum(axis=1, keepdims=True)

    share = likelihood @ PRIOR
    one_hot = np.stack([np.eye(k + 1)[patterns[:, j]] for j in range(5)], axis=1)
    together = np.einsum("u,uia,ujb->iajb", share, one_hot, one_hot)
    mu = np.einsum("uk,uia->iak", likelihood, one_hot)
    declared = np.array([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
    apart, weights = no_groups(5)
    tree, terms = joint_terms(SourceGroups(declared, apart, weights), mu, PRIOR, together, n_rows=10**9)
    assert tree.tolist() == [[0, 1], [0, 2], [2, 3]]
    votes = Votes(patterns, classes=["a", "b", "c"])
    confusions = mu.transpose(0, 2, 1)
    np.testing.assert_allclose(group_posterior(votes, confusions, PRIOR, tree, terms, silence_speaks=False), exact, atol=1e-3)
    alone = group_posterior(votes, confusions, PRIOR, tree[:0], terms[:0], silence_speaks=False)
    assert np.abs(alone - exact).max() > 0.3


def test_silence_of_one_leaves_the_other_its_full_voice() -> None:
    first, own = confusion(0.8, 0.3), confusion(0.6, 0.3)
    joint = first[:, None] * copying(0.9, own)
    mu = np.stack([first, joint.sum(axis=0)])
    together = np.zeros((2, 4, 2, 4))
    together[0, :, 1], together[1, :, 0] = joint @ PRIOR, (joint @ PRIOR).T
    groups = SourceGroups(np.array([(0, 1)]), *no_groups(2))
    tree, terms = joint_terms(groups, mu, PRIOR, together, n_rows=10**10)
    votes = Votes([[0, ABSTAIN], [ABSTAIN, 1], [ABSTAIN, ABSTAIN], [2, 2]], classes=["a", "b", "c"])
    found = group_posterior(votes, mu.transpose(0, 2, 1), PRIOR, tree, terms, silence_speaks=False)
    expected = np.stack([mu[0, 0] * PRIOR, mu[1, 1] * PRIOR, PRIOR, joint[2, 2] * PRIOR])
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=1e-4)
    told = group_posterior(votes, mu.transpose(0, 2, 1), PRIOR, tree, terms, silence_speaks=True)
    expected = np.stack([joint[0, 3] * PRIOR, joint[3, 1] * PRIOR, PRIOR, joint[2, 2] * PRIOR])
    np.testing.assert_allclose(told, expected / expected.sum(axis=1, keepdims=True), atol=1e-4)


def test_chains_make_groups_and_copies_share_one_weight() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, (500, 5))
    codes = np.column_stack([codes, codes[:, 1], codes[:, 1]])
    statistics = VoteStatistics.from_votes(Votes(codes, classes=["a", "b"]), keep="moments")
    groups = SourceGroups.of([(6, 1), ("source_5", 6), (1, 6)], statistics, pair_frequencies(statistics))
    assert groups.pairs.tolist() == [[1, 6], [5, 6]]
    linked = {(i, j) for i in (1, 5, 6) for j in (1, 5, 6)} | {(i, i) for i in range(7)}
    assert {(int(i), int(j)) for i, j in np.argwhere(~groups.apart)} == linked
    np.testing.assert_allclose(groups.weights[[0, 2, 3, 4]], 1)
    assert groups.weights[[1, 5, 6]].sum() == pytest.approx(1, abs=1e-6)
    assert groups.order.tolist() == [0, 1, 5, 6, 2, 3, 4]


def test_indices_and_names_mean_the_same_once() -> None:
    sources = ("x", "y", "z")
    assert checked_pairs([("z", "x"), (0, 2), ["y", 2, 0.5, 1e-3]], sources).tolist() == [[0, 2], [1, 2]]
    assert checked_pairs(np.array([[0, 1]]), sources).tolist() == [[0, 1]]
    assert checked_pairs([], sources).shape == (0, 2)


@pytest.mark.parametrize(
    ("dependencies", "match"),
    [
        ([("x", "w")], "'w', which the votes lack; their sources are x, y, z"),
        ([(0, 3)], "sources 0 to 2"),
        ([(-1, 0)], "sources 0 to 2"),
        ([("x", "x")], "depend on itself"),
        ([("x", 0)], "depend on itself"),
        (["xy"], "pairs of sources"),
        ([("x",)], "pairs of sources"),
        ([(0.5, 1)], "name or index"),
        ([(True, 1)], "name or index"),
        ("find", "'learn'"),
        (3, "'learn'"),
    ],
)
def test_malformed_dependencies(dependencies: object, match: str) -> None:
    with pytest.raises(LabelModelError, match=match):
        checked_pairs(dependencies, ("x", "y", "z"))
