"""The libraries steelyard is compared with: one virtual environment each, made with pip, never touching steelyard's own.

`python benchmarks/peers.py` makes all of them under `benchmarks/.venvs` (or `$STEELYARD_PEERS`) and is quick when they are present;
every benchmark calls `peer_python` itself, so running this file first is optional.
WRENCH is absent: `ws-benchmark` pins torch 1.9, which has no build for Python 3.11. Its Dawid-Skene (abstain as a symbol) is covered by the
independent row-wise implementation in `reference_em.py`.
"""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent

REQUIREMENTS = {
    "snorkel": ("torch==2.13.0", "snorkel==0.10.0", "pyarrow"),
    "crowd-kit": ("crowd-kit==1.4.2", "scikit-learn<1.8", "pyarrow"),
    "skweak": ("skweak==0.3.3", "pyarrow"),
    "cleanlab": ("cleanlab==2.9.0", "pyarrow"),
    # The last pgmpy that FlyingSquid runs with.
    "flyingsquid": ("torch==2.13.0", "flyingsquid==0.0.0a0", "pgmpy==0.1.25", "pyarrow"),
}


def peers_root() -> Path:
    """Folder that holds one virtual environment per peer."""
    return Path(os.environ.get("STEELYARD_PEERS", HERE / ".venvs"))


def peer_python(peer: str) -> Path:
    """Interpreter of the peer's environment; makes the environment when it is missing or its requirements changed."""
    requirements = REQUIREMENTS[peer]
    home = peers_root() / peer
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = home / "requirements.json"
    if stamp.exists() and json.loads(stamp.read_text()) == list(requirements):
        return python
    print(f"installing {peer}: {' '.join(requirements)}", file=sys.stderr, flush=True)
    venv.create(home, with_pip=True, clear=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
    stamp.write_text(json.dumps(list(requirements)))  # last, so that an interrupted install is repeated
    return python


def run_peer(peer: str, script: str, *arguments: object, threads: int | None = None) -> dict:
    """Run `benchmarks/sides/<script>` in the peer's environment; the script's last line of output is its JSON answer."""
    return run_json(peer_python(peer), HERE / "sides" / script, *arguments, threads=threads)


def run_json(python: Path | str, script: Path, *arguments: object, threads: int | None = None) -> dict:
    """Run one script with one interpreter, on all cores unless `threads` says otherwise, and parse the last line it prints."""
    command = [str(python), str(script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"} | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{script.name} {' '.join(map(str, arguments))} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    for name in REQUIREMENTS:
        version = subprocess.run(
            [peer_python(name), "-c", f"import importlib.metadata as m; print(m.version('{name}'))"],
            capture_output=True,
            text=True,
            check=True,
        )
        print(f"{name:10s} {version.stdout.strip():8s} ready")
