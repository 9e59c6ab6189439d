"""The pipeline: three numbers on one test set, nothing learned from hidden gold, nothing made twice, killed runs go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression

from steelyard import evaluation
from steelyard.errors import ConfigError, DataError
from steelyard.jobs.weak_to_strong import Arm, WeakToStrong
from steelyard.pools import Pools
from steelyard.result import Result
from steelyard.training import BootstrapChain, ConfidenceLoss, HeadStudent, SklearnStudent, StudentTrainer, load_student

CLASSES = ["a", "b", "c"]
ARMS = {"method": Arm(), "hard": Arm(hard=True), "confidence": Arm(ConfidenceLoss(0.5))}


def task(n: int = 900, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three blobs in eight dimensions; the first two dimensions alone tell less."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    centres = rng.normal(size=(3, 8)) * 1.1
    return (centres[y] + rng.normal(size=(n, 8))).astype(np.float32), y


def pipeline(cache, **options) -> WeakToStrong:
    strong = HeadStudent(hidden=16, epochs=4, learning_rate=5e-3)
    return WeakToStrong(LogisticRegression(), strong, ARMS, cache=cache, **options)


def pools(seed: int) -> Pools:
    return Pools.split(900, gold=60, unlabeled=440, test=400, seed=seed)


def test_the_student_outgrows_its_supervisor_and_all_numbers_are_of_one_test_set():
    x, y = task()
    result = pipeline(False, metrics=("accuracy", "log_loss")).over_seeds(x, y, pools, CLASSES, range(3), weak_inputs=x[:, :2])
    weak, method, ceiling = (result.mean(arm, "accuracy") for arm in ("weak", "method", "ceiling"))
    assert weak < method <= ceiling + 0.02
    for seed in range(3):
        three = [result.values(arm, "accuracy")[seed] for arm in ("weak", "method", "ceiling")]
        share = evaluation.performance_gap_recovered(*three)
        assert result.values("method", "accuracy/pgr")[seed] == pytest.approx(share)
    assert result.mean("method", "agreement_when_right") > result.mean("method", "agreement_when_wrong")
    assert result.artifacts["gap"]["student"]["mean"] == pytest.approx(method)
    assert set(result.artifacts["gaps"]["confidence"]) == {"accuracy", "log_loss"}
    assert set(result.timings) == {"weak labels", *ARMS, "ceiling"}


def test_students_see_no_gold_and_the_ceiling_only_that_of_the_unlabeled_pool():
    x, y = task()
    drawn = pools(0)
    hidden = y.copy()
    hidden[drawn.test] = (hidden[drawn.test] + 1) % 3
    first, second = (pipeline(False).run(x, labels, drawn, CLASSES) for labels in (y, hidden))
    for arm in first.predictions:
        np.testing.assert_array_equal(first.predictions[arm], second.predictions[arm])
    hidden = y.copy()
    hidden[drawn.unlabeled] = -1
    without = pipeline(False).run(x, hidden, drawn, CLASSES)
    assert list(without.predictions) == ["weak", *ARMS]
    np.testing.assert_array_equal(without.predictions["method"], first.predictions["method"])


def test_a_second_run_makes_nothing_and_another_objective_only_its_own_arm(tmp_path):
    x, y = task()
    first, second, third = pipeline(tmp_path), pipeline(tmp_path), pipeline(tmp_path)
    rows = first.over_seeds(x, y, pools, CLASSES, (0, 1), weak_inputs=x[:, :2]).rows
    assert first.artefacts.made_ == 2 * (1 + len(ARMS) + 1)
    assert second.over_seeds(x, y, pools, CLASSES, (0, 1), weak_inputs=x[:, :2]).rows == rows
    assert second.artefacts.made_ == 0
    third.arms = {"method": Arm(ConfidenceLoss(0.75))}
    third.run(x, y, pools(0), CLASSES, seed=0, weak_inputs=x[:, :2])
    assert (third.artefacts.made_, third.artefacts.found_) == (1, 2)


class Counting:
    """An encoder that counts the texts it embeds."""

    identity = "counting"

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, texts):
        self.encoded += len(texts)
        return np.array([[text.count("x"), text.count("y"), len(text)] for text in texts], dtype=np.float32)


def test_texts_are_embedded_once_for_all_arms_and_seeds():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("xyz"), 8)) + f"{i:04d}" for i in range(900)]
    y = np.array([int(text.count("x") > text.count("y")) for text in texts])
    encoder = Counting()
    few = np.array([[len(text), text.count("x")] for text in texts], dtype=np.float32)
    run = WeakToStrong(LogisticRegression(), HeadStudent(encoder, epochs=1), ARMS, cache=False)
    run.over_seeds(texts, y, pools, ["no", "yes"], range(2), weak_inputs=few)
    assert encoder.encoded == 900


def test_other_students_labels_and_filters_are_arms():
    x, y = task()
    oracle = np.eye(3)[y] * 0.94 + 0.02
    arms = {
        "chain": Arm(student=BootstrapChain([SklearnStudent(), HeadStudent(epochs=2)])),
        "oracle": Arm(labels=oracle),
        "sure": Arm(confidence=0.6),
    }
    run = WeakToStrong(LogisticRegression(), HeadStudent(epochs=4, learning_rate=5e-3), arms, cache=False)
    result = run.run(x, y, pools(0), CLASSES, weak_inputs=x[:, :2]).add_to(Result("test"))
    assert result.mean("oracle", "accuracy") > result.mean("chain", "accuracy") - 0.02
    assert set(result.arms) == {"weak", *arms, "ceiling"}


def test_fitted_students_are_kept_where_asked(tmp_path):
    x, y = task()
    run = pipeline(tmp_path / "cache", keep=tmp_path / "students")
    outcome = run.run(x, y, pools(0), CLASSES, seed=0)
    kept = load_student(tmp_path / "students" / "confidence-0")
    np.testing.assert_allclose(kept.predict_proba(x[pools(0).test]), outcome.predictions["confidence"], atol=1e-6)


def test_fine_tuned_students_are_known_by_their_weights_and_leave_only_predictions(tmp_path):
    from tests.training.tiny_models import bert, toy_task  # not above: the killed process need not import transformers

    texts, y, targets = toy_task(120)
    texts = [f"{text} {i}" for i, text in enumerate(texts)]
    model, words = bert()
    for folder in ("one", "two"):
        model.save_pretrained(tmp_path / folder)
        words.save_pretrained(tmp_path / folder)
    drawn = Pools.split(120, gold=30, test=30)
    made = []
    for folder in ("one", "two"):
        strong = StudentTrainer(str(tmp_path / folder), epochs=1, progress=False)
        run = WeakToStrong(targets.probabilities, strong, cache=tmp_path / "cache")
        run.run(texts, y, drawn, CLASSES[:2])
        made.append(run.artefacts.made_)
    assert made == [3, 0]
    assert not list((tmp_path / "cache").glob("run-*"))


def test_no_gap_is_nan_with_a_warning():
    x, y = task()
    perfect = np.eye(3)[y] * 0.94 + 0.02
    outcome = WeakToStrong(perfect, HeadStudent(epochs=1), cache=False).run(x[:, :1], y, pools(0), CLASSES)
    with pytest.warns(evaluation.UndefinedGap, match="not better than the weak supervisor"):
        result = outcome.add_to(Result("test"))
    assert np.isnan(result.mean("method", "accuracy/pgr"))


def test_mistakes_are_named():
    x, y = task()
    with pytest.raises(DataError, match="also lie in the test pool"):
        pipeline(False).run(np.concatenate([x[:899], x[:1]]), y, Pools([0], list(range(1, 600)), list(range(600, 900))), CLASSES)
    with pytest.raises(ConfigError, match="arm cannot be called 'weak'"):
        WeakToStrong(None, None, {"weak": Arm()})
    with pytest.raises(ConfigError, match="has an objective, but a SklearnStudent takes none"):
        WeakToStrong(LogisticRegression(), SklearnStudent(), {"a": Arm(ConfidenceLoss())}, cache=False).run(x, y, pools(0), CLASSES)


def test_without_pretrained_features_imitation_gains_nothing():
    """The negative control on real digits: a linear head on random features copies its supervisor, errors and all."""
    images, y = load_digits(return_X_y=True)
    small = images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16) / 16
    features = Nystroem(gamma=0.32, n_components=300, random_state=0).fit_transform(images / 16).astype(np.float32)
    strong = HeadStudent(epochs=60, learning_rate=1e-2, batch_size=100, schedule="cosine")
    run = WeakToStrong(LogisticRegression(max_iter=2000), strong, cache=False)
    names = [str(digit) for digit in range(10)]
    result = run.over_seeds(features, y, lambda seed: Pools.split(1797, 100, 1000, 600, seed=seed, y=y), names, range(2), weak_inputs=small)
    assert result.mean("ceiling", "accuracy") > 0.95
    assert result.mean("weak", "accuracy") < 0.85
    assert abs(result.mean("method", "accuracy/pgr")) < 0.12
    assert result.mean("method", "agreement_when_wrong") > 0.7


def long_sweep(cache: Path) -> WeakToStrong:
    x, y = task()
    run = WeakToStrong(LogisticRegression(), HeadStudent(hidden=16, epochs=6), ARMS, cache=cache)
    run.over_seeds(x, y, pools, CLASSES, range(2), weak_inputs=x[:, :2])
    return run


@pytest.mark.slow
def test_a_killed_sweep_goes_on_behind_the_last_whole_arm(tmp_path):
    code = "import sys; from pathlib import Path; from tests.jobs.test_weak_to_strong import long_sweep; long_sweep(Path(sys.argv[1]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    while len(list(tmp_path.glob("predictions-*.npz"))) < 3:
        assert process.poll() is None, "the sweep ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = long_sweep(tmp_path)
    assert resumed.artefacts.found_ >= 4  # weak labels and three arms
    assert resumed.artefacts.made_ + resumed.artefacts.found_ == 2 * 5
    assert long_sweep(tmp_path).artefacts.made_ == 0
