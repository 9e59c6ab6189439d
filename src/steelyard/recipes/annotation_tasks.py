"""Annotation tasks: many classification tasks over texts, zero-shot or specialised, one model for each or one for all of them.

Dominguez-Olmedo et al. 2024, "Lawma: The Power of Specialization for Legal Tasks". Documents are split once for all tasks, majority
classes are sampled down (and the accuracy before that is reported as well), and answers are chosen among the task's own, never
generated. The zero-shot annotator matches texts to written descriptions of the answers; a language model answers the same prompts before
and after fine-tuning. The published answers of nine models to twenty legal tasks show what label models make of such annotators.

On four tasks of texts, three seeds: zero-shot .548, a head on 100 examples each .825, on 1,000 .896, on every task at least 22 points more
than zero-shot; one network for all tasks .896, the same for each .899. On the legal tasks label models do not lift six zero-shot models
(vote .630, best of them .681) and stay far under the specialised one (.872).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steelyard.encoders import TextEncoder
from steelyard.errors import ConfigError
from steelyard.evaluation import gap_over_seeds
from steelyard.evaluation.task_means import clopper_pearson, task_means, unbalanced_accuracy
from steelyard.jobs.annotation_arms import Right, divided, feature_arms, first_examples, language_model_arms
from steelyard.jobs.annotation_suite import load_suite
from steelyard.jobs.finished_seeds import over_seeds
from steelyard.jobs.vote_suite import SPECIALISED, answers_right, load_vote_tasks
from steelyard.language.choice_tasks import Annotated
from steelyard.result import Result


@dataclass(frozen=True)
class AnnotationTasks:
    """Options of the recipe.

    Parameters
    ----------
    data : tuple of str
        Tables with the columns task, text, answer and perhaps document, key (which question is asked) and choices (of this example):
        Parquet, CSV or JSON lines, or Hugging Face data sets (a folder of ``save_to_disk`` or ``hf:NAME``); or data sets of texts with a
        label, a task each. An answer may list several with ``|`` between them: any of them counts as right.
    descriptions : str
        JSON file, task -> choices (answer -> meaning), question, instruction; answers mean what they say when left out.
    encoder : str
        Name or folder of a sentence encoder; ``minilm-offline`` needs no network.
    sizes : tuple of int
        Gold examples of each task to learn from, one point of the curve each; the last is the run.
    shared : tuple of int
        Sizes at which one model for all tasks is compared with the same network for each.
    steps : int
        Training steps of these networks.
    test : float
        Share of the documents to measure on.
    most_tested : int
        Test examples of a task at most.
    majority : float
        Largest share of a class; others are sampled down.
    model : str
        Hugging Face causal language model to ask zero-shot and to fine-tune on all tasks; none when left out.
    tune : str
        How it learns: full or lora.
    context : int
        Tokens of a prompt of the language model.
    epochs : float
        Passes of its fine-tuning.
    learning_rate : float
        Its step size.
    votes : str
        Data set of many models' answers to many tasks, such as ``llm_votes_legal``; none when left out.
    label_models : tuple of str
        What weighs these answers.
    seeds : tuple of int
        Each draws its own split and examples.
    """

    data: tuple[str, ...]
    descriptions: str | None = None
    encoder: str = "minilm-offline"
    sizes: tuple[int, ...] = (10, 50, 100, 250, 500, 1000)
    shared: tuple[int, ...] = (100, 1000)
    steps: int = 400
    test: float = 0.25
    most_tested: int = 500
    majority: float = 0.5
    model: str = ""
    tune: str = "full"
    context: int = 2048
    epochs: float = 3
    learning_rate: float = 2e-6
    votes: str = ""
    label_models: tuple[str, ...] = ("MajorityVote", "DawidSkene", "MeTaL")
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: AnnotationTasks) -> Result:
    """Run every arm on every seed.

    Returns
    -------
    Result
        Arms `majority`, `weak` (zero-shot), `specialised-N` (a logistic head of each task on N examples), `shared-N` and `alone-N` (one
        network for all tasks, the same for each), and `method` and `ceiling` (the last of these two); with a language model `lm-zero-shot`
        and `lm-tuned`. Metrics `accuracy` (mean of tasks), `accuracy/cases`, `accuracy/unbalanced`, `accuracy/TASK`, `tasks_won` (against
        zero-shot). With votes, `votes/tasks` and `votes/cases` of every model and label model. Artifact `intervals`: 90 % per task.

    Raises
    ------
    ConfigError, DataError, TrainingError
        An option names nothing; a task has one answer only or too few documents; data cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "tasks.csv"
    >>> lines = [f"{t},{w} {i},{w}" for t, words in (("pay", ("cash", "card")), ("go", ("bus", "ship"))) for w in words for i in range(20)]
    >>> _ = file.write_text("\\n".join(["task,text,answer", *lines]))
    >>> result = run(AnnotationTasks((str(file),), sizes=(10,), shared=(10,), steps=20, seeds=(0,)))
    >>> result.arms
    ['majority', 'weak', 'specialised-10', 'shared-10', 'alone-10', 'method', 'ceiling']
    """
    if not (config.seeds and config.sizes and config.shared):
        raise ConfigError("seeds, sizes and shared need at least one value each")
    if min(*config.sizes, *config.shared, config.steps) < 1 or not 0 < config.majority < 1:
        raise ConfigError("sizes, shared and steps must be at least 1, and majority a share between 0 and 1")
    result = Result("annotation-tasks", dataclasses.asdict(config))
    tasks = load_suite(config.data, config.descriptions)
    encoder = TextEncoder(config.encoder)

    def one_seed(seed: int, part: Result) -> None:
        trains, tests = divided(tasks, test=config.test, majority=config.majority, most_tested=config.most_tested, seed=seed)
        arms = feature_arms(trains, tests, encoder, sizes=config.sizes, shared=config.shared, steps=config.steps, seed=seed)
        if config.model:
            learning: dict[str, Any] = {name: getattr(config, name) for name in ("tune", "epochs", "learning_rate", "context")}
            taught = [first_examples(train, max(config.sizes), seed) for train in trains]
            arms |= language_model_arms(taught, tests, config.model, seed=seed, **learning)
        for arm, right in arms.items():
            _add(part, arm, seed, right, tests, arms["weak"])
        certain = {
            arm: {task: clopper_pearson(int(cases.sum()), len(cases)) for task, cases in arms[arm].items()} for arm in ("weak", "method")
        }
        part.artifacts |= {"intervals": {str(seed): certain}, "tested": sum(map(len, tests))}

    content = [[dataclasses.asdict(task.task), task.read, task.y, task.documents, task.keys, task.allowed, task.accepted] for task in tasks]
    over_seeds(result, config.seeds, one_seed, {"tasks": content})
    if config.votes:
        _add_votes(result, config)
    three = [list(result.values(arm, "accuracy").values()) for arm in ("weak", "method", "ceiling")]
    licences = "; ".join(dict.fromkeys(str(task.about.get("licence")) for task in tasks))
    cites = "; ".join(dict.fromkeys(str(task.about.get("citation")) for task in tasks))
    result.artifacts |= {
        "gap": gap_over_seeds(*three, metric="accuracy").to_dict(),
        "data": {
            "name": ", ".join(task.task.name for task in tasks),
            "train": f"up to {max(config.sizes):,} texts of each task",
            "test": f"{result.artifacts.pop('tested'):,} texts of {len(tasks)} tasks",
            "licence": licences,
            "citation": cites,
        },
    }
    return result


def _add(result: Result, arm: str, seed: int, right: Right, tests: Sequence[Annotated], rival: Right) -> None:
    means = task_means(right)
    result.add(arm, seed, "accuracy", means["tasks"]).add(arm, seed, "accuracy/cases", means["cases"])
    before = [unbalanced_accuracy(right[test.task.name], test.y == test.majority, test.keep_fraction) for test in tests]
    result.add(arm, seed, "accuracy/unbalanced", float(np.mean(before)))
    for task, cases in right.items():
        result.add(arm, seed, f"accuracy/{task}", float(cases.mean()))
    result.add(arm, seed, "tasks_won", float(np.mean([right[task].mean() > rival[task].mean() for task in right])))


def _add_votes(result: Result, config: AnnotationTasks) -> None:
    tasks = load_vote_tasks(config.votes)
    # Alone, specialised models are what zero-shot annotators are weighed against; all nine together is the other question.
    groups: Mapping[str, tuple[str, ...]] = {"zero-shot models": SPECIALISED, "all models": ()}
    for group, without in groups.items():
        for name, right in answers_right(tasks, config.label_models, without=without).items():
            arm = f"{name} of {group}" if name in config.label_models else name
            if arm not in result.arms:
                for mean, value in task_means(right).items():
                    result.add(arm, config.seeds[0], f"votes/{mean}", value)
