"""Arrays that cost something to make, kept on disk under the hash of everything they depend on: weak labels, predictions of an arm.

A sweep reads what an earlier one made, and a run that was killed goes on behind the last whole array.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from steelyard import __version__
from steelyard.encoders import TextEncoder
from steelyard.storage import atomic_path, cache_dir, config_hash

_APART = {"output_dir", "progress", "checkpoint_steps"}


class Nameless(TypeError):
    """An object cannot say by its content what it is, so nothing made with it may be kept."""


class Artefacts:
    """A folder of arrays named by what they were made from.

    Parameters
    ----------
    folder : path, None or False
        Where they lie; `None` for the cache folder, `False` to keep nothing.

    Attributes
    ----------
    made_, found_ : int
        How many arrays were computed and how many were read.

    Examples
    --------
    >>> import tempfile
    >>> artefacts = Artefacts(tempfile.mkdtemp())
    >>> for _ in range(3):
    ...     squares = artefacts.array("squares", {"n": 4}, lambda: np.arange(4) ** 2)
    >>> squares.tolist(), artefacts.made_, artefacts.found_
    ([0, 1, 4, 9], 1, 2)
    """

    def __init__(self, folder: str | os.PathLike[str] | Literal[False] | None = None) -> None:
        self.folder = None if folder is False else Path(folder) if folder is not None else cache_dir() / "artefacts"
        self.made_ = self.found_ = 0

    def name(self, kind: str, parts: Mapping[str, Any]) -> str | None:
        """Name an artefact by its parts; `None` where a part cannot be named by its content."""
        try:
            return f"{kind}-{config_hash({'version': __version__, **{key: identity(part) for key, part in parts.items()}})}"
        except Nameless:
            return None

    def array(self, kind: str, parts: Mapping[str, Any], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the array that `make` makes from `parts`, from the disk where it was made before."""
        name = self.name(kind, parts)
        file = None if self.folder is None or name is None else self.folder / f"{name}.npz"
        found = None if file is None else _read(file)
        if found is not None:
            self.found_ += 1
            return found
        array = np.asarray(make())
        self.made_ += 1
        if file is not None:
            with atomic_path(file) as temporary, open(temporary, "wb") as stream:
                np.savez_compressed(stream, array=array)
        return array


def identity(value: Any) -> Any:
    """Say in plain JSON types what `value` is: parameters of estimators, digests of arrays and weights.

    Raises
    ------
    Nameless
        Nothing but an address in memory tells the object from others of its kind (a function, a loaded model).

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> identity(LogisticRegression(C=2.0)) == identity(LogisticRegression(C=2.0)) != identity(LogisticRegression(C=3.0))
    True
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [value.dtype.str, list(value.shape), hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()]
    if isinstance(value, Mapping):
        return {str(key): identity(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        if len(value) > 100 and all(isinstance(part, str) for part in value):
            return ["texts", len(value), texts_digest(value)]
        return [identity(part) for part in value]
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, BaseEstimator):
        parameters = value.get_params(deep=False)
        if isinstance(parameters.get("model"), (str, os.PathLike)):
            # A name or folder stands for the weights it leads to, not for where they lie.
            parameters["model"] = TextEncoder(os.fspath(parameters["model"])).identity
        return [kind, {name: identity(parameters[name]) for name in sorted(parameters) if name not in _APART}]
    if isinstance(known := getattr(value, "identity", None), str):  # a text encoder: weights, pooling, cut
        return [kind, known]
    if hasattr(value, "state_dict"):  # a loss: what it shows of itself, and its weights
        return [kind, repr(value), {name: identity(part.detach().cpu().float().numpy()) for name, part in value.state_dict().items()}]
    raise Nameless(kind)


def texts_digest(texts: Any) -> str:
    """Digest of a list of texts, which keeps apart what lies in different rows.

    Examples
    --------
    >>> texts_digest(["ab", "c"]) == texts_digest(["a", "bc"])
    False
    """
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _read(file: Path) -> NDArray[Any] | None:
    try:
        with np.load(file, allow_pickle=False) as content:
            return np.asarray(content["array"])
    except (FileNotFoundError, ValueError, KeyError, OSError, zipfile.BadZipFile):
        return None  # missing or torn: it is made again
