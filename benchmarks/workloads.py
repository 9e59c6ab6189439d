"""Planted workloads of the speed and memory benchmarks: votes with a known truth, and short texts for keyword rules. NumPy only."""

import json
from pathlib import Path

import numpy as np

ABSTAIN = -1


def planted_votes(n_rows: int, n_sources: int, n_classes: int, coverage: tuple[float, float], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Votes (n, m) int8 and their truth (n,): accuracies spread over 0.55..0.9, coverages spread over the given range, uniform errors."""
    rng = np.random.default_rng(seed)
    class_prior = np.linspace(1.5, 1.0, n_classes)
    truth = rng.choice(n_classes, size=n_rows, p=class_prior / class_prior.sum()).astype(np.int8)
    votes = np.full((n_rows, n_sources), ABSTAIN, dtype=np.int8)
    accuracies = rng.permutation(np.linspace(0.55, 0.90, n_sources))
    coverages = rng.permutation(np.linspace(*coverage, n_sources))
    for j in range(n_sources):
        wrong = (truth + rng.integers(1, n_classes, size=n_rows, dtype=np.int8)) % n_classes
        vote = np.where(rng.random(n_rows) < accuracies[j], truth, wrong)
        votes[:, j] = np.where(rng.random(n_rows) < coverages[j], vote, ABSTAIN)
    return votes, truth


# Ten rules in the manner of a comment-spam project; each is (label, keywords). A rule fires when any of its keywords is a word of the text.
KEYWORD_RULES = [
    ("SPAM", ["subscribe", "subscribers"]),
    ("SPAM", ["check", "visit"]),
    ("SPAM", ["my channel", "my video"]),
    ("SPAM", ["free", "gift", "winner", "prize"]),
    ("SPAM", ["http", "www", "com"]),
    ("SPAM", ["please", "plz", "pls"]),
    ("HAM", ["song", "music", "lyrics"]),
    ("HAM", ["love", "amazing", "beautiful"]),
    ("HAM", ["best", "awesome", "great"]),
    ("HAM", ["voice", "dance", "remember"]),
]


def short_texts(n_rows: int, seed: int) -> list[str]:
    """Texts of 4 to 24 words from a Zipf-like vocabulary of 3,000 made-up words, with the rules' keywords strewn in and mixed case."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    made_up = ["".join(rng.choice(letters, size=length)) for length in rng.integers(2, 10, size=3000)]
    keywords = [word for _, words in KEYWORD_RULES for word in words]
    vocabulary = np.array(keywords + made_up)
    weights = np.concatenate([np.full(len(keywords), 0.25 / len(keywords)), 0.75 * zipf_weights(len(made_up))])
    lengths = rng.integers(4, 25, size=n_rows)
    words = rng.choice(vocabulary, size=int(lengths.sum()), p=weights)
    ends = np.cumsum(lengths)
    texts = [" ".join(words[end - length : end]) for length, end in zip(lengths, ends, strict=True)]
    return [text.capitalize() if i % 2 else text for i, text in enumerate(texts)]


def zipf_weights(n: int) -> np.ndarray:
    """Probabilities proportional to 1 / rank."""
    weights = 1.0 / np.arange(1, n + 1)
    return weights / weights.sum()


def write_votes(folder: Path, votes: np.ndarray, truth: np.ndarray) -> None:
    """`votes.npy` and `truth.npy`, read by every side."""
    np.save(folder / "votes.npy", votes)
    np.save(folder / "truth.npy", truth)


def write_texts(folder: Path, texts: list[str]) -> None:
    """`texts.txt`, one text a line, and `rules.json`."""
    (folder / "texts.txt").write_text("\n".join(texts))
    (folder / "rules.json").write_text(json.dumps(KEYWORD_RULES))
