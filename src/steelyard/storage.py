"""How anything reaches the disk: written beside its destination, flushed, renamed. A kill leaves the old file or the new, never half."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces `path`, on failure it is removed.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_text("whole or not at all")
    >>> target.read_text()
    'whole or not at all'
    """
    destination = Path(path)
    destination.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        # mkstemp makes files private; a result is as readable as any file the user writes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as sorted, indented JSON, atomically.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "x.json"
    >>> write_json(file, {"b": 1, "a": [1, 2]})
    >>> read_json(file)
    {'a': [1, 2], 'b': 1}
    """
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file; a missing or truncated one raises `DataError` naming the file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"file '{path}' does not exist; check the path") from None
    except ValueError as error:
        raise DataError(f"file '{path}' is not valid JSON ({error}); it may be truncated: write it again") from None


def read_parquet(path: str | os.PathLike[str]) -> pa.Table:
    """Read a Parquet file; a missing or truncated one raises `DataError` naming the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).exists():
        raise DataError(f"file '{path}' does not exist; check the path")
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"file '{path}' is not a readable Parquet file ({error}); it may be truncated: write it again") from None


def config_hash(value: Any) -> str:
    """Sixteen hex digits that name a configuration: the key under which its artefacts are cached.

    Examples
    --------
    >>> config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cache_dir() -> Path:
    """The folder for things that can be made again: `$STEELYARD_CACHE`, else the platform's cache folder."""
    named = os.environ.get("STEELYARD_CACHE")
    if named:
        folder = Path(named)
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches" / "steelyard"
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "steelyard" / "Cache"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "steelyard"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
