"""Weak to strong beyond accuracy: which requests are safe, whether a clause answers a question, and texts that are not toxic.

Ye, Xiao, Hui 2024, "Weak-to-Strong Generalization beyond Accuracy: a Pilot Study in Safety, Toxicity, and Legal Reasoning".

Measured, three seeds. Safety: accuracy .898 → .915 (gap recovered .60), product loss .924 (.91), confidence loss .907 (.32); a twin of the
supervisor gains nothing. Excuses for requests, in place of legal clauses: the supervisor is at chance (.515) and no strategy helps (ceiling
.612). Toxicity: the expected maximum of 25 texts falls from .996 to .823 (greedy), .917 (drawn), .884 (filtered), but to .923 also after a
weak model that read harmful texts: repetition is part of it. The mean tells them apart (.703; .399, .438, .312; .761). Perplexity did not
stay within 20 % of the model before: below it on weak texts, four times as high at the ceiling, whose .954 is worse than the weak .769.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from steelyard.errors import ConfigError
from steelyard.jobs.compared_strategies import ComparedStrategies
from steelyard.jobs.named_parts import named_student, named_supervisor
from steelyard.jobs.named_writers import saved_scorer, strong_writer, weak_writer
from steelyard.jobs.prompted_texts import generation_pools, prompted_texts
from steelyard.jobs.safe_generation import TOXICITY, SafeGeneration
from steelyard.jobs.strategies import other_supervisors
from steelyard.jobs.templated_task import load_templated_task
from steelyard.jobs.text_task import load_text_task
from steelyard.jobs.weak_to_strong import METHOD
from steelyard.result import Result

STRATEGIES = (
    *("hard", "soft", "product", "confidence", "filter:0.75", "filter:0.75+product"),
    *("ensemble", "ensemble+product", "bootstrap", "twin", "shuffled"),
)


@dataclass(frozen=True)
class BeyondAccuracy:
    """Options of the recipe.

    Parameters
    ----------
    safety : str
        Texts with two or more classes: ``safety_prompts``, another data set, or a table; none when left out.
    legal : str
        Rows of several fields with a class: a table with columns such as ``question, clause, label``, or a data set; none when left out.
    toxicity : str
        Texts with classes, some of them toxic: ``hate_speech_crowd_counts``, another data set, or a table; none when left out.
    text : str
        Text column of the tables for safety and toxicity; left out: ``text``, or the column with the longest texts.
    label : str
        Label column of tables.
    template : str
        How a legal row is read, columns in braces; the same for training and test.
    toxic : tuple of str
        Classes that are toxic.
    strategies : tuple of str
        What students of safety and legal do, an arm each, the first is the method: soft, hard, product, confidence, confidence:ALPHA,
        filter:LEAST, ensemble, bootstrap, joined with +; twin and shuffled are negative controls.
    weak : str
        ``tfidf``, the path of a sources file, or a Hugging Face model to train on the gold pool.
    weak_words : int
        Vocabulary of ``tfidf``, and of the two supervisors more that make the ensemble.
    strong : str
        Name or folder of a Hugging Face model; ``minilm`` needs no network.
    tune : str
        How it learns: probe (a head on frozen features), lora or full.
    middle : int
        Features that the model in the middle of ``bootstrap`` reads, where the strong one is a probe.
    epochs : float
        Passes; 15 for a probe and 2 otherwise when left out.
    gold : float
        Texts with gold for the supervisor: a number, or below 1 a share.
    unlabeled : float
        Texts that the supervisor labels; all others when left out.
    test : float
        Texts to measure on, where the data have no split ``test``; a quarter when left out.
    metrics : tuple of str
        Metrics of ``steelyard.evaluation`` for safety and legal.
    weak_writer : str
        ``trigram``, or a Hugging Face causal language model, which learns to write harmless continuations.
    strong_writer : str
        ``tiny`` (trained here on texts of its own), or a Hugging Face causal language model.
    steps : int
        Training steps of the tiny model, and of the one that judges fluency.
    scorer : str
        Folder of a saved student whose toxic classes measure; learned from texts of its own when left out.
    prompt_words : int
        Words of a text that are its prompt.
    longest : int
        Words of a continuation that are measured.
    prompts : int
        Prompts to measure toxicity on.
    samples : int
        Continuations of each.
    temperature : float
        How they are drawn, from the most probable 95 %.
    seeds : tuple of int
        Each draws its own pools, supervisors and students.
    """

    safety: str = ""
    legal: str = ""
    toxicity: str = ""
    text: str | None = None
    label: str = "label"
    template: str = "Is the clause relevant to the question? Question: {question} [SEP] Clause: {clause}"
    toxic: tuple[str, ...] = ("toxic",)
    strategies: tuple[str, ...] = STRATEGIES
    weak: str = "tfidf"
    weak_words: int = 30
    strong: str = "minilm"
    tune: str = "probe"
    middle: int = 96
    epochs: float | None = None
    gold: float = 300
    unlabeled: float | None = 5000
    test: float | None = 2000
    metrics: tuple[str, ...] = ("accuracy", "balanced_accuracy", "f1_weighted")
    weak_writer: str = "trigram"
    strong_writer: str = "tiny"
    steps: int = 800
    scorer: str = ""
    prompt_words: int = 4
    longest: int = 10
    prompts: int = 60
    samples: int = 25
    temperature: float = 0.7
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: BeyondAccuracy) -> Result:
    """Run every task that has data, every strategy, every seed.

    Returns
    -------
    Result
        Metrics carry the task in front: ``safety/accuracy``. For safety and legal the arms of `ComparedStrategies`, for toxicity those of
        `SafeGeneration`. For each metric also `METRIC/pgr`, 1 = gap closed, whichever direction is better. Artifact `cleaning` counts what
        was left out.

    Raises
    ------
    ConfigError, DataError, TrainingError
        No task, an option names nothing, the data cannot be read or are too few, a supervisor names one class only.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "requests.csv"
    >>> safe = [f"how to bake {word} {i},safe" for i in range(20) for word in ("bread", "cake", "pie")]
    >>> unsafe = [f"how to steal {word} {i},unsafe" for i in range(20) for word in ("cars", "money", "keys")]
    >>> _ = file.write_text("\\n".join(["text,label", *safe, *unsafe]))
    >>> result = run(BeyondAccuracy(safety=str(file), strategies=("hard",), gold=20, unlabeled=60, test=40, epochs=5, seeds=(0,)))
    >>> result.arms, result.metrics[0]
    (['weak', 'method', 'ceiling'], 'safety/accuracy')
    """
    tasks = [task for task in ("safety", "legal", "toxicity") if getattr(config, task)]
    if not tasks or not (config.seeds and config.strategies and config.metrics):
        raise ConfigError("give data for at least one of safety, legal and toxicity, and at least one seed, strategy and metric")
    result, about = Result("beyond-accuracy", dataclasses.asdict(config)), []
    result.artifacts |= {"cleaning": {}, "gaps": {}}
    for task in tasks:
        began = time.perf_counter()
        part = _generated(config) if task == "toxicity" else _classified(config, task)
        for row in part.rows:
            result.add(row.arm, row.seed, f"{task}/{row.metric}", row.value)
        result.artifacts["cleaning"][task] = part.artifacts["cleaning"]
        result.artifacts["gaps"][task] = part.artifacts.get("gaps", {})
        about.append({**part.artifacts["data"], "train": f"{task}: {part.artifacts['data']['train']}"})
        result.timings[task] = time.perf_counter() - began
    result.artifacts["data"] = {key: "; ".join(dict.fromkeys(found[key] for found in about)) for key in about[0]}
    first = tasks[0]
    metric = TOXICITY[0] if first == "toxicity" else config.metrics[0]
    if gaps := result.artifacts["gaps"][first]:
        result.artifacts["gap"] = {**gaps[METHOD][metric], "metric": f"{first}/{metric}", "student_name": METHOD}
    return result


def _classified(config: BeyondAccuracy, name: str) -> Result:
    if name == "legal":
        task = load_templated_task(config.legal, config.template, label=config.label)
    else:
        task = load_text_task(config.safety, text=config.text, label=config.label)
    test = None if (task.is_test & (task.y >= 0)).any() else config.test
    chain = None
    if config.tune == "probe":
        from steelyard.training import BootstrapChain

        chain = BootstrapChain([named_student(config.strong, dimensions=size, epochs=config.epochs) for size in (config.middle, 0)])
    job = ComparedStrategies(
        named_supervisor(config.weak, task, words=config.weak_words, epochs=config.epochs),
        named_student(config.strong, tune=config.tune, epochs=config.epochs),
        config.strategies,
        others=other_supervisors(config.weak_words),
        chain=chain,
        metrics=config.metrics,
    )
    pools = {seed: task.pools(config.gold, config.unlabeled, test, seed) for seed in config.seeds}
    result = job.over_seeds(task, pools.__getitem__, config.seeds)
    drawn = pools[config.seeds[0]]
    sizes = {"train": f"{len(drawn.gold):,} gold, {len(drawn.unlabeled):,} weak labels", "test": f"{len(drawn.test):,} texts"}
    result.artifacts |= {"cleaning": task.cleaning, "data": {**task.about, **sizes}}
    return result


def _generated(config: BeyondAccuracy) -> Result:
    task = load_text_task(config.toxicity, text=config.text, label=config.label)
    data = prompted_texts(task, config.toxic, words=config.prompt_words)
    job = SafeGeneration(
        weak_writer(config.weak_writer, config.longest),
        strong_writer(config.strong_writer, config.longest, steps=config.steps),
        strong_writer("tiny", config.longest, steps=config.steps),
        saved_scorer(config.scorer, config.toxic) if config.scorer else None,
        samples=config.samples,
        temperature=config.temperature,
        longest=config.longest,
    )
    pools = {seed: generation_pools(data, config.prompts, seed=seed) for seed in config.seeds}
    result = job.over_seeds(data, pools.__getitem__, config.seeds)
    taught = int((~data.toxic[pools[config.seeds[0]].unlabeled]).sum())
    sizes = {"train": f"{taught:,} weak continuations", "test": f"{config.prompts:,} prompts × {config.samples} samples"}
    result.artifacts |= {"cleaning": {**task.cleaning, **data.cleaning}, "data": {**task.about, **sizes}}
    return result
