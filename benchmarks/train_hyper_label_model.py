"""Train the network of `HyperLabelModel` on synthetic vote matrices and store it in the package. Needs the torch extra.

    python benchmarks/train_hyper_label_model.py --out src/steelyard/label_models/hyper_label_model.safetensors

No real data is seen. About ten minutes of one core with the defaults, which are smaller than the paper's 2000 rows, 50 matrices
a step and ten runs.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from steelyard.label_models import hyper_network as network
from steelyard.storage import atomic_path

Pair = tuple[torch.Tensor, torch.Tensor]


def main() -> None:
    options = parser().parse_args()
    torch.set_num_threads(1)
    sets = validation_sets(100)
    runs = [train(seed, options, sets) for seed in range(options.runs)]
    best = max(runs, key=lambda run: run["validation_accuracy"])
    facts = {
        "command": " ".join(["python", "benchmarks/train_hyper_label_model.py", *sys.argv[1:]]),
        "trained_on": f"{options.batch} synthetic matrices a step of {options.rows} rows × {options.sources} sources, "
        f"at most {options.cells} cells, {options.labellings} labellings drawn for each",
        "majority_vote_validation_accuracy": vote_accuracy(sets),
        **{key: value for key, value in best.items() if key != "weights"},
        "validation_accuracy_of_all_runs": [run["validation_accuracy"] for run in runs],
    }
    with atomic_path(options.out) as draft:
        save_file({"network": best["weights"]}, draft, metadata={key: json.dumps(value) for key, value in facts.items()})
    print(json.dumps(facts, indent=1))


def parser() -> argparse.ArgumentParser:
    reads = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reads.add_argument("--out", type=Path, required=True)
    reads.add_argument("--runs", type=int, default=3)
    reads.add_argument("--steps", type=int, default=2500)
    reads.add_argument("--patience", type=int, default=1000, help="stop after so many steps without a new lowest mean loss")
    reads.add_argument("--batch", type=int, default=8, help="matrices a step")
    reads.add_argument("--labellings", type=int, default=1024, help="labellings drawn for a matrix; about a quarter is consistent")
    reads.add_argument("--rows", type=int, nargs=2, default=(100, 1000))
    reads.add_argument("--sources", type=int, nargs=2, default=(2, 60))
    reads.add_argument("--cells", type=int, default=10_000, help="rows are reduced until a matrix has no more cells than this")
    return reads


class Network(torch.nn.Module):
    """The network of `hyper_network` on dense batches (b, n, m) of votes in {-1, 0, 1}."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.matrices = torch.nn.ParameterList()
        for rows, columns in network.SHAPES:
            bound = (rows - 1) ** -0.5
            self.matrices.append(torch.nn.Parameter((2 * torch.rand(rows, columns, generator=generator) - 1) * bound))

    def forward(self, votes: torch.Tensor) -> torch.Tensor:
        spoken = (votes != 0).float()[..., None]
        in_row, in_column = spoken.sum(2).clamp(min=1), spoken.sum(1).clamp(min=1)
        hidden = votes[..., None]  # abstentions are zero throughout
        for matrix in self.matrices[: network.DEPTH]:
            own, row, column, whole, bias = matrix.split([*[hidden.shape[-1]] * 4, 1])
            by_column = hidden.sum(1)
            everything = by_column.sum(1) / spoken.sum((1, 2)).clamp(min=1)
            shared = (by_column / in_column @ column + (everything @ whole + bias)[:, None])[:, None]
            by_row = ((hidden.sum(2) / in_row) @ row)[:, :, None]
            hidden = torch.nn.functional.leaky_relu(hidden @ own + by_row + shared, network.SLOPE) * spoken
        embedded = hidden.sum(2) / in_row
        for matrix in self.matrices[network.DEPTH : -1]:
            embedded = torch.nn.functional.leaky_relu(embedded @ matrix[:-1] + matrix[-1], network.SLOPE)
        return (embedded @ self.matrices[-1][:-1] + self.matrices[-1][-1])[..., 0]

    def vector(self) -> np.ndarray:
        return np.concatenate([matrix.detach().numpy().ravel() for matrix in self.matrices])


def synthetic(rng: np.random.Generator, options: argparse.Namespace) -> Pair:
    """Votes without any structure, and the mean of many labellings drawn evenly from those that are consistent with them.

    A labelling is consistent when on either class fewer than half of the sources are wrong more often than right. The mean of many in
    place of a single one is the same loss with a fraction of its noise: a matrix tells about one bit on all its labels together.
    """
    m = int(rng.integers(options.sources[0], options.sources[1] + 1))
    n = min(int(rng.integers(options.rows[0], options.rows[1] + 1)), max(options.cells // m, options.rows[0]))
    votes = rng.integers(-1, 2, size=(n, options.batch, m)).astype(np.float32)
    labels = rng.integers(0, 2, size=(options.labellings, n)).astype(np.float32)
    for_one = np.tensordot(labels, votes, axes=1)  # (labellings, batch, m)
    worse = [for_one < 0, votes.sum(axis=0) - for_one > 0]
    consistent = np.logical_and(*[2 * wrong.sum(axis=2) < m for wrong in worse]).astype(np.float32)
    means = consistent.T @ labels / np.maximum(consistent.sum(axis=0), 1)[:, None]
    kept = consistent.any(axis=0)
    return torch.from_numpy(votes.transpose(1, 0, 2)[kept]), torch.from_numpy(means[kept])


def validation_sets(n_sets: int, n: int = 1000, m: int = 50, seed: int = 0) -> list[Pair]:
    """Conditionally independent sources, better than chance, with uneven classes, coverages and accuracies (as in the paper)."""
    rng, sets = np.random.default_rng(seed), []
    for _ in range(n_sets):
        labels = rng.random(n) < rng.random()
        sources = m - int(rng.random() * m * 0.8)
        best = 0.5 * rng.random(2)
        coverage, accuracy = rng.random((2, sources)), 0.5 + rng.random((2, sources)) * best[:, None]
        c = labels.astype(int)
        right = np.where(rng.random((n, sources)) < accuracy[c], 1, -1) * (2 * c - 1)[:, None]
        votes = np.where(rng.random((n, sources)) < coverage[c], right, 0)
        kept = votes.any(axis=1)
        sets.append((torch.from_numpy(votes[kept]).float()[None], torch.from_numpy(labels[kept]).float()[None]))
    return sets


def accuracy(model: Network, sets: list[Pair]) -> float:
    with torch.no_grad():
        return float(np.mean([((model(votes) > 0) == (labels > 0.5)).float().mean().item() for votes, labels in sets]))


def vote_accuracy(sets: list[Pair]) -> float:
    """Of the majority vote, a tie counting half."""
    return float(np.mean([(0.5 + 0.5 * torch.sign(votes.sum(2)) * (2 * labels - 1)).mean().item() for votes, labels in sets]))


def train(seed: int, options: argparse.Namespace, sets: list[Pair]) -> dict:
    """One run; its weights are those of the last step, its rank the mean accuracy over the last quarter of its evaluations."""
    rng, model = np.random.default_rng(seed), Network(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, amsgrad=True)
    losses, curve, lowest, since = [], [], np.inf, 0
    began = time.monotonic()
    for step in range(1, options.steps + 1):
        votes, labels = synthetic(rng, options)
        covered = votes.any(2)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(votes)[covered], labels[covered])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 250 == 0:
            mean = float(np.mean(losses[-1000:]))
            lowest, since = (mean, 0) if mean < lowest else (lowest, since + 250)
            curve.append((step, mean, accuracy(model, sets)))
            print(seed, *curve[-1], f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            if since >= options.patience:
                break
    return {
        "seed": seed,
        "steps": step,
        "loss": curve[-1][1],
        "validation_accuracy": float(np.mean([value for _, _, value in curve[-max(1, len(curve) // 4) :]])),
        "last_validation_accuracy": curve[-1][2],
        "weights": model.vector(),
    }


if __name__ == "__main__":
    main()
