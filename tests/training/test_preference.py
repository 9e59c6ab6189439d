from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch.nn.functional import logsigmoid

from steelyard.completions import Completions
from steelyard.errors import ConfigError, TrainingError
from steelyard.preferences import Preferences
from steelyard.training import AnswerPolicy
from steelyard.training.preference import dpo_loss, kto_loss, orpo_loss, prefer, simpo_loss
from tests.training.arithmetic import LetterEncoder

CLASSES = ("x", "y", "z")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def numbers(seed: int = 0, n: int = 6) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    names = ("chosen", "rejected", "reference_chosen", "reference_rejected")
    made = {name: torch.from_numpy(-rng.gamma(3.0, 2.0, n)) for name in names}
    return made | {name: torch.from_numpy(rng.integers(1, 9, n).astype(float)) for name in ("chosen_lengths", "rejected_lengths")}


def four(m: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return m["chosen"], m["rejected"], m["reference_chosen"], m["reference_rejected"]


def with_lengths(m: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return m["chosen"], m["rejected"], m["chosen_lengths"], m["rejected_lengths"]


def test_losses_in_closed_form():
    m = {name: value.numpy() for name, value in numbers().items()}
    t = numbers()
    ratio = (m["chosen"] - m["reference_chosen"]) - (m["rejected"] - m["reference_rejected"])
    np.testing.assert_allclose(dpo_loss(*four(t), beta=0.3), -np.log(expit(0.3 * ratio)))
    c, r = m["chosen"] / m["chosen_lengths"], m["rejected"] / m["rejected_lengths"]
    np.testing.assert_allclose(simpo_loss(*with_lengths(t), beta=2.0, gamma=0.7), -np.log(expit(2 * (c - r) - 0.7)))
    odds = (np.exp(c) / (1 - np.exp(c))) / (np.exp(r) / (1 - np.exp(r)))
    np.testing.assert_allclose(orpo_loss(*with_lengths(t), beta=0.5), -c - 0.5 * np.log(odds / (1 + odds)), rtol=1e-6)
    gain, loss = m["chosen"] - m["reference_chosen"], m["rejected"] - m["reference_rejected"]
    expected = ((1 - expit(0.4 * (gain - 0.2))) + 2 * (1 - expit(0.4 * (0.2 - loss)))) / 2
    np.testing.assert_allclose(kto_loss(*four(t), beta=0.4, kl=0.2, undesirable=2.0), expected)


def test_gradients_agree_with_finite_differences():
    m = numbers(1)
    for loss, arguments in ((dpo_loss, four(m)), (simpo_loss, with_lengths(m)), (orpo_loss, with_lengths(m)), (kto_loss, four(m))):
        free = [value.clone().requires_grad_(place < 2) for place, value in enumerate(arguments)]
        assert torch.autograd.gradcheck(loss, free)


def test_the_gradient_of_dpo_is_beta_times_the_doubt():
    m = numbers(2)
    chosen = m["chosen"].clone().requires_grad_(True)
    dpo_loss(chosen, *four(m)[1:], beta=0.3).sum().backward()
    ratio = (m["chosen"] - m["reference_chosen"]) - (m["rejected"] - m["reference_rejected"])
    torch.testing.assert_close(chosen.grad, -0.3 * torch.sigmoid(-0.3 * ratio))


def test_losses_stay_finite_at_the_ends():
    zero, far, one = torch.zeros(1), torch.full((1,), -1e4), torch.ones(1)
    for good, bad in ((zero, far), (far, zero), (zero, zero), (far, far)):
        for loss in (
            dpo_loss(good, bad, bad, good),
            simpo_loss(good, bad, one, one),
            orpo_loss(good, bad, one, one),
            kto_loss(good, bad, bad, good),
        ):
            assert torch.isfinite(loss).all()


@pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'")
def test_simpo_and_orpo_are_those_of_trl():
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    m = numbers(3)
    m = {name: value.float() for name, value in m.items()}
    c, r = m["chosen"] / m["chosen_lengths"], m["rejected"] / m["rejected_lengths"]
    here = SimpleNamespace(device="cpu")
    cpo = SimpleNamespace(alpha=0.0, beta=2.0, simpo_gamma=0.7, label_smoothing=0.0, loss_type="simpo", accelerator=here)
    torch.testing.assert_close(simpo_loss(*with_lengths(m), beta=2.0, gamma=0.7), CPOTrainer.cpo_loss(cpo, c, r)[0])
    orpo = SimpleNamespace(beta=0.3, accelerator=here)
    # TRL adds the fine-tuning loss elsewhere, over prompt and text; ours is over the text.
    torch.testing.assert_close(orpo_loss(*with_lengths(m), beta=0.3) + c, -ORPOTrainer.odds_ratio_loss(orpo, c, r)[0])


def trained(seed: int = 0) -> AnswerPolicy:
    rng = np.random.default_rng(seed)
    prompts = ["".join(rng.choice(list("abcdefgh"), 6)) for _ in range(60)]
    texts = [CLASSES[int(rng.integers(3))] for _ in prompts]
    return AnswerPolicy(LetterEncoder(), CLASSES, hidden=16, epochs=5, seed=seed).fit(Completions(prompts, texts))


def some_pairs(n: int = 40, seed: int = 5) -> Preferences:
    """Prompts with an "a" want "x", the others "y"; any other class is the worse text."""
    rng = np.random.default_rng(seed)
    prompts = ["".join(rng.choice(list("abcdefgh"), 6)) for _ in range(n)]
    chosen = ["x" if "a" in prompt else "y" for prompt in prompts]
    return Preferences(prompts, chosen, [str(rng.choice([name for name in CLASSES if name != text])) for text in chosen])


def margins(policy: AnswerPolicy, pairs: Preferences) -> np.ndarray:
    return policy.logprob(pairs.prompts, pairs.chosen) - policy.logprob(pairs.prompts, pairs.rejected)


@pytest.mark.parametrize("method", ["dpo", "simpo", "orpo", "kto"])
def test_every_method_raises_the_margin_on_new_pairs(method):
    policy = trained()
    before = margins(policy, some_pairs(seed=9)).mean()
    policy.prefer(some_pairs(), method, epochs=40, learning_rate=1e-2)
    assert margins(policy, some_pairs(seed=9)).mean() > before + 0.5
    assert policy.preference_history_[-1]["accuracy"] > 0.9


def test_the_same_seed_gives_the_same_weights():
    ends = [
        trained().prefer(some_pairs(), epochs=3, learning_rate=1e-2, batch_size=7, seed=seed).predict_proba(["abc"]) for seed in (1, 1, 2)
    ]
    assert ends[0].tobytes() == ends[1].tobytes()
    assert ends[0].tobytes() != ends[2].tobytes()


def test_one_step_of_dpo_is_the_step_of_a_loop_written_out():
    pairs, policy = some_pairs(), trained()
    twin, reference = trained(), trained().copy()
    optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(3):
        now = [twin.log_probabilities(pairs.prompts, texts)[0] for texts in (pairs.chosen, pairs.rejected)]
        old = [torch.from_numpy(reference.logprob(pairs.prompts, texts)) for texts in (pairs.chosen, pairs.rejected)]
        loss = -torch.nn.functional.logsigmoid(0.7 * ((now[0] - old[0]) - (now[1] - old[1]))).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
    policy.prefer(pairs, "dpo", beta=0.7, epochs=3, learning_rate=1e-2, batch_size=len(pairs))
    np.testing.assert_allclose(policy.predict_proba(pairs.prompts), twin.predict_proba(pairs.prompts), atol=1e-5)
    np.testing.assert_array_equal(reference.predict_proba(pairs.prompts), trained().predict_proba(pairs.prompts))


@pytest.mark.parametrize("method", ["dpo", "simpo", "orpo", "kto"])
def test_a_probability_of_zero_is_the_pair_turned_round(method):
    pairs = some_pairs()
    turned = Preferences(pairs.prompts, pairs.rejected, pairs.chosen, probabilities=np.zeros(len(pairs)))
    options = {"epochs": 3, "learning_rate": 1e-2, "nll_weight": 0.3}
    ends = [trained().prefer(given, method, **options).predict_proba(pairs.prompts) for given in (pairs, turned)]
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-5)


def test_an_even_chance_teaches_dpo_nothing():
    pairs = some_pairs()
    even = Preferences(pairs.prompts, pairs.chosen, pairs.rejected, probabilities=np.full(len(pairs), 0.5))
    policy = trained().prefer(even, "dpo", epochs=3, learning_rate=1e-2)
    np.testing.assert_allclose(policy.predict_proba(pairs.prompts), trained().predict_proba(pairs.prompts), atol=1e-5)


def test_the_anchor_holds_the_chosen_text_up():
    pairs = some_pairs()
    plain, held = (trained().prefer(pairs, "simpo", nll_weight=weight, epochs=20, learning_rate=1e-2) for weight in (0.0, 1.0))
    chosen = [policy.logprob(pairs.prompts, pairs.chosen).mean() for policy in (plain, held)]
    assert chosen[1] > chosen[0]


def test_another_reference_may_be_named_and_stays_still():
    pairs, reference = some_pairs(), trained(3).copy()
    before = reference.predict_proba(pairs.prompts)
    ends = [
        trained().prefer(pairs, epochs=2, learning_rate=1e-2, reference=given).predict_proba(pairs.prompts) for given in (None, reference)
    ]
    assert not np.allclose(ends[0], ends[1])
    np.testing.assert_array_equal(reference.predict_proba(pairs.prompts), before)


@pytest.mark.parametrize("method", ["dpo", "simpo"])
def test_a_conflict_rewards_the_worse_text_where_the_policy_is_tempted(method):
    pairs = some_pairs()
    gold = np.ones(len(pairs))
    weak = Preferences(pairs.prompts, pairs.chosen, pairs.rejected, probabilities=np.full(len(pairs), 0.4))
    options = {"epochs": 30, "learning_rate": 1e-2}
    clean, none, torn = (
        trained().prefer(weak, method, gold=given, alpha=alpha, **options)
        for given, alpha in ((None, 0.5), (np.full(len(pairs), np.nan), 0.5), (gold, 2.0))
    )
    np.testing.assert_allclose(none.predict_proba(pairs.prompts), clean.predict_proba(pairs.prompts), atol=1e-6)
    assert margins(torn, pairs).mean() < margins(clean, pairs).mean() - 0.2


@pytest.mark.parametrize("method", ["dpo", "simpo"])
def test_one_step_of_a_conflict_by_likelihood_is_the_step_of_a_loop_written_out(method):
    """Where the policy is tempted, −log p of the truly worse text is added, and nothing else."""
    pairs, reference = some_pairs(), trained(3).copy()
    even = Preferences(pairs.prompts, pairs.chosen, pairs.rejected, probabilities=np.full(len(pairs), 0.5))
    ours, theirs = trained(), trained()
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-2, weight_decay=0.0)
    chosen, rejected = (theirs.log_probabilities(pairs.prompts, texts)[0] for texts in (pairs.chosen, pairs.rejected))
    if method == "dpo":
        old = [torch.from_numpy(reference.logprob(pairs.prompts, texts)) for texts in (pairs.chosen, pairs.rejected)]
        margin, shift = 0.1 * ((chosen - old[0]) - (rejected - old[1])), 0.0
    else:
        margin, shift = 2.0 * (chosen - rejected), 1.0
    assert 0 < int((margin < 0).sum()) < len(pairs)
    loss = -(logsigmoid(margin - shift) + logsigmoid(-margin - shift)) / 2 + 0.7 * torch.where(margin < 0, -rejected, 0)
    optimizer.zero_grad()
    loss.mean().backward()
    torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
    optimizer.step()
    options = {"conflict": "sft", "alpha": 0.7, "learning_rate": 1e-2, "batch_size": len(pairs), "reference": reference}
    ours.prefer(even, method, gold=np.ones(len(pairs)), **options)
    np.testing.assert_allclose(ours.predict_proba(pairs.prompts), theirs.predict_proba(pairs.prompts), atol=1e-6)


def test_no_conflict_is_put_where_the_policy_is_right():
    """The pair is certain and gold agrees, and the policy prefers the better text from the start: the gold column changes nothing."""
    pairs = some_pairs()
    policy = trained().prefer(pairs, "simpo", epochs=60, learning_rate=1e-2)
    assert (margins(policy, pairs) > 0).all()
    ends = [policy.copy().prefer(pairs, "simpo", epochs=2, gold=gold).predict_proba(pairs.prompts) for gold in (None, np.ones(len(pairs)))]
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"method": "ppo"}, ConfigError, "'ppo' is unknown"),
        ({"epochs": 0}, ConfigError, "epochs=0"),
        ({"nll_weight": -1.0}, ConfigError, "nll_weight=-1.0"),
        ({"gold": [1.0]}, ConfigError, "gold must hold"),
        ({"conflict": "bribe"}, ConfigError, "use 'reverse' or 'sft'"),
        ({"learning_rate": 1e35, "epochs": 3}, TrainingError, "diverged"),
    ],
)
def test_bad_options_are_named(options, error, sentence):
    with pytest.raises(error, match=sentence):
        prefer(trained(), some_pairs(), **options)


def test_no_pairs_are_refused():
    with pytest.raises(TrainingError, match="no preference pairs"):
        prefer(trained(), Preferences([], [], []))
