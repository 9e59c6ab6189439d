"""Debates: who speaks when, what each side hears, what is remembered; the language model behind a real HTTP server is a real small one."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from steelyard.errors import ConfigError, DataError, SourceError
from steelyard.language.debate import Debate, Transcript, Turn, with_transcript
from steelyard.language.debaters import PromptDebater, QuotingDebater
from steelyard.sources.prompt_backends import OpenAICompatible

QUESTIONS = [f"question {number}" for number in range(40)]
ANSWERS = ("yes", "no")


class Listener:
    """Answers what it last heard, and keeps every move."""

    identity = "listener"

    def __init__(self) -> None:
        self.moves: list[Any] = []

    def argue(self, moves):
        self.moves += moves
        for index, move in enumerate(moves):
            heard = move.transcript.turns[-1].text if move.transcript.turns else "silence"
            yield index, f"[{move.answer} against {heard}]"


def held(seed=0, **options):
    debater = Listener()
    debate = Debate(debater, cache=False, **options)
    return debate, debater, debate.transcripts(QUESTIONS, ANSWERS, seed=seed)


def test_both_sides_speak_three_times_in_alternation_and_hear_each_other():
    debate, _, transcripts = held()
    for transcript in transcripts:
        sides = [turn.side for turn in transcript.turns]
        assert sides in ([0, 1] * 3, [1, 0] * 3)
        for before, after in zip(transcript.turns, transcript.turns[1:], strict=False):
            assert f"against {before.text}]" in after.text
    assert debate.cost_.turns == 6 * len(QUESTIONS)
    assert debate.cost_.to_dict()["words_per_question"] == sum(len(t.text.split()) for t in transcripts[0].turns)


def test_who_begins_is_drawn_by_the_seed_and_carries_no_information():
    def first(seed):
        return [transcript.turns[0].side for transcript in held(seed)[2]]

    assert first(0) == first(0) != first(1)
    begun = Counter(np.concatenate([first(seed) for seed in range(20)]).tolist())
    assert abs(begun[0] - begun[1]) < 3 * np.sqrt(800)


def test_a_consultant_argues_alone_for_one_side_drawn_by_chance():
    transcripts = held(protocol="consultancy")[2]
    assert all(len({turn.side for turn in transcript.turns}) == 1 and len(transcript.turns) == 3 for transcript in transcripts)
    assert {transcript.turns[0].side for transcript in transcripts} == {0, 1}
    assert not any(transcript.turns for transcript in held(protocol="none")[2])


def test_a_market_argues_against_the_price_and_stops_where_it_stands_still():
    def judge(texts):  # believes the last argument on even questions, nothing on odd ones
        yes = np.array(
            [0.9 if int(text.split()[1]) % 2 or "\n" not in text or text.split("\n")[-1][:3] == "yes" else 0.1 for text in texts]
        )
        return np.column_stack([yes, 1 - yes])

    transcripts = Debate(Listener(), protocol="market", cache=False).transcripts(QUESTIONS, ANSWERS, judge=judge)
    assert [turn.side for turn in transcripts[0].turns] == [1, 0, 1]
    assert [turn.side for turn in transcripts[1].turns] == [1]
    with pytest.raises(ConfigError, match="give a judge"):
        held(protocol="market")


def test_nothing_is_argued_twice_and_a_killed_run_goes_on(tmp_path):
    class Dies(Listener):
        def argue(self, moves):
            for index, argument in super().argue(moves):
                if len(moves) == len(QUESTIONS) and index == 25:
                    raise KeyboardInterrupt
                yield index, argument

    file = tmp_path / "debates.sqlite"
    with pytest.raises(KeyboardInterrupt):
        Debate(Dies(), cache=file, turns=1).transcripts(QUESTIONS, ANSWERS)
    debater = Listener()
    again = Debate(debater, cache=file, turns=1)
    transcripts = again.transcripts(QUESTIONS, ANSWERS)
    assert again.cost_.cached == 25
    assert len(debater.moves) == 2 * len(QUESTIONS) - 25
    assert Debate(debater, cache=file, turns=1).transcripts(QUESTIONS, ANSWERS) == transcripts
    assert len(debater.moves) == 2 * len(QUESTIONS) - 25
    Debate(debater, cache=file, turns=1).transcripts(QUESTIONS, ANSWERS, seed=5)
    assert len(debater.moves) == 4 * len(QUESTIONS) - 25


def test_the_transcript_is_cut_and_never_the_question():
    long = Transcript(ANSWERS, (Turn(0, "one two three"), Turn(1, "four five six seven")))
    assert with_transcript("A question of many words", long, words=2) == "A question of many words\nDebate:\nyes: two three\nno: six seven"


LIBRARY = [f"{word} {number}" for word in ("apple", "train") for number in range(12)]
SIDES = np.repeat([0, 1], 12)


class Places:
    """Texts on a circle by their number, both topics alike: the nearest examples are known."""

    def encode(self, texts):
        angle = np.array([int(text.split()[1]) for text in texts]) / 12 * np.pi
        return np.column_stack([np.cos(angle), np.sin(angle)])


def quotes(transcript, side):
    return [text.rpartition(" (")[0] for text in transcript.said_by(side)]


def test_quotations_are_distinct_near_and_never_the_question_itself():
    debater = QuotingDebater(LIBRARY, SIDES, Places())
    for seed in range(5):
        for question, transcript in zip(LIBRARY, Debate(debater).transcripts(LIBRARY, ("fruit", "travel"), seed=seed), strict=True):
            here = int(question.split()[1])
            for side, word in enumerate(("apple", "train")):
                quoted = quotes(transcript, side)
                assert len(set(quoted)) == 3
                assert question not in quoted
                assert all(text.startswith(word) for text in quoted)
                others = sorted(abs(number - here) for number in range(12) if f"{word} {number}" != question)
                assert max(abs(int(text.split()[1]) - here) for text in quoted) <= others[5]


def test_quotations_are_drawn_as_by_a_softmax_of_the_cosines():
    debater = QuotingDebater(LIBRARY, SIDES, Places(), nearest=4, temperature=0.2)
    asked = ["pear 0"] * 4000
    transcripts = Debate(debater, turns=1).transcripts(asked, ("fruit", "travel"))
    drawn = Counter(quotes(transcript, 0)[0] for transcript in transcripts)
    weights = np.exp(np.cos(np.arange(4) / 12 * np.pi) / 0.2)
    shares = np.array([drawn[f"apple {number}"] for number in range(4)]) / len(asked)
    assert np.abs(shares - weights / weights.sum()).max() < 0.03


def test_another_seed_quotes_other_examples_and_the_same_seed_the_same():
    debater = QuotingDebater(LIBRARY, SIDES, Places())
    runs = [Debate(debater).transcripts(LIBRARY, ("fruit", "travel"), seed=seed) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


class Server(ThreadingHTTPServer):
    """`/v1/chat/completions` over a small language model that samples with the seed of the request."""

    daemon_threads = True

    def __init__(self, student: Any) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.student, self.lock, self.bodies = student, threading.Lock(), []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        """Silence."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        with self.server.lock:
            self.server.bodies.append(body)
            (text,) = self.server.student.sample([prompt[-60:]], temperature=body["temperature"], seed=body["seed"]).texts
        usage = {"prompt_tokens": 60, "completion_tokens": len(text)}
        data = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}).encode()
        self.send_response(400 if "question 3" in prompt else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("torch")
    from steelyard.language.tiny_lm import tiny_lm
    from steelyard.training import CausalStudent

    texts = [f'Your argument for "{answer}": {reason}' for answer, reason in zip(ANSWERS, ("it is so", "it is not"), strict=True)]
    running = Server(CausalStudent(tiny_lm(texts * 20, size="nano", steps=30), max_new_tokens=6))
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def test_language_models_debate_through_a_server(server, tmp_path):
    url = f"http://127.0.0.1:{server.server_address[1]}"
    debater = PromptDebater(lambda seed: OpenAICompatible(url, "small", temperature=1.0, max_tokens=6, parameters={"seed": seed}))
    debate = Debate(debater, turns=2, cache=tmp_path / "kept.sqlite")
    transcripts = debate.transcripts(QUESTIONS[:4], ANSWERS, seed=7)
    assert {body["seed"] for body in server.bodies} == {7}
    last = next(body["messages"][-1]["content"] for body in reversed(server.bodies) if "question 0" in body["messages"][-1]["content"])
    for turn in transcripts[0].turns[:3]:
        assert f"{ANSWERS[turn.side]}: {' '.join(turn.text.split())}" in last
    assert f'You defend "{ANSWERS[transcripts[0].turns[3].side]}"' in last
    # The server refuses one question: its debate is silent and counted, the others are held.
    assert debate.cost_.failed == debater.usage_.failed == 4
    assert all(turn.text == "" for turn in transcripts[3].turns)
    assert debater.usage_.prompt_tokens == 60 * 12
    asked = len(server.bodies)
    assert debate.transcripts(QUESTIONS[:3], ANSWERS, seed=7) == transcripts[:3]
    assert len(server.bodies) == asked


def test_mistakes_are_one_sentence(server):
    for options, message in (({"protocol": "quarrel"}, "protocol 'quarrel' is unknown"), ({"turns": 0}, "says nothing")):
        with pytest.raises(ConfigError, match=message):
            Debate(Listener(), **options)
    with pytest.raises(ConfigError, match="between two answers, and here are 3"):
        Debate(Listener(), cache=False).transcripts(QUESTIONS, ("a", "b", "c"))
    with pytest.raises(DataError, match="one answer has 5 labelled examples"):
        QuotingDebater(LIBRARY[:17], SIDES[:17], Places())
    with pytest.raises(ConfigError, match="cannot speak 7 times"):
        Debate(QuotingDebater(LIBRARY, SIDES, Places()), turns=7).transcripts(["pear 1"], ANSWERS)
    with pytest.raises(ConfigError, match="template of the debater"):
        PromptDebater(OpenAICompatible("http://localhost", "m"), template="{query}")
    url = f"http://127.0.0.1:{server.server_address[1]}"
    refused = PromptDebater(OpenAICompatible(url, "small", parameters={"seed": 0}))
    with pytest.raises(SourceError, match="no argument for any of 1 questions"):
        Debate(refused, cache=False).transcripts(["question 3"], ANSWERS)
