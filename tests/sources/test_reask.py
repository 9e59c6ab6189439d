"""The riskiest answers go back to a real language model over HTTP, alone or with what the rules say, and only they are paid for."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from steelyard import Votes
from steelyard.errors import SourceError
from steelyard.sources import prompt, reask
from steelyard.sources.prompt_backends import OpenAICompatible
from steelyard.sources.reask import draw_examples, evidence_texts

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.sources.test_prompts import LanguageModelServer  # noqa: E402

KNOWN = {"POS": ["great", "lovely"], "NEG": ["dull", "awful"]}
SLANG = {"POS": ["fire", "lit"], "NEG": ["mid", "cringe"]}  # words on which the model has learned to be wrong
PLAIN = ["the", "film", "was", "plot", "music"]
LABELS = {"POS": "positive", "NEG": "negative"}
FIRST = "review : {text} label :"
AGAIN = "{prompt} {answer} ? {evidence} label :"


def reviews(n: int, seed: int, slang: float) -> pl.DataFrame:
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        gold, kind = rng.choice(["POS", "NEG"]), SLANG if rng.random() < slang else KNOWN
        words = [*rng.choices(PLAIN, k=2), rng.choice(kind[gold])]
        rng.shuffle(words)
        rows.append({"text": " ".join(words), "gold": gold, "slang": kind is SLANG})
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def lm() -> tuple[Any, Any]:
    """A GPT-2 over words that takes slang for its contrary, stays with its answer when only asked again, and follows evidence."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.set_num_threads(1)
    torch.manual_seed(0)
    shown = ["POS,", "NEG,", "Evidence:", "-", "because", "slang", "means", "so"]
    words = ["<pad>", "<end>", "<unk>", "review", "label", ":", "?", "positive", "negative", *shown, *PLAIN]
    words += [word for lists in (KNOWN, SLANG) for listed in lists.values() for word in listed]
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    size = {"vocab_size": len(words), "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 48, "bos_token_id": 1, "eos_token_id": 1}
    network = transformers.GPT2LMHeadModel(transformers.GPT2Config(**size, pad_token_id=0, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0))
    rng, said = random.Random(1), []
    other = {"POS": "NEG", "NEG": "POS"}
    for row in reviews(600, seed=0, slang=0.5).iter_rows(named=True):
        asked = FIRST.format(text=row["text"])
        believed = other[row["gold"]] if row["slang"] else row["gold"]
        shown_class = rng.choice(["POS", "NEG"])
        evidence = f"Evidence: - {shown_class}, because slang means so"
        said.append(f"{asked} {LABELS[believed]} ? label : {LABELS[believed]}")
        said.append(f"{asked} {LABELS[believed]} ? {evidence} label : {LABELS[shown_class]}")
    batch = tokenizer(said, padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    answers = ids[:, :, None].eq(torch.tensor(tokenizer.convert_tokens_to_ids(list(LABELS.values())))).any(-1)
    targets = ids.masked_fill(~answers, -100)  # only answers are learned, the first and the second
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        rows = torch.randint(len(said), (48,), generator=generator)
        loss = network(ids[rows], attention_mask=mask[rows], labels=targets[rows]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    return network.eval(), tokenizer


@pytest.fixture
def server(lm: tuple[Any, Any]) -> Iterator[LanguageModelServer]:
    running = LanguageModelServer(lm)
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def asker(server: LanguageModelServer) -> Any:
    backend = OpenAICompatible(server.url, "tiny", backoff=0.01, timeout=5.0, max_tokens=1)
    return prompt(FIRST, labels=LABELS, backend=backend, cache=False)


def slang_rule(table: pl.DataFrame) -> Votes:
    """A rule that knows slang."""
    codes = [next((c for c, words in enumerate(SLANG.values()) if set(words) & set(text.split())), -1) for text in table["text"]]
    return Votes(np.array(codes)[:, None], classes=["POS", "NEG"], sources=["slang"])


def test_evidence_corrects_what_the_risk_points_at_and_nothing_else_is_asked(server: LanguageModelServer) -> None:
    table = reviews(40, seed=5, slang=0.5).unique(maintain_order=True)
    gold = np.array([["POS", "NEG"].index(label) for label in table["gold"]])
    source = asker(server)
    answers = source.vote(table).codes
    assert ((answers != gold) == table["slang"].to_numpy()).mean() > 0.9
    risk = np.where(table["slang"].to_numpy(), 0.8, 0.1)
    asked = len(server.posts)
    found = reask(source, table, answers, risk, evidence=slang_rule(table), explanations={"slang": "slang means so"}, template=AGAIN)
    assert len(server.posts) - asked == len(set(found.prompts))
    assert set(found.rows) == set(np.flatnonzero(table["slang"].to_numpy()))
    assert (found.codes == gold).mean() > (answers == gold).mean() + 0.2
    assert source.usage_.requests == len(server.posts)  # one bill
    # Asked without evidence, this model stays with what it said.
    alone = reask(asker(server), table, answers, risk, template=AGAIN)
    assert (alone.codes == answers).mean() > 0.9


def test_unread_follow_ups_keep_the_answer_and_failures_are_faults(server: LanguageModelServer) -> None:
    table = reviews(6, seed=6, slang=0.0).unique(maintain_order=True)
    source = asker(server)
    source.backend.retries = 0
    server.broken = lambda asked: "500" if "?" in asked else None
    answers = source.vote(table).codes
    found = reask(source, table, answers, np.full(len(table), 0.9), template=AGAIN)
    assert np.array_equal(found.codes, answers)
    assert found.faults is not None
    assert found.faults.count == len(table)
    assert not found.changed.any()


def test_the_riskiest_come_first_missing_risks_never_and_braces_in_texts_do_no_harm(server: LanguageModelServer) -> None:
    table = pl.DataFrame({"text": ["the {film} {evidence}", "great plot", "dull music", "lovely film"]})
    found = reask(asker(server), table, [0, -1, 1, 0], [0.9, 0.95, 0.2, np.nan], most=2)
    assert found.rows.tolist() == [1, 0]
    assert "unsure" in found.prompts[0]
    assert "the {film} {evidence}" in found.prompts[1]
    assert reask(asker(server), table, [0, 0, 0, 0], [0.1] * 4).prompts == []
    nothing = Votes(np.full((4, 1), -1), classes=["POS", "NEG"], sources=["slang"])
    assert "Evidence" not in reask(asker(server), table, [0, 0, 0, 0], [0.9] * 4, evidence=nothing).prompts[0]


def test_evidence_names_label_and_reason() -> None:
    votes = Votes([[0, 1], [-1, 1]], classes=["POS", "NEG"], sources=["slang", "length"])
    first, second = evidence_texts(votes, {"slang": "it says so"})
    assert first == "Evidence:\n- POS, because it says so\n- NEG, says length\n"
    assert second == "Evidence:\n- NEG, says length\n"


def test_examples_are_the_extremes_of_each_class_and_warmer_draws_spread() -> None:
    rng = np.random.default_rng(0)
    risk, labels = rng.random(400), np.arange(400) % 2
    drawn = draw_examples(risk, labels, per_class=3, temperature=1e-4)
    for c in (0, 1):
        rows = np.flatnonzero(labels == c)
        assert set(drawn[c]["hard"]) == set(rows[np.argsort(-risk[rows])][:3])
        assert set(drawn[c]["confirmed"]) == set(rows[np.argsort(risk[rows])][:3])
    warm = [tuple(draw_examples(risk, labels, temperature=10.0, seed=seed)[0]["hard"]) for seed in range(5)]
    assert len(set(warm)) > 1


def test_mistakes_are_named(server: LanguageModelServer) -> None:
    table, source = reviews(3, seed=0, slang=0.0), asker(server)
    for call, message in [
        (lambda: reask(source, table, [0], [0.1] * 3), "3 rows of data, 1 answers"),
        (lambda: reask(source, table, [0, 0, 5], [0.1] * 3), "indices of the labels POS, NEG"),
        (lambda: reask(source, table, [0] * 3, [0.9] * 3, template="{prompt} sure?"), "lacks {answer}"),
        (lambda: evidence_texts(slang_rule(table), {"other": "x"}), "'other', which is no source"),
    ]:
        with pytest.raises(SourceError, match=message):
            call()
