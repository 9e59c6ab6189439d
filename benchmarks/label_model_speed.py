"""One million rows by twenty sources, binary, half abstentions: Snorkel's voter and label model against steelyard's."""

import tempfile
from pathlib import Path

from harness import best, median, paired_rounds, run_steelyard, speed_row, write_results
from peers import run_peer
from workloads import planted_votes, write_votes

ROUNDS = 3
N_ROWS, N_SOURCES = 1_000_000, 20


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_votes(folder, *planted_votes(N_ROWS, N_SOURCES, 2, coverage=(0.2, 0.8), seed=0))
        sides = {
            "snorkel voter": lambda: run_peer("snorkel", "snorkel_side.py", "majority", folder),
            "steelyard voter": lambda: run_steelyard("majority", folder),
            "snorkel model": lambda: run_peer("snorkel", "snorkel_side.py", "label_model", folder),
            "steelyard model": lambda: run_steelyard("label_model", folder),
        }
        answers = paired_rounds(sides, ROUNDS)
    voter, our_voter, model, our_model = answers.values()
    rows = [
        speed_row("majority vote, `predict`", "MajorityLabelVoter", best(voter, "predict"), best(our_voter, "predict"), target=200),
        speed_row("majority vote, `predict_proba`", "MajorityLabelVoter", best(voter, "predict_proba"), best(our_voter, "predict_proba")),
        speed_row("MeTaL, `fit`", "LabelModel, 500 epochs", best(model, "fit"), best(our_model, "fit"), target=100),
        speed_row("MeTaL, `predict`", "LabelModel", best(model, "predict"), best(our_model, "predict"), target=100),
        speed_row("MeTaL, `predict_proba`", "LabelModel", best(model, "predict_proba"), best(our_model, "predict_proba"), target=100),
        speed_row(
            "MeTaL, `Votes` from Snorkel's int64 matrix + `fit`",
            "LabelModel, 500 epochs",
            best(model, "fit"),
            best(our_model, "fit_from_int64"),
        ),
    ]
    for row, peer, ours in zip(rows, (voter, voter, *[model] * 4), (our_voter, our_voter, *[our_model] * 4), strict=True):
        row["peer accuracy"], row["steelyard accuracy"] = f"{median(peer, 'accuracy'):.4f}", f"{median(ours, 'accuracy'):.4f}"
    write_results(
        "label_model_speed",
        rows,
        title="Majority vote and label model on 1,000,000 × 20 binary votes",
        notes="Planted truth (60 : 40), source accuracies 0.55 to 0.90, coverages 0.2 to 0.8. Every library gets the layout of its own "
        "appliers: Snorkel int64 rows, steelyard int8 columns; conversion is not timed except in the last line. Snorkel's predictions "
        f"break ties at random, steelyard's by its policy. Best of {ROUNDS} rounds run in turns, each a fresh process; accuracies are "
        "label accuracy on the planted truth.",
        peers=["snorkel"],
    )


if __name__ == "__main__":
    main()
