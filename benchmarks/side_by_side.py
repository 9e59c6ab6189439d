"""Answers of the peers' label models on sets of votes, and what differs between two of them: shared by the accuracy and parity tables."""

import ast
import hashlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from peers import HERE, REQUIREMENTS, peers_root, run_peer
from sklearn.metrics import f1_score
from vote_sets import VoteSet

RESAMPLES = 2000
SCRIPT = HERE / "sides" / "vote_accuracy.py"


@dataclass
class Answer:
    """What a model says of the judged rows: classes (seeds, n), probabilities (n, k) if any, seconds of one fit and prediction.

    Where asked for, also what it learned, P(source j says l | class c) as (m, k, k) or with silence last, and its final loss.
    """

    labels: np.ndarray
    proba: np.ndarray | None = None
    seconds: float | None = None
    parameters: np.ndarray | None = None
    loss: float | None = None


def peer_answers(task: VoteSet, peers: tuple[str, ...]) -> dict[str, Answer]:
    """Answers of every peer's models, each peer in its own environment; -1 where a peer does not decide.

    They are kept beside the peers' environments, by a hash of the votes and of what computes them, so that a broken run goes on and the
    tables that need them share one run. "PEER:VARIANT" is another function of the side script in that peer's environment.
    """
    answers = {}
    for peer in peers:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            library, _, variant = peer.partition(":")
            balance = np.bincount(task.labels, minlength=task.fit.n_classes) / len(task.labels)
            np.savez(folder / "votes.npz", fit=task.fit.codes, test=task.test.codes, n_classes=task.fit.n_classes, balance=balance)
            recipe = f"{REQUIREMENTS[library]} {_side(peer)} {task.fit.n_classes} {task.fit.shape}".encode()
            recipe += balance.tobytes() if variant else b""
            key = hashlib.sha256(recipe + task.fit.codes.tobytes() + task.test.codes.tobytes()).hexdigest()[:20]
            kept = peers_root() / "answers" / library / f"{key}.npz"
            if not kept.exists():
                print(f"  {peer} on {task.name}", file=sys.stderr, flush=True)
                run_peer(library, SCRIPT.name, peer, folder, threads=1)  # the matrices are too small for more
                kept.parent.mkdir(parents=True, exist_ok=True)
                draft = kept.with_name(f"{kept.stem}.{os.getpid()}.part")
                draft.write_bytes((folder / "answers" / "votes.npz").read_bytes())
                draft.replace(kept)
        with np.load(kept) as stored:
            for model in (name for name in stored.files if " " not in name):
                seconds = float(stored[f"{model} seconds"][0]) if f"{model} seconds" in stored else None
                loss = float(stored[f"{model} loss"][0]) if f"{model} loss" in stored else None
                parameters = stored.get(f"{model} parameters")
                answers[f"{library} {model}"] = Answer(stored[model], stored.get(f"{model} proba"), seconds, parameters, loss)
    return answers


def _side(peer: str) -> str:
    """What of the side script computes a peer's answers: its function and the constants named there."""
    tree = ast.parse(SCRIPT.read_text())
    name = peer.replace("-", "_").replace(":", "_")
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    named = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    constants = [node for node in tree.body if isinstance(node, ast.Assign) and {ast.unparse(t) for t in node.targets} & named]
    return "\n".join(map(ast.unparse, [*constants, function]))


def filled(predictions: np.ndarray, uncovered: np.ndarray) -> np.ndarray:
    """Undecided and uncovered rows get the most frequent answer."""
    undecided = uncovered | (predictions < 0)
    return np.where(undecided, np.bincount(predictions[~undecided]).argmax(), predictions)


def difference(
    truth: np.ndarray, ours: np.ndarray, theirs: np.ndarray, measure: str = "accuracy", resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """Points between two labellings (seeds, n), means over seeds, with the paired 95 % bootstrap interval over rows and seeds.

    Rows with the same truth and answers are drawn together, so that a resample costs no more than there are kinds of rows.
    """
    kinds, counts = np.unique(np.vstack([truth, ours, theirs]), axis=1, return_counts=True)
    rng = np.random.default_rng(0)
    weights = np.vstack([counts, rng.multinomial(len(truth), counts / len(truth), size=resamples)]).astype(float)
    scores = {"accuracy": _weighted_accuracy, "macro-F1": _weighted_macro_f1}[measure]
    sides = []
    for side in np.split(kinds[1:], [len(ours)]):
        by_run = np.stack([scores(kinds[0], run, weights) for run in side], axis=1)
        drawn = rng.integers(0, len(side), size=(resamples, len(side)))
        sides.append(np.append(by_run[0].mean(), np.take_along_axis(by_run[1:], drawn, axis=1).mean(axis=1)))
    gain = 100 * (sides[0] - sides[1])
    low, high = np.quantile(gain[1:], [0.025, 0.975])
    return float(gain[0]), float(low), float(high)


def _weighted_accuracy(truth: np.ndarray, said: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(r,) accuracy under every weighting (r, kinds) of the rows."""
    return np.asarray(weights @ (truth == said) / weights.sum(axis=1))


def _weighted_macro_f1(truth: np.ndarray, said: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(r,) macro-F1 under every weighting (r, kinds) of the rows, over the classes that occur or are said."""
    found = []
    for k in np.unique(np.concatenate([truth, said])):
        size = weights @ ((truth == k).astype(float) + (said == k))
        hits = 2 * weights @ ((truth == k) & (said == k))
        found.append(np.divide(hits, size, out=np.full(len(size), np.nan), where=size > 0))
    return np.asarray(np.nanmean(found, axis=0))


def verdict(low: float, high: float) -> str:
    """What a 95 % interval of the difference says."""
    return "better" if low > 0 else "worse" if high < 0 else "within noise"


def macro_f1(truth: np.ndarray, said: np.ndarray) -> float:
    return float(f1_score(truth, said, average="macro", zero_division=0))
