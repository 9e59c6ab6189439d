"""Many annotation tasks as one suite: read from a user's table or named data sets, with what zero-shot and language models answer.

For the recipe `annotation-tasks` (Dominguez-Olmedo et al. 2024, "Lawma"). A text that two tasks share is one document.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import softmax

from steelyard.datasets.own_table import is_own_table, own_table
from steelyard.errors import ConfigError, DataError
from steelyard.jobs.text_task import load_text_task
from steelyard.language.choice_tasks import LETTERS, Annotated, ChoiceTask, fitting_prompt, require_single_tokens
from steelyard.storage import read_json

# Written once from the names of the classes, before anything was measured.
WRITTEN: Mapping[str, Mapping[str, str]] = {
    "ws_trec_questions": {
        "DESC": "a question that asks for a description, a definition, a reason or a manner",
        "ENTY": "a question that asks for a thing: an animal, a food, a product, a language, a work, a term",
        "HUM": "a question that asks for a person or a group of people",
        "ABBR": "a question that asks for an abbreviation or what it stands for",
        "LOC": "a question that asks for a place: a city, a country, a mountain",
        "NUM": "a question that asks for a number: a count, a date, a distance, a price",
    },
    "safety_prompts": {
        "safe": "a harmless request for information or advice",
        "unsafe": "a request for help with something harmful or illegal",
    },
    "ws_sms_spam": {"ham": "a personal message to a friend", "spam": "an advertising message with prizes, offers or paid services"},
    "ws_youtube_spam": {"HAM": "a comment about the video or the song", "SPAM": "a comment that advertises a channel, a link or a product"},
}


def load_suite(data: Sequence[str], descriptions: str | os.PathLike[str] | None = None) -> list[Annotated]:
    """Read annotation tasks.

    Parameters
    ----------
    data
        Tables or Hugging Face data sets with the columns task, text, answer and perhaps document (a name for the text), key (which of the
        task's questions is asked) and choices (the answers that this example has, a list or one text with ``|`` between them), each
        holding any number of tasks; or data sets of texts with a label, a task each. Where the answer is such a list, any of them is right
        and one, drawn at random, teaches.
    descriptions
        JSON file: task -> {"choices": {answer: what it means}, "question": …, "instruction": …}; without it answers mean what they say.

    Raises
    ------
    DataError
        A column or a file is missing, a task has one answer only, an answer has no description.
    ConfigError
        No data, or two tasks of one name.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "tasks.csv"
    >>> _ = file.write_text("task,text,answer\\ncolour,red car,red\\ncolour,blue car,blue\\nkind,red car,car\\nkind,blue bus,bus\\n")
    >>> [(task.task.name, list(task.task.choices), task.y.tolist()) for task in load_suite([str(file)])]
    [('colour', ['blue', 'red'], [1, 0]), ('kind', ['bus', 'car'], [1, 0])]
    """
    if not data:
        raise ConfigError("data names nothing; give tables with the columns task, text and answer, or names of data sets")
    described = {} if descriptions is None else read_json(descriptions)
    tasks = [task for name in data for task in _tasks(name, described)]
    names = [task.task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ConfigError(f"two tasks are called '{max(names, key=names.count)}'; rename one")
    return tasks


def _tasks(name: str, described: Mapping[str, Any]) -> list[Annotated]:
    if is_own_table(name) and "label" not in (own := own_table(name)).rows.columns:
        if isinstance(own.rows.schema.get("answer"), pl.List):
            own = replace(own, rows=own.rows.with_columns(pl.col("answer").cast(pl.List(pl.String)).list.join("|")))
        table = own.texts(["task", "text", "answer"])
        document = "document" if "document" in table.columns else "text"
        about = {"name": own.name, "licence": "the user's own", "citation": "none"}
        return [
            _annotated(task, part["text"].to_list(), part["answer"].to_list(), part[document].to_numpy(), described, about, part)
            for (task,), part in table.group_by("task", maintain_order=True)
        ]
    task = load_text_task(name)
    known = np.flatnonzero(task.y >= 0)
    texts = [task.texts[row] for row in known]
    return [_annotated(name, texts, [task.classes[task.y[row]] for row in known], np.array(texts, dtype=object), described, task.about)]


def _annotated(
    name: str,
    texts: list[str],
    answers: Sequence[str],
    documents: NDArray[Any],
    described: Mapping[str, Any],
    about: Mapping[str, str],
    table: pl.DataFrame | None = None,
) -> Annotated:
    given = described.get(name, {})
    own = _own_choices(table)
    listed = [_several(answer) if table is not None else [answer] for answer in answers]
    found = sorted({one for several in listed for one in several}.union(*(row for row in own or [] if row)))
    choices = given.get("choices") or WRITTEN.get(name) or {answer: answer.replace("_", " ") for answer in found}
    if missing := sorted(set(found) - set(choices)):
        raise DataError(f"task '{name}' has the answer '{missing[0]}', which its choices do not describe; add it or leave the rows out")
    if len(found) < 2:
        raise DataError(f"task '{name}' has one answer only ('{found[0]}'), so there is nothing to annotate; leave it out")
    task = ChoiceTask(name, choices, **{key: given[key] for key in ("question", "instruction") if key in given})
    codes = {answer: code for code, answer in enumerate(choices)}
    rng = np.random.default_rng(0)
    y = np.array([codes[several[rng.integers(len(several)) if len(several) > 1 else 0]] for several in listed])
    accepted = np.array([[choice in several for choice in choices] for several in listed]) if max(map(len, listed)) > 1 else None
    allowed = None if own is None else np.array([[row is None or choice in row for choice in choices] for row in own])
    asked = isinstance(task.question, Mapping) or isinstance(task.instruction, Mapping)
    if asked and (table is None or "key" not in table.columns):
        raise DataError(f"task '{name}' asks by key; name the key of each example in a column 'key'")
    keys = table["key"].cast(pl.String).to_numpy() if asked and table is not None else None
    return Annotated(task, texts, y, documents, about=dict(about), allowed=allowed, keys=keys, accepted=accepted)


def _own_choices(table: pl.DataFrame | None) -> list[list[str] | None] | None:
    """What each row of a table may be answered; None where all answers are open."""
    if table is None or "choices" not in table.columns or table["choices"].null_count() == len(table):
        return None
    return [None if row is None else _several(row) for row in table["choices"].to_list()]


def _several(cell: str | Sequence[Any]) -> list[str]:
    """What a cell lists: a list, or one text with ``|`` between."""
    return [str(one).strip() for one in (cell.split("|") if isinstance(cell, str) else cell)]


def lm_prompts(examples: Annotated, tokenizer: Any, context: int) -> tuple[list[str], NDArray[np.bool_]]:
    """The prompts of n examples, and which documents fit whole; the labels of the answers are single tokens.

    Warns
    -----
    UserWarning
        Documents were cut.
    """
    require_single_tokens(tokenizer, LETTERS[: max(map(len, examples.codes))])
    keys = [None] * len(examples) if examples.keys is None else examples.keys
    asked = zip(examples.texts, keys, examples.codes, strict=True)
    prompts, whole = zip(
        *(fitting_prompt(examples.task, text, tokenizer, context, key=key, allowed=codes) for text, key, codes in asked), strict=True
    )
    if cut := len(whole) - sum(whole):
        told = f"{cut} of {len(whole)} documents of task '{examples.task.name}' do not fit {context} tokens and were cut"
        warnings.warn(told, stacklevel=2)
    return list(prompts), np.array(whole)


def lm_choices(model: tuple[Any, Any], prompts: Sequence[str], k: Sequence[int], *, batch_size: int = 16) -> NDArray[np.float32]:
    """Probabilities (n, max k) of the labels A, B, …, of which prompt i has k[i], from one forward pass: an answer is never generated."""
    from steelyard.sources.local_lm import LocalCausalLM
    from steelyard.sources.prompt_backends import Answer, Request

    scores = np.full((len(prompts), max(k)), -np.inf)
    backend = LocalCausalLM(model, batch_size=batch_size)
    for row, answer in backend.answer([Request(prompt, None, tuple(LETTERS[:n])) for prompt, n in zip(prompts, k, strict=True)]):
        if not isinstance(answer, Answer):
            raise DataError(f"example {row} got no answer ({answer}); lower the context")
        scores[row, : k[row]] = answer.choice_logprobs
    return np.asarray(softmax(scores, axis=1), dtype=np.float32)
