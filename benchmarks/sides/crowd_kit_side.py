"""crowd-kit's side of the Dawid-Skene benchmark: `crowd_kit_side.py OPERATION FOLDER`. Runs in the `crowd-kit` environment."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from clock import answer, peak_growth, timed
from crowdkit.aggregation import DawidSkene

folder = Path(sys.argv[2])


def long_table() -> pd.DataFrame:
    """One row a vote; abstentions are absent rows, as crowd-kit wants them."""
    votes = np.load(folder / "votes.npy")
    tasks, workers = np.nonzero(votes >= 0)
    return pd.DataFrame({"task": tasks, "worker": workers, "label": votes[tasks, workers].astype(np.int64)})


def dawid_skene() -> None:
    table = long_table()
    # A tolerance of minus infinity never stops early: exactly 20 iterations on both sides.
    model = DawidSkene(n_iter=20, tol=-np.inf)
    seconds, _ = timed(lambda: model.fit(table))
    proba = model.probas_.sort_index().sort_index(axis=1).to_numpy()
    np.save(folder / "crowd_kit_proba.npy", proba)
    truth = np.load(folder / "truth.npy")[model.probas_.sort_index().index.to_numpy()]
    answer(seconds=seconds, accuracy=float((proba.argmax(axis=1) == truth).mean()))


def memory() -> None:
    table = long_table()
    DawidSkene(n_iter=1).fit(table.head(1000))
    growth, _ = peak_growth(lambda: DawidSkene(n_iter=20, tol=-np.inf).fit(table))
    answer(votes=int(table.memory_usage(index=False).sum()), growth=growth)


{"dawid_skene": dawid_skene, "memory": memory}[sys.argv[1]]()
