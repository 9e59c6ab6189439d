"""Weak labels of judges that read debates: each member of an ensemble is trained on transcripts, and their soft labels are averaged.

Lang, Huang, Li 2025, "Debate Helps Weak-to-Strong Generalization". Debates of gold, unlabeled and test rows are held alike; judges learn
from the gold rows how far to trust debaters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from steelyard.errors import ConfigError
from steelyard.jobs.artefacts import Artefacts, texts_digest
from steelyard.jobs.weak_labels import trained_supervisor, weak_labels
from steelyard.language.debate import HEARD, Debate, Judge, Transcript, with_transcript
from steelyard.pools import Pools
from steelyard.votes import ABSTAIN, Votes

_FOLDS = 5
_APART = 1000  # seeds of members: those of different runs must not meet


class Resampled(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of texts trained on a bootstrap sample: what a fine-tuning seed is to a network, for models that know no chance.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> Resampled(DecisionTreeClassifier(), random_state=1).fit(np.arange(9)[:, None], np.arange(9) // 5).classes_
    array([0, 1])
    """

    def __init__(self, classifier: Any, random_state: int | None = None) -> None:
        self.classifier = classifier
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: NDArray[np.floating[Any]] | None = None) -> Self:
        """Draw n of the n rows with replacement, each class as often as it occurs, and fit."""
        labels, rng = np.asarray(y), np.random.default_rng(self.random_state)
        rows = np.concatenate([rng.choice(own, len(own)) for own in (np.flatnonzero(labels == name) for name in np.unique(labels))])
        drawn = X[rows] if isinstance(X, np.ndarray) else [X[row] for row in rows]
        self.classifier_ = clone(self.classifier).fit(drawn, labels[rows])
        self.classes_ = self.classifier_.classes_
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities (n, k)."""
        return np.asarray(self.classifier_.predict_proba(X))


def reader_of_debates(words: int = 60, transcript_words: int = 100) -> Any:
    """Logistic regression on the most frequent words of the question and, apart from them, of the transcript.

    In one bag, what debaters quote would pass for what the question asks.

    Examples
    --------
    >>> reader = reader_of_debates().fit(["who?\\nDebate:\\nit was her", "what?\\nDebate:\\nit was gold"], ["person", "thing"])
    >>> reader.predict(["who?", "what?\\nDebate:\\ngold"]).tolist()
    ['person', 'thing']
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer

    asked = make_pipeline(FunctionTransformer(_questions), TfidfVectorizer(max_features=words))
    heard = make_pipeline(FunctionTransformer(_debates), TfidfVectorizer(max_features=transcript_words, token_pattern=r"\w+"))
    return make_pipeline(make_union(asked, heard), LogisticRegression(max_iter=1000))


def _questions(texts: Any) -> list[str]:
    return [text.partition(HEARD)[0] for text in texts]


def _debates(texts: Any) -> list[str]:
    # Silence is a word too: a vocabulary must not be empty.
    return [text.partition(HEARD)[2] or "silence" for text in texts]


class DebateJudges:
    """An ensemble of weak models that read the transcripts of debates.

    Parameters
    ----------
    weak
        A student or scikit-learn classifier of texts; each member trains a copy on the gold pool.
    debate : Debate
        Holds the debates.
    members
        Size of the ensemble; 1 is a single judge.
    diversity
        ``transcript``: every member reads debates of its own. ``seed``: all read the same, and differ in the seed of their training.
    combine
        ``mean`` of the members' probabilities, or the name of a label model (or ``select``) that weighs the members as sources.
    words
        Of each turn, the last words that a judge reads; all when left out.
    artefacts
        Where the labels of each judge are kept, so that a killed run trains no judge twice; the cache folder when left out.

    Attributes
    ----------
    members_ : list of (n, 2) float32
        Labels of each member, NaN outside the unlabeled and the test pool.
    transcripts_ : list of list of Transcript
        What each member read.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from sklearn.naive_bayes import MultinomialNB
    >>> from sklearn.pipeline import make_pipeline
    >>> class Honest:  # only the side that is right has something to say
    ...     identity = None
    ...     def argue(self, moves):
    ...         return ((i, f"proof of {m.answer}" if ("up" in m.question) == (m.answer == "yes") else "well") for i, m in enumerate(moves))
    >>> texts = [f"is {way} {i}" for i in range(6) for way in ("it up", "it down")]
    >>> y = np.array([1, 0] * 6)
    >>> judges = DebateJudges(make_pipeline(CountVectorizer(), MultinomialNB()), Debate(Honest(), turns=1), members=2)
    >>> labels = judges.labels(texts, y, Pools(range(4), range(4, 10), [10, 11]), ("no", "yes"))
    >>> labels[4:].argmax(axis=1).tolist() == y[4:].tolist()
    True
    """

    def __init__(
        self,
        weak: Any,
        debate: Debate,
        *,
        members: int = 4,
        diversity: Literal["transcript", "seed"] = "transcript",
        combine: str = "mean",
        words: int | None = None,
        artefacts: Artefacts | None = None,
    ) -> None:
        if members < 1 or diversity not in ("transcript", "seed"):
            raise ConfigError(f"{members} judges of diversity '{diversity}': give at least one, and diversity transcript or seed")
        self.weak = weak
        self.debate = debate
        self.members = members
        self.diversity = diversity
        self.combine = combine
        self.words = words
        self.artefacts = Artefacts() if artefacts is None else artefacts

    def labels(
        self, texts: Sequence[str], y: NDArray[np.int64], pools: Pools, classes: Sequence[str], *, seed: int = 0
    ) -> NDArray[np.float32]:
        """Soft labels (n, 2) of the unlabeled and the test pool, NaN elsewhere; gold is read in the gold pool only.

        Raises
        ------
        ConfigError
            There are not two classes.
        TrainingError
            The gold pool has one class, or a judge gives all unlabeled rows the same.
        """
        self.transcripts_: list[list[Transcript]] = []
        self.members_: list[NDArray[np.float32]] = []
        for member in range(self.members):
            own = _APART * seed + member
            if member == 0 or self.diversity == "transcript":
                transcripts = self.debate.transcripts(texts, classes, seed=own, judge=self._judge(texts, y, pools, classes, own))
            self.transcripts_.append(transcripts)
            read = [with_transcript(text, said, self.words) for text, said in zip(texts, transcripts, strict=True)]
            made_from = {"weak": self.weak, "texts": texts_digest(read), "y": y[pools.gold], "classes": list(classes), "seed": own}
            made_from["pools"] = [pools.gold, pools.unlabeled, pools.test]
            learn = functools.partial(weak_labels, self.weak, read, y, pools, classes, seed=own)
            self.members_.append(self.artefacts.array("judge-labels", made_from, learn))
        if self.combine == "mean":
            return np.asarray(np.mean(self.members_, axis=0), dtype=np.float32)
        rows = np.concatenate([pools.unlabeled, pools.test])
        codes = np.full((len(y), self.members), ABSTAIN, dtype=np.int8)
        codes[rows] = np.stack([member[rows].argmax(axis=1) for member in self.members_], axis=1)
        votes = Votes(codes, classes=classes, sources=[f"judge {member + 1}" for member in range(self.members)])
        # Members have no votes on the gold rows, which taught them.
        return weak_labels(
            votes, texts, y, Pools(np.zeros(0, dtype=np.int64), pools.unlabeled, pools.test), classes, label_model=self.combine
        )

    def _judge(self, texts: Sequence[str], y: NDArray[np.int64], pools: Pools, classes: Sequence[str], seed: int) -> Judge | None:
        """What a market asks: a judge trained anew on what has been said, cross-fitted on the gold rows so that all prices are held out."""
        if self.debate.protocol != "market":
            return None

        def judge(read: list[str]) -> NDArray[np.floating]:
            def learned(rows: NDArray[np.int64]) -> Callable[[Any], NDArray[np.float32]]:
                known = np.full(len(y), -1)
                known[rows] = y[rows]
                return trained_supervisor(self.weak, read, known, classes, seed).predict_proba

            prices = learned(pools.gold)(read)
            shuffled = np.random.default_rng(seed).permutation(pools.gold)
            for held in np.array_split(shuffled, _FOLDS):
                if len(held):
                    prices[held] = learned(np.setdiff1d(pools.gold, held))([read[row] for row in held])
            return prices

        return judge
