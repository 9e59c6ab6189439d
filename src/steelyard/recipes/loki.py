"""Loki: a classifier that saw few of the labels answers with Fréchet means in a metric over all of them, and so with labels it never saw.

Roberts et al. 2023, "Geometry-Aware Adaptation for Pretrained Models". Arm ``weak`` answers with the most probable label, ``method`` with
the Fréchet mean of the same probabilities, ``calibrated`` after dividing logits by a temperature that fits held-out rows.
On diabetes, 20 classes on a scale, five seeds: squared distance 39.1 → 18.4 (3 classes observed), 35.8 → 18.0 (5), 33.8 → 17.4 (10), 30.5 →
17.7 (20); less by 37 % to 62 % on every seed, and accuracy no better. On the 150 intents of clinc150 little is won, as expected of a
shallow tree: in the tree of domains 0.6 % (30 observed; one seed loses), 4.3 % (75) and 5.4 % (120), in the embedding of their names 1.2 %,
1.3 % and 1.7 %. Calibration takes most of that away again: fitted to rows of observed intents, it makes the classifier surer of its own
classes.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard import datasets
from steelyard.errors import ConfigError, DataError
from steelyard.inference import FrechetMeanClassifier, frechet_mean, locus
from steelyard.label_models.graph_metric import GraphMetric
from steelyard.label_models.metric_space import EuclideanMetric, LabelMetric
from steelyard.label_models.parted_metric import PartedMetric
from steelyard.result import Result

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Loki:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        ``diabetes`` (progression cut into 20 classes on a scale), ``clinc150`` (intents, known by the encoder minilm), or the path of a
        table of probabilities with a column ``p_LABEL`` for each observed label, and ``label`` where it is known.
    metric : str
        For a table: the path of a table ``parent, child`` (``length``), or of ``label`` and numbers (places, an embedding). For clinc150:
        tree, embedding, or both separated by ``+``.
    join_parts : bool
        For a table ``parent, child`` in which no path joins some labels: count these as the largest distance + 1 apart instead of stopping.
    observed : tuple of int
        Numbers of labels that the classifier sees (diabetes).
    intents : tuple of int
        The same for clinc150.
    per_class : int
        Examples of each of them (clinc150).
    answers : str
        Where to write the answers to a table of probabilities, as Parquet.
    seeds : tuple of int
        Each draws its own rows, and intents.
    """

    data: str = "diabetes+clinc150"
    metric: str = "tree+embedding"
    join_parts: bool = False
    observed: tuple[int, ...] = (3, 5, 10, 20)
    intents: tuple[int, ...] = (30, 75, 120)
    per_class: int = 30
    answers: str = ""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


def run(config: Loki) -> Result:
    """Answer with both rules.

    Returns
    -------
    Result
        Arms ``weak``, ``method`` and, where rows were held out, ``calibrated``. Metrics, after ``DATA/NUMBER OF LABELS/``:
        ``mse`` (mean squared distance to the true label), ``accuracy``, ``accuracy_unseen`` (rows of labels never observed) and ``answers``
        (distinct labels given). Artifacts: ``reached`` says how many labels the observed ones can reach, ``curves`` the mean of ``mse`` by
        number of observed labels.

    Raises
    ------
    ConfigError, DataError
        An option names nothing; a column is no label of the metric; the metric is disconnected and `join_parts` not set.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "tree.csv").write_text("parent,child\\nanimal,cat\\nanimal,dog\\n")
    >>> _ = (folder / "p.csv").write_text("p_cat,p_dog,label\\n0.5,0.5,animal\\n0.9,0.1,cat\\n")
    >>> result = run(Loki(str(folder / "p.csv"), metric=str(folder / "tree.csv")))
    >>> result.mean("weak", "p/2/mse"), result.mean("method", "p/2/mse")
    (0.5, 0.0)
    """
    if not config.seeds:
        raise ConfigError("seeds is empty; give at least one, for example --seeds 3")
    result = Result("loki", dataclasses.asdict(config))
    result.artifacts["reached"] = {}
    if Path(config.data).suffix in datasets.SUFFIXES:
        return _own_data(config, result)
    proofs = {"diabetes": _diabetes, "clinc150": _clinc150}
    for name in config.data.split("+"):
        if name not in proofs:
            raise ConfigError(
                f"data is '{name}'; use diabetes, clinc150, or the path of a table with columns p_LABEL ({', '.join(datasets.SUFFIXES)})"
            )
        for seed in config.seeds:
            began = time.perf_counter()
            proofs[name](config, result, seed)
            result.timings[f"{name}, seed {seed}"] = time.perf_counter() - began
    result.artifacts["curves"] = _curves(result)
    return result


def _curves(result: Result) -> list[dict[str, Any]]:
    """For each label space, squared distance by number of observed labels."""
    names = {"weak": "most probable label", "method": "Fréchet mean", "calibrated": "Fréchet mean, calibrated"}
    means: dict[str, dict[str, dict[int, float]]] = {}
    for row in result.table().rows(named=True):
        space, k, what = row["metric"].split("/")
        if what == "mse":
            means.setdefault(space, {}).setdefault(names[row["arm"]], {})[int(k)] = row["mean"]
    return [
        {
            "x": "labels observed",
            "y": f"squared distance, {space}",
            "arms": [{"name": name, "steps": sorted(found), "loss": [found[k] for k in sorted(found)]} for name, found in arms.items()],
        }
        for space, arms in means.items()
    ]


def _diabetes(config: Loki, result: Result, seed: int) -> None:
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, target = load_diabetes(return_X_y=True)
    train, test = train_test_split(np.arange(len(x)), test_size=0.4, random_state=seed)
    # The classes are cut on the training rows: the test rows decide nothing.
    y = np.searchsorted(np.quantile(target[train], np.arange(1, 20) / 20), target, side="right")
    for k in config.observed:
        if not 2 <= k <= 20:
            raise ConfigError(f"observed is {k}; of the 20 classes of diabetes 2 to 20 can be observed")
        seen = np.unique(np.linspace(0, 19, k).round().astype(np.int64))
        rows = train[np.isin(y[train], seen)]
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)).fit(x[rows], y[rows])
        _measure(result, f"diabetes/{k}", EuclideanMetric(20), classifier, x, y, (None, test), seed)


def _clinc150(config: Loki, result: Result, seed: int) -> None:
    from sklearn.linear_model import LogisticRegression

    from steelyard.encoders import TextEncoder

    data = datasets.load("clinc150")
    encoder, (train, held, test) = (
        TextEncoder("minilm-offline"),
        (data[split].filter(pl.col("domain").is_not_null()) for split in ("train", "val", "test")),
    )
    domains = dict(train.select("label", "domain").unique(maintain_order=True).sort("label").iter_rows())
    names, rng = np.array(list(domains)), np.random.default_rng(seed)
    for k in config.intents:
        if not 2 <= k <= len(names):
            raise ConfigError(f"intents is {k}; of the {len(names)} intents of clinc150 2 to {len(names)} can be observed")
    if not set(config.metric.split("+")) <= {"tree", "embedding"}:
        raise ConfigError(f"metric is '{config.metric}'; for clinc150 use tree, embedding, or tree+embedding")
    metrics: dict[str, LabelMetric] = {
        "tree": GraphMetric(
            [*((domain, label) for label, domain in domains.items()), *(("", domain) for domain in sorted(set(domains.values())))]
        ),
        "embedding": EuclideanMetric(encoder.encode([name.replace("_", " ") for name in names]), list(names)),
    }
    texts = np.concatenate([encoder.encode(part["text"].to_list()) for part in (held, test)])
    y = np.concatenate([part["label"].to_numpy() for part in (held, test)])
    for k in config.intents:
        seen = np.sort(rng.permutation(names)[:k])
        rows = np.concatenate([rng.permutation(np.flatnonzero(train["label"].to_numpy() == name))[: config.per_class] for name in seen])
        chosen = train[rows]
        classifier = LogisticRegression(C=10, max_iter=500).fit(encoder.encode(chosen["text"].to_list()), chosen["label"].to_numpy())
        for name in config.metric.split("+"):
            split = np.arange(len(held)), np.arange(len(held), len(y))
            _measure(result, f"clinc150 {name}/{k}", metrics[name], classifier, texts, y, split, seed, answers=list(names))


def _measure(
    result: Result,
    prefix: str,
    metric: LabelMetric,
    classifier: Any,
    x: NDArray[Any],
    y: NDArray[Any],
    split: tuple[Ints | None, Ints],
    seed: int,
    answers: list[str] | None = None,
) -> None:
    held, test = split
    truth, seen = metric_index(metric, y[test]), metric.index(classifier.classes_)
    proba = classifier.predict_proba(x[test])
    plain = FrechetMeanClassifier(classifier, metric, candidates=answers, prefit=True).fit(None)
    arms = {"weak": seen[proba.argmax(1)], "method": plain.predict_index(x[test])}
    if held is not None:
        scaled = FrechetMeanClassifier(classifier, metric, candidates=answers, temperature="calibrate", prefit=True).fit(x[held], y[held])
        arms["calibrated"] = scaled.predict_index(x[test])
    _add(result, prefix, metric, arms, truth, seen, seed)


def _add(result: Result, prefix: str, metric: LabelMetric, arms: dict[str, Ints], truth: Ints, seen: Ints, seed: int) -> None:
    unseen = ~np.isin(truth, seen)
    for arm, answer in arms.items():
        distances = np.empty(len(truth))
        for label in np.unique(answer):
            distances[answer == label] = metric.distances([label], truth[answer == label])[0]
        result.add(arm, seed, f"{prefix}/mse", float((distances**2).mean()))
        result.add(arm, seed, f"{prefix}/accuracy", float((answer == truth).mean()))
        if unseen.any():
            result.add(arm, seed, f"{prefix}/accuracy_unseen", float((answer == truth)[unseen].mean()))
        result.add(arm, seed, f"{prefix}/answers", len(np.unique(answer)))
    reached = locus(metric, [metric.labels[i] for i in seen])
    result.artifacts["reached"][f"{prefix}/seed {seed}"] = {"observed": len(seen), "reached": len(reached), "labels": len(metric)}


def metric_index(metric: LabelMetric, names: NDArray[Any]) -> Ints:
    """(n,) indices of labels that may repeat; see `LabelMetric.index`."""
    distinct, inverse = np.unique(names, return_inverse=True)
    return np.asarray(metric.index(distinct, "the true labels")[inverse])


def _own_data(config: Loki, result: Result) -> Result:
    metric = read_metric(config.metric, join_parts=config.join_parts)
    table = datasets.read_table(config.data)
    columns = [name for name in table.columns if name.startswith("p_")]
    by_name = {str(label): label for label in metric.labels}
    if not columns:
        raise DataError(f"data file '{config.data}' has no column p_LABEL; its columns are {', '.join(table.columns)}")
    observed = metric.index([by_name.get(name[2:], name[2:]) for name in columns], f"data file '{config.data}'")
    proba = table.select(pl.col(columns).cast(pl.Float64)).to_numpy()
    labels = [metric.labels[i] for i in observed]
    answer = frechet_mean(proba, metric, labels)
    if config.answers:
        named = table.with_columns(pl.Series("answer", [str(metric.labels[i]) for i in answer]))
        from steelyard.storage import atomic_path

        with atomic_path(config.answers) as temporary:
            named.write_parquet(temporary)
    arms, prefix = {"weak": observed[proba.argmax(1)], "method": answer}, f"{Path(config.data).stem}/{len(observed)}"
    if "label" in table.columns and table["label"].null_count() < len(table):
        known = table["label"].is_not_null().to_numpy()
        names = np.array([by_name.get(str(name), name) for name in table["label"].drop_nulls()])
        _add(
            result,
            prefix,
            metric,
            {arm: found[known] for arm, found in arms.items()},
            metric_index(metric, names),
            observed,
            config.seeds[0],
        )
    else:
        for arm, found in arms.items():
            result.add(arm, config.seeds[0], f"{prefix}/answers", len(np.unique(found)))
    return result


def read_metric(path: str, *, join_parts: bool = False) -> LabelMetric:
    """A tree or graph from columns ``parent, child`` (``length``), or places from ``label`` and numeric columns."""
    file = datasets.TableFile(path)
    table = file.read()
    if {"parent", "child"} <= set(table.columns):
        ends = table.select(pl.col("parent", "child").cast(pl.String)).drop_nulls()
        lengths = table.drop_nulls(["parent", "child"])["length"].to_numpy() if "length" in table.columns else None
        if join_parts:
            return PartedMetric.from_edges(list(ends.iter_rows()), lengths)
        try:
            return GraphMetric(list(ends.iter_rows()), lengths)
        except DataError as error:
            if "no path joins" not in str(error):
                raise
            raise DataError(f"label metric '{path}': {error}; --join-parts counts them as the largest distance + 1 apart") from None
    if "label" not in table.columns:
        raise DataError(
            f"label metric '{path}' needs columns parent and child, or label and numbers; its columns are {', '.join(table.columns)}"
        )
    numbers = [name for name, kind in table.schema.items() if kind.is_numeric() and name != "label"]
    if not numbers:
        raise DataError(f"label metric '{path}' has no numeric column beside 'label'; give each label its place")
    return EuclideanMetric(table.select(numbers).to_numpy(), table["label"].to_list())
