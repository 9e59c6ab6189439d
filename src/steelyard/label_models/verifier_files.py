"""A fitted `VerifierEnsemble` on disk: one safetensors file of arrays with a JSON header, and one file per label model beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from steelyard.errors import DataError, LabelModelError
from steelyard.label_models.base import LabelModel
from steelyard.label_models.dependencies import Dependency
from steelyard.label_models.verifier_clusters import NeighbourRates, QueryClusters
from steelyard.label_models.verifier_rates import VerifierRates
from steelyard.score_scales import ScoreScale
from steelyard.storage import atomic_path

if TYPE_CHECKING:
    from steelyard.label_models.verifier_ensemble import VerifierEnsemble

_FILE = "ensemble.safetensors"
_KIND = "VerifierEnsemble"
# Fitted attributes that are arrays as they are, and those that JSON holds.
_ARRAYS = ("_alive", "_kept", "_thresholds", "_trusted")
_PLAIN = ("class_balance_", "class_balance_source_", "labels_used_", "guard_", "_few", "_modelled")


def save_ensemble(ensemble: VerifierEnsemble, folder: str | os.PathLike[str]) -> None:
    """Write `ensemble` into `folder`, which is made if need be; see `VerifierEnsemble.save`."""
    from safetensors.numpy import save_file

    if not hasattr(ensemble, "verifiers_"):
        raise LabelModelError("this VerifierEnsemble is not fitted yet; call `fit` before `save`")
    if not (ensemble.encoder is None or isinstance(ensemble.encoder, str)):
        raise LabelModelError(f"the encoder is a {type(ensemble.encoder).__name__}, which no file holds; give the name or folder of one")
    place = Path(folder)
    arrays: dict[str, Any] = {name: getattr(ensemble, name) for name in _ARRAYS}
    arrays |= {f"scale.{name}": value for name, value in vars(ensemble._scale).items()}
    models = {"all": ensemble._rates} | {str(cluster): rates for cluster, rates in ensemble._local.items()}
    rates: dict[str, Any] = {}
    for name, part in models.items():
        arrays |= {f"rates.{name}.{field}": getattr(part, field) for field in ("tpr", "fpr", "weights")}
        rates[name] = {"intercept": part.intercept, "flipped": part.flipped, "model": part.model is not None}
        if part.model is not None:
            part.model.save(place / f"model-{name}.safetensors")
    if ensemble._near is not None:
        arrays |= {f"near.{field}": getattr(ensemble._near, field) for field in ("means", "votes", "offsets")}
    if ensemble._clusters is not None:
        arrays["clusters"] = ensemble._clusters.places
    header = {
        "kind": _KIND,
        "parameters": ensemble.get_params(deep=False),
        "plain": {name: getattr(ensemble, name) for name in _PLAIN},
        "names": ensemble._names,
        "rates": rates,
        "dependencies": ensemble.dependencies_,
        "verifiers": ensemble.verifiers_.to_dict(as_series=False),
    }
    with atomic_path(place / _FILE) as temporary:
        save_file(
            {name: np.ascontiguousarray(value) for name, value in arrays.items()},
            temporary,
            metadata={"steelyard": json.dumps(header)},
        )


def load_ensemble(folder: str | os.PathLike[str]) -> VerifierEnsemble:
    """Read what `save_ensemble` wrote.

    Raises
    ------
    DataError
        The folder holds no ensemble, or a file of it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    from steelyard.label_models.verifier_ensemble import VerifierEnsemble

    place = Path(folder)
    if not (place / _FILE).exists():
        raise DataError(f"'{place}' holds no ensemble of verifiers; write one with `VerifierEnsemble.save`")
    try:
        with safe_open(place / _FILE, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("steelyard", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DataError(f"'{place / _FILE}' is not readable ({error}); it may be truncated: save it again") from None
    if header.get("kind") != _KIND:
        raise DataError(f"'{place / _FILE}' does not hold an ensemble of verifiers; write one with `VerifierEnsemble.save`")
    ensemble = VerifierEnsemble(**header["parameters"])
    for name in _ARRAYS:
        setattr(ensemble, name, arrays[name])
    for name, value in header["plain"].items():
        setattr(ensemble, name, value)
    ensemble._names = tuple(header["names"])
    ensemble._scale = ScoreScale(arrays["scale.knots"], arrays["scale.kept"])
    parts = {}
    for name, kept in header["rates"].items():
        model = LabelModel.load(place / f"model-{name}.safetensors") if kept["model"] else None
        tpr, fpr, weights = (arrays[f"rates.{name}.{field}"] for field in ("tpr", "fpr", "weights"))
        parts[name] = VerifierRates(tpr, fpr, weights, model, kept["intercept"], kept["flipped"])
    ensemble._rates = parts.pop("all")
    ensemble._local = {int(name): part for name, part in parts.items()}
    ensemble._near = None
    if "near.means" in arrays:
        ensemble._near = NeighbourRates(arrays["near.means"], arrays["near.votes"], arrays["near.offsets"], ensemble.neighbours)
    ensemble._clusters = None
    if "clusters" in arrays:
        ensemble._clusters = QueryClusters(ensemble.strategy, ensemble.clusters, ensemble.encoder, ensemble.seed)  # type: ignore[arg-type]
        ensemble._clusters.places = arrays["clusters"]
    ensemble.dependencies_ = [Dependency(*pair) for pair in header["dependencies"]]
    ensemble.verifiers_ = pl.DataFrame(header["verifiers"])
    return ensemble
