"""Weak-to-strong generalization: a strong student learns from a weak supervisor's labels and outgrows it; how much of the gap it closes.

Burns et al. 2023, "Weak-to-Strong Generalization: Eliciting Strong Capabilities With Weak Supervision". The supervisor learns from the gold
pool and labels the unlabeled pool, which it has not seen; students learn from these labels, the ceiling from gold labels of the same texts
with the same budget; all are measured on one test pool. The share of the gap recovered (PGR) is (student − weak) / (ceiling − weak).

Measured: on questions of six kinds the confidence loss recovers more than imitation (PGR .46 against .34, five seeds); trained until the
supervisor's errors are learned by heart, imitation recovers almost nothing. On unsafe prompts, with supervisor and ceiling three points
apart, the product loss helps and the confidence loss does not. Batch size and schedule matter as much as the loss: see
`benchmarks/weak_to_strong_accuracy.py`. A student no stronger than its supervisor only loses, as the picture below shows.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

from steelyard.errors import ConfigError
from steelyard.evaluation import gap_over_seeds
from steelyard.jobs.named_parts import named_arm, named_student, named_supervisor
from steelyard.jobs.text_task import TextTask, load_text_task
from steelyard.jobs.weak_to_strong import METHOD, Arm
from steelyard.jobs.weak_to_strong import WeakToStrong as Pipeline
from steelyard.result import Result

_TRAINING = ("epochs", "batch_size", "learning_rate")


@dataclass(frozen=True)
class WeakToStrong:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        Name of a data set of texts, path of a table (Parquet, CSV, JSON lines), folder of Hugging Face's ``save_to_disk``, or ``hf:NAME``.
    weak : str
        ``tfidf``, ``votes`` (published with the data), the path of a sources file, or a Hugging Face model to train on the gold pool.
    strong : str
        Name or folder of a Hugging Face model; ``minilm`` needs no network.
    loss : tuple of str
        What students minimise, one arm each: soft, hard, confidence, confidence:ALPHA, confidence:ALPHA:official (the ramp of the authors'
        code), product. The first is the method.
    tune : str
        How the strong model learns: probe (a head on frozen features), lora or full.
    text : str
        Text column of a table; left out: ``text``, or the column with the longest texts.
    label : str
        Label column of a table.
    gold : float
        Texts with gold for the supervisor: a number, or below 1 a share.
    unlabeled : float
        Texts that the supervisor labels; all others when left out.
    test : float
        Texts to measure on; the data set's test split when left out, or a quarter.
    weak_words : tuple of int
        Vocabulary of ``tfidf``. Several make a sweep: the first is the run, the others are for the picture.
    dimensions : tuple of int
        How many of the frozen features the student reads, 0 for all. Several make a sweep.
    hidden : int
        Width of a probe's hidden layer, 0 for a linear probe.
    pooling : str
        How tokens become one feature vector: mean, cls, or last (decoders).
    epochs : float
        Passes of every model that is trained by steps; 15 for a probe and 2 otherwise when left out.
    batch_size : int
        Texts per step; 100 for a probe and 32 otherwise when left out.
    learning_rate : float
        Left out: 1e-3 for a probe, 2e-5 full, 2e-4 lora.
    confidence : float
        Weak labels whose most probable class is less probable than this are not taught.
    early_stopping : float
        Share of the weak labels held out to stop by; gold is never looked at.
    bootstrap : tuple of str
        Models between weak and strong, from small to large: one more arm, a chain in which each teaches the next.
    generative : float
        Epochs for which a decoder first reads the texts without labels: one more arm. Needs tune full or lora.
    probe_after : bool
        One more arm: a linear probe on the features of the fine-tuned student. Needs tune full or lora.
    metrics : tuple of str
        Metrics of ``steelyard.evaluation``, such as accuracy, balanced_accuracy, f1_weighted, log_loss.
    students : str
        Folder to keep the fitted students in.
    seeds : tuple of int
        Each draws its own pools, supervisor and students.
    """

    data: str
    weak: str = "tfidf"
    strong: str = "minilm"
    loss: tuple[str, ...] = ("soft",)
    tune: str = "probe"
    text: str | None = None
    label: str = "label"
    gold: float = 0.5
    unlabeled: float | None = None
    test: float | None = None
    weak_words: tuple[int, ...] = (60,)
    dimensions: tuple[int, ...] = (0,)
    hidden: int = 128
    pooling: str = "mean"
    epochs: float | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    confidence: float = 0.0
    early_stopping: float = 0.0
    bootstrap: tuple[str, ...] = ()
    generative: float = 0.0
    probe_after: bool = False
    metrics: tuple[str, ...] = ("accuracy",)
    students: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: WeakToStrong) -> Result:
    """Run every arm on every seed; what is already in the cache (features, weak labels, predictions) is not made again.

    Returns
    -------
    Result
        Arms `weak`, `method` (the first loss), one per further loss and remedy, and `ceiling` where the unlabeled texts have gold; for
        each metric also `METRIC/pgr`; agreement with the supervisor where it is right and where it is wrong (its errors repeated).

    Raises
    ------
    ConfigError, DataError, TrainingError
        An option names nothing, the data cannot be read or are too few, the supervisor names one class only.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "mail.csv"
    >>> spam = [f"free {word} {i},SPAM" for i in range(20) for word in ("cash", "money", "prize")]
    >>> ham = [f"see you {word} {i},HAM" for i in range(20) for word in ("soon", "today", "there")]
    >>> _ = file.write_text("\\n".join(["text,label", *spam, *ham]))
    >>> result = run(WeakToStrong(str(file), gold=20, weak_words=(3,), epochs=5, seeds=(0,)))
    >>> result.arms
    ['weak', 'method', 'ceiling']
    """
    if not (config.seeds and config.loss and config.weak_words and config.dimensions and config.metrics):
        raise ConfigError("seeds, loss, weak_words, dimensions and metrics need at least one value each")
    task = load_text_task(config.data, text=config.text, label=config.label)
    result = Result("weak-to-strong", {name: _whole(value) for name, value in dataclasses.asdict(config).items()})
    sizes = list(itertools.product(config.weak_words, config.dimensions))
    sweep = []
    for words, dimensions in sizes:
        is_first = (words, dimensions) == sizes[0]
        arms = _arms(config, dimensions) if is_first else {METHOD: _arms(config, dimensions)[METHOD]}
        pipeline = Pipeline(
            named_supervisor(config.weak, task, words=words, **{option: getattr(config, option) for option in _TRAINING}),
            _student(config.strong, config, dimensions),
            arms,
            metrics=config.metrics,
            keep=config.students if is_first else None,
        )
        found = result if is_first else Result("sweep")
        pools = {seed: task.pools(config.gold, config.unlabeled, config.test, seed) for seed in config.seeds}
        pipeline.over_seeds(task.texts, task.y, pools.__getitem__, task.classes, config.seeds, result=found)
        if "ceiling" in found.arms:
            three = [list(found.values(arm, config.metrics[0]).values()) for arm in ("weak", METHOD, "ceiling")]
            gap = gap_over_seeds(*three, metric=config.metrics[0])
            sweep.append({"weak": words, "strong": dimensions, "gap": gap.to_dict()})
    result.artifacts |= {"cleaning": task.cleaning, "data": _data(task, pools[config.seeds[0]])}
    if len(sizes) > 1:
        result.artifacts["sweep"] = {"weak": "words of the supervisor", "strong": "features of the student", "cells": sweep}
    return result


def _arms(config: WeakToStrong, dimensions: int) -> dict[str, Arm]:
    first, *others = config.loss
    arms = {METHOD: named_arm(first), **{loss: named_arm(loss) for loss in others}}
    arms = {name: dataclasses.replace(arm, confidence=config.confidence) for name, arm in arms.items()}
    if config.bootstrap:
        from steelyard.training import BootstrapChain

        models = (*config.bootstrap, config.strong)
        arms["bootstrap"] = Arm(student=BootstrapChain([_student(name, config, dimensions) for name in models]))
    if (config.generative or config.probe_after) and config.tune == "probe":
        raise ConfigError("generative and probe_after fine-tune the model; use tune full or lora")
    if config.generative:
        from steelyard.training import GenerativeStart

        arms["generative"] = Arm(student=GenerativeStart(_student(config.strong, config, 0), epochs=config.generative))
    if config.probe_after:
        from steelyard.training import ProbeAfter

        arms["probe_after"] = Arm(student=ProbeAfter(_student(config.strong, config, 0), pooling=config.pooling))  # type: ignore[arg-type]
    return arms


def _student(name: str, config: WeakToStrong, dimensions: int) -> Any:
    shared = ("tune", "hidden", "pooling", "early_stopping", *_TRAINING)
    return named_student(name, dimensions=dimensions, **{option: getattr(config, option) for option in shared})


def _data(task: TextTask, pools: Any) -> dict[str, str]:
    taught = f"{len(pools.gold):,} texts with gold and {len(pools.unlabeled):,} with weak labels"
    return {**task.about, "train": taught, "test": f"{len(pools.test):,} texts"}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value >= 1 and value.is_integer() else value
