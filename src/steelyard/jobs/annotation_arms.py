"""The annotators of many tasks side by side: zero-shot, a head for each task, one network for all, and a language model of them.

Every arm answers the same test examples; what comes out is which of its answers are right. For the recipe `annotation-tasks`
(Dominguez-Olmedo et al. 2024, "Lawma").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.encoders import TextEncoder
from steelyard.jobs.annotation_suite import lm_choices, lm_prompts
from steelyard.language.choice_tasks import LETTERS, Annotated, balanced, split_by_document
from steelyard.sources.zero_shot import PromptEnsemble
from steelyard.targets import Targets

Right = dict[str, NDArray[np.bool_]]
"""Task -> which of its test examples an arm answers right, (n,)."""


def divided(
    tasks: Sequence[Annotated], *, test: float, majority: float, most_tested: int, seed: int
) -> tuple[list[Annotated], list[Annotated]]:
    """Training and test examples of every task: split by document, majorities sampled down, at most `most_tested` to measure on."""
    trains, tests = [], []
    for train, held in split_by_document(tasks, test, seed=seed):
        trains.append(balanced(train, most=majority, seed=seed))
        tests.append(first_examples(balanced(held, most=majority, seed=seed), most_tested, seed))
    return trains, tests


def feature_arms(
    trains: Sequence[Annotated],
    tests: Sequence[Annotated],
    encoder: TextEncoder,
    *,
    sizes: Sequence[int],
    shared: Sequence[int],
    steps: int,
    seed: int,
) -> dict[str, Right]:
    """Train and measure what reads the frozen features of one encoder.

    Parameters
    ----------
    trains, tests
        Training and test examples, task by task.
    sizes
        Numbers of gold examples that a head of each task learns from.
    shared, steps
        Numbers at which one network for all tasks is compared with the same network for each, and its training steps.

    Returns
    -------
    `majority`, `weak` (zero-shot), `specialised-N`, `shared-N`, `alone-N`; `method` and `ceiling` are the last two of these.
    """
    from steelyard.training import ProbeStudent
    from steelyard.training.choice_scorer import ChoiceScorer

    read = {task.task.name: (encoder.encode(task.read), encoder.encode(held.read)) for task, held in zip(trains, tests, strict=True)}
    arms: dict[str, Right] = {"majority": {}, "weak": {}}
    for train, test in zip(trains, tests, strict=True):
        name = test.task.name
        counts = np.bincount(train.y, minlength=len(test.task.choices))
        arms["majority"][name] = test.right(test.chosen(np.tile(counts.astype(np.float64), (len(test), 1))))
        zero_shot = PromptEnsemble(dict(test.task.choices)).fit(encoder.encode)
        arms["weak"][name] = test.right(test.chosen(zero_shot.scores(read[name][1])))
    for size in sizes:
        arms[f"specialised-{size}"] = {}
        for train, test in zip(trains, tests, strict=True):
            rows, name = _rows(train, size, seed), test.task.name
            targets = Targets.from_labels(train.y[rows], list(train.task.choices))
            head = ProbeStudent().fit(read[name][0][rows], targets)
            arms[f"specialised-{size}"][name] = test.right(test.chosen(head.predict_proba(read[name][1])))
    starts = np.cumsum([0, *(len(test.task.choices) for test in tests)])
    answers = encoder.encode([meaning for test in tests for meaning in test.task.choices.values()])
    spans = {test.task.name: np.arange(a, b) for test, a, b in zip(tests, starts, starts[1:], strict=False)}
    for size in shared:
        chosen = {train.task.name: (train, _rows(train, size, seed)) for train in trains}
        blocks = {
            name: (read[name][0][rows], train.y[rows] + spans[name][0], _open(train.take(rows), spans[name], starts[-1]))
            for name, (train, rows) in chosen.items()
        }
        together = ChoiceScorer(steps=steps, seed=seed)
        together.fit(*_arguments(list(blocks.values()), answers))
        for arm in ("shared", "alone"):
            arms[f"{arm}-{size}"] = {}
            for test in tests:
                name = test.task.name
                alone = lambda block: ChoiceScorer(steps=steps, seed=seed).fit(*_arguments([block], answers))  # noqa: E731
                scorer = together if arm == "shared" else alone(blocks[name])
                allowed = _open(test, spans[name], starts[-1])
                found = scorer.predict_proba(read[name][1], answers, allowed).argmax(axis=1) - spans[name][0]
                arms[f"{arm}-{size}"][name] = test.right(found)
    return {**arms, "method": arms[f"shared-{shared[-1]}"], "ceiling": arms[f"alone-{shared[-1]}"]}


def language_model_arms(
    trains: Sequence[Annotated], tests: Sequence[Annotated], model: str, *, context: int, **options: Any
) -> dict[str, Right]:
    """One language model before (`lm-zero-shot`) and after (`lm-tuned`) it is fine-tuned on all tasks; `options` of `CausalStudent`."""
    from steelyard.causal_lm import load_causal_lm
    from steelyard.completions import Completions
    from steelyard.training import CausalStudent

    network, tokenizer = load_causal_lm(model)
    lead = "" if getattr(tokenizer, "chat_template", None) else " "
    prompts, answers = [], []
    for train in trains:
        prompts += lm_prompts(train, tokenizer, context)[0]
        # The letter stands for the place among the example's own choices.
        answers += [lead + LETTERS[int(np.searchsorted(codes, code))] for codes, code in zip(train.codes, train.y, strict=True)]
    student = CausalStudent(model, **options).fit(Completions(prompts, answers))
    arms: dict[str, Right] = {}
    for arm, pair in {"lm-zero-shot": (network, tokenizer), "lm-tuned": (student.model_, student.tokenizer_)}.items():
        arms[arm] = {}
        for test in tests:
            asked, _ = lm_prompts(test, tokenizer, context)
            places = lm_choices(pair, asked, [len(codes) for codes in test.codes]).argmax(axis=1)
            arms[arm][test.task.name] = test.right(np.array([codes[place] for codes, place in zip(test.codes, places, strict=True)]))
    return arms


def first_examples(examples: Annotated, size: int, seed: int) -> Annotated:
    """At most `size` examples, drawn by seed."""
    return examples.take(np.sort(np.random.default_rng(seed).permutation(len(examples))[:size]))


def _arguments(blocks: Sequence[tuple[Any, Any, Any]], answers: NDArray[np.float32]) -> tuple[Any, Any, Any, Any]:
    features, y, allowed = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return features, answers, y, allowed


def _open(examples: Annotated, span: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """(examples, n) which of all tasks' answers each example may have."""
    mask = np.zeros((len(examples), n), dtype=np.bool_)
    mask[:, span] = True if examples.allowed is None else examples.allowed
    return mask


def _rows(examples: Annotated, size: int, seed: int) -> NDArray[np.int64]:
    """The first `size` rows of an order in which every class comes early: a smaller sample lies in a larger one."""
    order = np.random.default_rng(seed).permutation(len(examples))
    _, first = np.unique(examples.y[order], return_index=True)
    return np.concatenate([order[np.sort(first)], np.delete(order, first)])[:size]
