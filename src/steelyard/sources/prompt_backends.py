"""What answers a prompt: the protocol of a backend, and any server that speaks `/v1/chat/completions` (vLLM, Ollama, hosted models).

A backend yields answers in the order in which they arrive, so that whoever asks can keep each at once. The backend that runs a
language model in this process is `local_lm.LocalCausalLM`.
"""

from __future__ import annotations

import json
import math
import os
import queue
import random
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from steelyard.errors import SourceError

_CONNECT_RETRIES = 3  # a server may be restarting; an address that stays silent is a mistake to report soon


@dataclass(frozen=True)
class Request:
    """One question: the rendered prompt, the system message, and the words among which the answer is to be chosen."""

    prompt: str
    system: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What came back; `choice_logprobs` where the backend knows log p(choice | prompt), up to a constant."""

    text: str
    choice_logprobs: tuple[float, ...] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: int = 0


class BackendError(Exception):
    """One question that stayed without an answer."""

    def __init__(self, message: str, retries: int = 0) -> None:
        super().__init__(message)
        self.retries = retries


class Backend(Protocol):
    """Whatever answers questions."""

    prices: tuple[float, float]
    """Cost of a million prompt tokens and of a million completion tokens."""

    @property
    def identity(self) -> str:
        """Everything besides the question that its answer depends on: the key of the cache."""
        ...

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Answer | BackendError], None, None]:
        """Yield `(index of the request, answer or failure)` as they arrive; raise SourceError when no question can succeed."""
        ...


class OpenAICompatible:
    """A server with the chat-completions interface.

    Time-outs, broken connections, 408, 409, 429 and 5xx are tried again after an exponentially growing, jittered wait, or after the
    wait that the server asks for (`Retry-After`). Any other 4xx fails its row; a refused key, an unknown address or model fails the run.

    Parameters
    ----------
    base_url
        Such as `http://localhost:8000/v1`; `/v1` is added to a bare host.
    model
        Name the server knows the model by.
    api_key
        By default the environment's `OPENAI_API_KEY`; a local server needs none.
    temperature, max_tokens
        Sampling; one short greedy answer by default.
    logprobs
        Ask for the 20 most probable first tokens and turn them into log-probabilities of the labels.
    concurrency
        Requests under way at once.
    retries
        Further attempts after the first.
    timeout
        Seconds to wait for a connection or for the next byte.
    backoff, max_wait
        Seconds of the first wait and of the longest.
    prices
        Cost of a million prompt tokens and of a million completion tokens, in any currency.
    parameters
        Further fields of the request's body, such as `{"seed": 0}`.

    Examples
    --------
    >>> OpenAICompatible("http://localhost:8000", "tiny-llama").url
    'http://localhost:8000/v1/chat/completions'
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        temperature: float = 0.0,
        max_tokens: int = 16,
        logprobs: bool = False,
        concurrency: int = 8,
        retries: int = 6,
        timeout: float = 60.0,
        backoff: float = 0.5,
        max_wait: float = 60.0,
        prices: tuple[float, float] = (0.0, 0.0),
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        address = urlsplit(base_url)
        if address.scheme not in ("http", "https") or not address.netloc:
            raise SourceError(f"backend: base_url '{base_url}' is no http(s) address; give one like http://localhost:8000/v1")
        if concurrency < 1 or retries < 0:
            raise SourceError(f"backend: concurrency ({concurrency}) must be at least 1 and retries ({retries}) at least 0")
        root = base_url.rstrip("/")
        self.url = f"{root}{'' if address.path.strip('/') else '/v1'}/chat/completions"
        self.model = model
        self.concurrency = concurrency
        self.retries = retries
        self.timeout = timeout
        self.backoff = backoff
        self.max_wait = max_wait
        self.prices = prices
        self._api_key = api_key
        self._body: dict[str, Any] = {"model": model, "temperature": temperature, "max_tokens": max_tokens, **(parameters or {})}
        if logprobs:
            self._body |= {"logprobs": True, "top_logprobs": 20}

    @property
    def identity(self) -> str:
        """Address, model and parameters, never the key."""
        return f"{self.url} {json.dumps(self._body, sort_keys=True)}"

    def __repr__(self) -> str:
        return f"OpenAICompatible({self.url!r}, {self.model!r})"

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Answer | BackendError], None, None]:
        """Ask all, `concurrency` at a time; closing the iterator (or Ctrl-C) stops at once and asks nothing more."""
        todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[int, Answer | Exception]] = queue.SimpleQueue()
        for index in range(len(requests)):
            todo.put(index)
        stop = threading.Event()
        key = self._api_key or os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=self.concurrency)
        client = httpx.Client(headers=headers, timeout=self.timeout, limits=limits)

        def work() -> None:
            while not stop.is_set():
                try:
                    index = todo.get_nowait()
                except queue.Empty:
                    return
                try:
                    done.put((index, self._ask(client, requests[index], stop)))
                except Exception as error:  # an unforeseen one too: the reader below must not wait for ever
                    done.put((index, error))

        # Daemons, because a pool would make Ctrl-C wait for answers that nobody wants any more.
        for _ in range(min(self.concurrency, len(requests))):
            threading.Thread(target=work, daemon=True).start()
        answered = False
        try:
            for _ in requests:
                index, result = done.get()
                if isinstance(result, _Unreachable) and not answered:
                    raise SourceError(f"no server answers at {self.url} ({result}); start it or correct base_url")
                if not isinstance(result, Answer | BackendError):
                    raise result
                answered = answered or isinstance(result, Answer)
                yield index, result
        finally:
            stop.set()
            client.close()

    def _ask(self, client: httpx.Client, request: Request, stop: threading.Event) -> Answer:
        messages = [{"role": "system", "content": request.system}] if request.system else []
        body = {**self._body, "messages": [*messages, {"role": "user", "content": request.prompt}]}
        failure: BackendError = BackendError("not asked")
        for attempt in range(self.retries + 1):
            asked_to_wait = None
            try:
                response = client.post(self.url, json=body)
            except httpx.ConnectError as error:
                failure = _Unreachable(str(error), attempt)
                if attempt >= _CONNECT_RETRIES:
                    break
            except httpx.TransportError as error:
                failure = BackendError(f"{type(error).__name__} after {attempt + 1} attempts: {error}", attempt)
            else:
                if response.is_success:
                    try:
                        return _read(response.json(), request.choices, attempt)
                    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                        failure = BackendError(f"the server's answer is no chat completion ({error!r}): {response.text[:200]}", attempt)
                else:
                    self._refuse(response, attempt)
                    failure = BackendError(f"HTTP {response.status_code} after {attempt + 1} attempts: {response.text[:200]}", attempt)
                    asked_to_wait = _retry_after(response)
            if attempt < self.retries and stop.wait(self._wait(attempt, asked_to_wait)):
                break
        raise failure

    def _refuse(self, response: httpx.Response, attempt: int) -> None:
        """Raise for an answer that another attempt would not change."""
        status, text = response.status_code, response.text[:200]
        if status in (401, 403, 404):
            hint = "check the model's name and base_url" if status == 404 else "check the API key"
            raise SourceError(f"the server at {self.url} refuses model '{self.model}' with HTTP {status}; {hint}: {text}")
        if status not in (408, 409, 429) and status < 500:
            raise BackendError(f"HTTP {status}: {text}", attempt)

    def _wait(self, attempt: int, asked: float | None) -> float:
        if asked is not None:
            return min(asked, self.max_wait)
        # Jitter: clients that failed together must not come back together.
        return min(self.backoff * 2.0**attempt, self.max_wait) * random.uniform(0.5, 1.0)


class _Unreachable(BackendError):
    """Nobody listens there."""


def _read(body: Any, choices: tuple[str, ...], retries: int) -> Answer:
    choice = body["choices"][0]
    text = choice["message"].get("content") or ""
    usage = body.get("usage") or {}
    first = ((choice.get("logprobs") or {}).get("content") or [None])[0]
    logprobs = None
    if first is not None and choices:
        logprobs = first_token_logprobs(first["token"], {top["token"]: top["logprob"] for top in first.get("top_logprobs") or []}, choices)
    return Answer(text, logprobs, int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0), retries)


def first_token_logprobs(token: str, alternatives: Mapping[str, float], choices: Sequence[str]) -> tuple[float, ...] | None:
    """Log-probability of each choice from the first token of an answer and its most probable alternatives.

    A token counts for the one choice that it begins; `None` when the token actually given begins none or several, since then the
    decision falls later in the answer.

    Examples
    --------
    >>> first_token_logprobs(" Sp", {" Sp": -0.1, "H": -2.5, "The": -4.0}, ["SPAM", "HAM"])
    (-0.1, -2.5)
    """
    if _begun(token, choices) is None:
        return None
    totals = [-math.inf] * len(choices)
    for alternative, logprob in {token: 0.0, **alternatives}.items() if not alternatives else alternatives.items():
        code = _begun(alternative, choices)
        if code is not None:
            high, low = max(totals[code], logprob), min(totals[code], logprob)
            totals[code] = high + math.log1p(math.exp(low - high))
    return tuple(totals) if max(totals) > -math.inf else None


def _begun(token: str, choices: Sequence[str]) -> int | None:
    start = token.strip().casefold()
    begun = [code for code, choice in enumerate(choices) if start and choice.casefold().startswith(start)]
    exact = [code for code in begun if choices[code].casefold() == start]
    hits = exact if len(exact) == 1 else begun
    return hits[0] if len(hits) == 1 else None


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except ValueError:
            return None
