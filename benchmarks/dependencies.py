"""One source copied ten times: does it outvote the others? Snorkel's label model, and ours. Needs `STEELYARD_DATA`."""

import sys
import tempfile
from pathlib import Path

import numpy as np
from accuracy import filled
from harness import RESULTS, table, write_results, write_text
from peers import run_peer
from vote_sets import VoteSet, vote_sets
from workloads import planted_votes

from steelyard import Votes
from steelyard.label_models import LabelModel, MeTaL, TripletModel, learn_dependencies

COPIES = 10
REAL = ("youtube", "sms", "trec", "yoruba", "hausa", "census", "chemprot", "spouse")
MODELS: dict[str, type[MeTaL] | type[TripletModel]] = {"MeTaL": MeTaL, "TripletModel": TripletModel}
# Points of accuracy by which the copied fit may differ from the copy-free one.
ALLOWED = 0.5


def main() -> None:
    sets = [task for task in vote_sets() if task.name in REAL] + simulated_sets()
    copied = [with_copies(task, most_frequent(task.fit)) for task in sets]
    snorkel = peer_answers([*sets, *copied])
    rows = []
    for i, (task, more) in enumerate(zip(sets, copied, strict=True)):
        print(task.name, file=sys.stderr, flush=True)
        peer, peer_more = (100 * (snorkel[j] == task.labels).mean() for j in (i, i + len(sets)))
        rows.append(line(task, "Snorkel LabelModel", peer, peer_more, "", ""))
        for name, model in MODELS.items():
            told, told_more = (score(model(dependencies="learn"), one) for one in (task, more))
            rows.append(line(task, f"{name}, learned", told, told_more, score(model(), task), score(model(), more)))
    write_results(
        "dependencies",
        rows,
        title="One source copied ten times: accuracy (%)",
        notes=NOTES,
        peers=["snorkel"],
        pairs=found_pairs(sets, copied),
    )
    pages = {"Copies found": found_pairs(sets, copied), "Copies that differ on one row of ten": near_copies()}
    page = (RESULTS / "dependencies.md").read_text() + "".join(f"\n## {title}\n\n{table(lines)}\n" for title, lines in pages.items())
    write_text(RESULTS / "dependencies.md", page)
    print(page)


NOTES = (
    f"The source that votes on most rows is copied {COPIES} times, exactly, in the rows fitted on and in those judged. *Change*: copied "
    f'minus copy-free, same model, same settings; required: at most {ALLOWED} points from steelyard with `dependencies="learn"`. '
    "*not told*: the same model without dependencies, copy-free and copied. It shows what learning dependencies alone does to a set: "
    "sources of real sets depend on each other without being copies, and leaving their agreement out helps some sets and harms others. "
    "Fit and judged rows as in `accuracy.md`; labels are never used for fitting. Snorkel: mean of 3 seeds, 500 epochs. Simulated: 5,000 "
    "rows, ten sources of accuracy 0.55 to 0.90."
)


def line(task: VoteSet, model: str, alone: float, copied: float, plain: float | str, plain_copied: float | str) -> dict:
    change = copied - alone
    kept = "yes" if abs(change) <= ALLOWED else "no"
    shown = [f"{value:.1f}" if value != "" else "" for value in (alone, copied, plain, plain_copied)]
    return {
        "set": task.name,
        "model": model,
        "copy-free": shown[0],
        "copied": shown[1],
        "change": f"{change:+.1f}",
        f"within {ALLOWED}": kept,
        "not told, copy-free": shown[2],
        "not told, copied": shown[3],
    }


def score(model: LabelModel, task: VoteSet) -> float:
    return 100 * float((model.fit(task.fit).predict(task.test) == task.labels).mean())


def simulated_sets() -> list[VoteSet]:
    """Independent sources, so that copies are the only dependence."""
    sets = []
    for k in (2, 4, 8):
        codes, truth = planted_votes(5000, 10, k, coverage=(0.3, 0.9), seed=k)
        votes = Votes(codes, classes=[f"class_{c}" for c in range(k)])
        sets.append(VoteSet(f"simulated, {k} classes", votes, votes, truth, "simulated"))
    return sets


def most_frequent(votes: Votes) -> int:
    return int((votes.codes >= 0).sum(axis=0).argmax())


def with_copies(task: VoteSet, source: int, differs: float = 0.0) -> VoteSet:
    """The set with copies of one source; on a share of the rows a copy takes the vote of another row."""
    rng = np.random.default_rng(0)

    def extend(votes: Votes) -> Votes:
        copies = np.repeat(votes.codes[:, [source]], COPIES, axis=1)
        other = rng.permuted(copies, axis=0)
        copies = np.where(rng.random(copies.shape) < differs, other, copies)
        names = [*votes.sources, *(f"copy_{i}" for i in range(COPIES))]
        return Votes(np.asfortranarray(np.hstack([votes.codes, copies])), classes=votes.classes, sources=names)

    fit = extend(task.fit)
    return VoteSet(task.name, fit, fit if task.test is task.fit else extend(task.test), task.labels, task.protocol)


def peer_answers(tasks: list[VoteSet]) -> list[np.ndarray]:
    """Per set the (seeds, n) predictions of Snorkel's label model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, task in enumerate(tasks):
            np.savez(folder / f"{i:03d}.npz", fit=task.fit.codes, test=task.test.codes, n_classes=task.fit.n_classes)
        run_peer("snorkel", "vote_accuracy.py", "snorkel", folder, threads=1)
        answers = []
        for i, task in enumerate(tasks):
            with np.load(folder / "snorkel" / f"{i:03d}.npz") as stored:
                answers.append(np.stack([filled(run, ~task.test.coverage) for run in stored["LabelModel"]]))
    return answers


def found_pairs(sets: list[VoteSet], copied: list[VoteSet]) -> list[dict]:
    """What `learn_dependencies` lists: in the set as it is, and with copies, of which it must find every pair."""
    lines = []
    for task, more in zip(sets, copied, strict=True):
        group = {task.fit.sources[most_frequent(task.fit)], *more.fit.sources[-COPIES:]}
        listed = learn_dependencies(more.fit)
        among = sum(pair.first in group and pair.second in group for pair in listed)
        lines.append(
            {
                "set": task.name,
                "sources": task.fit.n_sources,
                "pairs in the set": len(learn_dependencies(task.fit)),
                "pairs among the copies": f"{among} of {COPIES * (COPIES + 1) // 2}",
                "with copies": len(listed),
            }
        )
    return lines


def near_copies() -> list[dict]:
    """Simulated sets, ten copies that are not exact."""
    lines = []
    for task in simulated_sets():
        more = with_copies(task, most_frequent(task.fit), differs=0.1)
        lines.append(
            {
                "set": task.name,
                "pairs found": len(learn_dependencies(more.fit)),
                "MeTaL, copy-free": f"{score(MeTaL(), task):.1f}",
                "MeTaL, not told": f"{score(MeTaL(), more):.1f}",
                "MeTaL, learned": f"{score(MeTaL(dependencies='learn'), more):.1f}",
            }
        )
    return lines


if __name__ == "__main__":
    main()
