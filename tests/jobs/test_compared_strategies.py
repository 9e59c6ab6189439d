"""Every strategy on simulated texts with known truth: gains, negative controls, and the same numbers as the plain pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from steelyard.errors import ConfigError, TrainingError
from steelyard.jobs.compared_strategies import ComparedStrategies
from steelyard.jobs.strategies import other_supervisors
from steelyard.jobs.text_task import TextTask
from steelyard.jobs.weak_to_strong import Arm, WeakToStrong
from steelyard.result import Result
from steelyard.sources import keywords
from steelyard.training import BootstrapChain, SklearnStudent

CLASSES = ("food", "travel")
METRICS = ("accuracy", "balanced_accuracy", "f1_weighted")


def simulated(n: int = 900) -> TextTask:
    """Each text has six of its class's 40 words, 15 % of them are of the other class instead. Two thirds are food."""
    rng = np.random.default_rng(0)
    y = (rng.random(n) < 1 / 3).astype(np.int64)
    own = np.where(rng.random((n, 6)) < 0.15, 1 - y[:, None], y[:, None])
    frequent = 1 / np.arange(1, 41)
    words = rng.choice(40, (n, 6), p=frequent / frequent.sum())
    texts = [" ".join(f"{'ft'[c]}{w}" for c, w in zip(*row, strict=True)) + f" n{i}" for i, row in enumerate(zip(own, words, strict=True))]
    return TextTask(texts, y, CLASSES, np.zeros(n, dtype=np.bool_))


def reader(words: int | None):
    return make_pipeline(TfidfVectorizer(max_features=words), LogisticRegression(max_iter=1000))


def job(*strategies: str, **options) -> ComparedStrategies:
    return ComparedStrategies(reader(6), SklearnStudent(reader(None)), strategies, metrics=METRICS, **options)


def compared(*strategies: str, seeds=(0, 1, 2), **options) -> Result:
    task = simulated()
    return job(*strategies, **options).over_seeds(task, lambda seed: task.pools(60, 540, 300, seed), seeds)


def test_strategies_side_by_side_with_their_controls():
    chain = BootstrapChain([SklearnStudent(reader(12)), SklearnStudent(reader(None))])
    names = ["hard", "soft", "filter:0.7", "ensemble", "filter:0.7+ensemble", "bootstrap", "twin", "shuffled"]
    result = compared(*names, others=other_supervisors(6), chain=chain)
    assert result.arms == ["weak", "method", *names[1:], "ceiling"]
    for metric in METRICS:
        assert result.mean("method", metric) > result.mean("weak", metric) + 0.015
        assert 0 < result.mean("method", f"{metric}/pgr") < 1
        # More texts alone bring nothing: the gain is the stronger reader's.
        assert abs(result.mean("twin", metric) - result.mean("weak", metric)) < 0.015
    # Labels on the wrong texts teach the class balance, which accuracy alone would not show.
    assert abs(result.mean("shuffled", "balanced_accuracy") - 0.5) < 0.05
    assert result.mean("shuffled", "accuracy") > 0.55
    assert result.mean("shuffled", "balanced_accuracy/pgr") < -1
    assert result.artifacts["gaps"]["soft"]["f1_weighted"]["metric"] == "f1_weighted"
    assert result.mean("twin", "agreement_when_wrong") > result.mean("method", "agreement_when_wrong")


def test_the_numbers_are_those_of_the_plain_pipeline_over_all_rows():
    task = simulated(500)
    pools = task.pools(60, 240, 100, seed=4)
    found = job("hard", "filter:0.8").over_seeds(task, lambda _: pools, [4])
    arms = {"method": Arm(hard=True), "filter:0.8": Arm(confidence=0.8)}
    whole = WeakToStrong(reader(6), SklearnStudent(reader(None)), arms, cache=False)
    outcome = whole.run(task.texts, task.y, pools, CLASSES, seed=4)
    expected = outcome.add_to(Result("plain"), METRICS)
    assert sorted(found.rows) == sorted(expected.rows)


def test_rules_supervise_but_have_no_twin():
    rules = [keywords([f"f{i}" for i in range(3)], label="food", name="f"), keywords([f"t{i}" for i in range(3)], label="travel", name="t")]
    task = simulated(400)
    student = SklearnStudent(reader(None))
    found = ComparedStrategies(rules, student, ["soft", "shuffled"]).over_seeds(task, lambda seed: task.pools(40, 240, 100, seed), [0])
    assert found.mean("method", "accuracy") > found.mean("shuffled", "accuracy")
    with pytest.raises(ConfigError, match="'twin' is unknown or not possible here"):
        ComparedStrategies(rules, student, ["soft", "twin"])


def test_a_filter_that_keeps_nothing_leaves_its_arm_out():
    with pytest.warns(UserWarning, match="strategy 'filter:0.999' keeps none of 540 weak labels, the surest has 0."):
        result = compared("hard", "filter:0.999", seeds=(0,))
    assert result.arms == ["weak", "method", "ceiling"]
    with pytest.raises(TrainingError, match="lower the filter"):
        compared("filter:0.999", seeds=(0,))


@pytest.mark.parametrize(
    ("strategies", "options", "message"),
    [
        (["hard", "xent"], {}, "'xent' is unknown"),
        (["ensemble"], {}, "not possible here"),
        (["bootstrap"], {}, "not possible here"),
        (["hard"], {"metrics": ["f2"]}, "metric 'f2' is unknown"),
    ],
)
def test_mistakes_are_one_sentence_before_anything_is_trained(strategies, options, message):
    with pytest.raises(ConfigError, match=message):
        ComparedStrategies(reader(6), SklearnStudent(reader(None)), strategies, **options)
