"""The whole line on bundled text, offline: rules written from common knowledge label docstrings by the library they come from.

The rules below are an example of a sources file. They were written from what users of the five libraries know, not from the labels.
"""

from __future__ import annotations

import dataclasses

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from steelyard.datasets import load
from steelyard.jobs.students import make_student
from steelyard.recipes.weak_supervision import WeakSupervision, run
from steelyard.result import Result
from steelyard.sources import expr, keywords, labeling_function, regex
from steelyard.sources.base import Source


def docstring_rules() -> list[Source]:
    """Twenty weak rules for the data set ``docstrings``: each knows one habit of one library, all of them err.

    Examples
    --------
    >>> len(docstring_rules())
    20
    """

    @labeling_function(labels=["sklearn", "scipy"])
    def model_or_numerics(row):  # type: ignore[no-untyped-def]
        """People fit models, but they solve, integrate and transform with numerics."""
        words = set(row.text.lower().split())
        learning = len(words & {"fit", "predict", "classifier", "regressor", "training", "features", "target"})
        numerics = len(words & {"solve", "integral", "equation", "fourier", "interpolation", "root", "minimum"})
        return None if learning == numerics else "sklearn" if learning > numerics else "scipy"

    return [
        keywords(["axes", "figure", "subplot"], label="matplotlib", name="axes_and_figures"),
        keywords(["tick", "legend", "colorbar", "colormap", "marker"], label="matplotlib", name="parts_of_a_plot"),
        keywords(["draw", "canvas", "renderer", "artist", "backend"], label="matplotlib", name="drawing"),
        keywords(["font", "rgba", "linewidth", "line width"], label="matplotlib", name="look"),
        keywords(["ndarray", "dtype"], label="numpy", name="arrays"),
        keywords(["ufunc", "broadcast", "masked array", "structured array", "record array"], label="numpy", name="array_machinery"),
        keywords(["polynomial", "fortran", "compiler", "buffer", "strides"], label="numpy", name="close_to_the_machine"),
        regex(r"(?i)\b(input|given|an|new) array\b", label="numpy", name="input_array"),
        keywords(["DataFrame", "LazyFrame"], label="polars", name="frames"),
        keywords(["expression", "lazy", "null", "struct", "categorical"], label="polars", name="expressions"),
        regex(r"\b(Series|Expr|columns?|schema)\b", label="polars", name="columns"),
        keywords(["parquet", "csv", "arrow", "sql", "cloud"], label="polars", name="files_and_queries"),
        keywords(["distribution", "quantile", "hypothesis", "p-value"], label="scipy", name="statistics"),
        keywords(["optimiz", "jacobian", "hessian", "quadrature", "interpolat"], label="scipy", name="numerics"),
        keywords(["filter", "signal", "spline", "fourier", "sparse"], label="scipy", name="signals_and_sparse"),
        regex(r":math:|\\frac|\\sum", label="scipy", name="formulas"),
        keywords(["estimator", "n_samples", "n_features", "classifier", "cluster"], label="sklearn", name="estimators"),
        keywords(["cross-validation", "user guide", "pipeline", "regression", "samples"], label="sklearn", name="learning_words"),
        expr("text LIKE '%array-like%' AND text LIKE '%of shape%'", label="sklearn", name="array_like_of_shape"),
        model_or_numerics,
    ]


def run_demo(encoder: str | None = None) -> Result:
    """Rules, label model, student and ceiling on ``docstrings``; with `encoder` also a probe on its frozen features.

    Parameters
    ----------
    encoder : str, optional
        Name of a Hugging Face encoder, or ``minilm`` for the one that needs no network; needs the torch extra.

    Raises
    ------
    ConfigError
        The torch extra or the encoder is missing.
    """
    config = WeakSupervision(data="docstrings", sources="steelyard.recipes.demo.docstring_rules")
    rules = docstring_rules()
    if encoder is not None:
        # A missing extra is said before the work, not after it.
        make_student(encoder, load("docstrings"), tune="probe")
    # Problems this small lose more to starting threads than they gain, most of all on a busy machine.
    with threadpool_limits(limits=1):
        result = run(config, sources=rules)
    result.name = "demo"
    if encoder is not None:
        probe = run(dataclasses.replace(config, student=encoder, tune="probe"), sources=rules)
        for row in probe.rows:
            if row.arm in ("method", "ceiling"):
                result.add(f"{row.arm}: {encoder} probe", row.seed, row.metric, row.value)
        result.timings |= {f"{step}: {encoder} probe": seconds for step, seconds in probe.timings.items() if step in ("method", "ceiling")}
    return result
