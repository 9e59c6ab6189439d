"""How far label models' probabilities are off, and what one temperature from fifty gold labels mends. Needs `STEELYARD_DATA`."""

import warnings

import numpy as np
from accuracy import MODELS
from harness import write_results
from vote_sets import VoteSet, vote_sets

from steelyard import evaluation
from steelyard.evaluation import TemperatureScaling

GOLD, DRAWS = 50, 5


def main() -> None:
    tasks = [task for task in vote_sets() if task.test.coverage.sum() >= 4 * GOLD]
    rows = []
    for name, make in MODELS.items():
        measured = np.array([before_and_after(task, make) for task in tasks])
        before, after, loss_before, loss_after, temperature = measured.mean(axis=0)
        rows.append(
            {
                "model": name,
                "ECE": 100 * before,
                "ECE with a temperature": 100 * after,
                "log-loss": loss_before,
                "log-loss with a temperature": loss_after,
                "mean temperature": temperature,
                "sets with a lower ECE": f"{(measured[:, 1] < measured[:, 0]).sum()} of {len(tasks)}",
            }
        )
    write_results(
        "calibration",
        sorted(rows, key=lambda row: row["ECE with a temperature"]),
        title="Calibration of label models",
        notes=f"Expected calibration error in points (15 equal-mass bins) and log-loss on covered rows, mean over the {len(tasks)} sets of "
        f"`accuracy.md` with at least {4 * GOLD} of them. The temperature is fitted on {GOLD} random gold labels, which are then left out; "
        f"mean of {DRAWS} draws. It changes no label.",
        sets=[task.name for task in tasks],
    )


def before_and_after(task: VoteSet, make: type) -> np.ndarray:
    """ECE without and with a temperature, log-loss likewise, and the temperature: means over draws of the gold labels."""
    covered = np.flatnonzero(task.test.coverage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        proba = np.clip(make().fit(task.fit).predict_proba(task.test.take(covered)), 1e-6, 1)
    labels, rng = task.labels[covered], np.random.default_rng(0)
    proba /= proba.sum(axis=1, keepdims=True)
    runs = []
    for _ in range(DRAWS):
        order = rng.permutation(len(covered))
        gold, rest = order[:GOLD], order[GOLD:]
        scaling = TemperatureScaling().fit(proba[gold], labels[gold])
        pair = (proba[rest], scaling.transform(proba[rest]))
        errors = [evaluation.expected_calibration_error(labels[rest], p) for p in pair]
        losses = [evaluation.log_loss(labels[rest], p) for p in pair]
        runs.append([*errors, *losses, scaling.temperature_])
    return np.mean(runs, axis=0)


if __name__ == "__main__":
    main()
