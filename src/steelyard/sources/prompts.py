"""A language model as a labelling function: every row becomes a prompt, every answer a vote, and what cannot be read an abstention.

Answers are cached on disk (a rerun asks nothing), identical prompts are asked once, tokens and cost are counted. Label log-probabilities,
where the backend gives them, become calibrated confidences; otherwise the label is read from the answer's text.
"""

from __future__ import annotations

import os
import re
import string
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import softmax

from steelyard.errors import SourceError
from steelyard.sources.answers import label_in_json, mentioned
from steelyard.sources.base import Source, SourceVotes, check_columns
from steelyard.sources.faults import Faults
from steelyard.sources.prompt_backends import Answer, Backend, BackendError, Request
from steelyard.sources.response_cache import ResponseCache, response_key
from steelyard.sources.tables import as_table
from steelyard.votes import ABSTAIN

Parsed: TypeAlias = str | tuple[str, float] | None
Parse: TypeAlias = Literal["first", "last", "json"] | Callable[[str], Parsed]

Arrival: TypeAlias = tuple[int, Answer | BackendError]

_WORTH_A_BAR = 50  # requests
_UNSURE = -2  # the model declined: an abstention, but a readable one


@dataclass
class Usage:
    """What the answers of one source took. `requests + cached + failed` is the number of rows asked about.

    Attributes
    ----------
    requests, cached, failed
        Rows answered by the backend, from the cache (or by an identical prompt), and not at all.
    retries
        Attempts that had to be repeated.
    unparsed
        Answers in which no label was found.
    prompt_tokens, completion_tokens, cost
        As counted by the backend; the cost at its `prices` per million tokens.
    """

    requests: int = 0
    cached: int = 0
    failed: int = 0
    retries: int = 0
    unparsed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


class PromptSource(Source):
    """A source that asks a language model about every row; made by `prompt`.

    Attributes
    ----------
    usage_ : Usage
        Requests, cache hits, tokens and cost since the source was made.
    """

    def __init__(
        self,
        template: str | Callable[[dict[str, Any]], str],
        *,
        labels: Sequence[str] | Mapping[str, str | Sequence[str]],
        backend: Backend,
        on: str,
        parse: Parse,
        system: str | None,
        unsure: Sequence[str],
        threshold: float,
        cache: str | os.PathLike[str] | Literal[False] | None,
        name: str,
    ) -> None:
        spelled = labels if isinstance(labels, Mapping) else {label: label for label in labels}
        words = {label: (said,) if isinstance(said, str) else tuple(said) for label, said in spelled.items()}
        if len(words) < 2 or isinstance(labels, str):
            raise SourceError(f"source '{name}': give at least two labels, as ['SPAM', 'HAM'] or {{'SPAM': 'yes', 'HAM': 'no'}}")
        self.name = name
        self.labels: tuple[str, ...] = tuple(words)
        self.words = tuple(word for said in words.values() for word in said)
        self.word_codes = np.array([code for code, said in enumerate(words.values()) for _ in said])  # (w,) label of each word
        self.template = template
        self.on = on
        self.needs = _fields(template, on, name) if isinstance(template, str) else ()
        self.backend = backend
        self.parse = parse
        self.system = system
        self.unsure = tuple(unsure)
        self.threshold = threshold
        self.cache = cache
        self.usage_ = Usage()
        self._lock = threading.Lock()

    def vote(self, batch: pl.DataFrame) -> SourceVotes:
        """Ask about every row; abstain on nulls, unsure or unreadable answers, ties, below the threshold, and (a fault) without answer."""
        answers, unanswered = self._answers(batch)
        faults = [unanswered]
        codes = np.full(batch.height, ABSTAIN, dtype=np.int16)
        confidences = np.full(batch.height, np.nan, dtype=np.float32)
        unparsed = 0
        for row, answer in enumerate(answers):
            if answer is None:
                continue
            try:
                code, confidence = self._read(answer)
            except Exception as error:  # the user's own parser
                faults.append(Faults.of(error, row))
                continue
            unparsed += code == ABSTAIN
            if code >= 0 and not confidence < self.threshold:  # NaN: the backend does not say how sure it is
                codes[row], confidences[row] = code, confidence
        with self._lock:
            self.usage_.unparsed += unparsed
        return SourceVotes(codes, self.labels, confidences, faults=Faults.total(faults))

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Probabilities `(n, k)` over `labels`: from log-probabilities, else one-hot from the text; NaN where there is no answer."""
        frame = as_table(data)
        answers, _ = self._answers(frame)
        probabilities = np.full((frame.height, len(self.labels)), np.nan, dtype=np.float32)
        for row, answer in enumerate(answers):
            if answer is None:
                continue
            if answer.choice_logprobs is not None:
                probabilities[row] = self._distribution(answer.choice_logprobs)
            elif (code := self._read(answer)[0]) >= 0:
                probabilities[row] = np.eye(len(self.labels), dtype=np.float32)[code]
        return probabilities

    def render(self, batch: pl.DataFrame) -> list[str | None]:
        """Prompts of the rows; `None` where a column that the template reads is null."""
        check_columns(self.name, self.needs, batch.columns)
        if not isinstance(self.template, str):
            return [self.template(row) for row in batch.iter_rows(named=True)]
        listed = ", ".join(self.labels)
        return [
            None if None in row.values() else self.template.format(row.get(self.on), **{"labels": listed, **row})
            for row in (batch.select(self.needs).iter_rows(named=True) if self.needs else [{}] * batch.height)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _answers(self, batch: pl.DataFrame) -> tuple[list[Answer | None], Faults | None]:
        """Answer every row from the cache where possible, from the backend otherwise, keeping each answer as it arrives."""
        prompts = self.render(batch)
        identity = self.backend.identity if batch.height else ""
        keys = [
            None if text is None else response_key(backend=identity, prompt=text, system=self.system, choices=self.words)
            for text in prompts
        ]
        first_row: dict[str, int] = {}
        for row, key in enumerate(keys):
            if key is not None:
                first_row.setdefault(key, row)
        failures: dict[str, BackendError] = {}
        with ResponseCache(self.cache) as cache:
            answers = {key: _restore(stored) for key, stored in cache.get(list(first_row)).items()}
            missing = [key for key in first_row if key not in answers]
            requests = [Request(prompts[first_row[key]] or "", self.system, self.words) for key in missing]
            # Closed whatever happens, so that nothing more is asked after Ctrl-C.
            with closing(self.backend.answer(requests)) if requests else nullcontext(()) as arriving:
                for index, result in self._watched(arriving, len(requests)):
                    if isinstance(result, BackendError):
                        failures[missing[index]] = result
                    else:
                        answers[missing[index]] = result
                        cache.put(missing[index], asdict(result))
                    self._count(result)
        failed_rows = [row for row, key in enumerate(keys) if key in failures]
        with self._lock:
            self.usage_.failed += len(failed_rows)
            self.usage_.cached += sum(key is not None for key in keys) - len(failed_rows) - (len(missing) - len(failures))
        faults = Faults.of(failures[keys[failed_rows[0]] or ""], failed_rows[0], len(failed_rows)) if failed_rows else None
        return [None if key is None else answers.get(key) for key in keys], faults

    def _watched(self, arriving: Iterable[Arrival], n: int) -> Iterable[Arrival]:
        """Draw a progress bar where somebody watches and there is something to wait for."""
        if n < _WORTH_A_BAR or not sys.stderr.isatty():
            return arriving
        from rich.console import Console
        from rich.progress import track

        return track(arriving, description=f"asking for {self.name}", total=n, console=Console(stderr=True))

    def _count(self, result: Answer | BackendError) -> None:
        with self._lock:
            self.usage_.retries += result.retries
            if isinstance(result, Answer):
                asked, said = self.backend.prices
                self.usage_.requests += 1
                self.usage_.prompt_tokens += result.prompt_tokens
                self.usage_.completion_tokens += result.completion_tokens
                self.usage_.cost += (asked * result.prompt_tokens + said * result.completion_tokens) / 1e6

    def _distribution(self, logprobs: Sequence[float]) -> NDArray[np.float32]:
        shares = softmax(np.array(logprobs, dtype=np.float64))
        return np.bincount(self.word_codes, weights=shares, minlength=len(self.labels)).astype(np.float32)

    def _read(self, answer: Answer) -> tuple[int, float]:
        """Label code (or ABSTAIN for an unreadable answer, _UNSURE for a declined one) and confidence."""
        if answer.choice_logprobs is not None:
            shares = self._distribution(answer.choice_logprobs)
            best = int(shares.argmax())
            return (_UNSURE if (shares == shares[best]).sum() > 1 else best), float(shares[best])
        said: Any = answer.text
        confidence = float("nan")
        if callable(self.parse):
            said = self.parse(answer.text)
        elif self.parse == "json":
            said = label_in_json(answer.text)
        if isinstance(said, tuple):
            said, confidence = said[0], min(max(float(said[1]), 0.0), 1.0)
        if said is None:
            return ABSTAIN, confidence
        return self._mentioned(str(said)), confidence

    def _mentioned(self, text: str) -> int:
        codes = dict.fromkeys(self.unsure, _UNSURE)
        if callable(self.parse):  # a function answers with labels, a model with the words that stand for them
            codes |= {label: code for code, label in enumerate(self.labels)}
        codes |= {word: int(code) for word, code in zip(self.words, self.word_codes, strict=True)}
        found = mentioned(text, tuple(codes), last=self.parse == "last")
        return ABSTAIN if found is None else codes[found]


def prompt(
    template: str | Callable[[dict[str, Any]], str],
    *,
    labels: Sequence[str] | Mapping[str, str | Sequence[str]],
    backend: Backend,
    on: str = "text",
    parse: Parse = "first",
    system: str | None = None,
    unsure: Sequence[str] = ("unsure",),
    threshold: float = 0.0,
    cache: str | os.PathLike[str] | Literal[False] | None = None,
    name: str = "prompt",
) -> PromptSource:
    """Let a language model label rows.

    Parameters
    ----------
    template
        Text with `{column}` for the row's values, `{}` for the column `on` and `{labels}` for the label names; or a function of the row
        (a dict). Write `{{` for a brace.
    labels
        Label names, or label -> the word or words that stand for it in an answer, as `{"SPAM": ("spam", "yes"), "HAM": "no"}`.
    backend
        `OpenAICompatible(...)`, `LocalCausalLM(...)` or your own `Backend`.
    on
        The column that `{}` means.
    parse
        How to read an answer without log-probabilities: the label mentioned `"first"` or `"last"` (whole words, any case, `_` and `-`
        as spaces, the longest where labels overlap); `"json"` for an object with `label` and perhaps `confidence`; or a function
        `answer -> label | (label, confidence) | None`.
    system
        System message.
    unsure
        Words by which the model declines; they count as an abstention, not as unparsed.
    threshold
        Abstain where the confidence is known and below.
    cache
        Database of answers; by default in `storage.cache_dir()`, `False` keeps none.
    name
        Name of the source.

    Returns
    -------
    PromptSource
        Its `usage_` counts requests, cached rows, tokens and cost.

    Raises
    ------
    SourceError
        The template is malformed or reads a column that the data lacks; no server answers; the key or the model is refused.

    Examples
    --------
    >>> from steelyard.sources.prompt_backends import Answer
    >>> class Grumpy:
    ...     identity, prices = "grumpy", (0.0, 0.0)
    ...     def answer(self, requests):
    ...         yield from ((i, Answer("It is spam!" if "cash" in r.prompt else "Not sure")) for i, r in enumerate(requests))
    >>> source = prompt("Spam or ham? {text}", labels=["SPAM", "HAM"], backend=Grumpy(), cache=False)
    >>> source.vote(pl.DataFrame({"text": ["win cash", "hello"]})).codes
    array([ 0, -1], dtype=int16)
    >>> source.usage_.requests, source.usage_.unparsed
    (2, 1)
    """
    if not callable(parse) and parse not in ("first", "last", "json"):
        raise SourceError(f"source '{name}': parse '{parse}' is unknown; use 'first', 'last', 'json' or a function")
    return PromptSource(
        template,
        labels=labels,
        backend=backend,
        on=on,
        parse=parse,
        system=system,
        unsure=unsure,
        threshold=threshold,
        cache=cache,
        name=name,
    )


def _fields(template: str, on: str, name: str) -> tuple[str, ...]:
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise SourceError(f"source '{name}': its template is malformed ({error}); write {{{{ and }}}} for plain braces") from None
    columns = [re.split(r"[.\[]", field)[0] or on for field in fields]
    if not fields:
        raise SourceError(f"source '{name}': its template reads no column, so every row would get the same prompt; write {{{on}}} in it")
    return tuple(dict.fromkeys(column for column in columns if column != "labels"))


def _restore(stored: dict[str, Any]) -> Answer:
    logprobs = stored["choice_logprobs"]
    return Answer(**{**stored, "choice_logprobs": None if logprobs is None else tuple(logprobs)})
