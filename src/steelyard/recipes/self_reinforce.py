"""Self-reinforcement: fine-tuned on a few solved questions, a model learns from unsolved ones to prefer its new answers to its old ones.

Tong et al. 2024, "Optimizing Language Model's Reasoning Abilities with Weak Supervision". The policy samples beside an older one, filters
the pairs itself and learns from them by DPO; rounds are rolled back by held-out solved questions. Small policies show that the filter is
precise and the rounds are safe; they show no gain of DPO over fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from steelyard.errors import ConfigError
from steelyard.jobs.question_run import learning, method_and_ablations, preferring, run_on_questions
from steelyard.jobs.question_task import MINILM, QuestionTask, named_policy
from steelyard.jobs.second_views import fresh
from steelyard.jobs.self_filters import ConfidenceFilter, SelfFilter, SelfJudge
from steelyard.jobs.self_reinforcement import SelfReinforcement
from steelyard.pools import Pools
from steelyard.result import Result


@dataclass(frozen=True)
class SelfReinforce:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        ``gsm8k``, ``math_word_problems``, a table with columns question, answer and perhaps solution, or a data set of texts; tables are
        Parquet, CSV or JSON lines, or Hugging Face data sets (a folder of ``save_to_disk`` or ``hf:NAME``).
    model : str
        ``minilm`` (one-word answers on frozen features), or a causal language model.
    solved : float
        Questions whose solutions the model is fine-tuned on.
    first : int
        Of these, how many teach the policy before fine-tuning; 0 for a pretrained language model.
    validation : float
        Further solved questions, to roll back by.
    unlabeled : float
        Questions without answers; all others when left out.
    test : float
        Questions to measure on; the data's test split when left out, or a quarter.
    rounds : int
        Rounds of sampling, filtering and preferring.
    against : str
        Where the dispreferred answer comes from: previous or base.
    filter : str
        ``confidence``, ``judge`` (the model compares both answers, in both orders), or ``none``.
    threshold : float
        Least confidence that is kept.
    preference : str
        dpo, simpo, orpo, kto, or sft (plain self-training).
    beta : float
        Strength of the preference loss; the published one when left out.
    nll_weight : float
        Anchor of the preferred text.
    preference_epochs : int
        Passes over the pairs.
    preference_learning_rate : float
        Step size on pairs.
    temperature : float
        Of both policies when they answer; 0 is greedy.
    tune : str
        How a language model learns: full or lora.
    epochs : int
        Passes of fine-tuning; the policy's own when left out.
    learning_rate : float
        Step size of fine-tuning; the policy's own when left out.
    max_new_tokens : int
        Length limit of a solution of a language model.
    ablations : tuple of str
        Further arms, as ``option=value`` joined by ``+``.
    seeds : tuple of int
        Each draws its own pools and models.
    """

    data: str
    model: str = MINILM
    solved: float = 120
    first: int = 24
    validation: float = 200
    unlabeled: float | None = None
    test: float | None = None
    rounds: int = 2
    against: str = "previous"
    filter: str | None = "confidence"
    threshold: float = 0.8
    preference: str = "dpo"
    beta: float = 0.1
    nll_weight: float = 0.0
    preference_epochs: int = 1
    preference_learning_rate: float = 1e-4
    temperature: float = 0.7
    tune: str = "lora"
    epochs: int | None = None
    learning_rate: float | None = None
    max_new_tokens: int = 512
    ablations: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: SelfReinforce) -> Result:
    """Run every arm on every seed.

    Returns
    -------
    Result
        Arms `base` (before fine-tuning), `baseline` (after it), `method` and one per ablation: `accuracy` of the outcome, `accuracy_last`
        of the last round before any roll-back, `rolled_back`, and of the first round's pairs how many were offered and kept and how often
        each side is right. Artifact `rounds` holds the records of all rounds.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "mail.csv"
    >>> words = {"free": "SPAM", "cash": "SPAM", "see": "HAM", "you": "HAM"}
    >>> rows = [f"{word} {i},{label}" for word, label in words.items() for i in range(40)]
    >>> _ = file.write_text("\\n".join(["text,label", *rows]))
    >>> run(SelfReinforce(str(file), solved=20, first=4, validation=20, unlabeled=60, epochs=9, threshold=0.5, seeds=(0,))).arms
    ['base', 'baseline', 'method']
    """

    def one_seed(task: QuestionTask, seed: int, part: Result) -> None:
        pools = task.pools(config.solved + config.validation, config.unlabeled, config.test, seed)
        for arm, changed in method_and_ablations(config):
            _one_arm(arm, changed, task, pools, seed, part)

    taught = "the solved and the unlabeled pool"
    return run_on_questions("self-reinforce", config, config.model, one_seed, train=taught, records="rounds")


def _one_arm(arm: str, config: SelfReinforce, task: QuestionTask, pools: Pools, seed: int, result: Result) -> None:
    share = config.solved / (config.solved + config.validation)
    solved, held = np.split(pools.gold, [round(share * len(pools.gold))])
    policy = fresh(named_policy(config.model, task, **learning(config)), seed)
    base = policy.fit(task.gold(solved[: config.first])) if config.first else policy
    options: dict[str, Any] = {name: getattr(config, name) for name in ("rounds", "against", "preference", "temperature")}
    made = SelfReinforcement(
        base,
        filter=_filter(config),
        prefer=preferring(config),
        extract=task.extract,
        equal=task.equal,
        seed=seed,
        **options,
    )
    validation = (task.prompts(held), task.answers_of(held)) if len(held) else None
    made.fit(task.gold(solved), task.prompts(pools.unlabeled), validation=validation)
    if arm == "method":
        for name, number in {"base": 0, "baseline": 1}.items():
            result.add(name, seed, "accuracy", task.accuracy(made.policies_[number], pools.test))
    result.add(arm, seed, "accuracy", task.accuracy(made.policy_, pools.test))
    result.add(arm, seed, "accuracy_last", task.accuracy(made.policies_[-1], pools.test))
    result.add(arm, seed, "rolled_back", made.rolled_back_)
    for number, pairs in enumerate(made.pairs_, start=1):
        truth = task.answers_of(pools.unlabeled[pairs.rows])
        for side, texts in {"preferred_right": pairs.chosen, "dispreferred_right": pairs.rejected}.items():
            right = [task.equal(task.extract(text), gold) for text, gold in zip(texts, truth, strict=True)]
            result.add(arm, seed, f"round {number}/{side}", float(np.mean(right)) if right else float("nan"))
        for key in ("offered", "kept"):
            result.add(arm, seed, f"round {number}/{key}", made.history_[number][key])
    records = [{key: value for key, value in record.items() if key != "scores"} for record in made.history_]
    result.artifacts["rounds"] += [{"arm": arm, "seed": seed, **record} for record in records]


def _filter(config: SelfReinforce) -> SelfFilter | None:
    if config.filter not in (None, "none", "confidence", "judge"):
        raise ConfigError(f"filter is '{config.filter}'; use confidence, judge or none")
    if config.filter == "judge" and config.model == MINILM:
        raise ConfigError("minilm cannot judge texts; use the filter confidence or none, or name a causal language model")
    if config.filter == "judge":
        return SelfJudge()
    return ConfidenceFilter(config.threshold) if config.filter == "confidence" else None
