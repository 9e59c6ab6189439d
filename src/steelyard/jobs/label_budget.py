"""What to do with a hundred labels: strategies that all get the same labelled and unlabelled rows and answer for the same test rows.

Few-shot and semi-supervised classifiers (scikit-learn's), zero-shot, and automatic weak supervision by Snuba, interactive weak supervision
or GOGGLES, alone or with the zero-shot classifier as one more source (Roberts et al. 2022, "AutoWS-Bench-101").
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from steelyard import label_models
from steelyard.errors import ConfigError, SourceError
from steelyard.jobs.bench_tasks import BenchTask
from steelyard.sources.goggles import Goggles
from steelyard.sources.interactive import InteractiveWS
from steelyard.sources.rule_maker import RuleMaker
from steelyard.sources.snuba import Snuba
from steelyard.training.logistic import soft_logistic_regression
from steelyard.votes import ABSTAIN, Votes

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
FEW_COLUMNS = 20
"""Up to this many features, rules may read two at once."""


@dataclass(frozen=True)
class BudgetOptions:
    """Options that the strategies share: see `AutoWSBench`."""

    label_model: str = "MeTaL"
    rounds: int = 23
    queries: int = 10
    candidates: int = 200
    most: int = 100


@dataclass(frozen=True, eq=False)
class Drawn:
    """One draw of labelled rows from a task, with one kind of features.

    Parameters
    ----------
    classes : tuple of str
    X, y : (l, d), (l,)
        Labelled rows.
    unlabeled, test : (n, d), (t, d)
    zero_shot : ((l, K), (n, K), (t, K)), optional
        Similarity of labelled, unlabelled and test rows to the class names.
    named : bool
        Whether columns have scales of their own (a table) rather than a common one (an embedding).
    is_zero_shot : bool
        Whether the features themselves are similarities to the class names.
    makers : dict
        Rule makers fitted so far: strategies with and without the zero-shot classifier share them.
    """

    classes: tuple[str, ...]
    X: Floats
    y: Codes
    unlabeled: Floats
    test: Floats
    zero_shot: tuple[Floats, Floats, Floats] | None
    named: bool
    seed: int
    options: BudgetOptions
    is_zero_shot: bool = False
    makers: dict[str, RuleMaker | None] = field(default_factory=dict)

    @property
    def prior(self) -> Floats:
        """Share of each class among the labelled rows."""
        return np.bincount(self.y, minlength=len(self.classes)) / len(self.y)

    def scaled(self) -> tuple[Floats, Floats, Floats]:
        """Labelled, unlabelled and test rows centred and scaled: column by column in a table, all alike in an embedding."""
        both = np.concatenate([self.X, self.unlabeled])
        mean, std = both.mean(axis=0), both.std(axis=0)
        scale = np.where(std > 1e-9, std, 1.0) if self.named else max(float(std.mean()), 1e-9)
        labelled, free, test = ((part - mean) / scale for part in (self.X, self.unlabeled, self.test))
        return labelled, free, test


@dataclass(frozen=True, eq=False)
class Answers:
    """Predicted classes of the test rows (t,), -1 = abstained; soft labels of unlabelled rows for a student; rules in words."""

    codes: Codes
    soft: Floats | None = None
    covered: NDArray[np.bool_] | None = None
    rules: dict[str, str] = field(default_factory=dict)


def draw(task: BenchTask, features: str, budget: int, seed: int, options: BudgetOptions) -> Drawn:
    """Label `budget` rows of the pool: one of each class, the others at random.

    Raises
    ------
    ConfigError
        The budget is smaller than the number of classes or leaves nothing unlabelled, or a class does not occur in the pool.
    """
    k = len(task.classes)
    if budget < 2 * k or budget >= len(task.y):
        raise ConfigError(
            f"a budget of {budget} labels does not suit '{task.name}' with {k} classes and {len(task.y)} rows; it must be at least {2 * k} "
            "(two per class) and leave rows unlabelled"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(task.y))
    present, first = np.unique(task.y[order], return_index=True)
    if len(present) < k:
        absent = next(name for c, name in enumerate(task.classes) if c not in present)
        raise ConfigError(f"class '{absent}' of '{task.name}' does not occur among the {len(order)} rows to label; enlarge the pool")
    labelled = order[np.concatenate([first, np.setdiff1d(np.arange(len(order)), first)[: budget - k]])]
    free = np.setdiff1d(np.arange(len(order)), labelled)
    pool, test = task.features[features]
    shot = task.features.get("zero-shot")
    named = features == "raw" and pool.shape[1] < 100
    return Drawn(
        task.classes,
        pool[labelled],
        task.y[labelled],
        pool[free],
        test,
        None if shot is None else (shot[0][labelled], shot[0][free], shot[1]),
        named,
        seed,
        options,
        features == "zero-shot",
    )


def answer(strategy: str, drawn: Drawn) -> Answers | None:
    """Let a strategy answer, or nothing where it does not apply (no class names to compare with, no rule found).

    Raises
    ------
    ConfigError
        No such strategy.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"strategy '{strategy}' is unknown; choose among {', '.join(STRATEGIES)}")
    if "zero-shot" in strategy and drawn.zero_shot is None:
        return None
    with warnings.catch_warnings():
        # What these say about one draw, the leaderboard says about all of them.
        warnings.filterwarnings("ignore", message="fewer than three independent sources|the .* labelled rows do not tell")
        return STRATEGIES[strategy](drawn)


def student_answers(drawn: Drawn, answers: Answers) -> Codes | None:
    """Predictions (t,) of logistic regression taught the soft labels of covered unlabelled rows; nothing without two classes there."""
    if answers.soft is None or answers.covered is None:
        return None
    soft = answers.soft[answers.covered]
    if len(soft) == 0 or len(np.unique(soft.argmax(axis=1))) < 2:
        return None
    _, free, test = drawn.scaled()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="logistic regression stopped")
        W, b = soft_logistic_regression(free[answers.covered], soft, C=1.0, tol=1e-3, max_iter=100)
    return np.asarray((test @ W.T + b).argmax(axis=1))


def _few_shot(drawn: Drawn) -> Answers:
    from sklearn.linear_model import LogisticRegression

    labelled, _, test = drawn.scaled()
    return Answers(LogisticRegression(max_iter=1000).fit(labelled, drawn.y).predict(test))


def _zero_shot(drawn: Drawn) -> Answers:
    assert drawn.zero_shot is not None
    return Answers(drawn.zero_shot[2].argmax(axis=1))


def _self_training(drawn: Drawn) -> Answers:
    from sklearn.linear_model import LogisticRegression
    from sklearn.semi_supervised import SelfTrainingClassifier

    labelled, free, test = drawn.scaled()
    y = np.concatenate([drawn.y, np.full(len(free), -1)])
    learner = SelfTrainingClassifier(LogisticRegression(max_iter=1000), threshold=0.9)
    return Answers(learner.fit(np.concatenate([labelled, free]), y).predict(test))


def _label_spreading(drawn: Drawn) -> Answers:
    from sklearn.semi_supervised import LabelSpreading

    labelled, free, test = drawn.scaled()
    y = np.concatenate([drawn.y, np.full(len(free), -1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows that no labelled row reaches divide zero by zero
        spread = LabelSpreading(kernel="knn", n_neighbors=10, max_iter=100).fit(np.concatenate([labelled, free]), y)
        return Answers(np.asarray(np.nan_to_num(spread.predict_proba(test)).argmax(axis=1)))


def _goggles(drawn: Drawn, with_zero_shot: bool = False) -> Answers | None:
    parts = [{"features": rows} for rows in (drawn.X, drawn.unlabeled, drawn.test)]
    if with_zero_shot:
        if drawn.zero_shot is None or drawn.is_zero_shot:
            return None  # nothing that is not there already
        parts = [{**part, "zero-shot": scores} for part, scores in zip(parts, drawn.zero_shot, strict=True)]
    labelled, free, test = parts
    goggles = Goggles(seed=drawn.seed).fit(labelled, drawn.y, free, classes=drawn.classes)
    soft = goggles.predict_proba(free).astype(np.float64)
    return Answers(goggles.predict_proba(test).argmax(axis=1), soft, np.ones(len(soft), dtype=bool))


def _snuba(drawn: Drawn, multipolar: bool = False) -> RuleMaker:
    width = 2 if drawn.X.shape[1] <= FEW_COLUMNS else 1
    options = drawn.options
    return Snuba(_model(drawn), cardinality=width, rounds=options.rounds, multipolar=multipolar, most=options.candidates, seed=drawn.seed)


def _iws(drawn: Drawn) -> RuleMaker:
    k, options = len(drawn.classes), drawn.options
    # One set of at most `most` guessed rules for all classes: each class against the rest gets its share.
    most = options.most if k == 2 else max(1, options.most // k)
    width = 2 if drawn.X.shape[1] <= FEW_COLUMNS else 1
    return InteractiveWS(queries=options.queries, most=most, cardinality=width, candidates=options.candidates, seed=drawn.seed)


MAKERS: dict[str, Callable[[Drawn], RuleMaker]] = {
    "snuba": _snuba,
    "snuba multipolar": lambda drawn: _snuba(drawn, multipolar=True),
    "iws": _iws,
}


def _fitted(kind: str, drawn: Drawn) -> RuleMaker | None:
    """The rule maker fitted to this draw, once for all strategies; nothing where it finds no rules."""
    # Of two classes, rules for either and rules for all are the same.
    kind = "snuba" if kind == "snuba multipolar" and len(drawn.classes) == 2 else kind
    if kind not in drawn.makers:
        try:
            drawn.makers[kind] = MAKERS[kind](drawn).fit(drawn.X, drawn.y, drawn.unlabeled, classes=drawn.classes)
        except SourceError as error:
            if not any(known in str(error) for known in ("found no rule", "candidate rules vote")):
                raise
            drawn.makers[kind] = None
    return drawn.makers[kind]


def _weighed(kind: str, with_zero_shot: bool = False) -> Callable[[Drawn], Answers | None]:
    def strategy(drawn: Drawn) -> Answers | None:
        maker = _fitted(kind, drawn)
        if maker is None:
            return None
        votes = [maker.vote(rows) for rows in (drawn.unlabeled, drawn.test)]
        if with_zero_shot and drawn.zero_shot is not None:
            votes = [_and_zero_shot(part, scores) for part, scores in zip(votes, drawn.zero_shot[1:], strict=True)]
        model = _model(drawn).fit(votes[0])
        codes = np.where(votes[1].coverage, model.predict(votes[1]), ABSTAIN)
        return Answers(codes, model.predict_proba(votes[0]).astype(np.float64), votes[0].coverage, maker.describe())

    return strategy


def _and_zero_shot(votes: Votes, scores: Floats) -> Votes:
    codes = np.concatenate([votes.codes, softmax(scores, axis=1).argmax(axis=1)[:, None]], axis=1)
    return Votes(codes, classes=votes.classes, sources=[*votes.sources, "zero-shot"])


def _model(drawn: Drawn) -> Any:
    """The label model of every strategy, with the class balance of the labelled rows where it can take one."""
    model = getattr(label_models, drawn.options.label_model, None) if drawn.options.label_model in label_models.__all__ else None
    if model is None or drawn.options.label_model in label_models.BESIDE_MODELS:
        raise ConfigError(f"label model '{drawn.options.label_model}' is unknown; MeTaL, DawidSkene and MajorityVote are among the known")
    made = model()
    known = made.get_params()
    # A hundred sweeps: rules are refitted and weighed in every round.
    settings = {"class_prior": drawn.prior.tolist(), "max_iter": 100, "tol": 1e-4}
    return made.set_params(**{name: value for name, value in settings.items() if name in known})


STRATEGIES: dict[str, Callable[[Drawn], Answers | None]] = {
    "few-shot": _few_shot,
    "zero-shot": _zero_shot,
    "self-training": _self_training,
    "label spreading": _label_spreading,
    **{kind: _weighed(kind) for kind in MAKERS},
    "goggles": _goggles,
    **{f"{kind} + zero-shot": _weighed(kind, with_zero_shot=True) for kind in MAKERS},
    "goggles + zero-shot": lambda drawn: _goggles(drawn, with_zero_shot=True),
}
