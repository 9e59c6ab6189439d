"""What may be in a vote matrix: the checks behind `Votes`, each ending in one sentence that names the place and the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from steelyard.errors import VotesError

Codes = NDArray[np.signedinteger[Any]]


def dense_codes(codes: Any) -> Codes:
    """A matrix of signed integers, not copied where it already is one."""
    try:
        array = np.asarray(codes)
    except ValueError as error:
        raise VotesError(f"votes are ragged: every row needs one cell per source ({error})") from None
    if array.ndim == 2 and array.size == 0:
        array = array.astype(np.int8)
    if array.ndim != 2:
        raise VotesError(f"votes must be a matrix (rows × sources), got {array.ndim} dimension(s) of shape {array.shape}")
    if array.dtype.kind == "u":
        array = array.astype(np.int64)
    if array.dtype.kind != "i":
        raise VotesError(f"votes must be integers (class index, -1 = abstain), got {array.dtype}; map names to indices or use `apply`")
    return array


def sparse_codes(codes: Any) -> sparse.csr_array:
    """CSR of ``code + 1`` without stored zeros, indices sorted."""
    matrix = sparse.csr_array(codes)
    if matrix.dtype.kind not in "iu":
        raise VotesError(f"sparse votes must hold integers (code + 1), got {matrix.dtype}")
    if (matrix.data == 0).any():
        matrix = matrix.copy()
        matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def smallest_signed(n_symbols: int) -> type[np.signedinteger[Any]]:
    """The smallest signed integer type that holds -1 … n_symbols - 1."""
    for kind in (np.int8, np.int16, np.int32):
        if n_symbols - 1 <= np.iinfo(kind).max:
            return kind
    return np.int64


def unit_interval(values: NDArray[Any]) -> NDArray[np.float32]:
    """Confidences as float32 in [0, 1], NaN read as 1."""
    single = values.astype(np.float32, copy=False)
    if np.isnan(single).any():
        single = np.where(np.isnan(single), np.float32(1), single)
    if single.size and (single.min() < 0 or single.max() > 1):
        raise VotesError(f"confidences must lie in [0, 1], got {single.min():g} to {single.max():g}")
    return single


def checked_groups(groups: ArrayLike, n_rows: int) -> NDArray[np.int64]:
    """Rising offsets from 0 to the number of rows, as int64."""
    offsets = np.asarray(groups)
    if offsets.ndim != 1 or offsets.size == 0 or offsets.dtype.kind not in "iu":
        raise VotesError("groups must be a one-dimensional array of integer offsets, starting with 0")
    if offsets[0] != 0 or offsets[-1] != n_rows or (np.diff(offsets.astype(np.int64)) < 0).any():
        raise VotesError(f"group offsets must rise from 0 to the number of rows ({n_rows}), got {offsets[0]} … {offsets[-1]}")
    return offsets.astype(np.int64, copy=False)


def unique_names(names: Sequence[str], kind: str) -> tuple[str, ...]:
    """Names as a tuple of distinct strings."""
    if isinstance(names, str):
        raise VotesError(f"{kind} names must be a list of names, got the single string '{names}'")
    listed = tuple(str(name) for name in names)
    if kind == "class" and not listed:
        raise VotesError("no classes given; name at least one class")
    twice = sorted({name for name in listed if listed.count(name) > 1}) if len(set(listed)) < len(listed) else []
    if twice:
        raise VotesError(f"{kind} name '{twice[0]}' is used more than once; {kind} names must be unique")
    return listed


def class_support(classes: tuple[str, ...], hierarchy: Mapping[str, Sequence[str]]) -> NDArray[np.bool_]:
    """(S, k) which classes each symbol counts for: itself, or every class below a parent."""
    position = {name: i for i, name in enumerate(classes)}

    def below(name: str, path: tuple[str, ...]) -> set[int]:
        if name in path:
            raise VotesError(f"class hierarchy has a cycle through '{name}'")
        if name in hierarchy:
            return set().union(*(below(child, (*path, name)) for child in hierarchy[name]))
        if name not in position:
            raise VotesError(f"hierarchy names '{name}', which is neither a class nor a parent; classes are {listed(classes)}")
        return {position[name]}

    support = np.zeros((len(classes) + len(hierarchy), len(classes)), dtype=bool)
    support[: len(classes)] = np.eye(len(classes), dtype=bool)
    for i, parent in enumerate(hierarchy):
        if parent in position:
            raise VotesError(f"'{parent}' is both a class and a parent; list only the lowest level as classes")
        support[len(classes) + i, sorted(below(parent, ()))] = True
    support.flags.writeable = False
    return support


def listed(names: Sequence[str], most: int = 8) -> str:
    """A few names for a message, and how many there are."""
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")
