"""Every label model on real votes beside its peers: accuracy, macro-F1, log-loss, calibration, seconds. Needs `STEELYARD_DATA`."""

import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from harness import RESULTS, table, write_results, write_text
from peers import run_peer
from reference_em import dawid_skene, posteriors
from sklearn.metrics import f1_score
from vote_sets import VoteSet, vote_sets

from steelyard import evaluation, label_models
from steelyard.label_models import LabelModel

PEERS = ("snorkel", "crowd-kit", "cleanlab")
# (ours, peer): the question is whether ours is at least as accurate within the noise of the test rows.
PAIRS = [
    ("GLAD", "crowd-kit GLAD"),
    ("MACE", "crowd-kit MACE"),
    ("Wawa", "crowd-kit Wawa"),
    ("ZeroBasedSkill", "crowd-kit ZeroBasedSkill"),
    ("KOS", "crowd-kit KOS"),
    ("MMSR", "crowd-kit MMSR"),
    ("DawidSkene(kind='one-coin')", "crowd-kit OneCoinDawidSkene"),
    ("MajorityVote", "snorkel MajorityLabelVoter"),
    ("MajorityVote", "crowd-kit MajorityVote"),
    ("MajorityVote", "cleanlab get_majority_vote_label"),
    ("DawidSkene", "crowd-kit DawidSkene"),
    ("DawidSkene", "reference DawidSkene (WRENCH's settings)"),
    ("MeTaL", "snorkel LabelModel"),
    ("MeTaL, uniform prior", "snorkel LabelModel"),
    ("TripletModel", "snorkel LabelModel"),
    ("select", "snorkel LabelModel"),
    ("select", "crowd-kit DawidSkene"),
    ("select", "snorkel MajorityLabelVoter"),
]


NAMES = (
    *("MajorityVote", "DawidSkene", "MeTaL", "TripletModel", "Wawa", "ZeroBasedSkill", "MMSR", "KOS", "GLAD", "MACE", "IBCC", "EBCC"),
    *("DataProgramming", "Cage", "HyperLabelModel"),
)
MODELS: dict[str, Callable[[], LabelModel]] = {name: getattr(label_models, name) for name in NAMES} | {
    "DawidSkene(kind='one-coin')": lambda: label_models.DawidSkene(kind="one-coin")
}


@dataclass
class Answer:
    """What a model says of the judged rows: classes (seeds, n), probabilities (n, k) if any, seconds of one fit and prediction."""

    labels: np.ndarray
    proba: np.ndarray | None = None
    seconds: float | None = None


def main() -> None:
    rows, verdicts = [], []
    tasks = vote_sets()
    for task, peers in zip(tasks, peer_answers(tasks), strict=True):
        print(task.name, file=sys.stderr, flush=True)
        answers = steelyard_answers(task) | peers
        rows += [score(task, model, runs) for model, runs in answers.items()]
        verdicts += [compare(task, ours, peer, answers) for ours, peer in PAIRS if ours in answers and peer in answers]
    write_results(
        "accuracy",
        summarised(rows),
        title="Accuracy of label models on real votes (%)",
        notes=NOTES,
        peers=PEERS,
        every_row=rows,
        verdicts=verdicts,
    )
    lost = [row for row in verdicts if row["verdict"] == "worse"]
    page = (RESULTS / "accuracy.md").read_text()
    page += "\n## Mean over sets\n\n" + OVERALL_NOTE + "\n\n" + table(overall(rows)) + "\n"
    for metric, title in TABLES.items():
        page += f"\n## {title}\n\n" + table(summarised(rows, metric)) + "\n"
    page += "\n## Pairs: steelyard minus peer, points of accuracy\n\n" + VERDICT_NOTE + "\n\n" + table(tally(verdicts)) + "\n"
    page += "\n## Where the peer is better beyond noise\n\n" + (table(lost) if lost else "Nowhere.") + "\n"
    write_text(RESULTS / "accuracy.md", page)
    print(table(overall(rows)), table(tally(verdicts)), table(lost), sep="\n\n")


TABLES = {
    "macro_f1": "Macro-F1 (%)",
    "covered_accuracy": "Accuracy on covered rows (%)",
    "ece": "Expected calibration error (points, 15 equal-mass bins, covered rows)",
    "log_loss": "Log-loss (covered rows)",
    "seconds": "Seconds for one fit and prediction",
}
NOTES = (
    "Accuracy on the rows to be judged, all rows counted. Where a set has other rows they are used for fitting (youtube, sms, trec, "
    "yoruba, hausa, census: train; chemprot: valid), otherwise the judged rows' own votes are (spouse, bluebirds, legal = mean of 20 "
    "coding tasks answered by nine language models); labels are never used for fitting. crowd-kit cannot predict new rows, so it also "
    "sees the unlabelled test votes. A row on which nobody votes gets the class prior from steelyard and, for every peer, that peer's "
    "most frequent answer. Stochastic peers: mean ± standard deviation of 3 seeds; ties of Snorkel's voters are broken at random. "
    "crowd-kit's GLAD and MACE need minutes on all but the smallest sets and run on those with at most 5,000 votes, its KOS on two "
    "classes. Seconds are those of one process with one thread."
)
VERDICT_NOTE = (
    "A pair differs when the 95 % paired bootstrap interval over the judged rows (2,000 resamples, seeds averaged) excludes zero."
)


def steelyard_answers(task: VoteSet) -> dict[str, Answer]:
    """Every model with its defaults, `select`, and an independent Dawid-Skene."""
    answers = {}
    k = task.fit.n_classes
    # Snorkel's LabelModel takes the class prior as uniform unless it is told: the same here.
    uniform = {"MeTaL, uniform prior": lambda: label_models.MeTaL(class_prior=np.full(k, 1 / k))}
    for name, make in (MODELS | uniform).items():
        began = perf_counter()
        model = make().fit(task.fit)
        labels = model.predict(task.test)[None]
        answers[name] = Answer(labels, seconds=perf_counter() - began, proba=model.predict_proba(task.test))
    began = perf_counter()
    chosen = label_models.select(task.fit)
    answers["select"] = Answer(chosen.predict(task.test)[None], seconds=perf_counter() - began, proba=chosen.predict_proba(task.test))
    reference = posteriors(task.test.codes, *dawid_skene(task.fit.codes, k))
    answers["reference DawidSkene (WRENCH's settings)"] = Answer(reference.argmax(axis=1)[None], reference)
    return answers


def peer_answers(tasks: list[VoteSet]) -> list[dict[str, Answer]]:
    """Per set the (seeds, n) predictions of every peer's models, each peer in its own environment."""
    answers: list[dict[str, Answer]] = [{} for _ in tasks]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, task in enumerate(tasks):
            np.savez(folder / f"{i:03d}.npz", fit=task.fit.codes, test=task.test.codes, n_classes=task.fit.n_classes)
        for peer in PEERS:
            print(peer, file=sys.stderr, flush=True)
            run_peer(peer, "vote_accuracy.py", peer, folder, threads=1)  # the matrices are too small for more
            for i, task in enumerate(tasks):
                with np.load(folder / peer / f"{i:03d}.npz") as stored:
                    for model in (name for name in stored.files if " " not in name):
                        labels = np.stack([filled(run, ~task.test.coverage) for run in stored[model]])
                        proba = stored.get(f"{model} proba")
                        seconds = float(stored[f"{model} seconds"][0]) if f"{model} seconds" in stored else None
                        answers[i][f"{peer} {model}"] = Answer(labels, proba, seconds)
    return answers


def filled(predictions: np.ndarray, uncovered: np.ndarray) -> np.ndarray:
    """Undecided and uncovered rows get the most frequent answer."""
    undecided = uncovered | (predictions < 0)
    return np.where(undecided, np.bincount(predictions[~undecided]).argmax(), predictions)


def score(task: VoteSet, model: str, answer: Answer) -> dict:
    """Mean and spread over seeds of the three metrics of labels; log-loss and calibration error of the first seed's probabilities."""
    covered, runs = task.test.coverage, answer.labels
    metrics = {
        "accuracy": [(run == task.labels).mean() for run in runs],
        "macro_f1": [f1_score(task.labels, run, average="macro", zero_division=0) for run in runs],
        "covered_accuracy": [(run == task.labels)[covered].mean() for run in runs],
    }
    spread = {f"{name}_sd": float(np.std(values)) for name, values in metrics.items()}
    row = {name: float(np.mean(values)) for name, values in metrics.items()} | spread
    if answer.proba is not None:
        # A crowd library gives no probability of a class that nobody named, nor of a row it left out.
        known = covered & np.isfinite(answer.proba).any(axis=1)
        p = np.clip(np.nan_to_num(answer.proba[known]), 1e-6, 1)
        p /= p.sum(axis=1, keepdims=True)
        row["ece"] = float(evaluation.expected_calibration_error(task.labels[known], p))
        row["log_loss"] = float(evaluation.log_loss(task.labels[known], p))
    if answer.seconds is not None:
        row["seconds"] = answer.seconds
    return {"set": task.name, "protocol": task.protocol, "rows": len(task.labels), "model": model, "seeds": len(runs), **row}


def compare(task: VoteSet, ours: str, peer: str, answers: dict[str, Answer]) -> dict:
    """Paired bootstrap of the difference in accuracy."""
    gain = (answers[ours].labels == task.labels).mean(axis=0) - (answers[peer].labels == task.labels).mean(axis=0)
    rng = np.random.default_rng(0)
    means = [gain[rng.integers(0, len(gain), len(gain))].mean() for _ in range(2000)]
    low, high = np.quantile(means, [0.025, 0.975])
    verdict = "better" if low > 0 else "worse" if high < 0 else "within noise"
    return {
        "set": task.name,
        "steelyard": ours,
        "peer": peer,
        "points": 100 * float(gain.mean()),
        "low": 100 * low,
        "high": 100 * high,
        "verdict": verdict,
    }


def summarised(rows: list[dict], metric: str = "accuracy") -> list[dict]:
    """One line per model, one column per set; the legal tasks become one column, their mean."""
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        library = "steelyard" if " " not in model else ""
        line = {"model": f"**{model}**" if library else model}
        line |= {row["set"]: cell(row, metric) for row in own if not row["set"].startswith("legal/")}
        legal = [row[metric] for row in own if row["set"].startswith("legal/") and metric in row]
        line["legal"] = shown(float(np.mean(legal)), metric) if legal else ""
        lines.append(line)
    columns = list(dict.fromkeys(key for line in lines for key in line))
    return [{column: line.get(column, "") for column in columns} for line in lines]


def cell(row: dict, metric: str) -> str:
    if metric not in row:
        return ""
    spread = f" ± {100 * row[metric + '_sd']:.1f}" if row["seeds"] > 1 and metric + "_sd" in row else ""
    return shown(row[metric], metric) + spread


def shown(value: float, metric: str) -> str:
    """Shares in percent, log-loss and seconds as they are."""
    return f"{value:.3g}" if metric in ("log_loss", "seconds") else f"{100 * value:.1f}"


OVERALL_NOTE = (
    "Every set counts once, each legal task too. Rank: of all steelyard's models on a set by accuracy, 1 is best. Regret: points of "
    "accuracy below the best fixed model of the set. Worst over vote: how far the model falls below the majority vote on some set."
)


def overall(rows: list[dict]) -> list[dict]:
    """Per model of ours: means over sets, mean rank, regret, and the worst case against the majority vote."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    ours = [*MODELS, "select"]
    found = {(row["model"], row["set"]): row for row in rows}
    accuracy = np.array([[found[model, name]["accuracy"] for name in sets] for model in ours])
    ranks = np.array([[(column > value).sum() + ((column == value).sum() + 1) / 2 for value in column] for column in accuracy.T]).T
    regret = accuracy[:-1].max(axis=0) - accuracy
    lines = []
    for i, model in enumerate(ours):
        own = [found[model, name] for name in sets]
        over_vote = 100 * (accuracy[i] - accuracy[ours.index("MajorityVote")])
        lines.append(
            {
                "model": f"**{model}**",
                "accuracy": 100 * float(accuracy[i].mean()),
                "macro-F1": 100 * float(np.mean([row["macro_f1"] for row in own])),
                "mean rank": float(ranks[i].mean()),
                "mean regret": 100 * float(regret[i].mean()),
                "worst over vote": f"{over_vote.min():+.1f}",
                "best over vote": f"{over_vote.max():+.1f}",
                "ECE": 100 * float(np.mean([row["ece"] for row in own])),
                "log-loss": float(np.mean([row["log_loss"] for row in own])),
                "seconds in all": float(np.sum([row["seconds"] for row in own])),
            }
        )
    return sorted(lines, key=lambda line: line["mean rank"])


def tally(verdicts: list[dict]) -> list[dict]:
    """Per pair: how often better, within noise, worse, and the mean difference."""
    lines = []
    for ours, peer in PAIRS:
        own = [row for row in verdicts if (row["steelyard"], row["peer"]) == (ours, peer)]
        if own:
            counts = {verdict: sum(row["verdict"] == verdict for row in own) for verdict in ("better", "within noise", "worse")}
            lines.append(
                {"steelyard": ours, "peer": peer, "sets": len(own), **counts, "mean points": float(np.mean([row["points"] for row in own]))}
            )
    return lines


if __name__ == "__main__":
    warnings.simplefilter("ignore", UserWarning)  # of sources that say too little; the table shows what comes of it
    main()
