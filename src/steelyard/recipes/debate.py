"""Debate: two instances of the strong model argue for opposite answers, and weak judges who read the debates give the better labels.

Lang, Huang, Li 2025, "Debate Helps Weak-to-Strong Generalization". Judges learn from the gold pool whom to believe; an ensemble in which
each member reads debates of its own labels the unlabeled pool; the student reads the questions alone. The share of the gap recovered is
measured against the supervisor without debates.

Measured with the debater that quotes, on questions about things or people, four seeds: the supervisor names .776 right, a judge of one
debate .828, four judges of one debate .830, of four debates .832, so the ensemble adds next to nothing here; the student goes from .827
(PGR .37) to .859 with one judge (.60) and .855 with four (.57), as the confidence loss does without any debate (.55). A judge whose one
vocabulary mixes question and transcript gained a point from debates and its student lost; that the two are kept apart, and that debaters
say in tenths how well a quotation matches, was chosen by cross-validation on the gold pool.
On questions about descriptions or things, where nearest questions mislead, the first judge lost seven points to debates (.726 against
.797 without); the second gains two (.818, and .821 with four), and its student goes from .814 to .835.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from steelyard import evaluation
from steelyard.errors import ConfigError
from steelyard.jobs.debated_labels import DebateJudges, Resampled, reader_of_debates
from steelyard.jobs.named_debaters import QUOTES, named_debater
from steelyard.jobs.named_parts import TFIDF, named_arm, named_student, named_supervisor
from steelyard.jobs.text_task import load_text_task, only_classes
from steelyard.jobs.weak_labels import weak_labels
from steelyard.jobs.weak_to_strong import METHOD, WeakToStrong, gap_artifacts
from steelyard.language.debate import Debate as Debates
from steelyard.language.debaters import PromptDebater
from steelyard.result import Result


@dataclass(frozen=True)
class Debate:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        Name of a data set of texts, path of a table (Parquet, CSV, JSON lines), folder of ``save_to_disk``, or ``hf:NAME``.
    classes : tuple of str
        The two answers to keep, where the data has more.
    debater : str
        ``quotes`` (no language model: nearest labelled texts), address of a server with chat completions, or a Hugging Face causal model.
    debater_model : str
        Name the server knows the debating model by.
    weak : str
        ``tfidf``, or a Hugging Face model to train on the gold pool.
    strong : str
        Name or folder of a Hugging Face model; ``minilm`` needs no network.
    protocol : str
        debate, consultancy (one side speaks), market (against the judge's answer until it moves no more) or none.
    turns : int
        Arguments of each side; more of them hurt in the paper.
    members : int
        Judges of an ensemble.
    loss : tuple of str
        What students minimise, as in ``weak-to-strong``; the first is used with debates, all without.
    combine : str
        How judges are combined: mean, or the name of a label model.
    temperature : float
        Of a server's arguments.
    max_tokens : int
        Length limit of an argument.
    words : int
        Of each argument, the last words that a judge reads.
    tune : str
        How the strong model learns: probe, lora or full.
    text : str
        Text column of a table; left out: ``text``, or the column with the longest texts.
    label : str
        Label column of a table.
    gold : float
        Texts with gold for the judges: a number, or below 1 a share.
    unlabeled : float
        Texts that the judges label; all others when left out.
    test : float
        Texts to measure on; the data set's test split when left out, or a quarter.
    weak_words : int
        Vocabulary of ``tfidf`` for the questions.
    judge_words : int
        Further vocabulary of ``tfidf`` for the transcripts.
    seeds : tuple of int
        Each draws its own pools, debates, judges and students.
    """

    data: str
    classes: tuple[str, ...] = ()
    debater: str = QUOTES
    debater_model: str = ""
    weak: str = TFIDF
    strong: str = "minilm"
    protocol: str = "debate"
    turns: int = 3
    members: int = 4
    loss: tuple[str, ...] = ("soft",)
    combine: str = "mean"
    temperature: float = 0.8
    max_tokens: int = 220
    words: int = 150
    tune: str = "probe"
    text: str | None = None
    label: str = "label"
    gold: float = 0.5
    unlabeled: float | None = None
    test: float | None = None
    weak_words: int = 60
    judge_words: int = 100
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: Debate) -> Result:
    """Run every arm on every seed.

    Returns
    -------
    Result
        Judges on the test pool: arms `weak` (no debate), `judge` (one debate), `judges_by_seed` and `judges_by_debate` (ensembles).
        Students: `naive` (labels without debate), one per further loss, `single` (one judge), `method` (debate ensemble), `ceiling`; their
        `accuracy/pgr` is against `weak`. Artifact `cost`: turns, failures and words of the debates.

    Raises
    ------
    ConfigError, DataError, SourceError, TrainingError
        The data have more than two answers, cannot be read or are too few; no argument comes; labels of one class only.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "mail.csv"
    >>> rows = [f"{w} {i},{name}" for i in range(20) for w, name in (("free cash", "SPAM"), ("see you", "HAM"))]
    >>> _ = file.write_text("\\n".join(["text,label", *rows]))
    >>> run(Debate(str(file), gold=20, unlabeled=10, members=2, seeds=(0,))).arms
    ['weak', 'naive', 'single', 'method', 'ceiling', 'judge', 'judges_by_seed', 'judges_by_debate']
    """
    if not (config.seeds and config.loss):
        raise ConfigError("seeds and loss need at least one value each")
    task = load_text_task(config.data, text=config.text, label=config.label)
    task = only_classes(task, config.classes)
    result = Result("debate", dataclasses.asdict(config))
    student = named_student(config.strong, tune=config.tune)
    speaking: dict[str, Any] = {name: getattr(config, name) for name in ("turns", "words", "temperature", "max_tokens")}
    speaking["model"] = config.debater_model
    outcomes, costs = [], []
    for seed in config.seeds:
        pools = task.pools(config.gold, config.unlabeled, config.test, seed)
        debater = named_debater(config.debater, task, pools, student, **speaking)
        debate = Debates(debater, protocol=config.protocol, turns=config.turns)  # type: ignore[arg-type]
        weak = named_supervisor(config.weak, task, words=config.weak_words)
        judge = reader_of_debates(config.weak_words, config.judge_words) if config.weak == TFIDF else weak
        shared: dict[str, Any] = {"combine": config.combine, "words": config.words}
        varied = Resampled(judge) if config.weak == TFIDF else judge
        ensembles = {
            "judges_by_seed": DebateJudges(varied, debate, members=config.members, diversity="seed", **shared),
            "judges_by_debate": DebateJudges(judge, debate, members=config.members, **shared),
        }
        labels = {name: ensemble.labels(task.texts, task.y, pools, task.classes, seed=seed) for name, ensemble in ensembles.items()}
        labels = {"judge": ensembles["judges_by_debate"].members_[0], **labels}
        plain = weak_labels(weak, task.texts, task.y, pools, task.classes, seed=seed)
        arms = {"naive": named_arm(config.loss[0]), **{loss: named_arm(loss) for loss in config.loss[1:]}}
        taught = {"single": "judge", METHOD: "judges_by_debate"}
        arms |= {arm: dataclasses.replace(named_arm(config.loss[0]), labels=labels[name]) for arm, name in taught.items()}
        outcomes.append(WeakToStrong(plain, student, arms).run(task.texts, task.y, pools, task.classes, seed=seed))
        outcomes[-1].add_to(result)
        for name, probabilities in labels.items():
            result.add(name, seed, "accuracy", evaluation.accuracy(task.y[pools.test], probabilities[pools.test]))
        usage = dataclasses.asdict(debater.usage_) if isinstance(debater, PromptDebater) else {}
        costs.append({"seed": seed, **debate.cost_.to_dict(), **{f"model_{key}": value for key, value in usage.items()}})
    taught_on = f"{len(pools.gold):,} texts with gold and {len(pools.unlabeled):,} with weak labels"
    result.artifacts |= gap_artifacts(outcomes, result, ["accuracy"])
    result.artifacts |= {"cost": costs, "data": {**task.about, "train": taught_on, "test": f"{len(pools.test):,} texts"}}
    return result
