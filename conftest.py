"""The examples in README.md and docs/ are tests; how they run is told in docs/examples.py."""

from __future__ import annotations

import os

# Two test workers on two cores: one thread each, set before any numeric library starts its pool.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from docs.examples import sybil  # noqa: E402

pytest_collect_file = sybil().pytest()
