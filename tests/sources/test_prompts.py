"""A language model labels rows through a real HTTP server: errors on the way, the cache, the bill, and what answers mean.

The model is a real causal LM, trained here in seconds to answer a toy instruction; the server is a real server on 127.0.0.1.
"""

from __future__ import annotations

import json
import math
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from steelyard.errors import DataError, SourceError
from steelyard.sources.local_lm import LocalCausalLM
from steelyard.sources.prompt_backends import Answer, OpenAICompatible, Request, _retry_after, first_token_logprobs
from steelyard.sources.prompts import prompt
from steelyard.sources.response_cache import ResponseCache

torch = pytest.importorskip("torch")

GOOD = ["great", "lovely", "superb", "charming", "brilliant", "touching"]
BAD = ["dull", "awful", "clumsy", "boring", "hopeless", "noisy"]
PLAIN = ["the", "film", "was", "plot", "with", "music", "and", "acting", "very", "scene"]
TEMPLATE = "review : {text} label :"
LABELS = {"POS": "positive", "NEG": "negative"}


def reviews(n: int, seed: int) -> pl.DataFrame:
    """Reviews of plain words around two words that decide."""
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        positive = rng.random() < 0.5
        words = rng.choices(PLAIN, k=rng.randint(2, 7)) + rng.sample(GOOD if positive else BAD, 2)
        rng.shuffle(words)
        rows.append({"text": " ".join(words), "gold": "POS" if positive else "NEG"})
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def lm() -> tuple[Any, Any]:
    """A two-layer GPT-2 over words, fitted until it follows the instruction: `review : … label : positive <end>`."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.set_num_threads(1)
    torch.manual_seed(0)
    words = ["<pad>", "<end>", "<unk>", "review", "label", ":", "positive", "negative", "mixed", *GOOD, *BAD, *PLAIN]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    size = {"vocab_size": len(words), "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 48}
    special = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    network = transformers.GPT2LMHeadModel(transformers.GPT2Config(**size, **special, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0))
    table = reviews(512, seed=0)
    said = [TEMPLATE.format(text=row["text"]) + f" {LABELS[row['gold']]} <end>" for row in table.iter_rows(named=True)]
    batch = tokenizer(said, padding=True, return_tensors="pt")
    answer = batch["input_ids"][:, :, None].eq(torch.tensor(tokenizer.convert_tokens_to_ids([*LABELS.values(), "<end>"]))).any(-1)
    targets = batch["input_ids"].masked_fill(~answer, -100)  # as in instruction tuning, the prompt itself is not learned
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(70):
        rows = torch.randint(len(said), (64,), generator=generator)
        loss = network(batch["input_ids"][rows], attention_mask=batch["attention_mask"][rows], labels=targets[rows]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    return network.eval(), tokenizer


class LanguageModelServer(ThreadingHTTPServer):
    """`/v1/chat/completions` over a local language model, with faults on demand."""

    daemon_threads = True

    def __init__(self, lm: tuple[Any, Any]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lm = lm
        self.lock = threading.Lock()
        self.posts: list[dict[str, Any]] = []  # every request that arrived
        self.faults: list[str] = []  # what to do instead of answering, one entry per request
        self.broken: Callable[[str], str | None] = lambda prompt: None  # a fault that hits certain prompts every time
        self.gate: threading.Barrier | None = None
        self.delay = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no news."""

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        network, tokenizer = self.lm
        ids = tokenizer(body["messages"][-1]["content"], return_tensors="pt")["input_ids"]
        said: list[int] = []
        tops: list[dict[str, Any]] = []
        with self.lock, torch.inference_mode():
            while len(said) < body["max_tokens"]:
                logprobs = torch.log_softmax(network(torch.cat([ids, torch.tensor([said], dtype=torch.long)], dim=1)).logits[0, -1], -1)
                token = int(logprobs.argmax())
                if token == tokenizer.eos_token_id:
                    break
                best = logprobs.topk(body.get("top_logprobs", 0))
                words = tokenizer.convert_ids_to_tokens(best.indices.tolist())
                alternatives = [{"token": word, "logprob": value} for word, value in zip(words, best.values.tolist(), strict=True)]
                tops.append({"token": tokenizer.decode([token]), "logprob": float(logprobs[token]), "top_logprobs": alternatives})
                said.append(token)
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": tokenizer.decode(said)}, "finish_reason": "stop"}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": tops}
        usage = {"prompt_tokens": ids.shape[1], "completion_tokens": len(said), "total_tokens": ids.shape[1] + len(said)}
        return {"object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LanguageModelServer

    def log_message(self, *args: Any) -> None:
        """Silence."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.posts.append({"path": self.path, "key": self.headers.get("Authorization"), "body": body})
            fault = server.faults.pop(0) if server.faults else server.broken(body["messages"][-1]["content"])
        if server.gate is not None:
            server.gate.wait(timeout=10)
        time.sleep(server.delay)
        if fault == "hang":
            time.sleep(0.8)
        elif fault == "drop":
            self.connection.close()
        elif fault == "garbage":
            self.reply(200, "<html>gateway</html>")
        elif fault == "429":
            self.reply(429, '{"error": "slow down"}', {"Retry-After": "0.01"})
        elif fault:
            self.reply(int(fault), f'{{"error": "status {fault}"}}')
        else:
            self.reply(200, json.dumps(server.complete(body)))

    def reply(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server(lm: tuple[Any, Any]) -> Iterator[LanguageModelServer]:
    running = LanguageModelServer(lm)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def ask(server: LanguageModelServer, cache: Path | None = None, **options: Any) -> Any:
    own = {"unsure", "threshold", "system"}
    backend = OpenAICompatible(
        server.url, "tiny", **{"backoff": 0.01, "timeout": 5.0, **{key: value for key, value in options.items() if key not in own}}
    )
    rest = {key: value for key, value in options.items() if key in own}
    return prompt(TEMPLATE, labels=LABELS, backend=backend, cache=cache or False, **rest)


def accuracy(votes: Any, table: pl.DataFrame) -> float:
    names = [votes.labels[code] if code >= 0 else None for code in votes.codes]
    return float(np.mean([name == gold for name, gold in zip(names, table["gold"], strict=True)]))


def test_model_votes_and_the_bill_is_exact(server: LanguageModelServer, lm: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    table = reviews(40, seed=1).unique(maintain_order=True)
    source = ask(server, prices=(1.0, 4.0))
    assert accuracy(source.vote(table), table) > 0.9
    words = sum(len(lm[1](TEMPLATE.format(text=text))["input_ids"]) for text in table["text"])
    assert (source.usage_.requests, source.usage_.cached, source.usage_.failed) == (len(table), 0, 0)
    assert (source.usage_.prompt_tokens, source.usage_.completion_tokens) == (words, len(table))
    assert source.usage_.cost == pytest.approx((words + 4 * len(table)) / 1e6)
    assert {post["path"] for post in server.posts} == {"/v1/chat/completions"}
    assert {post["key"] for post in server.posts} == {"Bearer from-the-environment"}
    assert "from-the-environment" not in source.backend.identity + repr(source.backend)


def test_rerun_asks_nothing_and_identical_prompts_are_asked_once(server: LanguageModelServer, tmp_path: Path) -> None:
    table = reviews(12, seed=2).unique(maintain_order=True)
    twice = pl.concat([table, table])
    first = ask(server, tmp_path / "answers.sqlite")
    votes = first.vote(twice)
    assert len(server.posts) == len(table)
    assert (first.usage_.requests, first.usage_.cached) == (len(table), len(table))
    again = ask(server, tmp_path / "answers.sqlite")
    assert np.array_equal(again.vote(twice).codes, votes.codes)
    assert len(server.posts) == len(table)
    assert (again.usage_.requests, again.usage_.cached, again.usage_.prompt_tokens) == (0, len(twice), 0)
    warmer = ask(server, tmp_path / "answers.sqlite", temperature=0.5)  # another question
    warmer.vote(table)
    assert len(server.posts) == 2 * len(table)


def test_logprobs_over_http_equal_the_models_own(server: LanguageModelServer, lm: tuple[Any, Any]) -> None:
    table = reviews(20, seed=3)
    remote = ask(server, logprobs=True)
    local = prompt(TEMPLATE, labels=LABELS, backend=LocalCausalLM(lm), cache=False)
    np.testing.assert_allclose(remote.predict_proba(table), local.predict_proba(table), atol=1e-4)
    votes = remote.vote(table)
    np.testing.assert_allclose(votes.confidences, remote.predict_proba(table).max(axis=1), atol=1e-6)
    strict = ask(server, logprobs=True, threshold=float(np.median(votes.confidences)))
    assert 0 < (strict.vote(table).codes >= 0).sum() < len(table)


@pytest.mark.parametrize("fault", ["429", "500", "503", "drop", "garbage", "hang"])
def test_passing_faults_are_retried(server: LanguageModelServer, fault: str) -> None:
    table = reviews(6, seed=4).unique(maintain_order=True)
    server.faults = [fault] * 3
    source = ask(server, timeout=0.4)
    votes = source.vote(table)
    assert votes.faults is None
    assert (votes.codes >= 0).all()
    assert source.usage_.retries == 3
    assert len(server.posts) == len(table) + 3


def test_a_row_that_finally_fails_is_a_fault_and_only_it_is_asked_again(server: LanguageModelServer, tmp_path: Path) -> None:
    table = reviews(8, seed=5).unique(maintain_order=True)
    victim = table["text"][2]
    for status, attempts in (("500", 3), ("400", 1)):  # the server may recover from the one, not from the other
        server.posts.clear()
        server.broken = lambda asked, status=status: status if f" {victim} " in asked else None  # type: ignore[misc]
        source = ask(server, tmp_path / f"{status}.sqlite", retries=2)
        votes = source.vote(table)
        assert votes.faults is not None
        assert (votes.faults.count, votes.faults.first_row) == (1, 2)
        assert f"HTTP {status}" in votes.faults.message
        assert [row for row, code in enumerate(votes.codes) if code < 0] == [2]
        assert len(server.posts) == len(table) - 1 + attempts
        server.broken = lambda asked: None
        server.posts.clear()
        assert source.vote(table).faults is None
        assert len(server.posts) == 1
    assert (source.usage_.requests, source.usage_.cached, source.usage_.failed) == (len(table), len(table) - 1, 1)


@pytest.mark.parametrize(("status", "hint"), [("401", "check the API key"), ("404", "check the model's name")])
def test_a_refused_key_or_model_ends_the_run_at_once(server: LanguageModelServer, status: str, hint: str) -> None:
    server.broken = lambda asked: status
    with pytest.raises(SourceError, match=f"refuses model 'tiny' with HTTP {status}; {hint}"):
        ask(server, concurrency=2).vote(reviews(50, seed=6))
    assert len(server.posts) < 10


def test_no_server_at_all_is_said_clearly(server: LanguageModelServer) -> None:
    source = ask(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(SourceError, match="no server answers at http://127"):
        source.vote(reviews(3, seed=0))


def test_requests_overlap_up_to_the_limit(server: LanguageModelServer) -> None:
    server.gate = threading.Barrier(3)  # nobody is answered before three are waiting
    source = ask(server, concurrency=3, retries=0)
    votes = source.vote(reviews(9, seed=7).unique(maintain_order=True)[:6])
    assert votes.faults is None
    assert (votes.codes >= 0).all()


def test_closing_stops_asking(server: LanguageModelServer) -> None:
    backend = OpenAICompatible(server.url, "tiny", concurrency=2)
    arriving = backend.answer([Request(TEMPLATE.format(text=text)) for text in reviews(60, seed=8)["text"]])
    next(arriving)
    arriving.close()
    assert len(server.posts) < 30


def test_ctrl_c_ends_promptly_and_keeps_what_was_answered(server: LanguageModelServer, tmp_path: Path) -> None:
    server.delay = 0.05
    table = reviews(200, seed=9).unique(maintain_order=True)
    table.write_parquet(tmp_path / "reviews.parquet")
    script = (
        "import polars as pl, sys\n"
        "from steelyard.sources.prompts import prompt\n"
        "from steelyard.sources.prompt_backends import OpenAICompatible\n"
        f"source = prompt({TEMPLATE!r}, labels={LABELS!r}, cache={str(tmp_path / 'answers.sqlite')!r},\n"
        f"                backend=OpenAICompatible({server.url!r}, 'tiny', concurrency=2, timeout=5.0, backoff=0.01))\n"
        f"source.vote(pl.read_parquet({str(tmp_path / 'reviews.parquet')!r}))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    while len(server.posts) < 10 and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, complaint = child.communicate(timeout=10)
    assert "KeyboardInterrupt" in complaint
    server.delay = 0.0
    asked = len(server.posts)
    assert asked < len(table)
    source = ask(server, tmp_path / "answers.sqlite")
    source.vote(table)
    assert source.usage_.cached >= 6
    assert source.usage_.cached + source.usage_.requests == len(table)


def test_waits_grow_are_jittered_and_obey_the_server() -> None:
    backend = OpenAICompatible("http://localhost:1", "m", backoff=1.0, max_wait=30.0)
    for attempt, longest in enumerate([1.0, 2.0, 4.0, 8.0, 16.0, 30.0]):
        waits = {backend._wait(attempt, None) for _ in range(20)}
        assert len(waits) > 1
        assert longest / 2 <= min(waits) <= max(waits) <= longest
    assert backend._wait(0, 7.0) == 7.0
    assert backend._wait(0, 900.0) == 30.0
    assert _retry_after(httpx.Response(429, headers={"Retry-After": "2.5"})) == 2.5
    assert _retry_after(httpx.Response(429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})) == 0.0
    assert _retry_after(httpx.Response(429, headers={"Retry-After": "soon"})) is None


def test_addresses() -> None:
    urls = {base: OpenAICompatible(base, "m").url for base in ("http://h:1", "http://h:1/v1/", "https://h/api/v2")}
    assert list(urls.values()) == ["http://h:1/v1/chat/completions", "http://h:1/v1/chat/completions", "https://h/api/v2/chat/completions"]
    with pytest.raises(SourceError, match="is no http"):
        OpenAICompatible("localhost:8000", "m")


def test_first_token_decides_only_where_it_can() -> None:
    tops = {"card": -0.1, "cash": -2.0, "c": -3.0, "The": -4.0}
    assert first_token_logprobs("card", tops, ["card_lost", "card_stolen", "cash"]) is None  # undecided between two
    assert first_token_logprobs("The", tops, ["card", "cash"]) is None  # the label comes later in the answer
    assert first_token_logprobs(" Card", {" Card": -0.5, "card": -1.5}, ["card", "cash"]) == (
        pytest.approx(math.log(math.exp(-0.5) + math.exp(-1.5))),
        -math.inf,
    )
    assert first_token_logprobs("card", {"card": -0.5}, ["card", "card_lost"]) == (-0.5, -math.inf)  # the exact word wins


class Says:
    """A backend that says what it is told to: how answers are read does not depend on who gives them."""

    identity, prices = "says", (0.0, 0.0)

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def answer(self, requests: Any) -> Any:
        for index, request in enumerate(requests):
            yield index, Answer(self.texts[int(request.prompt)])


def read(texts: list[str], **options: Any) -> tuple[list[str | None], Any]:
    labels = options.pop("labels", ["SPAM", "HAM", "not_spam"])
    source = prompt("{row}", labels=labels, backend=Says(*texts), cache=False, **options)
    votes = source.vote(pl.DataFrame({"row": range(len(texts))}))
    return [votes.labels[code] if code >= 0 else None for code in votes.codes], (source.usage_.unparsed, votes.confidences)


def test_labels_are_read_as_whole_words_longest_first() -> None:
    texts = ["spam", "**Ham**.", "This is not spam!", "NOT-SPAM", "hamster spammed", "Unsure, maybe spam", "", "ham, because no spam"]
    expected = ["SPAM", "HAM", "not_spam", "not_spam", None, None, None, "HAM"]
    names, (unparsed, _) = read(texts)
    assert names == expected
    assert unparsed == 2  # neither the hamster nor silence; "unsure" is an answer
    assert read(["First I thought HAM, but it is SPAM."], parse="last")[0] == ["SPAM"]
    assert read(["label: Sci/Tech (C++)"], labels=["C", "Sci/Tech", "C++"])[0] == ["Sci/Tech"]
    assert read(["I choose C++."], labels=["C", "Sci/Tech", "C++"])[0] == ["C++"]
    assert read(["yes", "No.", "unwanted mail"], labels={"SPAM": ("yes", "unwanted"), "HAM": "no"})[0] == ["SPAM", "HAM", "SPAM"]


def test_json_answers_with_chatter_and_confidence() -> None:
    fence = "Sure!\n```json\n" + '{"reason": "a {brace}", "label": "spam", "confidence": 0.75}' + "\n```"
    texts = [
        fence,
        '{"answer": "ham"}',
        '{"x": "spam"}',
        "{broken",
        '{"a": 1, "b": 2}',
        '{"label": "eggs"}',
        '{"label": "ham", "confidence": 7}',
    ]
    names, (unparsed, confidences) = read(texts, parse="json")
    assert names == ["SPAM", "HAM", "SPAM", None, None, None, "HAM"]
    assert unparsed == 3
    np.testing.assert_array_equal(confidences, np.array([0.75, *[np.nan] * 5, 1.0], dtype=np.float32))


def test_own_parser_may_give_a_confidence_or_nothing() -> None:
    grades: dict[str, Any] = {"9/10": ("SPAM", 0.9), "2/10": "HAM"}
    names, (unparsed, confidences) = read(["9/10", "2/10", "?"], parse=grades.get, threshold=0.5)
    assert names == ["SPAM", "HAM", None]
    assert unparsed == 1
    assert confidences[0] == pytest.approx(0.9)
    assert np.isnan(confidences[1])
    assert read(["9/10"], parse=grades.get, threshold=0.95)[0] == [None]


def test_a_parser_that_raises_costs_its_rows_only() -> None:
    source = prompt("{row}", labels=["A", "B"], backend=Says("A", "?", "B", "?"), parse={"A": "A", "B": "B"}.__getitem__, cache=False)
    votes = source.vote(pl.DataFrame({"row": range(4)}))
    assert votes.codes.tolist() == [0, -1, 1, -1]
    assert votes.faults is not None
    assert (votes.faults.count, votes.faults.first_row, votes.faults.message) == (2, 1, "KeyError: '?'")


def test_apply_runs_it_beside_other_sources(server: LanguageModelServer) -> None:
    from steelyard.sources.apply import apply
    from steelyard.sources.expressions import keywords

    table = reviews(30, seed=13).unique(maintain_order=True)
    victim = table["text"][4]
    server.broken = lambda asked: "400" if f" {victim} " in asked else None
    votes = apply([ask(server, logprobs=True), keywords(GOOD, label="POS")], table)
    assert votes.sources[0] == "prompt"
    assert set(votes.classes) == {"POS", "NEG"}
    assert votes.metadata["faults"]["prompt"]["first_row"] == 4
    assert votes.codes[4, 0] == -1


def test_templates_read_columns_and_nulls_are_not_asked() -> None:
    table = pl.DataFrame({"text": ["hi", None], "stars": [4.5, 1.0]})
    source = prompt("{} ({stars:.0f} stars) {{{labels}}}", labels=["A", "B"], backend=Says(), cache=False)
    assert source.needs == ("text", "stars")
    assert source.render(table) == ["hi (4 stars) {A, B}", None]
    own = prompt(lambda row: f"<{row['stars']}>", labels=["A", "B"], backend=Says(), cache=False)
    assert own.render(table) == ["<4.5>", "<1.0>"]
    with pytest.raises(SourceError, match="source 'judge' reads the column 'txt', which the data lacks"):
        prompt("{txt}", labels=["A", "B"], backend=Says(), name="judge").vote(table)
    with pytest.raises(SourceError, match="template is malformed"):
        prompt("{text", labels=["A", "B"], backend=Says())
    with pytest.raises(SourceError, match="same prompt"):
        prompt("Spam or ham?", labels=["A", "B"], backend=Says())
    with pytest.raises(SourceError, match="at least two labels"):
        prompt("{}", labels=["A"], backend=Says())


def test_local_model_scores_labels_of_several_tokens_exactly(lm: tuple[Any, Any]) -> None:
    network, tokenizer = lm
    choices = ("positive", "very great film", "dull plot")
    requests = [Request(TEMPLATE.format(text=text), None, choices) for text in reviews(7, seed=10)["text"]]
    answers = dict(LocalCausalLM(lm, batch_size=4).answer(requests))
    for index, request in enumerate(requests):
        for code, choice in enumerate(choices):
            ids = tokenizer(f"{request.prompt} {choice}", return_tensors="pt")["input_ids"]
            size = len(choice.split())
            with torch.inference_mode():
                logprobs = torch.log_softmax(network(ids).logits[0], dim=-1)
            expected = sum(float(logprobs[-size - 1 + step, ids[0, -size + step]]) for step in range(size))
            got = answers[index]
            assert isinstance(got, Answer)
            assert got.choice_logprobs is not None
            assert got.choice_logprobs[code] == pytest.approx(expected, abs=1e-4)


def test_local_model_generates_scores_and_reports_prompts_that_do_not_fit(lm: tuple[Any, Any], tmp_path: Path) -> None:
    table = reviews(30, seed=11)
    said = prompt(TEMPLATE, labels=LABELS, backend=LocalCausalLM(lm, mode="generate", max_tokens=3), cache=False).vote(table)
    scored = prompt(TEMPLATE, labels=LABELS, backend=LocalCausalLM(lm), cache=False).vote(table)
    assert accuracy(said, table) > 0.9
    np.testing.assert_array_equal(said.codes, scored.codes)
    assert np.isnan(said.confidences).all()

    lm[0].save_pretrained(tmp_path / "lm")
    lm[1].save_pretrained(tmp_path / "lm")
    source = prompt(TEMPLATE, labels=LABELS, backend=LocalCausalLM(str(tmp_path / "lm")), cache=tmp_path / "a.sqlite")
    longer = pl.concat([pl.DataFrame({"text": ["very " * 60], "gold": ["POS"]}), table])
    votes = source.vote(longer)
    assert votes.faults is not None
    assert (votes.faults.first_row, votes.faults.count) == (0, 1)
    assert "the model reads 48" in votes.faults.message
    np.testing.assert_array_equal(votes.codes[1:], scored.codes)
    assert len(pickle.dumps(source)) < 5_000  # weights stay behind when work moves to another process
    with pytest.raises(DataError, match="'no/such-lm' cannot be found"):
        prompt("{}", labels=["A", "B"], backend=LocalCausalLM("no/such-lm"), cache=False).vote(table)


def test_chat_template_is_used_where_the_model_has_one(lm: tuple[Any, Any]) -> None:
    import copy

    tokenizer = copy.deepcopy(lm[1])
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}{% if add_generation_prompt %}label : {% endif %}"
    chat = prompt("review : {}", labels=LABELS, backend=LocalCausalLM((lm[0], tokenizer)), cache=False)
    plain = prompt(TEMPLATE, labels=LABELS, backend=LocalCausalLM(lm), cache=False)
    table = reviews(10, seed=12)
    np.testing.assert_allclose(chat.predict_proba(table), plain.predict_proba(table), atol=1e-5)


def test_cache_survives_and_says_when_its_file_is_no_cache(tmp_path: Path) -> None:
    with ResponseCache(tmp_path / "deep" / "answers.sqlite") as cache:
        for number in range(1200):
            cache.put(str(number), {"n": number, "text": "漢字"})
    with ResponseCache(tmp_path / "deep" / "answers.sqlite") as cache:
        found = cache.get([str(number) for number in range(1100, 1300)])
    assert len(found) == 100
    assert found["1100"] == {"n": 1100, "text": "漢字"}
    (tmp_path / "notes.txt").write_text("these are notes, not a database, and quite long ones at that " * 50)
    with pytest.raises(DataError, match="delete that file"):
        ResponseCache(tmp_path / "notes.txt")


def test_infinite_logprobs_survive_the_cache(tmp_path: Path) -> None:
    class Certain(Says):
        def answer(self, requests: Any) -> Any:
            for index, answer in super().answer(requests):
                yield index, replace(answer, choice_logprobs=(-0.5, -math.inf))

    for _ in range(2):
        source = prompt("{row}", labels=["A", "B"], backend=Certain("A"), cache=tmp_path / "a.sqlite")
        np.testing.assert_array_equal(source.predict_proba(pl.DataFrame({"row": [0]})), [[1.0, 0.0]])
    assert source.usage_.cached == 1


def test_import_needs_no_torch() -> None:
    code = "import steelyard.sources.prompts, steelyard.sources.local_lm, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
