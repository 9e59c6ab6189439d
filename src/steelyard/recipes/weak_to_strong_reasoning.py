"""Weak-to-strong reasoning: a strong model decides itself which of a weak model's solutions to trust, then learns from contrasts with them.

Yang, Ma, Liu 2024, "Weak-to-Strong Reasoning". The weak model learns from the gold pool and solves the unlabeled one. Stage I fine-tunes
the strong model on solutions whose final answer a second view reaches too; stage II prefers by the majority of the model's own samples.
It needs a competent second view: one worse than the weak model costs accuracy, and a warning says so where gold tells.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from steelyard.errors import TrainingError
from steelyard.evaluation import gap_over_seeds, performance_gap_recovered
from steelyard.jobs.named_parts import TFIDF
from steelyard.jobs.progressive import MajorityPairs, ProgressiveW2S
from steelyard.jobs.question_run import learning, method_and_ablations, preferring, run_on_questions
from steelyard.jobs.question_task import MINILM, QuestionTask, named_policy, named_writer
from steelyard.jobs.second_views import fresh, named_second_view
from steelyard.result import Result
from steelyard.training.selection.agreement import WeakSecondView


@dataclass(frozen=True)
class WeakToStrongReasoning:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        ``gsm8k``, ``math500``, ``math_word_problems``, a table with columns question, answer and perhaps solution, or a data set of
        texts; tables are Parquet, CSV or JSON lines, or Hugging Face data sets (a folder of ``save_to_disk`` or ``hf:NAME``).
    weak : str
        ``tfidf`` (one-word answers), or a causal language model.
    strong : str
        ``minilm`` (one-word answers on frozen features), or a causal language model.
    second_view : str
        ``icl`` (the weak model's data as demonstrations), ``crossfit`` (two folds, soft weak labels where there are some), or ``few:N``:
        crossfit on N weak labels, the negative control.
    demonstrations : int
        How many solutions ``icl`` reads.
    rounds : int
        Rounds of stage I, each from the base model.
    mix : str
        Learned where both agree: hybrid, weak, view.
    preference : str
        Stage II: dpo, orpo, simpo, kto, or none.
    samples : int
        Samples per question.
    min_confidence, flip_confidence : float
        Majority needed to confirm and to overrule the weak solution.
    max_pairs : int
        Pairs per question.
    nll_weight : float
        Anchor of the preferred text in stage II.
    beta : float
        Strength of the preference loss; the published one when left out.
    preference_epochs : int
        Passes over the pairs.
    preference_learning_rate : float
        Step size of stage II.
    tune : str
        How a language model learns: full or lora.
    epochs : int
        Passes of fine-tuning; the policy's own when left out.
    learning_rate : float
        Step size of fine-tuning; the policy's own when left out.
    max_new_tokens : int
        Length limit of a solution of a language model.
    gold : float
        Questions with gold for the weak model: a number, or below 1 a share.
    held_out : float
        Of these, how many are kept from the weak model to compare the two views on and to choose the round of stage I.
    unlabeled : float
        Questions that the weak model solves; all others when left out.
    test : float
        Questions to measure on; the data's test split when left out, or a quarter.
    pass_k : int
        Also measure pass@1 and pass@K from that many samples.
    ablations : tuple of str
        Further arms, as ``option=value`` joined by ``+``.
    seeds : tuple of int
        Each draws its own pools and models.
    """

    data: str
    weak: str = TFIDF
    strong: str = MINILM
    second_view: str = "crossfit"
    demonstrations: int = 4
    rounds: int = 1
    mix: str = "hybrid"
    preference: str | None = "dpo"
    samples: int = 10
    min_confidence: float = 0.6
    flip_confidence: float = 0.8
    max_pairs: int = 1
    nll_weight: float = 0.0
    beta: float | None = None
    preference_epochs: int = 3
    preference_learning_rate: float = 1e-4
    tune: str = "lora"
    epochs: int | None = None
    learning_rate: float | None = None
    max_new_tokens: int = 512
    gold: float = 0.5
    held_out: float = 0
    unlabeled: float | None = None
    test: float | None = None
    pass_k: int = 0
    ablations: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: WeakToStrongReasoning) -> Result:
    """Run every arm on every seed.

    Returns
    -------
    Result
        Arms `weak`, `baseline` (the strong model on all weak solutions), `ceiling` (on gold ones), `stage1`, `method` (after stage II) and
        two per ablation, with `accuracy`, `accuracy/pgr` and the precision of every set. Artifact `sets` holds all records.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "mail.csv"
    >>> words = {"free": "SPAM", "cash": "SPAM", "see": "HAM", "you": "HAM"}
    >>> rows = [f"{word} {i},{label}" for word, label in words.items() for i in range(30)]
    >>> _ = file.write_text("\\n".join(["text,label", *rows]))
    >>> run(WeakToStrongReasoning(str(file), gold=20, unlabeled=60, epochs=3, seeds=(0,))).arms
    ['weak', 'baseline', 'ceiling', 'stage1', 'method']
    """

    def one_seed(task: QuestionTask, seed: int, part: Result) -> None:
        _one_seed(config, task, seed, part)

    result = run_on_questions("weak-to-strong-reasoning", config, config.strong, one_seed, train="the unlabeled pool", records="sets")
    three = [list(result.values(arm, "accuracy").values()) for arm in ("weak", "method", "ceiling")]
    result.artifacts["gap"] = gap_over_seeds(*three).to_dict() if len(config.seeds) > 1 else None
    return result


def _one_seed(config: WeakToStrongReasoning, task: QuestionTask, seed: int, result: Result) -> None:
    pools = task.pools(config.gold, config.unlabeled, config.test, seed)
    kept = round(config.held_out if config.held_out >= 1 else config.held_out * len(pools.gold))
    held, seen = pools.gold[:kept], pools.gold[kept:]
    weak = named_writer(config.weak, task, seed=seed, **learning(config)).fit(task.gold(seen))
    strong = fresh(named_policy(config.strong, task, **learning(config)), seed)
    prompts = task.prompts(pools.unlabeled)
    solved = weak.sample(prompts, temperature=0)
    if task.classes and len(set(solved.texts)) == 1:
        raise TrainingError(
            f"the weak model gives all {len(solved):,} unlabeled questions the answer '{solved.texts[0]}', so a student has nothing to "
            f"learn from it; give it more or other gold ({len(seen):,} questions) or a stronger model"
        )
    scores = {"weak": weak, "baseline": fresh(strong, seed).fit(solved), "ceiling": fresh(strong, seed).fit(task.gold(pools.unlabeled))}
    accuracy = {arm: _measured(result, arm, seed, writer, config, task, pools.test) for arm, writer in scores.items()}
    targets = weak.targets(prompts) if hasattr(weak, "targets") else None
    taught = weak.sample(task.prompts(held), temperature=0) if kept else None
    for arm, changed in method_and_ablations(config):
        run_ = ProgressiveW2S(
            strong,
            named_second_view(changed.second_view, shown=task.gold(seen[: changed.demonstrations]), targets=targets),
            extract=task.extract,
            equal=task.equal,
            rounds=changed.rounds,
            mix=changed.mix,  # type: ignore[arg-type]
            pairs=MajorityPairs(changed.samples, 1.0, changed.min_confidence, changed.flip_confidence, changed.max_pairs),
            preference=changed.preference,  # type: ignore[arg-type]
            prefer=preferring(changed),
            seed=seed,
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run_.fit(
                solved, gold=task.answers_of(pools.unlabeled), held_out=(taught, task.answers_of(held)) if taught is not None else None
            )
        for warning in caught:
            warnings.warn(warning.message, stacklevel=2)
        warned = any(issubclass(warning.category, WeakSecondView) for warning in caught)
        first = "stage1" if arm == "method" else f"{arm} stage1"
        for name, policy in {first: run_.policies_[run_.stage_one_], arm: run_.policy_}.items():
            score = _measured(result, name, seed, policy, config, task, pools.test)
            result.add(name, seed, "accuracy/pgr", performance_gap_recovered(accuracy["weak"], score, accuracy["ceiling"]))
        result.artifacts["sets"] += [{"arm": arm, "seed": seed, "second_view_warning": warned, **record} for record in run_.history_]
        for record in run_.history_:
            for key, value in record.items():
                if key not in ("set", "kept", "of"):
                    result.add(arm, seed, f"{record['set']}/{key}", value)
    result.add("baseline", seed, "accuracy/pgr", performance_gap_recovered(*(accuracy[arm] for arm in ("weak", "baseline", "ceiling"))))


def _measured(result: Result, arm: str, seed: int, writer: Any, config: WeakToStrongReasoning, task: QuestionTask, rows: Any) -> float:
    score = task.accuracy(writer, rows)
    result.add(arm, seed, "accuracy", score)
    for k in sorted({1, config.pass_k}) if config.pass_k else ():
        result.add(arm, seed, f"pass@{k}", task.pass_at(writer, rows, n=config.pass_k, k=k, seed=seed))
    return score
