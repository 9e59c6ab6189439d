"""What studies of reasoning share: who solves, who goes on learning from where, which rows measure, and how an arm is measured.

Causal language models and the equation policies of the proofs go through the same functions.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.completions import Completions
from steelyard.encoders import TextEncoder, fingerprint
from steelyard.errors import ConfigError, DataError
from steelyard.jobs.question_task import QuestionTask, load_question_task, named_policy
from steelyard.language.equations import EquationPolicy, read_problem
from steelyard.language.notation import parse
from steelyard.language.reasoning import equal, is_correct, runs_on
from steelyard.language.served_writer import ServedWriter
from steelyard.language.steps import steps
from steelyard.language.traces import degenerate
from steelyard.language.word_features import WordFeatures
from steelyard.storage import cache_dir, config_hash
from steelyard.training.policy import Policy

EQUATIONS = "equations"
"""The name of the built-in policies, which answer word problems with equations."""


class InstructStudent(UserWarning):
    """The student was tuned to follow instructions and reasons already: a gain may only be prompting."""


def load_problem_task(
    data: str, *, instruction: str = "", plain: bool = False, answer: str | None = None
) -> tuple[QuestionTask, dict[str, int]]:
    """Read problems with worked solutions; those whose solution does not end in the stated answer are left out and counted.

    Parameters
    ----------
    data
        As `load_question_task` takes it.
    instruction
        What every prompt says after the question.
    plain
        The prompt is the question alone: equation policies read nothing else.
    answer
        How answers are extracted from what models write; left out: as from the references.

    Raises
    ------
    DataError
        The data cannot be read, or no solution ends in the stated answer.
    """
    task = load_question_task(data)
    template = "{question}" if plain else f"{{question}}\n{instruction}\n" if instruction else task.template
    found = [task.extract(solution) for solution in task.solutions]
    # A reference may be rounded where its solution is exact: the solution's own value is the gold answer then.
    sound = np.array([bool(a) and (task.equal(a, b) or _rounds_to(a, b)) for a, b in zip(found, task.answers, strict=True)], dtype=np.bool_)
    kept = np.flatnonzero(sound).tolist()
    if not kept:
        raise DataError(
            f"in '{data}' none of the {len(found)} solutions ends in the answer stated beside it (the first: "
            f"{_shortened(task.solutions[0])!r} against {task.answers[0]!r}); write '#### ANSWER' as its last line"
        )
    columns: dict[str, Any] = {name: [getattr(task, name)[i] for i in kept] for name in ("questions", "solutions")}
    return replace(
        task, **columns, answers=[found[i] for i in kept], is_test=task.is_test[kept], template=template, style=answer or task.style
    ), {
        "problems": len(kept),
        "solution and answer disagree": len(found) - len(kept),
    }


def count_steps(task: QuestionTask) -> NDArray[np.int64]:
    """Steps of every reference solution, (n,): operations of an equation, lines of a text.

    Examples
    --------
    >>> count_steps(QuestionTask(["2 and 3 ?"], ["* + 2 3 2"], ["10"], np.array([False]), style="equation"))
    array([2])
    """
    trees = [parse(solution) if task.style == "equation" else None for solution in task.solutions]
    return np.array([len(list(t.operations())) if t else len(steps(s)) for t, s in zip(trees, task.solutions, strict=True)], dtype=np.int64)


def divide(
    task: QuestionTask, rows: ArrayLike, test: int, sizes: list[int | None], seed: int
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Set test rows aside and divide the others.

    The test rows are the data set's own test split, at most `test` of them, or `test` rows that are the same for every seed: seeds vary who
    learns from what, never what is measured on.

    Parameters
    ----------
    rows
        Which problems take part.
    sizes
        Of the further pools, disjoint, drawn by `seed`; None takes all that is left.

    Returns
    -------
    (test rows, [rows of each pool])

    Raises
    ------
    ConfigError
        There are too few problems.

    Examples
    --------
    >>> task = QuestionTask(["?"] * 10, ["#### 1"] * 10, ["1"] * 10, np.arange(10) < 3)
    >>> test, (few, rest) = divide(task, np.arange(10), 2, [3, None], seed=0)
    >>> task.is_test[test].all(), len(few), len(rest)
    (np.True_, 3, 4)
    """
    fixed = np.random.default_rng(0).permutation(np.asarray(rows, dtype=np.int64))
    published = task.is_test[fixed] & ~task.is_test[fixed].all()
    held = (fixed[published] if published.any() else fixed)[:test]
    rest = fixed[~published & ~np.isin(fixed, held)]
    needed = sum(size or 1 for size in sizes)
    if needed > len(rest) or not len(held):
        raise ConfigError(f"{len(fixed)} problems do not suffice: {len(held)} to measure on and {needed} to learn from; ask for fewer")
    drawn = np.random.default_rng(seed).permutation(rest)
    ends = np.cumsum([len(rest) - needed + 1 if size is None else size for size in sizes])
    return np.sort(held), np.split(drawn, ends)[: len(sizes)]


@lru_cache(maxsize=1)
def shared_word_features() -> WordFeatures:
    """The frozen MiniLM word vectors that all equation policies of a process read with."""
    return WordFeatures(TextEncoder("minilm-offline"))


def warm_up(task: QuestionTask) -> None:
    """Read all problems with the shared word vectors at once, which keeps them in one file for every later run."""
    shared_word_features().encode([read_problem(prompt).words for prompt in task.prompts(np.arange(len(task.questions)))])


def new_policy(name: str, task: QuestionTask, *, small: bool = False, warn: bool = True, **training: Any) -> Policy:
    """An untrained policy: `equations` (`small`: with its own word embeddings and half the units), or a causal language model.

    Options that are None are left to the policy; those that only language models have are left out for equations. With `warn` a model
    whose name says that it follows instructions raises an `InstructStudent` warning: students should be base models.

    Raises
    ------
    ConfigError
        Equations cannot solve these problems.

    Examples
    --------
    >>> task = QuestionTask(["2 and 3 ?"], ["+ 2 3"], ["5"], np.array([False]), style="equation")
    >>> new_policy("equations", task, small=True, epochs=3, tune="full").hidden
    48
    """
    if name == EQUATIONS:
        if task.style != "equation":
            raise ConfigError(
                "the built-in equation policies solve math_word_problems, or a table whose solutions are prefix equations (+ 2 3); "
                "name a causal language model for other data"
            )
        own = {"hidden": 48} if small else {"features": shared_word_features()}
        return EquationPolicy(**own, **_known(training))  # type: ignore[arg-type]
    if warn and any(word in name.lower() for word in ("instruct", "chat", "-it")):
        warnings.warn(
            f"'{name}' looks tuned to instructions: it reasons already, so compare with prompting alone", InstructStudent, stacklevel=3
        )
    return named_policy(name, task, **training)


def continued(policy: Policy, **training: Any) -> Policy:
    """A policy whose pretrained weights are those that `policy` has now: the next stage of its training.

    Examples
    --------
    >>> first = EquationPolicy(hidden=8, epochs=1).fit(Completions(["2 and 3 ?"], ["+ 2 3"]))
    >>> continued(first, epochs=5, learning_rate=None).epochs
    5
    """
    given = {key: value for key, value in training.items() if value is not None}
    if isinstance(policy, EquationPolicy):
        return EquationPolicy(start=policy, **_known(given))
    from steelyard.training.causal_student import CausalStudent

    assert isinstance(policy, CausalStudent)
    # One that was never fine-tuned is where its name says: no copy of its weights is needed.
    now = policy.copy() if hasattr(policy, "history_") else None
    start = (now.model_, now.tokenizer_) if now is not None else policy.model
    return CausalStudent(start, **{"max_new_tokens": policy.max_new_tokens, "top_p": policy.top_p, **given})


def solve(
    policy: Policy | ServedWriter, task: QuestionTask, rows: ArrayLike, *, n: int = 1, temperature: float = 0.0, seed: int = 0
) -> Completions:
    """Let a policy solve some problems; `rows` of the texts are those of the task, and answers are extracted.

    Examples
    --------
    >>> sums = [(f"{a} and {b} ?", f"+ {a} {b}", str(a + b)) for a in range(2, 6) for b in range(6, 9)]
    >>> task = QuestionTask(*zip(*sums), np.zeros(12, bool), template="{question}", style="equation")
    >>> policy = EquationPolicy(hidden=8, epochs=60, dropout=0.0, learning_rate=1e-2).fit(references(task, np.arange(12)))
    >>> solved = solve(policy, task, [3, 11])
    >>> solved.answers, solved.rows, measure(solved, task)["accuracy"]
    (('9', '13'), array([ 3, 11]), 1.0)
    """
    index = np.asarray(rows, dtype=np.int64)
    drawn = policy.sample(task.prompts(index), n, temperature=temperature, seed=seed)
    drawn = replace(drawn, rows=index[drawn.rows])
    return drawn.with_answers([task.extract(text) for text in drawn.texts])


def cached_traces(
    policy: Policy | ServedWriter, name: str, task: QuestionTask, rows: ArrayLike, *, temperature: float, seed: int, **sampling: Any
) -> Completions:
    """What `solve` gives, one text per problem; those of a language model are kept on disk, since nothing costs more than drawing them.

    Parameters
    ----------
    name
        Of the model: its weights, the prompts and how it is sampled name the file.
    **sampling
        Further settings of the model that change its texts.
    """
    index = np.asarray(rows, dtype=np.int64)
    if name == EQUATIONS or isinstance(policy, ServedWriter):  # a served one keeps each text itself
        return solve(policy, task, index, temperature=temperature, seed=seed)
    parts = [fingerprint(name), task.prompts(index), temperature, seed, sampling]
    file = cache_dir() / "traces" / f"{config_hash(parts)}.parquet"
    if not file.exists():
        solve(policy, task, index, temperature=temperature, seed=seed).to_parquet(file)
    found = Completions.from_parquet(file)
    return replace(found, rows=index).with_answers([task.extract(text) for text in found.texts])


def references(task: QuestionTask, rows: ArrayLike) -> Completions:
    """The reference solutions of some problems, with their answers; `rows` are those of the task."""
    return replace(task.gold(rows), rows=np.asarray(rows, dtype=np.int64))


def measure(solved: Completions, task: QuestionTask) -> dict[str, float]:
    """pass@1 of solved problems by the first completed answer, and the shares that went wrong in form.

    `accuracy` is the mean over all texts, so that several samples per problem estimate pass@1; `length_stopped` hit the limit,
    `runs_on` went on after the answer, `no_answer` gave none.
    """
    faults = degenerate(solved)
    return {
        "accuracy": float(is_correct(solved, task.answers, equal=task.equal).mean()),
        "length_stopped": float(faults.truncated.mean()),
        "runs_on": float(np.mean([runs_on(text, task.style) for text in solved.texts])),
        "no_answer": float(faults.no_answer.mean()),
    }


def _known(training: dict[str, Any]) -> dict[str, Any]:
    ours = {"epochs", "batch_size", "learning_rate", "seed"}
    return {key: int(value) if key == "epochs" else value for key, value in training.items() if key in ours and value is not None}


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}…"


def _rounds_to(exact: str, stated: str) -> bool:
    return equal(exact, stated, rtol=1e-3)
