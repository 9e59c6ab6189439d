"""Which of two fitted models explains the votes better, by the peer's own measure and by the likelihood: for `parity.py`.

A model that fits the votes better and still labels worse has found its optimum: what is left is due to what it assumes.
"""

import numpy as np
from side_by_side import Answer
from vote_sets import VoteSet

from steelyard import Votes
from steelyard.label_models import LabelModel, MeTaL

SMALLEST = 1e-6
TOLD, SETTLED_TOLD = "snorkel LabelModel-told-the-balance", "snorkel LabelModel-told-the-balance-10000-steps"

TOLD_FITS = (
    "Squares: Snorkel's own loss, at our parameters and at its own after 500 steps (the table above) and after 10,000. Log-likelihood: "
    "mean log-probability of a judged row's votes, silence included, given the balance; the last column has the confusions counted with "
    "the gold labels, the best that sources independent given the class could be. *Ours exact* is MeTaL with `exact_prior=True`. Where "
    "ours is behind beyond noise:"
)
FITS = (
    "Mean log-probability of a row that both were fitted on, silence included: by which parameters the votes are likelier. Maximum "
    "likelihood has many maxima; FlyingSquid's method of moments maximises none."
)


def snorkel_squares(votes: Votes, spoken: np.ndarray, balance: np.ndarray) -> float:
    """What Snorkel's LabelModel minimises: the squares of (O - μ diag(p) μᵀ) between sources and of (μ p - diag O), without weights.

    spoken: (m, k, k) P(source j says l | class c), no silence; balance: (k,) p.
    """
    m, k, _ = spoken.shape
    said = (votes.codes[:, :, None] == np.arange(k)).reshape(votes.n_rows, m * k).astype(np.float32)
    together = (said.T @ said).astype(float) / votes.n_rows
    mu = spoken.transpose(0, 2, 1).reshape(m * k, k)
    misfit = (together - (mu * balance) @ mu.T).reshape(m, k, m, k)
    misfit[np.arange(m), :, np.arange(m)] = 0
    return float((misfit**2).sum() + ((mu @ balance - together.diagonal()) ** 2).sum())


def log_likelihood(votes: Votes, confusions: np.ndarray, prior: np.ndarray) -> float:
    """Mean log-probability of a row, silence counted as something said; confusions (m, k, k + 1), abstain last, or without it."""
    if confusions.shape[2] == confusions.shape[1]:
        confusions = np.concatenate([confusions, 1 - confusions.sum(axis=2, keepdims=True)], axis=2)
    tables = np.maximum(confusions, SMALLEST)
    tables = np.log(tables / tables.sum(axis=2, keepdims=True))
    scores = np.log(np.maximum(prior, SMALLEST)) + sum(tables[j][:, votes.codes[:, j]].T for j in range(votes.n_sources))
    top = scores.max(axis=1, keepdims=True)
    return float((top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))).mean())


def counted(task: VoteSet) -> np.ndarray:
    """(m, k, k + 1) confusions counted with the gold labels of the judged rows: what a perfect fit would have found."""
    k = task.test.n_classes
    symbols = [*range(k), -1]
    by_class = [task.test.codes[task.labels == c] for c in range(k)]
    return np.stack(
        [
            [(rows[:, j, None] == symbols).mean(axis=0) if len(rows) else np.zeros(k + 1) for rows in by_class]
            for j in range(task.test.n_sources)
        ]
    )


def told_fits(task: VoteSet, answers: dict[str, Answer], balance: np.ndarray, points: dict[str, float]) -> dict:
    """MeTaL and Snorkel told the same balance: both objectives at the solutions of both, Snorkel's after 500 steps and after 10,000.

    points: ours minus the peer's, by the peer's name.
    """
    known = np.maximum(balance, 1e-3) / np.maximum(balance, 1e-3).sum()  # as Snorkel was told
    exact = MeTaL(class_prior=balance, exact_prior=True).fit(task.fit)
    fits = {"ours": MeTaL(class_prior=balance).fit(task.fit).confusions_, "ours exact": exact.confusions_}
    fits |= {f"Snorkel's {steps}": answers[peer].parameters for steps, peer in (("500", TOLD), ("10,000", SETTLED_TOLD))}
    k = task.fit.n_classes
    for peer in (TOLD, SETTLED_TOLD):
        # Our formula of the peer's loss gives the peer's loss.
        assert np.isclose(snorkel_squares(task.fit, answers[peer].parameters, known), answers[peer].loss, rtol=1e-3, atol=1e-7)
    return (
        {"set": task.name, "points to 500": points[TOLD], "points to 10,000": points[SETTLED_TOLD]}
        | {f"squares: {name}": snorkel_squares(task.fit, fit[:, :, :k], known) for name, fit in fits.items()}
        | {f"log-likelihood: {name}": log_likelihood(task.test, fit, known) for name, fit in fits.items()}
        | {"log-likelihood: counted on gold": log_likelihood(task.test, counted(task), known)}
    )


def likelihoods(task: VoteSet, ours: LabelModel, theirs: tuple[np.ndarray, np.ndarray]) -> dict:
    """Log-likelihood per row of the votes that both were fitted on; theirs: confusions (m, k, k + 1), class prior."""
    return {
        "log-likelihood of ours": log_likelihood(task.fit, ours.confusions_, ours.class_prior_),
        "log-likelihood of the peer": log_likelihood(task.fit, *theirs),
    }


def reasons(fits: dict) -> str:
    """What the figures of one row of `told_fits` say about a loss against 500 steps."""
    squares = {name.removeprefix("squares: "): value for name, value in fits.items() if name.startswith("squares: ")}
    likely = {name.removeprefix("log-likelihood: "): value for name, value in fits.items() if name.startswith("log-likelihood: ")}
    early, late = squares["Snorkel's 500"], squares["Snorkel's 10,000"]
    gained = fits["points to 500"] - fits["points to 10,000"]
    found = []
    if squares["ours"] < early:
        found.append(f"by Snorkel's own measure ours fits better ({squares['ours']:.3g} against {early:.3g})")
    if gained < 0:
        found.append(
            f"Snorkel loses {-gained:.1f} points by going on to 10,000 steps (squares, after its clamp, {early:.3g} and {late:.3g})"
        )
    best, early_likely, gold = (
        max(("ours", "ours exact"), key=lambda name: likely[name]),
        likely["Snorkel's 500"],
        likely["counted on gold"],
    )
    if likely[best] > early_likely:
        found.append(f"the votes are likelier under {best} ({likely[best]:.2f} against {early_likely:.2f} a row)")
    if max(likely.values()) > gold:
        found.append(
            f"the votes are likelier under a fit than under confusions counted on gold ({gold:.2f}): sources agree beyond the class"
        )
    return "; ".join(found) or "not explained by these figures"


def told_text(told: list[dict], rows: list[dict]) -> str:
    """Every loss of MeTaL against Snorkel told the balance, with what the fits say about it."""
    behind = {row["set"] for row in rows if (row["steelyard"], row["peer"], row["verdict"]) == ("MeTaL, told the balance", TOLD, "worse")}
    lines = [f"- {fits['set']} ({fits['points to 500']:+.1f} points): {reasons(fits)}." for fits in told if fits["set"] in behind]
    return TOLD_FITS + "\n\n" + ("\n".join(lines) or "Nowhere behind beyond noise.")


def other_fits(rows: list[dict]) -> list[dict]:
    """The rows that tell the likelihood of both fits."""
    kept = ("set", "steelyard", "peer", "points", "verdict", "agreement", "log-likelihood of ours", "log-likelihood of the peer")
    return [{key: row[key] for key in kept} for row in rows if "log-likelihood of ours" in row]
