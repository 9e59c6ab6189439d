"""Find attributes in queries and say which canonical value each means, from few tagged queries and a large log of what was clicked.

Zhang et al. 2021, "QUEACO: Borrowing Treasures from Weakly-labeled Behavior Data for Query Attribute Value Extraction". Tagging: a teacher
learned from the tagged queries fills the holes of weak tags, a student learns from both, its measured progress steers the teacher, and at
last it is tuned on the tagged queries. Values: counts of the log by surface, type and category, backing off to similar surfaces. The
built-in proof has no product log: abstracts with disease names stand in, two rules for clicks, mentions with wrong concepts for values.

There the values behave as expected (accuracy: first seen .467, counts .590, with back-off .683), the tags do not: span F1 is .506 for
strong documents only, .502 for self-training, .519 for refinement without feedback, and only .483 with the feedback (.455 with a weight of
20, rejected on the validation documents), which makes the small teacher worse. Set ``feedback`` to 0 unless it shows a gain on held-out
documents.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from steelyard.errors import ConfigError
from steelyard.evaluation import SpanScores, span_scores
from steelyard.jobs.attribute_task import AttributeTask, load_task
from steelyard.result import Result
from steelyard.retrieval.attributes import AttributeExtractor, ValueNormalizer, value_scores
from steelyard.training.feedback_tagger import FeedbackTagger

ARMS: dict[str, dict[str, Any]] = {
    "strong only": {"weak": False},
    "weak only": {"strong": False},
    "weak then strong": {"refine": "weak-as-is", "feedback": 0.0},
    "self-training": {"refine": "teacher", "feedback": 0.0},
    "no feedback": {"feedback": 0.0},
    "no fine-tuning": {"finetune_steps": 0},
    "method": {},
}


@dataclass(frozen=True)
class Queaco:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        ``ncbi_disease``, or a table with the columns words (list), tags (list of BIO tags) and split (train or test).
    clicks : str or None
        With own data: table with the columns query, product and count, optionally position and action.
    products : str or None
        With own data: table with the columns product, type and value, optionally category.
    arms : tuple of str
        What is compared: ``method``, ``strong only``, ``weak only``, ``weak then strong``, ``self-training``, ``no feedback`` and
        ``no fine-tuning``.
    strong : int
        Documents of ncbi_disease with gold tags; the others have weak ones.
    wrong_ids : float
        Share of the log of ncbi_disease whose value is replaced at random.
    keep_threshold : float
        Weak tags stay unless the teacher gives them less than this.
    feedback : float
        Weight of the student's progress in the teacher's loss.
    steps : int
        Updates on weak documents.
    finetune_steps : int
        Updates of the student on strong documents afterwards.
    learning_rate : float
    strength : float
        How many counts the back-off is worth.
    neighbours : int
        Similar surfaces asked in the back-off.
    veto : float
        Spans whose best value is less probable than this are dropped end to end.
    seeds : tuple of int
        Each draws its own strong documents, wrong values and networks.
    """

    data: str = "ncbi_disease"
    clicks: str | None = None
    products: str | None = None
    arms: tuple[str, ...] = tuple(ARMS)
    strong: int = 80
    wrong_ids: float = 0.2
    keep_threshold: float = 0.02
    feedback: float = 1.0
    steps: int = 300
    finetune_steps: int = 100
    learning_rate: float = 0.01
    strength: float = 5.0
    neighbours: int = 10
    veto: float = 0.0
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: Queaco) -> Result:
    """Train the taggers, fit the normalizers, and measure both apart and together.

    Parameters
    ----------
    config : Queaco

    Returns
    -------
    Result
        For every arm precision, recall and F1 of exact spans, and end to end ``value_f1`` on (type, value) where the data have gold values;
        for values the arms ``first seen``, ``counts`` and ``counts + back-off`` with accuracy and coverage.

    Raises
    ------
    ConfigError, DataError, SourceError, TrainingError
        An arm is unknown, tables lack columns, there is too little to learn from.

    Examples
    --------
    >>> run(Queaco(arms=("magic",)))
    Traceback (most recent call last):
    steelyard.errors.ConfigError: no arm named 'magic'; arms are strong only, weak only, ...
    """
    unknown = [arm for arm in config.arms if arm not in ARMS]
    if unknown or not config.seeds or not config.arms:
        named = f"no arm named '{unknown[0]}'" if unknown else "arms and seeds need at least one value each"
        raise ConfigError(f"{named}; arms are {', '.join(ARMS)}")
    result = Result("queaco", dataclasses.asdict(config))
    for seed in config.seeds:
        began = time.perf_counter()
        task = load_task(config.data, config.clicks, config.products, config.strong, config.wrong_ids, seed)
        normalizer = _values(config, task, seed, result)
        for arm in config.arms:
            tagger = _tagger(config, task, ARMS[arm], seed)
            found = tagger.predict_spans(task.test[0])
            _add(result, arm, seed, span_scores(task.gold_spans(), found)["all"])
            if normalizer is not None and task.values is not None:
                extracted = AttributeExtractor(tagger, normalizer, config.veto)(task.test[0])
                result.add(arm, seed, "value_f1", value_scores(task.values, extracted).f1)
        result.timings[f"seed {seed}"] = time.perf_counter() - began
    result.artifacts["data"] = {
        **task.about,
        "train": f"{len(task.strong[0])} strong and {len(task.weak[0])} weak documents",
        "test": "test",
    }
    return result


def _tagger(config: Queaco, task: AttributeTask, changes: dict[str, Any], seed: int) -> FeedbackTagger:
    options = {name: getattr(config, name) for name in ("keep_threshold", "feedback", "steps", "finetune_steps", "learning_rate")}
    options |= {name: value for name, value in changes.items() if name in (*options, "refine")}
    tagger = FeedbackTagger(task.classes, seed=seed, **options)
    if not changes.get("strong", True):
        # Weak tags as if they were gold: what nobody named counts as outside.
        return tagger.fit(task.weak[0], [np.where(codes < 0, task.classes.index("O"), codes) for codes in task.weak[1]])
    return tagger.fit(*task.strong, *task.weak) if changes.get("weak", True) else tagger.fit(*task.strong)


def _values(config: Queaco, task: AttributeTask, seed: int, result: Result) -> ValueNormalizer | None:
    if task.log is None:
        return None
    backed = ValueNormalizer(config.strength, config.neighbours).fit(task.log)
    if task.mentions is not None:
        counts = ValueNormalizer(config.strength, 0).fit(task.log)
        first = ValueNormalizer(config.strength, 0).fit(task.log.unique(["surface", "type"], keep="first", maintain_order=True))
        gold = task.mentions["value"].to_list()
        for arm, normalizer in (("first seen", first), ("counts", counts), ("counts + back-off", backed)):
            said = [found.value for found in normalizer.normalize(task.mentions["surface"].to_list(), task.mentions["type"][0])]
            result.add(arm, seed, "value_accuracy", sum(a == b for a, b in zip(said, gold, strict=True)) / len(gold))
            result.add(arm, seed, "value_coverage", sum(value is not None for value in said) / len(gold))
    return backed


def _add(result: Result, arm: str, seed: int, scores: SpanScores) -> None:
    for metric in ("f1", "precision", "recall"):
        result.add(arm, seed, metric, getattr(scores, metric))
