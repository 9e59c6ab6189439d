"""Peers' label models on sets of votes: `vote_accuracy.py PEER FOLDER`. Runs in the environment of that peer.

The folder holds one `<set>.npz` per set: `fit` (a, m) and `test` (b, m) int8 with -1 = abstain, `n_classes`, `balance` (k,). Answers go to
`answers/<set>.npz`: for every model and seed the predicted class of each test row, -1 = the peer does not decide; beside it, under
`MODEL proba` and `MODEL seconds`, the first seed's probabilities where the peer gives any, and the seconds of one fit and prediction;
`MODEL parameters` and `MODEL loss` where a peer is asked what it learned.
"""

import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from clock import answer

SEEDS = (0, 1, 2, 3, 4)
# Votes up to which the slow models run: about a minute each.
MOST_VOTES_OF_SLOW_MODELS = 5000
MOST_VOTES_OF_ITERATED_VOTES = 300_000
MOST_SOURCES_OF_TRIPLETS = 20
# Gradient steps: as in Snorkel's tutorial, and enough for the loss to settle.
STEPS = {"LabelModel": 500, "LabelModel-10000-steps": 10_000}


def snorkel(fit: np.ndarray, test: np.ndarray, n_classes: int) -> dict[str, list[np.ndarray]]:
    """Both voters break ties at random, seeded; the label model knows no class balance, as in its tutorial."""
    from snorkel.labeling.model import LabelModel, MajorityLabelVoter

    vote = MajorityLabelVoter(cardinality=n_classes)
    answers: dict[str, list[np.ndarray]] = {"MajorityLabelVoter": [], **{name: [] for name in STEPS}}
    for seed in SEEDS:
        np.random.seed(seed)  # noqa: NPY002 - the peer draws from NumPy's global state
        began = perf_counter()
        answers["MajorityLabelVoter"].append(vote.predict(test, tie_break_policy="true-random"))
        if seed == SEEDS[0]:
            answers["MajorityLabelVoter seconds"] = [perf_counter() - began]
            answers["MajorityLabelVoter proba"] = vote.predict_proba(test)
    for name, steps in STEPS.items():
        # Reseeding moves 500 steps only by the scale of the start; steps that settle forget it.
        for seed in SEEDS if name == "LabelModel" else SEEDS[:1]:
            began = perf_counter()
            model = LabelModel(cardinality=n_classes, verbose=False)
            model.fit(fit, n_epochs=steps, seed=seed, progress_bar=False)
            answers[name].append(model.predict(test, tie_break_policy="true-random"))
            if seed == SEEDS[0]:
                answers[f"{name} seconds"] = [perf_counter() - began]
                answers[f"{name} proba"] = model.predict_proba(test)
    return answers


def snorkel_told(fit: np.ndarray, test: np.ndarray, n_classes: int, balance: np.ndarray) -> dict[str, list[np.ndarray]]:
    """The label model when it is told the class balance of the judged rows."""
    from snorkel.labeling.model import LabelModel

    model = LabelModel(cardinality=n_classes, verbose=False)
    # Snorkel divides by the balance; a class that does not occur gets a thousandth.
    balance = np.maximum(balance, 1e-3) / np.maximum(balance, 1e-3).sum()
    model.fit(fit, n_epochs=STEPS["LabelModel"], seed=SEEDS[0], progress_bar=False, class_balance=balance)
    return {"LabelModel-told-the-balance": [model.predict(test, tie_break_policy="true-random")]}


def snorkel_parameters(fit: np.ndarray, test: np.ndarray, n_classes: int, balance: np.ndarray) -> dict[str, list[np.ndarray]]:
    """The label model told the balance, stopped early and settled, with what it learned: P(source j says l | class c), (m, k, k)."""
    from snorkel.labeling.model import LabelModel

    balance = np.maximum(balance, 1e-3) / np.maximum(balance, 1e-3).sum()
    answers: dict[str, list[np.ndarray]] = {}
    for name, steps in STEPS.items():
        model = LabelModel(cardinality=n_classes, verbose=False)
        model.fit(fit, n_epochs=steps, seed=SEEDS[0], progress_bar=False, class_balance=balance)
        told = name.replace("LabelModel", "LabelModel-told-the-balance")
        answers[told] = [model.predict(test, tie_break_policy="true-random")]
        answers[f"{told} parameters"] = list(model.get_conditional_probs()[:, 1:].transpose(0, 2, 1))
        answers[f"{told} loss"] = [model._loss_mu().item()]
    return answers


def crowd_kit(fit: np.ndarray, test: np.ndarray, n_classes: int) -> dict[str, list[np.ndarray]]:
    """crowd-kit answers for the tasks it was fitted on: it sees the unlabelled test votes too. Tasks without a vote stay undecided.

    GLAD and MACE need minutes for a few thousand rows: they run on the smallest sets only, KOS on two classes."""
    from crowdkit.aggregation import GLAD, KOS, MACE, MMSR, DawidSkene, MajorityVote, OneCoinDawidSkene, Wawa, ZeroBasedSkill

    rows = np.vstack([fit, test]) if len(fit) else test
    tasks, workers = np.nonzero(rows >= 0)
    table = pd.DataFrame({"task": tasks, "worker": workers, "label": rows[tasks, workers].astype(np.int64)})
    models: dict[str, list] = {
        "MajorityVote": [MajorityVote()],
        "DawidSkene": [DawidSkene(n_iter=100)],
        "OneCoinDawidSkene": [OneCoinDawidSkene(n_iter=100)],
        "Wawa": [Wawa()],
    }
    if len(table) <= MOST_VOTES_OF_ITERATED_VOTES:
        models |= {"ZeroBasedSkill": [ZeroBasedSkill()], "MMSR": [MMSR(random_state=seed) for seed in SEEDS]}
        if n_classes == 2:
            models["KOS"] = [KOS(random_state=seed) for seed in SEEDS]
    if len(table) <= MOST_VOTES_OF_SLOW_MODELS:
        models |= {"GLAD": [GLAD()], "MACE": [MACE(random_state=seed) for seed in SEEDS]}
    answers: dict[str, list[np.ndarray]] = {}
    for name, seeded in models.items():
        began = perf_counter()
        try:
            labels = [model.fit_predict(table) for model in seeded]
        except (ValueError, KeyError, IndexError, np.linalg.LinAlgError) as error:
            print(f"crowd-kit {name} fails: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        answers[name] = [decided(run, len(rows), len(test)) for run in labels]
        answers[f"{name} seconds"] = [(perf_counter() - began) / len(seeded)]
        model = seeded[0]
        shares = getattr(model, "probas_", None)
        if shares is not None:
            proba = np.full((len(rows), n_classes), np.nan)
            proba[np.asarray(shares.index)[:, None], np.asarray(shares.columns, dtype=int)] = shares.to_numpy()
            answers[f"{name} proba"] = proba[len(rows) - len(test) :]
    return answers


def crowd_kit_shuffled(fit: np.ndarray, test: np.ndarray, n_classes: int) -> dict[str, list[np.ndarray]]:
    """Models that learn from votes whose ties go to the class that comes first, with rows and classes in another order."""
    from crowdkit.aggregation import Wawa, ZeroBasedSkill

    rows = np.vstack([fit, test]) if len(fit) else test
    tasks, workers = np.nonzero(rows >= 0)
    answers: dict[str, list[np.ndarray]] = {"Wawa": [], "ZeroBasedSkill": []}
    for seed in SEEDS[1:]:
        order = np.random.default_rng(seed).permutation(n_classes)
        table = pd.DataFrame({"task": tasks, "worker": workers, "label": order[rows[tasks, workers]]}).sample(frac=1, random_state=seed)
        for name, model in (("Wawa", Wawa()), ("ZeroBasedSkill", ZeroBasedSkill())):
            found = decided(model.fit_predict(table), len(rows), len(test))
            answers[name].append(np.append(order.argsort(), -1)[found])
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


def flyingsquid(fit: np.ndarray, test: np.ndarray, n_classes: int) -> dict[str, list[np.ndarray]]:
    """Two classes only; it lists all triplets of sources in Python, which takes minutes beyond twenty sources."""
    if n_classes != 2 or fit.shape[1] > MOST_SOURCES_OF_TRIPLETS:
        return {}
    import pgmpy.models

    pgmpy.models.MarkovModel = pgmpy.models.MarkovNetwork  # renamed since
    from flyingsquid.label_model import LabelModel

    began = perf_counter()
    model = LabelModel(fit.shape[1])
    fit, test = (np.select([votes == 1, votes == 0], [1, -1], 0) for votes in (fit, test))
    model.fit(fit, class_balance=np.array([0.5, 0.5]))
    proba = np.asarray(model.predict_proba(test)).reshape(len(test), 2)
    return {"LabelModel": [proba.argmax(axis=1)], "LabelModel proba": proba, "LabelModel seconds": [perf_counter() - began]}


def flyingsquid_parameters(fit: np.ndarray, test: np.ndarray, n_classes: int) -> dict[str, list[np.ndarray]]:
    """What FlyingSquid learned: P(source j says l | class c), (m, 2, 3), silence last."""
    if n_classes != 2 or fit.shape[1] > MOST_SOURCES_OF_TRIPLETS:
        return {}
    import pgmpy.models

    pgmpy.models.MarkovModel = pgmpy.models.MarkovNetwork  # renamed since
    from flyingsquid.label_model import LabelModel

    model = LabelModel(fit.shape[1])
    fit, test = (np.select([votes == 1, votes == 0], [1, -1], 0) for votes in (fit, test))
    model.fit(fit, class_balance=np.array([0.5, 0.5]))
    # Tables of -1, 0, 1 by class, sources in the order of their names.
    joint = {int(clique[0].split("_")[1]): marginal.values[[0, 2, 1]].T for clique, marginal in model.clique_marginals}
    proba = np.asarray(model.predict_proba(test)).reshape(len(test), 2)
    return {
        "LabelModel": [proba.argmax(axis=1)],
        "LabelModel parameters": [joint[j] / joint[j].sum(axis=1, keepdims=True) for j in range(fit.shape[1])],
    }


def main() -> None:
    peer, folder = sys.argv[1], Path(sys.argv[2])
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as stored:
            fit, test, n_classes = stored["fit"].astype(np.int64), stored["test"].astype(np.int64), int(stored["n_classes"])
            balance = stored["balance"]
        if peer.startswith("crowd-kit") and np.array_equal(fit, test):
            fit = fit[:0]  # it joins both parts itself; the same rows must count once
        told = {"snorkel:told": snorkel_told, "snorkel:parameters": snorkel_parameters}
        if peer in told:
            answers = told[peer](fit, test, n_classes, balance)
        else:
            sides = {"snorkel": snorkel, "cleanlab": cleanlab, "flyingsquid": flyingsquid, "flyingsquid:parameters": flyingsquid_parameters}
            sides |= {"crowd-kit": crowd_kit, "crowd-kit:shuffled": crowd_kit_shuffled}
            answers = sides[peer](fit, test, n_classes)
        (folder / "answers").mkdir(exist_ok=True)
        np.savez(
            folder / "answers" / file.name,
            **{name: np.stack(runs).astype(float if " " in name else np.int64) for name, runs in answers.items()},
        )
    answer(peer=peer)


main()
