"""Checkpoints that survive a kill: one is whole when it carries a seal, written after its last file reached the disk.

A run killed while writing leaves a checkpoint without a seal, or with files shorter than the seal says; it is removed and the run goes on
from the one before.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from steelyard.errors import DataError
from steelyard.storage import read_json, write_json

SEAL = "sealed.json"


def seal(folder: str | os.PathLike[str]) -> None:
    """Flush every file of a checkpoint and write the seal: the sizes they must have.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "weights").write_bytes(b"1234")
    >>> is_whole(folder)
    False
    >>> seal(folder)
    >>> is_whole(folder)
    True
    """
    folder = Path(folder)
    sizes = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL):
        with open(file, "rb") as stream:
            os.fsync(stream.fileno())
        sizes[str(file.relative_to(folder))] = file.stat().st_size
    write_json(folder / SEAL, sizes)


def is_whole(folder: str | os.PathLike[str]) -> bool:
    """Whether a checkpoint has a seal and every file the seal names, in the size it says.

    Examples
    --------
    >>> is_whole("no/such/folder")
    False
    """
    folder = Path(folder)
    try:
        sizes: dict[str, int] = read_json(folder / SEAL)
    except DataError:
        return False
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def latest_whole(folder: str | os.PathLike[str]) -> Path | None:
    """Return the newest whole `checkpoint-<step>` below `folder`, or None; the others that are torn are removed.

    Examples
    --------
    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> for step in (5, 10):
    ...     (run / f"checkpoint-{step}").mkdir()
    >>> seal(run / "checkpoint-5")
    >>> latest_whole(run).name, (run / "checkpoint-10").exists()
    ('checkpoint-5', False)
    """
    found = {
        int(path.name.rpartition("-")[2]): path for path in Path(folder).glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()
    }
    for step, path in list(found.items()):
        if not is_whole(path):
            shutil.rmtree(path)
            del found[step]
    return found[max(found)] if found else None
