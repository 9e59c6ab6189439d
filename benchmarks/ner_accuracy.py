"""Entity F1 of sequence label models on real span votes: steelyard's SequenceHMM and vote beside skweak's. Needs `STEELYARD_DATA`."""

import json
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from harness import write_results
from peers import run_peer
from sides.clock import timed

from steelyard import Votes, datasets, label_models
from steelyard.evaluation.sequences import Span, span_scores, spans_from_bio

SETS = {"ncbi_disease": ("Disease",), "bc5cdr": ("Chemical", "Disease")}
RESAMPLES = 2000


def main() -> None:
    rows = []
    for name, types in SETS.items():
        data = datasets.load(name)
        for subset, sources in source_subsets(data.votes["train"]).items():
            print(name, subset, file=sys.stderr, flush=True)
            fit, test = (data.votes[split].select(sources) for split in ("train", "test"))
            gold = [list(spans_from_bio(tags)) for tags in data["test"]["label"].to_list()]
            found, seconds = steelyard_spans(fit, test)
            theirs, their_seconds = skweak_spans(data["train"]["tokens"].to_list(), data["test"]["tokens"].to_list(), fit, test, types)
            for model, spans in (found | theirs).items():
                row = {"set": name, "functions": f"{subset} ({len(sources)})", "model": model, **score(gold, spans)}
                against = {"SequenceHMM": "skweak HMM", "MajorityVote": "skweak SequentialMajorityVoter", "select": "skweak HMM"}.get(model)
                if against:
                    row |= {
                        "peer": against,
                        "F1 points over peer": "{:+.1f} [{:+.1f}, {:+.1f}]".format(*f1_difference(gold, spans, theirs[against])),
                    }
                rows.append(row | {"fit seconds": (seconds | their_seconds).get(model, "")})
    write_results(
        "ner_accuracy",
        rows,
        title="Entity F1 of sequence label models on real span votes",
        notes="Fitted on the training documents' votes without labels, judged on the test documents by exact spans (micro F1, %). Both "
        "libraries get the same spans: of all functions that name an entity in the training documents, and of the more active half of "
        "these. The interval is a paired bootstrap over test documents (95 %).",
        peers=["skweak"],
    )


def source_subsets(votes: Votes) -> dict[str, list[str]]:
    """All functions that ever name an entity, and the better-covered half of them."""
    entity_votes = np.array([(votes.column(j) > 0).sum() for j in range(votes.n_sources)])
    firing = [name for name, count in zip(votes.sources, entity_votes, strict=True) if count]
    half = sorted(firing, key=lambda name: -entity_votes[votes.sources.index(name)])[: (len(firing) + 1) // 2]
    return {"all": firing, "most active": [name for name in firing if name in half]}


def steelyard_spans(fit: Votes, test: Votes) -> tuple[dict[str, list[list[Span]]], dict[str, float]]:
    spans, seconds = {}, {}
    for name, model in {"SequenceHMM": label_models.SequenceHMM(), "MajorityVote": label_models.MajorityVote()}.items():
        timing, fitted = timed(lambda model=model: model.fit(fit))
        spans[name], seconds[name] = documents(fitted.predict(test), test), timing.wall
    spans["select"] = documents(label_models.select(fit).predict(test), test)
    return spans, seconds


def documents(codes: np.ndarray, votes: Votes) -> list[list[Span]]:
    """Spans of every document from one tag per token."""
    return [
        spans_from_bio([votes.classes[code] if code >= 0 else "O" for code in codes[start:stop]]) for start, stop in pairwise(votes.groups)
    ]


def skweak_spans(
    fit_tokens: list[list[str]], test_tokens: list[list[str]], fit: Votes, test: Votes, types: tuple[str, ...]
) -> tuple[dict[str, list[list[Span]]], dict[str, float]]:
    task = {"types": types, "fit": span_votes(fit_tokens, fit), "test": span_votes(test_tokens, test)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "documents.json").write_text(json.dumps(task))
        seconds = run_peer("skweak", "skweak_side.py", folder)
        answers = json.loads((folder / "skweak.json").read_text())
    spans = {f"skweak {model}": [[(a, b, kind) for a, b, kind in doc] for doc in docs] for model, docs in answers.items()}
    return spans, {f"skweak {key.removesuffix(' fit')}": value[0] for key, value in seconds.items() if key.endswith(" fit")}


def span_votes(tokens: list[list[str]], votes: Votes) -> list[dict]:
    """Documents in the form that skweak's side reads."""
    per_source = [documents(votes.column(j), votes) for j in range(votes.n_sources)]
    return [
        {"tokens": words, "votes": {source: per_source[j][i] for j, source in enumerate(votes.sources) if per_source[j][i]}}
        for i, words in enumerate(tokens)
    ]


def score(gold: list[list[Span]], spans: list[list[Span]]) -> dict[str, float]:
    scores = span_scores(gold, spans)["all"]
    return {"precision": 100 * scores.precision, "recall": 100 * scores.recall, "F1": 100 * scores.f1}


def f1_difference(gold: list[list[Span]], ours: list[list[Span]], theirs: list[list[Span]]) -> tuple[float, float, float]:
    """Difference in F1, in points, with its paired bootstrap interval over documents."""

    def counts(spans: list[list[Span]]) -> np.ndarray:
        return np.array(
            [(len(set(truth) & set(guess)), len(set(truth)) + len(set(guess))) for truth, guess in zip(gold, spans, strict=True)], float
        )

    drawn = np.random.default_rng(0).integers(0, len(gold), size=(RESAMPLES, len(gold)))
    f1 = [200 * table[drawn][:, :, 0].sum(1) / table[drawn][:, :, 1].sum(1) for table in (counts(ours), counts(theirs))]
    point = [200 * table[:, 0].sum() / table[:, 1].sum() for table in (counts(ours), counts(theirs))]
    low, high = np.quantile(f1[0] - f1[1], [0.025, 0.975])
    return point[0] - point[1], float(low), float(high)


if __name__ == "__main__":
    main()
