"""Label accuracy on real votes: every core label model beside its peer. Needs `STEELYARD_DATA`."""

import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import RESULTS, table, write_results, write_text
from peers import run_peer
from reference_em import dawid_skene, posteriors
from sklearn.metrics import f1_score
from vote_sets import VoteSet, vote_sets

from steelyard import label_models

PEERS = ("snorkel", "crowd-kit", "cleanlab")
# (ours, peer): the question is whether ours is at least as accurate within the noise of the test rows.
PAIRS = [
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
    page += "\n## Macro-F1 (%)\n\n" + table(summarised(rows, "macro_f1")) + "\n"
    page += "\n## Accuracy on covered rows (%)\n\n" + table(summarised(rows, "covered_accuracy")) + "\n"
    page += "\n## Pairs: steelyard minus peer, points of accuracy\n\n" + VERDICT_NOTE + "\n\n" + table(tally(verdicts)) + "\n"
    page += "\n## Where the peer is better beyond noise\n\n" + (table(lost) if lost else "Nowhere.") + "\n"
    write_text(RESULTS / "accuracy.md", page)
    print(table(tally(verdicts)), table(lost), sep="\n\n")


NOTES = (
    "Accuracy on the rows to be judged, all rows counted. Where a set has other rows they are used for fitting (youtube, sms, trec, "
    "yoruba, hausa, census: train; chemprot: valid), otherwise the judged rows' own votes are (spouse, bluebirds, legal = mean of 20 "
    "coding tasks answered by nine language models); labels are never used for fitting. crowd-kit cannot predict new rows, so it also "
    "sees the unlabelled test votes. A row on which nobody votes gets the class prior from steelyard and, for every peer, that peer's "
    "most frequent answer. Stochastic peers: mean ± standard deviation of 3 seeds; ties of Snorkel's voters are broken at random. "
    "crowd-kit's GLAD and MACE are left out for their running time."
)
VERDICT_NOTE = (
    "A pair differs when the 95 % paired bootstrap interval over the judged rows (2,000 resamples, seeds averaged) excludes zero."
)


def steelyard_answers(task: VoteSet) -> dict[str, np.ndarray]:
    """(1, n) predictions of every core model, and of an independent Dawid-Skene."""
    answers = {}
    for name in ("MajorityVote", "DawidSkene", "MeTaL", "TripletModel"):
        answers[name] = getattr(label_models, name)().fit(task.fit).predict(task.test)[None]
    # Snorkel's LabelModel takes the class prior as uniform unless it is told: the same here.
    k = task.fit.n_classes
    answers["MeTaL, uniform prior"] = label_models.MeTaL(class_prior=np.full(k, 1 / k)).fit(task.fit).predict(task.test)[None]
    answers["select"] = label_models.select(task.fit).predict(task.test)[None]
    answers["reference DawidSkene (WRENCH's settings)"] = posteriors(task.test.codes, *dawid_skene(task.fit.codes, k)).argmax(axis=1)[None]
    return answers


def peer_answers(tasks: list[VoteSet]) -> list[dict[str, np.ndarray]]:
    """Per set the (seeds, n) predictions of every peer's models, each peer in its own environment."""
    answers: list[dict[str, np.ndarray]] = [{} for _ in tasks]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, task in enumerate(tasks):
            np.savez(folder / f"{i:03d}.npz", fit=task.fit.codes, test=task.test.codes, n_classes=task.fit.n_classes)
        for peer in PEERS:
            print(peer, file=sys.stderr, flush=True)
            run_peer(peer, "vote_accuracy.py", peer, folder, threads=1)  # the matrices are too small for more
            for i, task in enumerate(tasks):
                with np.load(folder / peer / f"{i:03d}.npz") as stored:
                    answers[i] |= {
                        f"{peer} {model}": np.stack([filled(run, ~task.test.coverage) for run in stored[model]]) for model in stored.files
                    }
    return answers


def filled(predictions: np.ndarray, uncovered: np.ndarray) -> np.ndarray:
    """Undecided and uncovered rows get the most frequent answer."""
    undecided = uncovered | (predictions < 0)
    return np.where(undecided, np.bincount(predictions[~undecided]).argmax(), predictions)


def score(task: VoteSet, model: str, runs: np.ndarray) -> dict:
    """Mean and spread over seeds of the three metrics."""
    covered = task.test.coverage
    metrics = {
        "accuracy": [(run == task.labels).mean() for run in runs],
        "macro_f1": [f1_score(task.labels, run, average="macro", zero_division=0) for run in runs],
        "covered_accuracy": [(run == task.labels)[covered].mean() for run in runs],
    }
    spread = {f"{name}_sd": float(np.std(values)) for name, values in metrics.items()}
    means = {name: float(np.mean(values)) for name, values in metrics.items()}
    return {"set": task.name, "protocol": task.protocol, "rows": len(task.labels), "model": model, "seeds": len(runs), **means, **spread}


def compare(task: VoteSet, ours: str, peer: str, answers: dict[str, np.ndarray]) -> dict:
    """Paired bootstrap of the difference in accuracy."""
    gain = (answers[ours] == task.labels).mean(axis=0) - (answers[peer] == task.labels).mean(axis=0)
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
        legal = [row[metric] for row in own if row["set"].startswith("legal/")]
        line["legal"] = f"{100 * np.mean(legal):.1f}" if legal else ""
        lines.append(line)
    columns = list(dict.fromkeys(key for line in lines for key in line))
    return [{column: line.get(column, "") for column in columns} for line in lines]


def cell(row: dict, metric: str) -> str:
    spread = f" ± {100 * row[metric + '_sd']:.1f}" if row["seeds"] > 1 else ""
    return f"{100 * row[metric]:.1f}{spread}"


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
    main()
