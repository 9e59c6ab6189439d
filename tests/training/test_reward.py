from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.special import logit

from steelyard.errors import ConfigError, TrainingError
from steelyard.preferences import Preferences
from steelyard.training import RewardStudent
from steelyard.training.objectives import PairwiseBCE
from tests.training.arithmetic import LetterEncoder
from tests.training.tiny_models import BLAME, NEUTRAL, PRAISE, bert, gpt2_without_padding


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def letters(n: int, seed: int) -> Preferences:
    """The text with more "a" is better; which one stands first is a coin's throw."""
    rng = np.random.default_rng(seed)
    pairs = [["".join(rng.choice(list("abcdefgh"), 8)) for _ in range(2)] for _ in range(n)]
    pairs = [sorted(pair, key=lambda text: -text.count("a")) for pair in pairs]
    pairs = [pair for pair in pairs if pair[0].count("a") != pair[1].count("a")]
    return Preferences([""] * len(pairs), *zip(*pairs, strict=True))


def words(n: int, seed: int) -> Preferences:
    rng = np.random.default_rng(seed)

    def text(kind: list[str]) -> str:
        return " ".join(rng.permutation([*rng.choice(NEUTRAL, 3), *rng.choice(kind, 2)]))

    return Preferences(
        [" ".join(rng.choice(NEUTRAL, 2)) for _ in range(n)], [text(PRAISE) for _ in range(n)], [text(BLAME) for _ in range(n)]
    )


def probe(**options) -> RewardStudent:
    return RewardStudent(LetterEncoder(), **{"template": "{text}", "hidden": 16, "epochs": 10, "learning_rate": 5e-3, **options})


def test_the_loss_in_closed_form_with_its_gradient():
    z, q = torch.tensor([1.5, -0.3, 0.0]), torch.tensor([0.9, 0.2, 0.5])
    rewards = torch.stack([z, torch.zeros(3)], dim=1).requires_grad_(True)
    loss = PairwiseBCE()(rewards, torch.stack([q, 1 - q], dim=1))
    p = torch.sigmoid(z)
    torch.testing.assert_close(loss, -(q * p.log() + (1 - q) * (1 - p).log()).mean())
    loss.backward()
    torch.testing.assert_close(rewards.grad, torch.stack([p - q, q - p], dim=1) / 3)
    in_turns = rewards.detach().reshape(6, 1)
    torch.testing.assert_close(PairwiseBCE()(in_turns, torch.stack([q, 1 - q], dim=1)), loss.detach())


def test_the_conflict_rewards_the_worse_text_only_where_the_model_is_tempted():
    z, gold = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0]), torch.tensor([1.0, 1.0, 0.0, 0.0, float("nan")])
    rewards, targets = torch.stack([z, torch.zeros(5)], dim=1), torch.full((5, 2), 0.5)
    plain = PairwiseBCE()(rewards, targets)
    torn = PairwiseBCE(alpha=0.4)(rewards, targets, gold=gold)
    # Pair 1 is tempted (gold: chosen is better, the model: rejected) and rewarded for z < 0, pair 2 the other way round.
    reward = -torch.log(torch.sigmoid(torch.tensor(1.0)))
    torch.testing.assert_close(torn - plain, 0.4 * 2 * reward / 5)
    weights = torch.tensor([1.0, 0.0, 0.0, 2.0, 2.0])
    torch.testing.assert_close(PairwiseBCE(0.4)(rewards, targets, weights, gold=gold), PairwiseBCE()(rewards, targets, weights))


@pytest.mark.parametrize("seed", range(3))
def test_a_probe_learns_the_order_of_new_pairs(seed):
    student = probe(seed=seed).fit(letters(300, 0))
    assert (student.probability(letters(200, 1)) > 0.5).mean() > 0.9
    again = probe(seed=seed).fit(letters(300, 0))
    assert again.score([""], ["abc"]).tobytes() == student.score([""], ["abc"]).tobytes()


def test_soft_preferences_are_learned_as_probabilities():
    pairs = Preferences([""] * 200, ["ab"] * 200, ["cd"] * 200, probabilities=np.repeat([0.9, 0.5], 100))
    student = probe(epochs=40).fit(pairs)
    assert abs(student.probability(pairs.take([0]))[0] - 0.7) < 0.03
    turned = Preferences(pairs.prompts, pairs.rejected, pairs.chosen, probabilities=1 - pairs.probabilities)
    np.testing.assert_allclose(student.probability(pairs), 1 - student.probability(turned), atol=1e-6)


def test_weights_decide_between_contradicting_pairs():
    pairs = letters(200, 0)
    both = Preferences.concat([pairs, Preferences(pairs.prompts, pairs.rejected, pairs.chosen)])
    student = probe().fit(both, weights=np.repeat([1.0, 0.2], len(pairs)))
    assert (student.probability(letters(200, 1)) > 0.5).mean() > 0.9


def test_a_conflict_costs_accuracy():
    rng = np.random.default_rng(0)
    pairs = letters(300, 0)
    weak = Preferences(pairs.prompts, pairs.chosen, pairs.rejected, probabilities=np.where(rng.random(len(pairs)) < 0.35, 0.2, 0.8))
    clean, torn = (probe(objective=PairwiseBCE(alpha=1.0)).fit(weak, gold=gold) for gold in (None, np.ones(len(pairs))))
    new = letters(300, 1)
    assert (torn.probability(new) > 0.5).mean() < (clean.probability(new) > 0.5).mean()


def test_the_template_says_what_is_read():
    student = probe(template="{prompt}|{text}").fit(letters(100, 0))
    assert student._texts(["a{text}"], ["b{prompt}"]) == ["a{text}|b{prompt}"]
    assert student.score(["aaaa"], ["b"])[0] != student.score(["b"], ["b"])[0]
    alone = probe().fit(letters(100, 0))
    assert alone.score(["aaaa"], ["b"])[0] == alone.score(["b"], ["b"])[0]


@pytest.mark.parametrize(("make", "tune", "rate"), [(bert, "full", 2e-3), (gpt2_without_padding, "full", 5e-3), (bert, "lora", 1e-2)])
def test_fine_tuned_rewards_learn_and_read_back(tmp_path, make, tune, rate):
    model, tokenizer = make(1) if make is bert else one_output(make())
    before = copy.deepcopy(model.state_dict())
    student = RewardStudent((model, tokenizer), tune=tune, epochs=4, batch_size=8, learning_rate=rate, progress=False).fit(words(100, 0))
    new = words(100, 1)
    assert (student.probability(new) > 0.5).mean() > 0.9
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    np.testing.assert_allclose(
        logit(student.probability(new).astype(float)),
        student.score(new.prompts, new.chosen) - student.score(new.prompts, new.rejected),
        rtol=1e-2,
        atol=1e-3,
    )
    student.save(tmp_path / "r")
    assert RewardStudent.load(tmp_path / "r").probability(new).tobytes() == student.probability(new).tobytes()


def one_output(pair):
    model, tokenizer = pair
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    torch.manual_seed(0)
    return type(model)(config), tokenizer


@pytest.mark.parametrize(("make", "tune"), [(bert, "full"), (gpt2_without_padding, "full"), (bert, "lora")])
def test_with_a_zero_head_the_untrained_judge_prefers_nothing(make, tune):
    model = make(1) if make is bert else one_output(make())
    options = {"tune": tune, "epochs": 1, "batch_size": 8, "progress": False}
    pairs = words(16, 0)
    untrained = RewardStudent(model, zero_head=True, learning_rate=1e-12, **options).fit(pairs)
    np.testing.assert_allclose(untrained.probability(pairs), 0.5, atol=1e-6)
    assert not np.allclose(RewardStudent(model, learning_rate=1e-12, **options).fit(pairs).probability(pairs), 0.5, atol=1e-6)
    learned = RewardStudent(model, zero_head=True, learning_rate=5e-3, **{**options, "epochs": 6}).fit(words(100, 0))
    assert (learned.probability(words(60, 1)) > 0.5).mean() > 0.8


def test_a_probe_with_a_zero_head_starts_undecided_too():
    pairs = letters(40, 0)
    np.testing.assert_allclose(probe(zero_head=True, learning_rate=1e-12).fit(pairs).probability(pairs), 0.5, atol=1e-6)


def test_a_fine_tuned_model_takes_the_conflict_too():
    pairs = words(60, 0)
    turned = Preferences(pairs.prompts, pairs.chosen, pairs.rejected, probabilities=np.full(60, 0.3))
    options = {"tune": "full", "epochs": 4, "batch_size": 8, "learning_rate": 5e-3, "progress": False}
    clean = RewardStudent(bert(1), **options).fit(turned).probability(pairs).mean()
    torn = RewardStudent(bert(1), objective=PairwiseBCE(2.0), **options).fit(turned, gold=np.ones(60)).probability(pairs).mean()
    assert torn < clean - 0.05


def test_long_texts_lose_their_beginning():
    with pytest.warns(UserWarning, match="40 of 40 texts are longer than 8 tokens and lose their beginning"):
        student = RewardStudent(bert(1), tune="full", epochs=1, max_length=8, progress=False).fit(words(20, 0))
    tail = "good bad dog cat car tree"
    np.testing.assert_allclose(student.score(["river"], [tail]), student.score(["stone house cloud " * 20], [tail]), atol=1e-6)


def test_a_saved_probe_reads_back(tmp_path):
    pairs = Preferences(["Q"] * 2, ["yes", "thanks"], ["no", "never"])
    student = RewardStudent(epochs=2).fit(pairs)
    student.save(tmp_path / "r")
    assert RewardStudent.load(tmp_path / "r").probability(pairs).tobytes() == student.probability(pairs).tobytes()


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: probe(tune="head").fit(letters(10, 0)), ConfigError, "tune is 'head'"),
        (lambda: probe(template="x").fit(letters(10, 0)), ConfigError, "has no {text}"),
        (lambda: probe().score([""], ["a"]), TrainingError, "has learned nothing yet"),
        (lambda: probe().fit(letters(10, 0), weights=[1.0]), TrainingError, "weights"),
        (lambda: probe().fit(letters(10, 0), gold=[1.0]), TrainingError, "values of gold"),
        (lambda: probe().fit(Preferences([], [], [])), TrainingError, "0 pairs"),
        (lambda: RewardStudent(bert(2), tune="full").fit(words(5, 0)), TrainingError, "2 outputs"),
        (lambda: PairwiseBCE(-1.0), ConfigError, "alpha is -1.0"),
    ],
)
def test_bad_input_is_named(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
