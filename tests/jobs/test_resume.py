"""A killed command goes on where it was: SIGKILL in the middle of labelling and training, then the same command, then the same bytes."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from steelyard.jobs import label_file, train_file

SOURCES = """
import time
import steelyard as sy

classes = ["HAM", "SPAM"]
asks = sy.keywords(["subscribe", "free"], on="text", label="SPAM")
short = sy.expr("len(text) < 12", label="HAM", name="short")

@sy.labeling_function(labels=["HAM"])
def mentions_song(row):
    return "HAM" if "song" in row.text else None
"""
SLOW = (
    SOURCES
    + """
@sy.labeling_function(labels=["HAM"])
def slow(row):
    time.sleep(0.02)
    return None
"""
)
TEXTS = ["subscribe now", "see https://a.b free", "lovely song", "great", "what a song this is", "free money here", "nothing to say at all"]
MAIL = pl.DataFrame({"text": TEXTS * 12})


@pytest.fixture
def work(tmp_path: Path) -> Path:
    MAIL.write_parquet(tmp_path / "mail.parquet")
    return tmp_path


def process(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "steelyard.cli", *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(running: subprocess.Popen[str]) -> str:
    _, told = running.communicate()
    assert running.returncode == 0, told
    return told


def label(work: Path, output: str) -> subprocess.Popen[str]:
    options = ("--label-model", "MajorityVote", "--chunk-rows", 8, "--workers", 1)
    return process("label", work / "mail.parquet", "-s", work / "rules.py", "-o", work / output, *options)


def prepared(work: Path) -> Path:
    """A labelled file to train on."""
    (work / "rules.py").write_text(SOURCES)
    labels = work / "labels.parquet"
    label_file.run(label_file.LabelFile(str(work / "mail.parquet"), str(work / "rules.py"), str(labels), label_model="MajorityVote"))
    return labels


def wait_for(pattern: str, folder: Path, running: subprocess.Popen[str], count: int = 1) -> None:
    while len(list(folder.glob(pattern))) < count:
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)


def test_label_goes_on_after_kill_9_to_the_same_bytes(work: Path) -> None:
    (work / "rules.py").write_text(SLOW)
    whole = label(work, "whole.parquet")
    killed = label(work, "killed.parquet")
    wait_for("killed.parquet.work/*/votes-*.parquet", work, killed, count=3)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (work / "killed.parquet").exists()
    kept = len(list(work.glob("killed.parquet.work/*/votes-*.parquet")))
    assert 3 <= kept < 11
    assert f"{8 * kept} of them voted on by an earlier run" in done(label(work, "killed.parquet"))
    done(whole)
    assert (work / "killed.parquet").read_bytes() == (work / "whole.parquet").read_bytes()


def test_ctrl_c_exits_with_130_and_says_that_nothing_is_lost(work: Path) -> None:
    (work / "rules.py").write_text(SLOW)
    running = label(work, "labels.parquet")
    wait_for("labels.parquet.work/*/votes-*.parquet", work, running)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate()
    assert running.returncode == 130
    assert "finished votes are kept, the same command goes on from there" in told
    assert "Traceback" not in told


def test_train_logistic_goes_on_after_kill_9(work: Path) -> None:
    labels = prepared(work)
    running = process("train", labels, "-o", work / "killed")
    wait_for("killed/student", work, running)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    for folder in ("killed", "whole"):
        train_file.run(train_file.TrainFile(str(labels), str(work / folder)))
    for file in ("predictions.parquet", "student/student.json"):
        assert (work / "killed" / file).read_bytes() == (work / "whole" / file).read_bytes()


@pytest.mark.slow
def test_fine_tuning_goes_on_after_kill_9_to_the_same_predictions(work: Path) -> None:
    pytest.importorskip("transformers")
    make_tiny_encoder(work / "tiny")
    labels = prepared(work)

    def train(output: str) -> subprocess.Popen[str]:
        options = ("--student", work / "tiny", "--epochs", 20, "--checkpoint-steps", 15)
        return process("train", labels, "-o", work / output, *options)

    killed = train("killed")
    wait_for("killed/student/checkpoints/checkpoint-*/sealed.json", work, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (work / "killed/result.json").exists()
    for output in ("killed", "whole"):
        done(train(output))
    assert (work / "killed/predictions.parquet").read_bytes() == (work / "whole/predictions.parquet").read_bytes()


def make_tiny_encoder(folder: Path) -> None:
    """A random BERT of a few thousand weights, as a local Hugging Face folder."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir()
    words = sorted({word for text in TEXTS for word in text.split()})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 32}
    BertForSequenceClassification(BertConfig(vocab_size=len(words) + 5, **sizes)).save_pretrained(folder)
