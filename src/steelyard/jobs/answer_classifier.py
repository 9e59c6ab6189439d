"""A scikit-learn classifier of texts as the weak writer of one-word answers: fitted on solved questions, sampled like a policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from steelyard.completions import Completions
from steelyard.errors import TrainingError
from steelyard.targets import Targets


class AnswerClassifier:
    """p(answer | prompt) of a classifier; it writes and is fitted, but has no gradients to prefer by.

    Parameters
    ----------
    classifier
        Takes texts: a scikit-learn pipeline.
    classes : sequence of str
        The k answers.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> weak = AnswerClassifier(make_pipeline(CountVectorizer(), LogisticRegression()), ["no", "yes"])
    >>> _ = weak.fit(Completions(["it is up", "it is down"], ["yes", "no"]))
    >>> weak.sample(["down it is"], temperature=0).texts
    ('no',)
    """

    def __init__(self, classifier: Any, classes: Sequence[str]) -> None:
        self.classifier = classifier
        self.classes = tuple(classes)

    def fit(self, completions: Completions) -> Self:
        """Learn from n prompts whose texts are answers.

        Raises
        ------
        TrainingError
            All have one answer, or there is none.
        """
        if len(set(completions.texts)) < 2:
            given = f"all have the answer '{completions.texts[0]}'" if len(completions) else "there are none"
            raise TrainingError(f"the weak model cannot learn from its {len(completions)} questions with gold: {given}; enlarge that pool")
        self.classifier.fit(list(completions.prompts), list(completions.texts))
        return self

    def targets(self, prompts: Sequence[str]) -> Targets:
        """Soft answers for n prompts; an answer that was never seen has probability 0."""
        return Targets(self._probabilities(prompts), classes=self.classes)

    def sample(self, prompts: Sequence[str], n: int = 1, *, temperature: float = 1.0, seed: int = 0) -> Completions:
        """Draw n answers per prompt; see `steelyard.training.policy.Policy.sample`."""
        with np.errstate(divide="ignore"):
            keys = np.repeat(np.log(self._probabilities(prompts))[:, None], n, axis=1)  # (q, n, k)
        if temperature > 0:
            # The largest of log p / T plus Gumbel noise is a draw from p^(1/T).
            keys = keys / temperature + np.random.default_rng(seed).gumbel(size=keys.shape)
        rows = np.repeat(np.arange(len(prompts)), n)
        texts = [self.classes[code] for code in keys.argmax(axis=2).ravel()]
        return Completions([prompts[int(row)] for row in rows], texts, rows=rows)

    def _probabilities(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        probabilities = np.zeros((len(prompts), len(self.classes)))
        columns = [self.classes.index(name) for name in self.classifier.classes_]
        probabilities[:, columns] = self.classifier.predict_proba(list(prompts))
        return probabilities
