"""A model behind a server writes traces: seeded, kept as they arrive, its limit told; and it teaches a recipe's student."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from steelyard.errors import SourceError
from steelyard.language.served_writer import ServedWriter
from steelyard.language.tiny_lm import TinyLM, tiny_lm
from steelyard.recipes.trace_distill import TraceDistill, run
from steelyard.training import CausalStudent
from tests.language.test_debate import Server

SOLVED = [f"{a}+{b}=\n{a}+{b}={a + b} #### {a + b}" for a in range(6) for b in range(6)]


@pytest.fixture(scope="module")
def model() -> TinyLM:
    return tiny_lm(SOLVED * 4, size="nano", tokens=270, context=48, steps=60, seed=0)


@pytest.fixture(scope="module")
def server(model: TinyLM) -> Iterator[Server]:
    running = Server(CausalStudent(model, max_new_tokens=16))
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_texts_are_those_of_the_model_by_seed_and_asked_for_once(server: Server) -> None:
    writer, prompts = ServedWriter(address(server), "nano", max_new_tokens=200), ["1+2=\n", "3+3=\n"]
    drawn = writer.sample(prompts, 2, temperature=1.0, seed=5)
    assert drawn.rows.tolist() == [0, 0, 1, 1]
    assert drawn.prompts == ("1+2=\n", "1+2=\n", "3+3=\n", "3+3=\n")
    for row, (prompt, seed) in enumerate((prompt, seed) for prompt in prompts for seed in (5, 6)):
        assert drawn.texts[row] == server.student.sample([prompt], temperature=1.0, seed=seed).texts[0]
    asked = len(server.bodies)
    assert writer.sample(prompts, 2, temperature=1.0, seed=5).texts == drawn.texts
    assert len(server.bodies) == asked


def test_a_text_that_used_its_tokens_up_is_not_finished(server: Server) -> None:
    drawn = ServedWriter(address(server), "nano", max_new_tokens=3).sample(["1+2=\n"], temperature=0)
    assert drawn.finished is not None
    assert not drawn.finished[0]


def test_a_refused_prompt_has_no_text_and_a_silent_server_is_named(server: Server) -> None:
    drawn = ServedWriter(address(server), "nano", max_new_tokens=200).sample(["question 3", "2+2=\n"], temperature=0)
    assert drawn.texts[0] == ""
    assert drawn.texts[1]
    assert drawn.finished is not None
    assert not drawn.finished[0]
    with pytest.raises(SourceError, match="wrote none of 1 texts"):
        ServedWriter(address(server), "nano").sample(["question 3"], temperature=0)


def test_it_teaches_the_student_of_a_recipe(server: Server, model: TinyLM, tmp_path: Path) -> None:
    model.save(tmp_path / "lm")
    rows = [f"{a}+{b}=,{a}+{b}={a + b} #### {a + b},{a + b}" for a in range(6) for b in range(6)]
    (tmp_path / "sums.csv").write_text("\n".join(["question,solution,answer", *rows]))
    config = TraceDistill(
        str(tmp_path / "sums.csv"),
        address(server),
        str(tmp_path / "lm" / "model"),
        "nano",
        keep=("all",),
        answer="hashes",
        train=16,
        test=8,
        max_new_tokens=24,
        epochs=1,
        batch_size=8,
        seeds=(0,),
    )
    assert run(config).values("W2SR", "traces")[0] > 0
