"""100,000 tasks by ten workers, twenty EM iterations of Dawid-Skene: crowd-kit against steelyard with the same settings."""

import tempfile
from pathlib import Path

import numpy as np
from harness import best, median, paired_rounds, run_steelyard, speed_row, write_results
from peers import run_peer
from workloads import planted_votes, write_votes

ROUNDS = 3
CASES = [("2 classes, all vote", 2, (1.0, 1.0)), ("4 classes, all vote", 4, (1.0, 1.0)), ("4 classes, a third votes", 4, (0.1, 0.5))]


def main() -> None:
    rows = []
    for what, n_classes, coverage in CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            votes, truth = planted_votes(100_000, 10, n_classes, coverage, seed=0)
            covered = (votes >= 0).any(axis=1)  # crowd-kit knows no task without an answer
            write_votes(folder, votes[covered], truth[covered])
            sides = {
                "crowd-kit": lambda folder=folder: run_peer("crowd-kit", "crowd_kit_side.py", "dawid_skene", folder),
                "steelyard": lambda folder=folder: run_steelyard("dawid_skene", folder),
            }
            answers = paired_rounds(sides, ROUNDS)
            difference = float(np.abs(np.load(folder / "crowd_kit_proba.npy") - np.load(folder / "steelyard_proba.npy")).max())
        peer, ours = answers.values()
        target = 40 if coverage == (1.0, 1.0) else None
        for arm, field in (("`fit` + `predict_proba`", "seconds"), ("the same from the long table", "seconds_from_long")):
            row = speed_row(
                f"{what}: {arm}", "DawidSkene", best(peer, "seconds"), best(ours, field), target if field == "seconds" else None
            )
            row["largest posterior difference"] = f"{difference:.1e}"
            row["peer accuracy"], row["steelyard accuracy"] = f"{median(peer, 'accuracy'):.4f}", f"{median(ours, 'accuracy'):.4f}"
            rows.append(row)
    write_results(
        "dawid_skene_speed",
        rows,
        title="Dawid-Skene, 100,000 × 10 votes, 20 EM iterations",
        notes="Both sides run maximum likelihood from the majority vote for exactly 20 iterations, abstentions ignored; posteriors are "
        f"compared cell by cell. Best of {ROUNDS} rounds run in turns, each a fresh process. crowd-kit starts from its long table "
        "(task, worker, label); steelyard from `Votes`, and in the second line of each pair from the same long table.",
        peers=["crowd-kit"],
    )


if __name__ == "__main__":
    main()
