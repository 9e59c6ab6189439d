"""Fits that do not fit elsewhere: 100,000,000 × 20 votes from Parquet, 1,461 classes, 1,200 sources. Time and peak memory (Linux)."""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import write_results
from peers import HERE, run_json

from steelyard import Votes

ROWS_PER_FILE = 1_000_000
LIMITS = {"from_parquet": (None, 1.5), "many_classes": (10.0, 4.0), "many_sources": (60.0, 4.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100, help="files of a million rows each (about 10 MB)")
    files = parser.parse_args().files
    rows = []
    for what, shape in (("many_classes", "300,000 × 15, 1,461 classes"), ("many_sources", "100,000 × 1,200, 56 classes")):
        rows += [line(what, shape, model, run(what, model)) for model in ("MajorityVote", "DawidSkene")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for done in sorted({max(1, files // 10), files}):
            for i in range(len(list(folder.glob("*.parquet"))), done):
                write_part(folder, i)
            for model in ("MeTaL", "TripletModel", "DawidSkene"):
                rows.append(
                    line("from_parquet", f"{done},000,000 × 20 from {done} Parquet files", model, run("from_parquet", folder, model))
                )
    write_results(
        "scale",
        rows,
        title="Fits at scale",
        notes="Every fit in a fresh process. Peak memory is that of the whole process, imports and votes included (the latter two tables "
        "hold theirs in memory). 20 keyword-like rules of two classes, each firing on about a tenth of the rows; seconds include reading "
        "the files. Accuracy on the first file, or on covered rows. Snorkel's LabelModel was not run here: it makes a one-hot matrix "
        "of rows by (sources × classes), 54 GB for 1,200 sources of 56 classes.",
    )


def write_part(folder: Path, i: int) -> None:
    rng = np.random.default_rng(i)
    truth = (rng.random(ROWS_PER_FILE) < 0.4).astype(np.int8)
    codes = np.full((ROWS_PER_FILE, 20), -1, dtype=np.int8, order="F")
    for j in range(20):
        label = j % 2
        fires = rng.random(ROWS_PER_FILE, dtype=np.float32) < np.where(truth == label, 0.1 + 0.01 * j, 0.03).astype(np.float32)
        codes[fires, j] = label
    Votes(codes, classes=["HAM", "SPAM"]).to_parquet(folder / f"{i:04d}.parquet")
    if i == 0:
        np.save(folder / "0000.npy", truth)


def run(operation: str, *arguments: object) -> dict:
    answer = run_json(sys.executable, HERE / "sides" / "scale_side.py", operation, *arguments)
    print(operation, *arguments, answer, file=sys.stderr, flush=True)
    return answer


def line(what: str, shape: str, model: str, answer: dict) -> dict:
    seconds, gigabytes = LIMITS[what]
    within = answer["peak"] / 1e9 <= gigabytes and (seconds is None or answer["seconds"] <= seconds)
    return {
        "votes": shape,
        "model": model,
        "fit seconds": answer["seconds"],
        "predict seconds": answer.get("predict", ""),
        "peak GB": answer["peak"] / 1e9,
        "limit": f"{gigabytes:g} GB" + ("" if seconds is None else f", {seconds:g} s"),
        "within": "yes" if within else "no",
        "accuracy": answer["accuracy"],
        "rows a second": round(answer["rows"] / answer["seconds"]),
    }


if __name__ == "__main__":
    main()
