"""Ten keyword rules on 100,000 short texts: Snorkel's PandasLFApplier against steelyard's `keywords` and its plain Python functions."""

import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import best, paired_rounds, run_steelyard, speed_row, write_results
from peers import run_peer
from workloads import short_texts, write_texts

ROUNDS = 3
N_TEXTS = 100_000
KINDS = {
    "substring": "any(word in row.text.lower() for word in words)",
    "whole_word": "one compiled case-insensitive pattern with word boundaries",
}


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_texts(folder, short_texts(N_TEXTS, seed=0))
        for kind, body in KINDS.items():
            sides = {
                "snorkel": lambda kind=kind: run_peer("snorkel", "snorkel_side.py", "apply", folder, kind),
                "keywords": lambda kind=kind: run_steelyard("apply_keywords", folder, kind),
                "functions": lambda kind=kind: run_steelyard("apply_functions", folder, kind),
            }
            answers = paired_rounds(sides, ROUNDS)
            cells, share = check_equal(folder, kind)
            snorkel = best(answers["snorkel"], "seconds")
            rows += [
                speed_row(f"10 rules, {kind}: `keywords`", "PandasLFApplier", snorkel, best(answers["keywords"], "seconds"), target=150),
                speed_row(
                    f"the same rules as functions: `{body}`", "PandasLFApplier", snorkel, best(answers["functions"], "seconds"), target=5
                ),
            ]
    write_results(
        "apply_speed",
        rows,
        title="Applying ten rules to 100,000 short texts",
        notes=f"All {cells:,} votes of each kind are identical on the three sides ({share:.0%} of the cells vote). Best of {ROUNDS} rounds "
        "run in turns; every run is a fresh process, and loading the texts and importing are not timed. Functions have the same bodies "
        "on both sides, so no library can be faster than these bodies on all cores.",
        peers=["snorkel"],
    )


def check_equal(folder: Path, kind: str) -> tuple[int, float]:
    """Number of votes and share that are no abstentions; stops where a side disagrees, for then the timing means nothing."""
    votes = {side: np.load(folder / f"{side}_votes.npy") for side in ("snorkel", "keywords", "functions")}
    for side, cells in votes.items():
        if not np.array_equal(cells, votes["snorkel"]):
            sys.exit(f"{kind}: {(cells != votes['snorkel']).sum()} of {cells.size} votes of {side} differ from Snorkel's")
    return votes["snorkel"].size, float((votes["snorkel"] >= 0).mean())


if __name__ == "__main__":
    main()
