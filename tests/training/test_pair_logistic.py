"""The weak preference model against scikit-learn, and its symmetry."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from steelyard.errors import TrainingError
from steelyard.preferences import Preferences
from steelyard.training.pair_logistic import PairLogistic

WORDS = ["alpha", "beta", "gamma", "delta", "omega", "sigma"]


@pytest.fixture
def pairs() -> Preferences:
    rng = np.random.default_rng(0)
    chosen, rejected = ([" ".join(rng.choice(WORDS, 4, p=p)) for _ in range(120)] for p in (np.arange(1, 7) / 21, np.arange(6, 0, -1) / 21))
    return Preferences(["q"] * 120, chosen, rejected, probabilities=rng.uniform(size=120))


def test_equals_scikit_learn_without_intercept_on_differences(pairs: Preferences) -> None:
    judge = PairLogistic(C=2.0).fit(pairs)
    vectors = [judge.vectorizer_.transform(texts).toarray() for texts in (pairs.chosen, pairs.rejected)]
    difference, q = vectors[0] - vectors[1], pairs.probabilities
    peer = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10, max_iter=5000)
    peer.fit(np.concatenate([difference] * 2), [1] * 120 + [0] * 120, sample_weight=np.concatenate([q, 1 - q]))
    np.testing.assert_allclose(judge.weights_, peer.coef_[0], atol=1e-4)


def test_the_turned_pair_has_the_other_probability(pairs: Preferences) -> None:
    judge = PairLogistic().fit(pairs)
    turned = Preferences(pairs.prompts, pairs.rejected, pairs.chosen)
    np.testing.assert_allclose(judge.probability(pairs) + judge.probability(turned), 1, atol=1e-6)


def test_the_vocabulary_is_as_small_as_asked(pairs: Preferences) -> None:
    assert PairLogistic(3).fit(pairs).weights_.shape == (3,)


def test_bad_input_says_what_is_wrong(pairs: Preferences) -> None:
    with pytest.raises(TrainingError, match="no pair"):
        PairLogistic().fit(pairs.take([]))
    with pytest.raises(TrainingError, match="no words"):
        PairLogistic().fit(Preferences(["q"], ["?"], ["!"]))
    with pytest.raises(TrainingError, match="learned nothing yet"):
        PairLogistic().probability(pairs)
