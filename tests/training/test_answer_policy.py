from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.completions import Completions
from steelyard.encoders import offline_encoder
from steelyard.errors import ConfigError, TrainingError
from steelyard.targets import Targets
from steelyard.training import AnswerPolicy
from tests.training.arithmetic import LetterEncoder

CLASSES = ("vowel", "other", "both")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def task(n: int, seed: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    prompts = ["".join(rng.choice(list("abcdefgh"), 3)) for _ in range(n)]
    vowel = np.array([bool(set(prompt) & {"a", "e"}) for prompt in prompts])
    other = np.array([bool(set(prompt) - {"a", "e"}) for prompt in prompts])
    return prompts, np.where(vowel & other, 2, np.where(vowel, 0, 1))


def policy(**options) -> AnswerPolicy:
    return AnswerPolicy(LetterEncoder(), CLASSES, **{"hidden": 32, "epochs": 15, "learning_rate": 1e-2, **options})


def texts(codes: np.ndarray) -> list[str]:
    return [CLASSES[code] for code in codes]


def test_fine_tuning_learns_the_answers_of_new_prompts():
    prompts, y = task(400, 0)
    unseen, truth = task(200, 1)
    for seed in range(3):
        learned = policy(seed=seed).fit(Completions(prompts, texts(y)))
        assert (learned.predict(unseen) == truth).mean() > 0.95
        assert learned.sample(unseen, temperature=0).texts == tuple(texts(learned.predict(unseen)))


def test_hard_targets_are_completions():
    prompts, y = task(60, 0)
    from_texts = policy(epochs=2).fit(Completions(prompts, texts(y)), weights=np.arange(60))
    from_targets = policy(epochs=2).fit_targets(prompts, Targets(np.eye(3)[y], classes=CLASSES, weights=np.arange(60)))
    assert from_texts.predict_proba(prompts).tobytes() == from_targets.predict_proba(prompts).tobytes()


def test_soft_targets_are_learned_as_probabilities():
    prompts, _ = task(300, 0)
    learned = policy().fit_targets(prompts, Targets(np.tile([0.5, 0.3, 0.2], (300, 1)), classes=CLASSES))
    np.testing.assert_allclose(learned.predict_proba(prompts).mean(axis=0), [0.5, 0.3, 0.2], atol=0.05)


def test_filtered_targets_find_their_prompts_by_row():
    prompts, y = task(80, 0)
    targets = Targets(np.eye(3)[y] * 0.7 + 0.1, classes=CLASSES)
    kept = targets.take(np.arange(0, 80, 2))
    whole = policy(epochs=2).fit_targets(prompts, kept)
    apart = policy(epochs=2).fit_targets(prompts[::2], Targets(kept.probabilities, classes=CLASSES))
    assert whole.predict_proba(prompts).tobytes() == apart.predict_proba(prompts).tobytes()


def test_draws_follow_the_probabilities_and_the_temperature():
    prompts, y = task(100, 0)
    learned = policy(epochs=2).fit(Completions(prompts, texts(y)))
    p = learned.predict_proba(prompts[:1])[0].astype(float)
    for temperature in (1.0, 0.5):
        drawn = learned.sample(prompts[:1], n=20_000, temperature=temperature, seed=1)
        expected = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
        shares = [np.mean([text == name for text in drawn.texts]) for name in CLASSES]
        np.testing.assert_allclose(shares, expected, atol=4 * 0.5 / np.sqrt(20_000))


def test_samples_are_reproducible_and_carry_their_scores():
    prompts, y = task(30, 0)
    learned = policy(epochs=3).fit(Completions(prompts, texts(y)))
    drawn = learned.sample(prompts, n=4, seed=7)
    assert drawn.texts == learned.sample(prompts, n=4, seed=7).texts
    assert drawn.texts != learned.sample(prompts, n=4, seed=8).texts
    assert drawn.rows.tolist() == np.repeat(np.arange(30), 4).tolist()
    assert drawn.prompts == tuple(np.repeat(prompts, 4).tolist())
    np.testing.assert_allclose(drawn.logprobs, learned.logprob(drawn.prompts, drawn.texts), atol=1e-5)
    every = [np.exp(learned.logprob(prompts, [name] * 30)) for name in CLASSES]
    np.testing.assert_allclose(np.sum(every, axis=0), 1, atol=1e-5)


def test_fit_starts_afresh_and_copies_stay():
    prompts, y = task(60, 0)
    learned = policy(epochs=2).fit(Completions(prompts, texts(y)))
    first, copy = learned.predict_proba(prompts), learned.copy()
    assert not any(parameter.requires_grad for parameter in copy.parameters())
    learned.fit(Completions(prompts, texts(np.zeros(60, dtype=int))))
    assert copy.predict_proba(prompts).tobytes() == first.tobytes()
    assert learned.fit(Completions(prompts, texts(y))).predict_proba(prompts).tobytes() == first.tobytes()
    assert copy.encoder is learned.encoder


@pytest.mark.parametrize("hidden", [8, None])
def test_a_saved_policy_reads_back(tmp_path, hidden):
    prompts = ["a good day", "a bad day"]
    learned = AnswerPolicy(offline_encoder(), ("good", "bad"), hidden=hidden, epochs=2).fit(Completions(prompts, ["good", "bad"]))
    learned.save(tmp_path / "p")
    assert AnswerPolicy.load(tmp_path / "p").predict_proba(prompts).tobytes() == learned.predict_proba(prompts).tobytes()
    assert {file.suffix for file in (tmp_path / "p").iterdir()} == {".safetensors", ".json"}


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: policy().fit(Completions(["a"], ["yes"])), TrainingError, "text 0 is 'yes'; it can only be one of vowel, other, both"),
        (lambda: policy().predict(["a"]), TrainingError, "has learned nothing yet"),
        (lambda: AnswerPolicy(LetterEncoder(), ["x"]).fit(Completions(["a"], ["x"])), ConfigError, "at least two different answers"),
        (lambda: policy().fit_targets(["a"], Targets([[0.5, 0.5]], classes=["x", "y"])), TrainingError, "are not the policy's"),
        (lambda: policy().fit_targets(["a"], Targets(np.eye(3), classes=CLASSES)), TrainingError, "1 prompts and 3 targets"),
        (lambda: policy().fit(Completions([], [])), TrainingError, "0 prompts and 0 targets"),
        (lambda: policy(epochs=1).fit(Completions(["a"], ["both"])).sample(["a"], temperature=-1), ConfigError, "temperature -1"),
    ],
)
def test_bad_input_is_named(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
