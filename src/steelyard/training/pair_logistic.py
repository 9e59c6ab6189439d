"""A weak preference model: logistic regression on the difference of two texts' TF-IDF vectors.

Bradley and Terry 1952 with linear rewards of words. The bag-of-words supervisor beside `RewardStudent`; it has the same face.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import TfidfVectorizer

from steelyard.errors import TrainingError
from steelyard.preferences import Preferences
from steelyard.training.logistic import soft_logistic_regression


class PairLogistic(BaseEstimator):
    """`P(chosen is better) = sigma(w · (t(chosen) - t(rejected)))`, t the TF-IDF vector over the most frequent words; no intercept.

    Parameters
    ----------
    words
        Size of the vocabulary.
    C
        Inverse strength of the penalty `||w||^2 / 2`, as in scikit-learn.

    Attributes
    ----------
    weights_ : (words,) float64
        Reward of each word of `vectorizer_`.

    Examples
    --------
    >>> pairs = Preferences(["hi"] * 2, ["thank you", "many thanks"], ["go away", "go home"])
    >>> judge = PairLogistic().fit(pairs)
    >>> bool(judge.probability(Preferences(["hi"], ["thank them"], ["go there"]))[0] > 0.5)
    True
    """

    def __init__(self, words: int = 200, *, C: float = 1.0) -> None:
        self.words = words
        self.C = C

    def fit(self, preferences: Preferences) -> Self:
        """Learn from n pairs, whose probabilities may be soft.

        Raises
        ------
        TrainingError
            There is no pair, or no text with a word.
        """
        if not len(preferences):
            raise TrainingError("PairLogistic: there is no pair to learn from")
        self.vectorizer_ = TfidfVectorizer(max_features=self.words, dtype=np.float32)
        try:
            self.vectorizer_.fit([*preferences.chosen, *preferences.rejected])
        except ValueError as error:
            raise TrainingError(f"PairLogistic: the texts have no words to learn from ({error})") from None
        difference, q = self._difference(preferences), preferences.probabilities
        # Every pair in both orders: by symmetry the intercept is zero.
        targets = np.concatenate([np.stack([1 - q, q], axis=1), np.stack([q, 1 - q], axis=1)])
        coefficients, _ = soft_logistic_regression(np.concatenate([difference, -difference]), targets, np.full(2 * len(q), 0.5), C=self.C)
        self.weights_ = coefficients[1] - coefficients[0]
        return self

    def score(self, prompts: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (n,) rewards; the prompts are not read."""
        if not hasattr(self, "weights_"):
            raise TrainingError("this PairLogistic has learned nothing yet; call fit(preferences) first")
        return np.asarray(self.vectorizer_.transform(list(texts)) @ self.weights_, dtype=np.float32)

    def probability(self, preferences: Preferences) -> NDArray[np.float32]:
        """Return (n,) P(chosen is better) as the model sees it; the pairs' own probabilities are not looked at."""
        chosen = self.score(preferences.prompts, preferences.chosen)
        rejected = self.score(preferences.prompts, preferences.rejected)
        return np.asarray(expit(chosen - rejected), dtype=np.float32)

    def _difference(self, preferences: Preferences) -> NDArray[np.float32]:
        chosen, rejected = (self.vectorizer_.transform(texts) for texts in (preferences.chosen, preferences.rejected))
        return np.asarray((chosen - rejected).toarray(), dtype=np.float32)
