"""Alphabets: narrow tables that lose nothing."""

from __future__ import annotations

import numpy as np

from steelyard import Votes, VoteStatistics
from steelyard.label_models import DawidSkene
from steelyard.label_models.alphabet import Alphabet
from tests.label_models.check_estimator import simulate


def one_class_sources(n: int = 400, k: int = 5) -> Votes:
    votes, _ = simulate(n, k, k, seed=0)
    codes = np.where(votes.codes == np.arange(k), votes.codes, -1)
    return Votes(codes, classes=votes.classes)


def test_letters_name_the_symbols_they_stand_for() -> None:
    votes = one_class_sources()
    alphabet = Alphabet(VoteStatistics.from_votes(votes))
    letters = alphabet.narrow(votes)
    assert alphabet.symbols.tolist() == [[0], [1], [2], [3], [4]]
    assert letters.n_classes == 1
    back = np.where(letters.codes < 0, -1, alphabet.symbols[np.arange(5), letters.codes])
    np.testing.assert_array_equal(back, votes.codes)


def test_letters_stand_for_all_symbols_together() -> None:
    votes = Votes([[0, 3, 2], [1, -1, 2]], classes=["a", "b", "c"], hierarchy={"ab": ["a", "b"]})
    alphabet = Alphabet(VoteStatistics.from_votes(votes))
    np.testing.assert_array_equal(alphabet.size.sum(axis=2), 4)
    # Of the four symbols, two are compatible with a and b each, one with c.
    np.testing.assert_array_equal((alphabet.size * alphabet.support).sum(axis=2), [[2, 2, 1]] * 3)


def test_widened_probabilities_sum_to_one_and_share_the_unsaid_evenly() -> None:
    alphabet = Alphabet(VoteStatistics.from_votes(one_class_sources()))
    tables = np.tile(np.array([0.5, 0.2, 0.2, 0.1]), (5, 5, 1))
    tables[:, :, :3] *= alphabet.size > 0
    tables /= tables.sum(axis=2, keepdims=True)
    wide = alphabet.widen(tables)
    np.testing.assert_allclose(wide.sum(axis=2), 1)
    # Source 0 says class 0 only; under class 1 the three other wrong symbols are equally likely.
    np.testing.assert_allclose(wide[0, 1, 2:5], tables[0, 1, 2] / 3)


def test_sources_that_say_little_are_fitted_like_any_other() -> None:
    votes = one_class_sources()
    # A source that says everything widens all alphabets to the full one.
    speaker = simulate(400, 1, 5, seed=1)[0].codes
    both = Votes(np.hstack([votes.codes, speaker]), classes=votes.classes)
    assert Alphabet(VoteStatistics.from_votes(both)).symbols.shape[1] == 5
    silent = Votes(np.hstack([votes.codes, np.full((400, 1), -1)]), classes=votes.classes)
    np.testing.assert_allclose(DawidSkene().fit(silent).confusions_[:5], DawidSkene().fit(votes).confusions_, atol=1e-12)


def test_a_thousand_classes_of_which_few_are_named() -> None:
    k, n = 1000, 3000
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, n)
    codes = np.where(rng.random((n, 6)) < np.where(truth[:, None] == np.arange(6), 0.9, 0.05), np.arange(6), -1)
    votes = Votes(codes, classes=[str(c) for c in range(k)])
    model = DawidSkene().fit(votes)
    assert model.confusions_.shape == (6, k, k + 1)
    np.testing.assert_allclose(model.confusions_.sum(axis=2), 1)
    assert model.score(votes[votes.coverage], truth[votes.coverage]) > 0.85
