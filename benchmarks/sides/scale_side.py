"""One large fit per fresh process: `scale_side.py OPERATION ARGUMENTS…`. Peak resident memory of the process is part of the answer."""

import resource
import sys
from pathlib import Path

import numpy as np
from clock import answer, timed

import steelyard as sy
from steelyard.label_models import summarize


def from_parquet(folder: str, model: str) -> None:
    """Fit a model from a folder of Parquet files of votes, slice by slice."""
    chosen = getattr(sy.label_models, model)()
    seconds, fitted = timed(lambda: chosen.fit(summarize(folder, keep=chosen.keep)))
    truth = np.concatenate([np.load(file) for file in sorted(Path(folder).glob("*.npy"))[:1]])
    first = sy.Votes.from_parquet(sorted(Path(folder).glob("*.parquet"))[0])
    finish(seconds=seconds.wall, cpu=seconds.cpu, rows=fitted.statistics_.n_rows, accuracy=float((fitted.predict(first) == truth).mean()))


def many_classes(model: str) -> None:
    """300,000 rows, 15 sources that each know one of 1,461 classes."""
    n, m, k = 300_000, 15, 1461
    rng = np.random.default_rng(0)
    # Half of the rows belong to the classes that some source knows.
    truth = np.where(rng.random(n) < 0.5, rng.integers(0, m, n), rng.integers(m, k, n))
    codes = np.full((n, m), -1, np.int16, order="F")
    for j in range(m):
        codes[rng.random(n) < np.where(truth == j, 0.8, 0.01), j] = j
    fit_and_predict(model, codes, truth, k)


def many_sources(model: str) -> None:
    """100,000 rows, 1,200 sources that know all of 56 classes and vote on one row in fifty."""
    n, m, k = 100_000, 1200, 56
    rng = np.random.default_rng(0)
    truth = rng.integers(0, k, n)
    codes = np.full((n, m), -1, np.int8, order="F")
    for j, accuracy in enumerate(rng.uniform(0.2, 0.8, m)):
        rows = np.flatnonzero(rng.random(n) < 0.02)
        codes[rows, j] = np.where(rng.random(len(rows)) < accuracy, truth[rows], rng.integers(0, k, len(rows)))
    fit_and_predict(model, codes, truth, k)


def fit_and_predict(model: str, codes: np.ndarray, truth: np.ndarray, k: int) -> None:
    votes = sy.Votes(codes, classes=[f"class {c}" for c in range(k)])
    fit, fitted = timed(lambda: getattr(sy.label_models, model)().fit(votes))
    predict, answers = timed(lambda: fitted.predict(votes))
    covered = votes.coverage
    finish(seconds=fit.wall, cpu=fit.cpu, predict=predict.wall, rows=len(codes), accuracy=float((answers == truth)[covered].mean()))


def finish(**facts: float) -> None:
    answer(**facts, peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
