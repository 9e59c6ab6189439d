"""Peers' label models on sets of votes: `vote_accuracy.py PEER FOLDER`. Runs in the environment of that peer.

The folder holds one `<set>.npz` per set: `fit` (a, m) and `test` (b, m) int8 with -1 = abstain, `n_classes`. Answers go to
`<peer>/<set>.npz`: for every model and seed the predicted class of each test row, -1 = the peer does not decide; beside it, under
`MODEL proba` and `MODEL seconds`, the first seed's probabilities where the peer gives any, and the seconds of one fit and prediction.
"""

import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from clock import answer

SEEDS = (0, 1, 2)
# Votes up to which the slow models run: about a minute each.
MOST_VOTES_OF_SLOW_MODELS = 5000


def snorkel(fit: np.ndarray, test: np.ndarray, n_classes: int) -> dict[str, list[np.ndarray]]:
    """Both voters break ties at random, seeded; the label model knows no class balance, as in its tutorial."""
    from snorkel.labeling.model import LabelModel, MajorityLabelVoter

    answers: dict[str, list[np.ndarray]] = {"MajorityLabelVoter": [], "LabelModel": []}
    for seed in SEEDS:
        np.random.seed(seed)  # noqa: NPY002 - the peer draws from NumPy's global state
        began = perf_counter()
        vote = MajorityLabelVoter(cardinality=n_classes)
        answers["MajorityLabelVoter"].append(vote.predict(test, tie_break_policy="true-random"))
        voted = perf_counter()
        model = LabelModel(cardinality=n_classes, verbose=False)
        model.fit(fit, n_epochs=500, seed=seed, progress_bar=False)
        answers["LabelModel"].append(model.predict(test, tie_break_policy="true-random"))
        if seed == SEEDS[0]:
            seconds = {"MajorityLabelVoter seconds": [voted - began], "LabelModel seconds": [perf_counter() - voted]}
            proba = {"MajorityLabelVoter proba": vote.predict_proba(test), "LabelModel proba": model.predict_proba(test)}
    return answers | seconds | proba


def crowd_kit(fit: np.ndarray, test: np.ndarray, n_classes: int) -> dict[str, list[np.ndarray]]:
    """crowd-kit answers for the tasks it was fitted on: it sees the unlabelled test votes too. Tasks without a vote stay undecided.

    GLAD and MACE need minutes for a few thousand rows: they run on the smallest sets only, KOS on two classes."""
    from crowdkit.aggregation import GLAD, KOS, MACE, MMSR, DawidSkene, MajorityVote, OneCoinDawidSkene, Wawa, ZeroBasedSkill

    rows = np.vstack([fit, test]) if len(fit) else test
    tasks, workers = np.nonzero(rows >= 0)
    table = pd.DataFrame({"task": tasks, "worker": workers, "label": rows[tasks, workers].astype(np.int64)})
    models = {
        "MajorityVote": MajorityVote(),
        "DawidSkene": DawidSkene(n_iter=100),
        "OneCoinDawidSkene": OneCoinDawidSkene(n_iter=100),
        "Wawa": Wawa(),
        "ZeroBasedSkill": ZeroBasedSkill(),
        "MMSR": MMSR(random_state=0),
    }
    if n_classes == 2:
        models["KOS"] = KOS(random_state=0)
    if len(table) <= MOST_VOTES_OF_SLOW_MODELS:
        models |= {"GLAD": GLAD(), "MACE": MACE(random_state=0)}
    answers: dict[str, list[np.ndarray]] = {}
    for name, model in models.items():
        began = perf_counter()
        try:
            labels = model.fit_predict(table)
        except (ValueError, KeyError, IndexError, np.linalg.LinAlgError) as error:
            print(f"crowd-kit {name} fails: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        answers[name] = [decided(labels, len(rows), len(test))]
        answers[f"{name} seconds"] = [perf_counter() - began]
        shares = getattr(model, "probas_", None)
        if shares is not None:
            proba = np.full((len(rows), n_classes), np.nan)
            proba[np.asarray(shares.index)[:, None], np.asarray(shares.columns, dtype=int)] = shares.to_numpy()
            answers[f"{name} proba"] = proba[len(rows) - len(test) :]
    return answers


def decided(labels: pd.Series, n_rows: int, n_test: int) -> np.ndarray:
    everything = np.full(n_rows, -1)
    everything[labels.index.to_numpy()] = labels.to_numpy()
    return everything[n_rows - n_test :]


def cleanlab(fit: np.ndarray, test: np.ndarray, n_classes: int) -> dict[str, list[np.ndarray]]:
    """cleanlab's vote; its stronger CROWDLAB needs a trained classifier's predictions, which the other models here do not have."""
    from cleanlab.multiannotator import get_majority_vote_label

    covered = (test >= 0).any(axis=1)
    voting = (test >= 0).any(axis=0)  # cleanlab refuses annotators without an answer
    table = pd.DataFrame(np.where(test >= 0, test.astype(float), np.nan)[:, voting])
    everything = np.full(len(test), -1)
    everything[covered] = get_majority_vote_label(table[covered].reset_index(drop=True))
    return {"get_majority_vote_label": [everything]}


def main() -> None:
    peer, folder = sys.argv[1], Path(sys.argv[2])
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as stored:
            fit, test, n_classes = stored["fit"].astype(np.int64), stored["test"].astype(np.int64), int(stored["n_classes"])
        if peer == "crowd-kit" and np.array_equal(fit, test):
            fit = fit[:0]  # it joins both parts itself; the same rows must count once
        answers = {"snorkel": snorkel, "crowd-kit": crowd_kit, "cleanlab": cleanlab}[peer](fit, test, n_classes)
        (folder / peer).mkdir(exist_ok=True)
        np.savez(
            folder / peer / file.name, **{name: np.stack(runs).astype(float if " " in name else np.int64) for name, runs in answers.items()}
        )
    answer(peer=peer)


main()
