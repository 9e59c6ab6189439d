"""Peak memory of every operation on 1,000,000 × 20 binary votes, in multiples of the votes themselves (Linux)."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from harness import run_steelyard, write_results
from peers import run_peer
from workloads import planted_votes, write_votes

MOST = 3.0
OPERATIONS = {
    "majority_fit": None,
    "majority_predict": None,
    "majority_predict_proba": ("snorkel", "snorkel_side.py", "majority"),
    "metal_fit": ("snorkel", "snorkel_side.py", "fit"),
    "metal_predict_proba": ("snorkel", "snorkel_side.py", "predict_proba"),
    "triplet_fit": None,
    "dawid_skene_fit": None,
    "dawid_skene_predict_proba": None,
    "select": None,
    "summary": None,
}


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_votes(folder, *planted_votes(1_000_000, 20, 2, coverage=(0.2, 0.8), seed=0))
        for operation, peer in OPERATIONS.items():
            ours = measured(lambda operation=operation: run_steelyard("memory", folder, operation))
            row = {"operation": operation, "steelyard MB": ours[0], "× votes": ours[1], "within 3 ×": "yes" if ours[1] <= MOST else "no"}
            if peer:
                theirs = measured(lambda peer=peer: run_peer(*peer[:2], "memory", folder, peer[2]))
                row |= {
                    "Snorkel's": peer[2],
                    "Snorkel MB": theirs[0],
                    "Snorkel × its votes": theirs[1],
                    "MB, Snorkel : steelyard": theirs[0] / ours[0],
                }
            rows.append(row)
            print(row, flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_votes(folder, *planted_votes(100_000, 10, 2, coverage=(1.0, 1.0), seed=0))
        ours = measured(lambda: run_steelyard("memory", folder, "dawid_skene_fit"))
        theirs = measured(lambda: run_peer("crowd-kit", "crowd_kit_side.py", "memory", folder))
        row = {
            "operation": "dawid_skene_fit on 100,000 × 10",
            "steelyard MB": ours[0],
            "× votes": ours[1],
            "within 3 ×": "yes" if ours[1] <= MOST else "no",
        }
        rows.append(row | {"crowd-kit MB": theirs[0]})
    write_results(
        "memory",
        rows,
        title="Peak memory above the votes",
        notes="Growth of resident memory from just before an operation to its peak, the answer included, in a fresh process per operation "
        "that was warmed up on 1,000 rows. 1,000,000 × 20 votes are 20 MB in steelyard (int8) and 160 MB in Snorkel (int64); smallest "
        "of 3 runs.",
        peers=["snorkel", "crowd-kit"],
    )


def measured(run: Callable[[], dict]) -> tuple[float, float]:
    """Megabytes of growth, and growth over the votes' own bytes: the smallest of three runs, which leaves allocator luck out."""
    answers = [run() for _ in range(3)]
    growth, own = min(answer["growth"] for answer in answers), answers[0]["votes"]
    return growth / 1e6, growth / own


if __name__ == "__main__":
    main()
