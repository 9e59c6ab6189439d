"""How anything reaches the disk: written beside its destination, flushed, renamed. A kill leaves the old file or the new, never half."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
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
    check_output(path)
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


def check_output(path: str | os.PathLike[str], used: Iterable[str | os.PathLike[str] | None] = (), *, folder: bool = False) -> None:
    """Refuse, before the work begins, an output that cannot be written or that would replace something else of the same run.

    Parameters
    ----------
    path : path
        The file to write; with `folder`, the folder.
    used : paths
        What the run reads, and what else it writes; None is skipped.

    Raises
    ------
    DataError
        `path` is a folder (a file), lies in one that is none or is read-only, or is among `used`; or it is a Parquet file in a folder of
        Parquet files that is read.

    Examples
    --------
    >>> check_output("mail.csv", used=["mail.csv", "rules.py"])
    Traceback (most recent call last):
    steelyard.errors.DataError: cannot write 'mail.csv': this run uses that file already; choose another name for the output
    """
    place = Path(path)
    if place.exists() and place.is_dir() != folder:
        raise DataError(f"cannot write '{path}': it is a {'file' if folder else 'folder'}; name a {'folder' if folder else 'file'}")
    for other in used:
        if other is None:
            continue
        if place.resolve() == Path(other).resolve():
            raise DataError(f"cannot write '{path}': this run uses that file already; choose another name for the output")
        if Path(other).is_dir() and place.resolve().parent == Path(other).resolve() and place.suffix in (".parquet", ".pq"):
            raise DataError(f"cannot write '{path}': all Parquet files in '{other}' are read as data; write it to another folder")
    nearest = next(above for above in (place, *place.absolute().parents) if above.is_dir() or (above.exists() and above != place))
    if not nearest.is_dir():
        raise DataError(f"cannot write '{path}': '{nearest}' is a file, not a folder; choose another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise DataError(f"cannot write '{path}': the folder '{nearest}' is read-only; choose another place")


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
