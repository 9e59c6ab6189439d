"""Every label model on real votes beside its peers: accuracy, macro-F1, log-loss, calibration, seconds. Needs `STEELYARD_DATA`."""

import sys
import warnings
from collections.abc import Callable, Iterable
from time import perf_counter

import ner_accuracy
import numpy as np
from harness import RESULTS, table, write_results, write_text
from reference_em import dawid_skene, posteriors
from side_by_side import Answer, difference, filled, macro_f1, peer_answers, verdict
from vote_sets import VoteSet, vote_sets

from steelyard import datasets, evaluation, label_models
from steelyard.evaluation.sequences import span_scores, spans_from_bio
from steelyard.label_models import LabelModel

PEERS = ("snorkel", "crowd-kit", "cleanlab", "flyingsquid")
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
    ("TripletModel", "flyingsquid LabelModel"),
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
# What `select` chooses from; SequenceHMM where there are tags.
CANDIDATES = ("MajorityVote", "DawidSkene", "MeTaL", "TripletModel", "SequenceHMM")


def main() -> None:
    rows, verdicts = [], []
    for task in vote_sets():
        print(task.name, file=sys.stderr, flush=True)
        answers = steelyard_answers(task) | peers_on(task)
        rows += [score(task, model, runs) for model, runs in answers.items()]
        verdicts += [compare(task, ours, peer, answers) for ours, peer in PAIRS if ours in answers and peer in answers]
    tagged = entity_rows()
    write_results(
        "accuracy",
        summarised(rows),
        title="Accuracy of label models on real votes (%)",
        notes=NOTES,
        peers=PEERS,
        every_row=rows,
        verdicts=verdicts,
        entity_rows=tagged,
    )
    lost = [row for row in verdicts if row["verdict"] == "worse"]
    page = (RESULTS / "accuracy.md").read_text()
    page += "\n## Mean over sets\n\n" + OVERALL_NOTE + "\n\n" + table(overall(rows)) + "\n"
    page += "\n## How `select` stands\n\n" + STANDING_NOTE + "\n\n"
    page += "Among the models that it chooses from:\n\n" + table(standings(rows + tagged, CANDIDATES)) + "\n"
    page += "\nAmong all models:\n\n" + table(standings(rows + tagged, [*MODELS, "SequenceHMM"])) + "\n"
    for metric, title in TABLES.items():
        page += f"\n## {title}\n\n" + table(summarised(rows, metric)) + "\n"
    page += "\n## Pairs: steelyard minus peer, points of accuracy\n\n" + VERDICT_NOTE + "\n\n" + table(tally(verdicts)) + "\n"
    page += "\n## Where the peer is better beyond noise\n\n" + (table(lost) if lost else "Nowhere.") + "\n"
    write_text(RESULTS / "accuracy.md", page)
    print(table(overall(rows)), table(standings(rows + tagged, CANDIDATES)), table(tally(verdicts)), table(lost), sep="\n\n")


TABLES = {
    "macro_f1": "Macro-F1 (%)",
    "covered_accuracy": "Accuracy on covered rows (%)",
    "ece": "Expected calibration error (points, 15 equal-mass bins, covered rows)",
    "log_loss": "Log-loss (covered rows)",
    "seconds": "Seconds for one fit and prediction",
}
NOTES = (
    "Accuracy on the rows to be judged, all rows counted. Where a set has other rows they are used for fitting (youtube, sms, trec, "
    "yoruba, hausa, census: train; chemprot: valid), otherwise the judged rows' own votes are (spouse, bluebirds, judgebench, hate_speech, "
    "legal = mean of 20 coding tasks answered by nine language models); labels are never used for fitting. crowd-kit cannot predict new "
    "rows, so it also sees the unlabelled test votes. A row on which nobody votes gets the class prior from steelyard and, for every peer, "
    "that peer's most frequent answer. Stochastic peers: mean ± standard deviation of 5 seeds; ties of Snorkel's voters are broken at "
    "random; its label model makes 500 steps, as in its tutorial, or 10,000 (one seed). crowd-kit's GLAD and MACE need minutes on all but "
    "the smallest sets and run on those with at most 5,000 votes, its ZeroBasedSkill, MMSR and KOS up to 300,000; KOS and FlyingSquid "
    "know two classes. Seconds are those of one process with one thread."
)
VERDICT_NOTE = "A pair differs when the 95 % paired bootstrap interval over the judged rows and the seeds (2,000 resamples) excludes zero."


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


def peers_on(task: VoteSet) -> dict[str, Answer]:
    """The peers' answers; rows that a peer leaves open get its most frequent one."""
    answers = peer_answers(task, PEERS)
    for answer in answers.values():
        answer.labels = np.stack([filled(run, ~task.test.coverage) for run in answer.labels])
    return answers


def score(task: VoteSet, model: str, answer: Answer) -> dict:
    """Mean and spread over seeds of the three metrics of labels; log-loss and calibration error of the first seed's probabilities."""
    covered, runs = task.test.coverage, answer.labels
    metrics = {
        "accuracy": [(run == task.labels).mean() for run in runs],
        "macro_f1": [macro_f1(task.labels, run) for run in runs],
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
    about = {"set": task.name, "protocol": task.protocol, "rows": len(task.labels), "model": model, "seeds": len(runs)}
    return {**about, "score": row["accuracy"], **row}


def compare(task: VoteSet, ours: str, peer: str, answers: dict[str, Answer]) -> dict:
    """Paired bootstrap of the difference in accuracy."""
    points, low, high = difference(task.labels, answers[ours].labels, answers[peer].labels)
    interval = {"points": points, "low": low, "high": high}
    return {"set": task.name, "steelyard": ours, "peer": peer, **interval, "verdict": verdict(low, high)}


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
STANDING_NOTE = (
    "All sets of this page and the two entity sets, each counted once. Score: accuracy, on the entity sets exact entity F1. Rank, regret "
    "and worst over vote as above, among the models of the table; SequenceHMM competes on the entity sets, the only ones with neighbours. "
    "`select` sees no label. On hate_speech the gold label is the vote itself, so that leaving it can only lose."
)


def overall(rows: list[dict]) -> list[dict]:
    """Per model of ours: means over sets, mean rank, regret, and the worst case against the majority vote."""
    lines = []
    for line in standings([row | {"score": row["accuracy"]} for row in rows], MODELS):
        own = [row for row in rows if row["model"] == line["model"].strip("*")]
        means = {
            "macro-F1": 100 * float(np.mean([row["macro_f1"] for row in own])),
            "ECE": 100 * float(np.mean([row["ece"] for row in own])),
            "log-loss": float(np.mean([row["log_loss"] for row in own])),
            "seconds in all": float(np.sum([row["seconds"] for row in own])),
        }
        lines.append({("accuracy" if key == "score" else key): value for key, value in line.items()} | means)
    return lines


def standings(rows: list[dict], fixed: Iterable[str]) -> list[dict]:
    """Of `select` and fixed models: mean score, rank and regret over the sets on which a model runs, and the extremes over the vote."""
    sets, models = list(dict.fromkeys(row["set"] for row in rows)), [*fixed, "select"]
    found = {(row["model"], row["set"]): row["score"] for row in rows}
    scores = np.array([[found.get((model, name), np.nan) for name in sets] for model in models])
    better = (scores[None] > scores[:, None]).sum(axis=1)
    ranks = np.where(np.isnan(scores), np.nan, better + ((scores[None] == scores[:, None]).sum(axis=1) + 1) / 2)
    regret = np.nanmax(scores[:-1], axis=0) - scores
    over_vote = 100 * (scores - scores[models.index("MajorityVote")])
    lines = [
        {
            "model": f"**{model}**",
            "sets": int(np.isfinite(scores[i]).sum()),
            "score": 100 * float(np.nanmean(scores[i])),
            "mean rank": float(np.nanmean(ranks[i])),
            "mean regret": 100 * float(np.nanmean(regret[i])),
            "worst over vote": f"{np.nanmin(over_vote[i]):+.1f}",
            "best over vote": f"{np.nanmax(over_vote[i]):+.1f}",
        }
        for i, model in enumerate(models)
    ]
    return sorted(lines, key=lambda line: line["mean rank"])


def entity_rows() -> list[dict]:
    """steelyard's models on the entity sets, fitted on training documents and judged by exact entities of test documents."""
    rows = []
    sequence: dict[str, Callable[[], LabelModel]] = {"SequenceHMM": label_models.SequenceHMM}
    for name in ner_accuracy.SETS:
        print(name, file=sys.stderr, flush=True)
        data = datasets.load(name)
        sources = ner_accuracy.source_subsets(data.votes["train"])["all"]
        fit, test = (data.votes[split].select(sources) for split in ("train", "test"))
        gold = [list(spans_from_bio(tags)) for tags in data["test"]["label"].to_list()]
        fitted = {model: make().fit(fit) for model, make in (MODELS | sequence).items()} | {"select": label_models.select(fit)}
        for model, it in fitted.items():
            scores = span_scores(gold, ner_accuracy.documents(it.predict(test), test))["all"]
            rows.append({"set": name, "model": model, "score": scores.f1, "precision": scores.precision, "recall": scores.recall})
    return rows


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
