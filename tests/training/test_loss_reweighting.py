"""Dynamic loss reweighting: the published formula, its invariants, the schedule, and one global batch whatever it is spread over."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.optimize import minimize

from steelyard.errors import ConfigError
from steelyard.training.selection.loss_reweighting import STRATEGIES, LossReweighter, ReweightedLoss, loss_weights, soft_label_losses

LOSSES = torch.tensor([0.2, 3.1, 2.0, 2.4, 5.0, 1.1, 2.2, 4.0])


def published(losses: list[float], strategy: str, r: float, delta: float = 1.0) -> list[float]:
    """The formula, sample by sample."""
    low, high = min(losses), max(losses)
    merits = []
    for loss in losses:
        h = 2 * delta * loss / max(high - low, 1e-6) - delta * (high + low) / max(high - low, 1e-6)
        merits.append(
            {
                "linupper": min(h + delta, delta),
                "quadratic": 1 - h * h / delta**2,
                "extremes": abs(h),
                "linear": (h + delta) / 2,
                "uniform": 0.0,
            }[strategy]
        )
    odds = [math.exp((merit - max(merits)) / r) for merit in merits]
    return [len(odds) * value / sum(odds) for value in odds]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("r", "delta"), [(0.4, 1.0), (1.0, 2.0)])
def test_the_formula_sample_by_sample(strategy: str, r: float, delta: float) -> None:
    weights = loss_weights(LOSSES, strategy, temperature=r, delta=delta)
    np.testing.assert_allclose(weights, published(LOSSES.tolist(), strategy, r, delta), rtol=1e-4)
    assert float(weights.sum()) == pytest.approx(len(LOSSES))
    shuffled = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss_weights(LOSSES[shuffled], strategy, temperature=r, delta=delta), weights[shuffled])
    # Only the place within the range counts, not the unit of the loss.
    torch.testing.assert_close(loss_weights(3 * LOSSES + 7, strategy, temperature=r, delta=delta), weights, rtol=1e-4, atol=1e-5)


def test_weights_maximise_merit_less_divergence_from_uniform() -> None:
    r, merit = 0.7, (2 * (LOSSES - 0.2) / 4.8).clamp(max=1.0).double().numpy()
    found = loss_weights(LOSSES, "linupper", temperature=r).double().numpy() / 8

    def value(w: np.ndarray) -> float:
        return float(w @ merit - r * (w * np.log(8 * w)).sum())

    rng = np.random.default_rng(0)
    others = rng.dirichlet(8 * found * 30, size=300)
    assert all(value(found) >= value(np.maximum(other, 1e-12)) for other in others)


def test_the_limits_of_the_temperature() -> None:
    torch.testing.assert_close(loss_weights(LOSSES, temperature=1e6), torch.ones(8), rtol=1e-4, atol=1e-4)
    assert loss_weights(LOSSES, "linear", temperature=1e-3).tolist() == [0, 0, 0, 0, 8, 0, 0, 0]


def test_equal_losses_count_alike_and_a_function_may_rate_them() -> None:
    assert loss_weights(torch.full((5,), 2.0)).tolist() == [1.0] * 5
    easy_first = loss_weights(LOSSES, lambda h: -h, temperature=0.5)
    assert easy_first.argmax() == LOSSES.argmin()


def test_a_cap_gives_the_nearest_weights_under_it() -> None:
    free = loss_weights(LOSSES, "linear", temperature=0.3)
    capped = loss_weights(LOSSES, "linear", temperature=0.3, max_weight=2.0)
    assert float(free.max()) > 2 >= float(capped.max()) - 1e-5
    assert float(capped.sum()) == pytest.approx(8, rel=1e-5)
    start = free.double().numpy() / 8
    solved = minimize(
        lambda w: (w * np.log(w / start)).sum(),
        np.full(8, 1 / 8),
        bounds=[(1e-9, 2 / 8)] * 8,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        tol=1e-12,
    )
    np.testing.assert_allclose(capped / 8, solved.x, atol=1e-4)


def test_lengths_multiply() -> None:
    sizes = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8])
    weights = loss_weights(LOSSES, sizes=sizes)
    plain = loss_weights(LOSSES) * sizes
    torch.testing.assert_close(weights, plain / plain.mean())


def test_uniform_is_the_ordinary_mean_to_the_bit() -> None:
    logits = torch.randn(49, 7, 11, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(0, 11, (49, 7), generator=torch.Generator().manual_seed(1))
    from steelyard.training.objectives.token_weighted import sequence_losses

    for objective in (ReweightedLoss(LossReweighter("uniform", warmup=0)), ReweightedLoss(LossReweighter(warmup=0.5))):
        assert objective(logits, targets, progress=0.2).equal(sequence_losses(logits, targets).losses.mean())


def test_gradients_flow_through_the_losses_alone() -> None:
    losses = LOSSES.clone().requires_grad_()
    objective = ReweightedLoss(LossReweighter(warmup=0), losses=lambda logits, targets: logits)
    objective(losses, losses, progress=0.5).backward()
    torch.testing.assert_close(losses.grad, loss_weights(LOSSES) / 8)


def test_warm_up_then_a_falling_temperature() -> None:
    reweighter = LossReweighter(temperature=(10.0, 0.1), warmup=0.2)
    assert reweighter(LOSSES, progress=0.19).tolist() == [1.0] * 8
    spread = [float(reweighter(LOSSES, progress=progress).std()) for progress in (0.2, 0.5, 0.8, 1.0)]
    assert spread == sorted(spread)
    torch.testing.assert_close(reweighter(LOSSES, progress=0.2), loss_weights(LOSSES, temperature=10.0))


def test_what_is_logged() -> None:
    reweighter = LossReweighter("linear", temperature=0.5, warmup=0)
    weights = reweighter(LOSSES, progress=0.3) / 8
    log = {name: float(value) for name, value in reweighter.log.items()}
    assert log["ess"] == pytest.approx(float(1 / weights.square().sum()) / 8)
    assert log["max_weight"] == pytest.approx(8 * float(weights.max()))
    assert (log["loss_lightest"], log["loss_heaviest"]) == pytest.approx((0.2, 5.0))


def test_samples_without_a_loss_count_for_nothing() -> None:
    losses = torch.cat([LOSSES, torch.tensor([float("inf"), float("nan"), 0.0])])
    sizes = torch.tensor([1.0] * 10 + [0.0])
    objective = ReweightedLoss(LossReweighter(warmup=0), losses=lambda logits, targets: _with(logits, sizes))
    assert float(objective(losses, losses, progress=0.5)) == pytest.approx(float((loss_weights(LOSSES) * LOSSES).mean()), rel=1e-5)
    assert float(objective.log["dropped"]) == 2
    too_few = LossReweighter(warmup=0)
    with pytest.warns(UserWarning, match="3 samples are too few"):
        assert too_few(LOSSES[:3], progress=0.5).tolist() == [1.0] * 3


def test_batches_of_one_step_are_weighed_among_those_before() -> None:
    reweighter = LossReweighter(warmup=0)
    first, second = reweighter(LOSSES[:4], progress=0.5), reweighter(LOSSES[4:], progress=0.5)
    torch.testing.assert_close(first, loss_weights(LOSSES[:4]))
    torch.testing.assert_close(second, loss_weights(LOSSES)[4:])
    torch.testing.assert_close(reweighter(LOSSES[4:], progress=0.6), loss_weights(LOSSES[4:]))


def test_a_classifier_with_weak_labels_uses_it_too() -> None:
    logits = torch.tensor([[3.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 0.0]])
    targets = torch.tensor([[0.9, 0.1]] * 4)
    objective = ReweightedLoss(LossReweighter(warmup=0), soft_label_losses)
    losses = soft_label_losses(logits, targets)
    assert float(objective(logits, targets, progress=0.5)) == pytest.approx(float((loss_weights(losses) * losses).mean()), rel=1e-5)
    halved = objective(logits, targets, torch.full((4,), 0.5), progress=0.7)
    assert float(halved) == pytest.approx(float((loss_weights(losses) * losses).mean()) / 2, rel=1e-5)


def test_single_pass_regression_with_an_easy_row_repeated_is_learned_faster() -> None:
    """The published toy: most of the stream is one row, which is soon known."""
    left = {strategy: [] for strategy in ("uniform", "linupper")}
    for seed in range(10):
        for strategy, errors in left.items():
            generator = torch.Generator().manual_seed(seed)
            truth, easy = torch.randn(20, generator=generator), torch.randn(20, generator=generator)
            w, reweighter = torch.zeros(20), LossReweighter(strategy, temperature=0.4, warmup=0)
            for step in range(60):
                x = torch.randn(32, 20, generator=generator)
                x[:24] = easy
                residual = x @ (w - truth)
                v = reweighter(0.5 * residual.square(), progress=step / 60)
                w = w - 0.03 * (v * residual) @ x / 32
            errors.append(float((w - truth).norm()))
    difference = np.array(left["linupper"]) - np.array(left["uniform"])
    assert (difference < 0).sum() >= 9
    assert np.mean(left["linupper"]) < 0.8 * np.mean(left["uniform"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"strategy": "best"}, "strategy is 'best'"),
        ({"temperature": 0.0}, "must be positive"),
        ({"temperature": (1.0, -1.0)}, "must be positive"),
        ({"warmup": 1.0}, "share in"),
        ({"max_weight": 1.0}, "max_weight is 1.0"),
    ],
)
def test_refusals(options: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        LossReweighter(**options)


_BLOCK = """
import os, sys, torch
from torch import distributed
from safetensors.torch import save_file
from steelyard.training.selection.loss_reweighting import LossReweighter, ReweightedLoss, soft_label_losses
rank = int(os.environ["RANK"])
distributed.init_process_group("gloo")
generator = torch.Generator().manual_seed(0)
x, targets = torch.randn(8, 3, generator=generator), torch.rand(8, 4, generator=generator).softmax(-1)
rows = slice(0, 5) if rank == 0 else slice(5, 8)
weight = (torch.arange(12.0).view(3, 4) / 5).requires_grad_()
objective = ReweightedLoss(LossReweighter(temperature=0.4, warmup=0), soft_label_losses)
objective(x[rows] @ weight, targets[rows], progress=0.5).backward()
distributed.all_reduce(weight.grad)
if rank == 0:
    save_file({"gradient": weight.grad / 2, "ess": objective.log["ess"].reshape(1)}, sys.argv[1])
distributed.destroy_process_group()
"""

_TRAINER = """
import os, sys
from steelyard.language.tiny_lm import tiny_lm
from steelyard.training.pretraining import CausalPretrainer
from steelyard.training.selection.loss_reweighting import LossReweighter, ReweightedLoss
texts = ["the cat sat on the mat. " * 9, "one two three four five six seven. " * 9, "zebra quartz jumps. " * 9]
start = tiny_lm(texts, size="nano", tokens=258, context=16, steps=0)
size = 8 // int(os.environ.get("WORLD_SIZE", "1"))
arguments = {"use_cpu": True, **({"ddp_backend": "gloo"} if "RANK" in os.environ else {})}
objective = ReweightedLoss(LossReweighter(temperature=0.4, warmup=0))
CausalPretrainer(start, objective, steps=6, batch_size=size, learning_rate=1e-2, output_dir=sys.argv[1], arguments=arguments).fit(texts)
"""


def _in_processes(code: str, count: int, *arguments: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, *arguments],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(count)
    ]
    for process in started:
        _, said = process.communicate(timeout=200)
        assert process.returncode == 0, said.decode()[-2000:]


def test_two_processes_weigh_their_common_batch(tmp_path: Path) -> None:
    _in_processes(_BLOCK, 2, str(tmp_path / "two.safetensors"))
    found = load_file(tmp_path / "two.safetensors")
    generator = torch.Generator().manual_seed(0)
    x, targets = torch.randn(8, 3, generator=generator), torch.rand(8, 4, generator=generator).softmax(-1)
    weight = (torch.arange(12.0).view(3, 4) / 5).requires_grad_()
    objective = ReweightedLoss(LossReweighter(temperature=0.4, warmup=0), soft_label_losses)
    objective(x @ weight, targets, progress=0.5).backward()
    torch.testing.assert_close(found["gradient"], weight.grad)
    torch.testing.assert_close(found["ess"][0], objective.log["ess"])


@pytest.mark.slow
def test_two_processes_train_what_one_trains_on_the_same_global_batches(tmp_path: Path) -> None:
    _in_processes(_TRAINER, 2, str(tmp_path / "two"))
    subprocess.run([sys.executable, "-W", "ignore", "-c", _TRAINER, str(tmp_path / "one")], check=True, timeout=200)
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)


def _with(losses: torch.Tensor, sizes: torch.Tensor):
    from steelyard.training.objectives.token_weighted import SampleLosses

    return SampleLosses(losses, sizes)
