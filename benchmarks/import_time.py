"""How long `import steelyard` takes, beside Snorkel's and crowd-kit's imports that a user needs for the same work."""

import statistics
import subprocess
import sys
import time

from harness import write_results
from peers import peer_python

RUNS = 11
IMPORTS = {
    "import steelyard": (None, "import steelyard"),
    "steelyard: Votes and apply": (None, "import steelyard as sy; sy.Votes; sy.apply"),
    "steelyard: Votes, apply and a label model": (None, "import steelyard as sy; sy.Votes; sy.apply; sy.label_models.MeTaL"),
    "snorkel: applier and label model": (
        "snorkel",
        "from snorkel.labeling import PandasLFApplier; from snorkel.labeling.model import LabelModel",
    ),
    "crowd-kit: DawidSkene": ("crowd-kit", "from crowdkit.aggregation import DawidSkene"),
    "skweak: HMM": ("skweak", "from skweak.generative import HMM"),
}


def main() -> None:
    pythons = {peer: str(peer_python(peer)) if peer else sys.executable for peer, _ in IMPORTS.values()}
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for i in range(RUNS + 1):
        for name, (peer, statement) in IMPORTS.items():
            taken = started(pythons[peer], statement) - started(pythons[peer], "pass")
            if i:  # the first round fills the disk cache
                seconds[name].append(taken)
    rows = [
        {"import": name, "median seconds": statistics.median(values), "fastest": min(values), "slowest": max(values)}
        for name, values in seconds.items()
    ]
    rows[0] |= {"target": "< 0.3", "reached": "yes" if rows[0]["median seconds"] < 0.3 else "no"}
    write_results(
        "import_time",
        rows,
        title="Import time",
        notes=f"Wall clock of a fresh interpreter minus that of an empty one, {RUNS} rounds in turns, warm disk cache.",
        peers=["snorkel", "crowd-kit", "skweak"],
    )


def started(python: str, statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([python, "-W", "ignore", "-c", statement], check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
