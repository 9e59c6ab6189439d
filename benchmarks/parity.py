"""Every label model with its peer's settings beside that peer: does a difference come from settings or from the algorithm?

`accuracy.py` compares defaults; here prior, iterations, smoothing, starting point and the rule for ties are the peer's wherever ours can be
set so. Needs `STEELYARD_DATA`.
"""

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import ner_accuracy
import numpy as np
import reference_em
from better_fit import FITS, SETTLED_TOLD, TOLD, likelihoods, other_fits, told_fits, told_text
from harness import RESULTS, table, write_results, write_text
from side_by_side import RESAMPLES, Answer, difference, peer_answers, verdict
from vote_sets import VoteSet, token_sets, vote_sets

from steelyard import Votes, datasets, label_models
from steelyard.evaluation.sequences import span_scores, spans_from_bio
from steelyard.label_models import LabelModel

PEERS = ("snorkel", "snorkel:parameters", "crowd-kit", "cleanlab", "flyingsquid:parameters")
LIBRARIES = [*dict.fromkeys(peer.split(":")[0] for peer in PEERS), "skweak"]
SEEDS = range(5)
# Peers whose weights are learned from votes in which ties go to one class: with the classes in another order they answer differently.
ORDERED = ("crowd-kit Wawa", "crowd-kit ZeroBasedSkill")
WRENCH, SETTLED = "WRENCH DawidSkene (reference)", "WRENCH DawidSkene (reference, settled)"


@dataclass(frozen=True)
class Twin:
    """A model of ours with the settings of a peer's.

    make: given the votes, a seed and the class balance of the judged rows. rows: on which the peer is fitted. seeded: ours draws, for
    ties or starts, and runs with every seed.
    """

    ours: str
    peer: str
    make: Callable[[Votes, int, np.ndarray], LabelModel]
    tie: Literal["lowest", "first", "rarest", "random", "prior"] = "lowest"
    rows: Literal["fit", "judged", "both"] = "both"
    seeded: bool = False


def uniform(votes: Votes) -> np.ndarray:
    return np.full(votes.n_classes, 1 / votes.n_classes)


def votes_per_row(votes: Votes) -> float:
    return float((votes.codes >= 0).sum() / votes.n_rows)


def gain_per_vote(votes: Votes, kind: Literal["full", "one-coin"]) -> LabelModel:
    """crowd-kit stops on the gain per vote, ours on the gain per row."""
    return label_models.DawidSkene(kind, abstain="ignore", prior=None, max_iter=100, tol=1e-5 * votes_per_row(votes))


MT, TM = label_models.MeTaL, label_models.TripletModel
TWINS = [
    Twin("MajorityVote, ties at random", "snorkel MajorityLabelVoter", lambda v, s, b: label_models.MajorityVote(), "random", "fit", True),
    Twin("MajorityVote, ties to the class seen first", "crowd-kit MajorityVote", lambda v, s, b: label_models.MajorityVote(), "first"),
    Twin(
        "MajorityVote, ties to the rarest class",
        "cleanlab get_majority_vote_label",
        lambda v, s, b: label_models.MajorityVote(),
        "rarest",
        "judged",
    ),
    Twin("DawidSkene, as crowd-kit", "crowd-kit DawidSkene", lambda v, s, b: gain_per_vote(v, "full")),
    Twin("DawidSkene one-coin, as crowd-kit", "crowd-kit OneCoinDawidSkene", lambda v, s, b: gain_per_vote(v, "one-coin")),
    *(
        Twin(
            "DawidSkene, as WRENCH",
            peer,
            lambda v, s, b: label_models.DawidSkene(abstain="model", prior=None, max_iter=5000, tol=1e-9),
            rows="fit",
        )
        for peer in (WRENCH, SETTLED)
    ),
    *(
        Twin("MeTaL, uniform prior, no belief", peer, lambda v, s, b: MT(class_prior=uniform(v), prior_strength=0), rows="fit")
        for peer in ("snorkel LabelModel", "snorkel LabelModel-10000-steps")
    ),
    *(Twin("MeTaL, told the balance", peer, lambda v, s, b: MT(class_prior=b), rows="fit") for peer in (TOLD, SETTLED_TOLD)),
    *(
        Twin("MeTaL, told the balance, exact", peer, lambda v, s, b: MT(class_prior=b, exact_prior=True), rows="fit")
        for peer in (TOLD, SETTLED_TOLD)
    ),
    Twin("MeTaL, uniform prior", "snorkel LabelModel", lambda v, s, b: MT(class_prior=uniform(v)), rows="fit"),
    Twin(
        "TripletModel, as FlyingSquid",
        "flyingsquid LabelModel",
        lambda v, s, b: TM("symmetric", abstain="model", class_prior=uniform(v), prior_strength=0),
        rows="fit",
    ),
    Twin(
        "TripletModel, class-conditional",
        "flyingsquid LabelModel",
        lambda v, s, b: TM(abstain="model", class_prior=uniform(v), prior_strength=0),
        rows="fit",
    ),
    Twin("GLAD", "crowd-kit GLAD", lambda v, s, b: label_models.GLAD(class_prior=uniform(v), max_iter=100, tol=1e-5 * votes_per_row(v))),
    Twin("MACE", "crowd-kit MACE", lambda v, s, b: label_models.MACE(class_prior=uniform(v), max_iter=50, seed=s), seeded=True),
    Twin("Wawa", "crowd-kit Wawa", lambda v, s, b: label_models.Wawa()),
    Twin("ZeroBasedSkill", "crowd-kit ZeroBasedSkill", lambda v, s, b: label_models.ZeroBasedSkill(tol=0)),
    Twin("KOS", "crowd-kit KOS", lambda v, s, b: label_models.KOS()),
    Twin("MMSR", "crowd-kit MMSR", lambda v, s, b: label_models.MMSR(), "prior"),
]


def main(only: str = "") -> None:
    """`only`: measure the pairs again whose name has this word, and keep the others' stored rows."""
    stored = json.loads((RESULTS / "parity.json").read_text()) if only else {}
    rows = [row for row in stored["every_row"] if only not in row["steelyard"]] if only else []
    told = stored["told_fits"] if only and only not in "MeTaL, told the balance" else []
    for task in vote_sets() + token_sets():
        print(task.name, file=sys.stderr, flush=True)
        answers = peer_answers(task, PEERS)
        peers = {name: answer.labels for name, answer in answers.items()}
        for twin in (twin for twin in TWINS if only in twin.ours):
            if twin.peer == WRENCH and not task.name.endswith(" tokens"):
                peers[WRENCH] = wrench(task, 1e-5)
            if twin.peer == SETTLED and rows[-1]["peer"] == WRENCH and rows[-1]["verdict"] == "worse":
                peers[SETTLED] = wrench(task, 1e-8)
            if twin.peer in peers:
                rows.append(compare(task, twin, peers[twin.peer]))
                rows[-1] |= learned(task, twin, answers, rows[-1])
        if TOLD in answers and only in "MeTaL, told the balance":
            points = {
                row["peer"]: row["points"] for row in rows if row["set"] == task.name and row["steelyard"] == "MeTaL, told the balance"
            }
            told.append(told_fits(task, answers, gold_balance(task), points))
    rows += entity_rows() if only in "SequenceHMM, MajorityVote of tags" else []
    rows.sort(key=lambda row: [*ORDER, row["steelyard"]].index(row["steelyard"]))
    write_page(rows, told)


def write_page(rows: list[dict], told: list[dict]) -> None:
    write_results(
        "parity", tally(rows), title="Label models with their peers' settings", notes=NOTES, peers=LIBRARIES, every_row=rows, told_fits=told
    )
    worse = [shown(row) for row in rows if row["verdict"] == "worse"]
    page = (RESULTS / "parity.md").read_text()
    page += "\n## Where the peer is better beyond noise\n\n" + WHY + "\n\n" + (table(worse) if worse else "Nowhere.") + "\n"
    page += "\n## MeTaL and Snorkel told the balance: who fits better\n\n" + told_text(told, rows) + "\n\n" + table(told) + "\n"
    page += "\n## Other fits whose labels differ\n\n" + FITS + "\n\n" + table(other_fits(rows)) + "\n"
    page += "\n## Every set: points (verdict, agreement of the labels)\n\n" + table(by_set(rows)) + "\n"
    write_text(RESULTS / "parity.md", page)


ORDER = list(dict.fromkeys(twin.ours for twin in TWINS))


def wrench(task: VoteSet, tolerance: float) -> np.ndarray:
    """(1, n) answers of a peer that does not install, from an independent implementation; WRENCH stops at a tolerance of 1e-5."""
    fitted = reference_em.dawid_skene(task.fit.codes, task.fit.n_classes, 5000, tolerance)
    return np.asarray(reference_em.posteriors(task.test.codes, *fitted).argmax(axis=1)[None])


def learned(task: VoteSet, twin: Twin, answers: dict[str, Answer], row: dict) -> dict:
    """How likely the votes are by ours and by the peer's parameters, where those are known and the labels differ."""
    if row["agreement"] > 99 or twin.peer not in (WRENCH, SETTLED, "flyingsquid LabelModel"):
        return {}
    if twin.peer in (WRENCH, SETTLED):
        tables, prior = reference_em.dawid_skene(task.fit.codes, task.fit.n_classes, 5000, 1e-5 if twin.peer == WRENCH else 1e-8)
        tables = np.roll(tables, -1, axis=2)
    else:
        tables, prior = answers[twin.peer].parameters, uniform(task.fit)
    return likelihoods(task, twin.make(task.fit, 0, gold_balance(task)).fit(task.fit), (tables, prior))


def compare(task: VoteSet, twin: Twin, theirs: np.ndarray) -> dict:
    """One row of the table: the difference on the rows that have a vote and the peer's answer, and how alike the labels are."""
    votes = {"fit": task.fit, "judged": task.test, "both": joined(task)}[twin.rows]
    ours = np.stack([answer(twin, votes, task, seed) for seed in (SEEDS if twin.seeded else SEEDS[:1])])
    decided = task.test.coverage & (theirs >= 0).all(axis=0)
    truth, ours, theirs = task.labels[decided], ours[:, decided], theirs[:, decided]
    # Where three quarters of the rows are of one class, accuracy is little more than how well that class is known.
    unbalanced = np.bincount(truth).max() > 0.75 * len(truth)
    points, low, high = difference(truth, ours, theirs, "macro-F1" if unbalanced else "accuracy")
    if twin.peer in ORDERED and high < 0:
        shuffled = peer_answers(task, ("crowd-kit:shuffled",))[twin.peer].labels
        theirs = np.vstack([theirs, shuffled[:, decided]])
        points, low, high = difference(truth, ours, theirs, "macro-F1" if unbalanced else "accuracy")
    row = {
        "set": task.name,
        "steelyard": twin.ours,
        "peer": twin.peer,
        "measure": "macro-F1" if unbalanced else "accuracy",
        "points": points,
        "low": low,
        "high": high,
        "verdict": verdict(low, high),
        "agreement": 100 * float(np.mean([(a == b).mean() for a in ours for b in theirs])),
    }
    if row["verdict"] == "worse" and twin.peer.split()[1].endswith(("DawidSkene", "GLAD")):
        row["our labels most like the peer's"] = after_few_steps(task, twin, votes, decided, theirs[0])
    if len(theirs) > 1:
        row["points by the peer's seeds"] = [difference(truth, ours, run[None], row["measure"], resamples=1)[0] for run in theirs]
    return row


def answer(twin: Twin, votes: Votes, task: VoteSet, seed: int) -> np.ndarray:
    test, balance = task.test, gold_balance(task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of sources that say too little; the table shows what comes of it
        if twin.tie in ("lowest", "random", "prior"):
            return twin.make(votes, seed, balance).fit(votes).predict(test, tie=twin.tie, seed=seed)
        # With the classes in the order of their votes the lowest one is the rarest; in the order of the table, the one seen first.
        said = votes.codes[votes.codes >= 0]
        counts = np.bincount(said, minlength=votes.n_classes)
        seen = [np.argmax(said == k) if counts[k] else len(said) for k in range(votes.n_classes)]
        order = np.argsort(counts if twin.tie == "rarest" else seen, kind="stable")
        votes, test = (in_order(part, order) for part in (votes, test))
        return order[twin.make(votes, seed, balance[order]).fit(votes).predict(test, tie="lowest")]


def gold_balance(task: VoteSet) -> np.ndarray:
    return np.bincount(task.labels, minlength=task.fit.n_classes) / len(task.labels)


def after_few_steps(task: VoteSet, twin: Twin, votes: Votes, decided: np.ndarray, theirs: np.ndarray) -> str:
    """After how many EM steps, far from the maximum, ours gives the labels of a peer that stops early."""
    alike = {}
    for steps in (*range(1, 21), *range(25, 101, 5)):
        model = twin.make(votes, 0, uniform(votes)).set_params(max_iter=steps, tol=-np.inf).fit(votes)
        alike[steps] = (model.predict(task.test, tie="lowest")[decided] == theirs).mean()
    best = max(alike, key=lambda steps: alike[steps])
    return f"{100 * alike[best]:.1f} % after {best} steps"


def in_order(votes: Votes, order: np.ndarray) -> Votes:
    """The same votes with the classes in another order."""
    rank = np.append(order.argsort(), -1)  # the last entry is what -1 reads
    return Votes(np.asfortranarray(rank[votes.codes]), classes=[votes.classes[k] for k in order], sources=votes.sources)


def joined(task: VoteSet) -> Votes:
    """The rows fitted on and those judged; the same rows count once."""
    if task.fit is task.test:
        return task.fit
    codes = np.asfortranarray(np.vstack([task.fit.codes, task.test.codes]))
    return Votes(codes, classes=task.fit.classes, sources=task.fit.sources)


def entity_rows() -> list[dict]:
    """Sequence models beside skweak's, by exact entities; four EM steps and no memory of the vote are its settings."""
    models = {
        "SequenceHMM, as skweak": ("skweak HMM", label_models.SequenceHMM(n_steps=4, vote_weight=0, redundancy=0.1)),
        "SequenceHMM": ("skweak HMM", label_models.SequenceHMM()),
        "MajorityVote of tags": ("skweak SequentialMajorityVoter", label_models.MajorityVote()),
    }
    rows = []
    for name, types in ner_accuracy.SETS.items():
        print(name, file=sys.stderr, flush=True)
        data = datasets.load(name)
        gold = [list(spans_from_bio(tags)) for tags in data["test"]["label"].to_list()]
        for subset, sources in ner_accuracy.source_subsets(data.votes["train"]).items():
            fit, test = (data.votes[split].select(sources) for split in ("train", "test"))
            tokens = (data[split]["tokens"].to_list() for split in ("train", "test"))
            theirs, _ = ner_accuracy.skweak_spans(*tokens, fit, test, types)
            for ours, (peer, model) in models.items():
                spans = ner_accuracy.documents(model.fit(fit).predict(test), test)
                points, low, high = ner_accuracy.f1_difference(gold, spans, theirs[peer])
                rows.append(
                    {
                        "set": f"{name}, functions: {subset}",
                        "steelyard": ours,
                        "peer": peer,
                        "measure": "entity F1",
                        "points": points,
                        "low": low,
                        "high": high,
                        "verdict": verdict(low, high),
                        "agreement": 100 * span_scores(spans, theirs[peer])["all"].f1,
                    }
                )
    return rows


def tally(rows: list[dict]) -> list[dict]:
    """Per pair: how often better, within noise, worse, mean difference and agreement."""
    lines = []
    for ours, peer in dict.fromkeys((row["steelyard"], row["peer"]) for row in rows):
        own = [row for row in rows if (row["steelyard"], row["peer"]) == (ours, peer)]
        counts = {name: sum(row["verdict"] == name for row in own) for name in ("better", "within noise", "worse")}
        means = {f"mean {key}": float(np.mean([row[key] for row in own])) for key in ("points", "agreement")}
        lines.append({"steelyard": ours, "peer": peer, "sets": len(own), **counts, **means})
    return lines


def shown(row: dict) -> dict:
    """A row of the page, without the peer's single seeds but with how many of them are ahead of ours."""
    seeds = row.get("points by the peer's seeds", [])
    ahead = f"{sum(points < 0 for points in seeds)} of {len(seeds)}" if seeds else ""
    return {key: value for key, value in row.items() if key != "points by the peer's seeds"} | {"peer's seeds ahead": ahead}


def by_set(rows: list[dict]) -> list[dict]:
    """One line per set, one column per pair."""
    marks = {"better": "better", "within noise": "·", "worse": "**worse**"}
    lines = {row["set"]: {"set": row["set"]} for row in rows}
    for row in rows:
        text = f"{row['points']:+.1f} {marks[row['verdict']]} {row['agreement']:.0f} %"
        lines[row["set"]][f"{row['steelyard']} / {row['peer']}"] = text
    return list(lines.values())


NOTES = (
    "Points: steelyard minus peer, accuracy in percent (macro-F1 where three quarters of the judged rows are of one class, entity F1 for "
    "documents), on rows with a vote and an answer of the peer, means over seeds; 95 % paired bootstrap interval over rows and seeds "
    f"(documents: over documents), {RESAMPLES:,} resamples. Agreement: share of rows on which the two labellings are the same, in percent "
    "(entities: F1 of one against the other). Ours runs with the peer's class prior, iterations, stopping rule, pseudo-counts and rule for "
    "ties, on the same rows: crowd-kit cannot predict new rows, so both are fitted on the judged rows' votes too. Peers draw with 5 seeds "
    "where they draw at all. WRENCH does not install: an independent implementation with its settings stands for it. FlyingSquid knows two "
    "classes and runs with up to twenty sources. Sets as in `accuracy.md`; of the entity sets also the tokens, for models that do not "
    "know neighbours."
)
WHY = """What was found for each pair.

- *Majority votes*: with the peer's rule for ties the labels are the same. Snorkel draws ties anew for each row, ours for each
  pattern of votes; their means agree.
- *Dawid-Skene*: crowd-kit stops early. On every set where it is ahead, ours gives its very labels after as many steps (column on
  the right) and loses them on the way to the maximum of the likelihood. WRENCH's tolerance stops on a plateau on songer_typeiss:
  run on ("settled", only where the peer is ahead) its labels are ours. On chemprot the two end at different maxima: rows without a
  vote start at the frequency of each class among the votes in ours, at equal chances in WRENCH; started alike, the labels agree.
- *MeTaL*: Snorkel takes the classes as equally frequent unless told. On sets where they are not, ours, which fits the frequency of
  every vote exactly, follows the wrong prior further. Told the balance, see "who fits better" below: Snorkel stops far from its
  minimum, near its start at accuracy 0.7, and where that start is good it is ahead; run on, it loses the lead on most of these sets. Ours
  weighs its equations by expected counts, Snorkel evenly. With `exact_prior` the confusions have the frequencies they must have, and
  the votes are likelier; labels gain on some sets and lose on others. The defaults (prior from the votes) are compared in
  `accuracy.md`. Without belief pairs leave a rotation open with three or more classes, and rules that name one class each leave more:
  Snorkel stays near its start even after 10,000 steps, ours goes where the squares are least. The belief, also 0.7, is the equal
  setting.
- *TripletModel*: rules for one class cannot be silent independently of the class, as the symmetric model has it (census).
  FlyingSquid turns the negative chances that follow positive, so that rules cast votes they never cast; ours cuts them to zero and lets the
  silence depend on the class. On census the votes are likelier under ours ("other fits" below), and the class-conditional variant, our
  default, which does not assume what fails there, is ahead. Told equal classes where one row in twelve is of the second (spouse), and
  without the belief that it has by default, that variant is far behind: what it learns more than the symmetric one hangs on the prior.
- *Wawa, ZeroBasedSkill*: in the votes that crowd-kit learns from, ties go to the class that comes first; in ours they are shared.
  Where it is ahead it ran again with rows and classes in four other orders, which count as its seeds: mostly luck of the order.
- *MMSR*: crowd-kit starts at random, and its seeds differ by several points on a set; ours starts all sources equal.
- *GLAD* on spouse: crowd-kit stops early here too; after one step of ours the labels are the same."""


if __name__ == "__main__":
    warnings.simplefilter("ignore", UserWarning)
    main(*sys.argv[1:])
