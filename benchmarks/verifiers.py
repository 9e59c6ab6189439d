"""Weak verifiers weighed without labels beside single verifiers, majority, mean and logistic regressions that read labels."""

import dataclasses
import warnings

import numpy as np
from harness import write_results

from steelyard.datasets.scored_responses import load_scores
from steelyard.jobs.verifier_arms import label_free_arms, labelled_arms, shuffled
from steelyard.jobs.verifier_bench import bench
from steelyard.label_models.verifier_ensemble import VerifierEnsemble
from steelyard.verifier_scores import VerifierScores

SEEDS, DRAWS = range(5), 1000
SHARES = (0.01, 0.05, 0.2, 1.0)
SETS = ("clinc150", "gsm8k_weak_solutions", "judgebench_verdicts", "llm_votes_legal")
ENSEMBLES = {
    "Weaver": {},
    "Weaver, score weights": {"label_model": "continuous"},
    "Weaver, nobody dropped": {"dependencies": "none"},
    "Weaver, no guard": {"guard": False},
}


def arms(scores: VerifierScores, seed: int) -> tuple[dict[str, np.ndarray], str]:
    """(n,) values by which each arm chooses, and why the guard did not believe the weights."""
    blind = dataclasses.replace(scores, labels=None)
    chosen = {}
    for name, options in ENSEMBLES.items():
        ensemble = VerifierEnsemble(**options).fit(blind, class_balance="estimate")
        chosen[name] = ensemble.predict_proba(blind)
        if not ensemble.guard_:
            # One response per query; under the guard what ties stays tied, as in the majority.
            chosen[name] = np.zeros(len(scores))
            chosen[name][scores.offsets[:-1] + ensemble.select(blind)] = 1
        if name == "Weaver":
            balance, guard = ensemble.class_balance_, ensemble.guard_
    free, labelled = label_free_arms(scores, balance), labelled_arms(scores, SHARES, seed)
    return {**free, **chosen, **labelled, "oracle": scores.labels.astype(float)}, guard


def accuracies(scores: VerifierScores, values: np.ndarray) -> np.ndarray:
    """(Q,) chance that the response taken is right, ties drawn evenly."""
    starts, query = scores.offsets[:-1], scores.query_of
    top = np.round(values, 9) == np.maximum.reduceat(np.round(values, 9), starts)[query]
    return np.bincount(query, top * (scores.labels == 1)) / np.bincount(query, top)


def interval(values: np.ndarray) -> list[float]:
    """95 % interval of the mean over queries, by the bootstrap."""
    rng = np.random.default_rng(0)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(DRAWS)]
    return [round(float(q), 3) for q in np.quantile(means, [0.025, 0.975])]


def main() -> None:
    warnings.simplefilter("ignore")
    rows = []
    for name in SETS:
        loaded = None if name == "clinc150" else load_scores(name)[0]
        found, guards = {}, []
        for seed in SEEDS:
            scores = bench(seed) if loaded is None else shuffled(loaded, seed)
            values, guard = arms(scores, seed)
            guards.append(guard)
            for arm, value in values.items():
                own = accuracies(scores, value)
                found.setdefault(arm, []).append(own)
            print(name, seed, {arm: round(float(own[-1].mean()), 3) for arm, own in found.items()}, guard, flush=True)
        reference = np.mean(found["mean"], axis=0)
        for arm, per_seed in found.items():
            per_query = np.mean(per_seed, axis=0)
            by_seed = [round(float(own.mean()), 4) for own in per_seed]
            rows.append(
                {
                    "data": name,
                    "chosen by": arm,
                    "accuracy": float(per_query.mean()),
                    "95 %": interval(per_query),
                    "less the mean score's, 95 %": interval(per_query - reference),
                    "lowest and highest seed": [min(by_seed), max(by_seed)],
                    "guard on": f"{sum(map(bool, guards))} of {len(guards)} seeds" if arm == "Weaver" else "",
                }
            )
    write_results(
        "verifiers",
        rows,
        title="Weak verifiers: weighed without labels, averaged, or regressed on labels",
        notes=NOTES,
    )


NOTES = (
    f"Accuracy of the response chosen per query over seeds {SEEDS.start} to {SEEDS.stop - 1}. A seed draws the bench of CLINC150 anew; of "
    "the other sets it draws the order of responses and which labels the regressions read. Intervals are bootstraps over queries of the "
    "mean over seeds. `majority` to `Weaver, no guard` read no label, not even for the class balance; `best verifier` is chosen on all "
    "labels, `logistic` is cross-fitted over two halves of the queries and reads that share of the other half, `oracle` is pass@R. Ties "
    "count as a draw. `Weaver` has the defaults, which stood before these figures were taken.\n\n"
    "Where it loses to the mean score, this is why. On JudgeBench every query has two responses, and a threshold common to all queries "
    "gives both the same vote in 62 to 76 % of the queries (reward models): by how much one is "
    "preferred is lost. Weights on the scores themselves (`label_model='continuous'`) "
    "keep it. On the legal questions one of the two fine-tuned models is dropped as a near-copy of the other (residual correlation .50): "
    "they are the two best, right together where the seven others share another reading, and the others' reading then passes for the "
    "answer. With `dependencies='none'` both stay and Weaver beats the mean. Without labels two good verifiers that agree against the rest "
    "look like two that share a habit, so neither is undone by default; whoever knows that scores are comparable within a query, or that "
    "two verifiers were made apart, knows which option to take. On grade-school solutions the guard hands over to the majority; the mean "
    "is better still, which nothing seen without labels could tell."
)


if __name__ == "__main__":
    main()
