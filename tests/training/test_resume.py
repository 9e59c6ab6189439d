"""A run killed with SIGKILL goes on to the very weights it would have had."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steelyard.errors import TrainingError
from steelyard.training import StudentTrainer
from steelyard.training.checkpoint import is_whole, latest_whole
from tests.training.tiny_models import CountedCrossEntropy, bert, long_run, toy_task

STEPS = 120


@pytest.mark.parametrize("tune", ["full", pytest.param("lora", marks=pytest.mark.slow)])
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, tune):
    folder = tmp_path / "run"
    run = subprocess.Popen([sys.executable, "-m", "tests.training.tiny_models", str(folder), tune], cwd=Path(__file__).parents[2])
    _wait_for(lambda: is_whole(folder / "checkpoints" / "checkpoint-40"), run)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (folder / "student.json").exists()

    # What a kill in the middle of writing leaves: the newest checkpoint, half of its weights, no seal.
    torn = folder / "checkpoints" / "checkpoint-110"
    shutil.copytree(latest_whole(folder / "checkpoints"), torn)
    (torn / "sealed.json").unlink()
    weights = next(torn.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    step = int(latest_whole(folder / "checkpoints").name.rpartition("-")[2])
    assert 40 <= step < STEPS

    resumed, undisturbed = long_run(folder, tune), long_run(None, tune)
    assert resumed.objective.calls == STEPS - step
    assert undisturbed.objective.calls == STEPS
    texts, _, _ = toy_task(200, seed=9)
    for student, name in ((resumed, "a"), (undisturbed, "b")):
        student.predict_proba(texts).tofile(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    for name, value in undisturbed.model_.state_dict().items():
        assert value.equal(resumed.model_.state_dict()[name]), name

    finished = long_run(folder, tune)  # reads the finished run
    assert finished.objective.calls == 0
    assert finished.predict_proba(texts).tobytes() == resumed.predict_proba(texts).tobytes()
    assert not (folder / "checkpoints").exists()
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pt"))


def test_a_folder_with_another_run_is_left_alone(tmp_path):
    texts, _, targets = toy_task(20)
    options = {"output_dir": tmp_path / "run", "epochs": 1, "progress": False}
    first = StudentTrainer(bert(), CountedCrossEntropy(), **options).fit(texts, targets)
    for other in (
        StudentTrainer(bert(), CountedCrossEntropy(0.1), **options),
        StudentTrainer(bert(), CountedCrossEntropy(), seed=1, **options),
    ):
        with pytest.raises(TrainingError, match="holds another run"):
            other.fit(texts, targets)
    assert StudentTrainer.load(tmp_path / "run").predict_proba(texts).tobytes() == first.predict_proba(texts).tobytes()


def _wait_for(happened, run: subprocess.Popen[bytes]) -> None:
    while not happened():
        assert run.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
