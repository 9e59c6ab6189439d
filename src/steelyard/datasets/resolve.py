"""Where the bytes of a data set are: a folder the user names, `STEELYARD_DATA`, the cache, or a download whose SHA-256 is checked.

A download continues where it was cut off and appears under its name only when whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from steelyard.errors import DataError
from steelyard.storage import cache_dir

_BLOCK = 1 << 20


@dataclass(frozen=True)
class DataFile:
    """One file of a data set: its place below the data folder, the SHA-256 of its bytes, and where it can be downloaded (None: nowhere)."""

    path: str
    sha256: str
    url: str | None = None


def locate(file: DataFile, *, root: str | os.PathLike[str] | None = None, progress: Callable[[int, int], None] | None = None) -> Path:
    """The path of `file` on this machine, downloaded if need be.

    Looked for in this order: `root` (only there, when it is given), ``$STEELYARD_DATA``, the cache folder, the file's URL.

    Parameters
    ----------
    file : DataFile
        What to find.
    root : path, optional
        A folder that holds the file at ``file.path``.
    progress : callable, optional
        Called with (bytes so far, bytes in all or 0) during a download.

    Raises
    ------
    DataError
        The file is nowhere, its checksum is wrong, or the download failed; the message says where it was looked for and what to do.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("a")
    >>> locate(DataFile("a.txt", sha256_of(folder / "a.txt")), root=folder).name
    'a.txt'
    """
    if root is not None:
        places = [Path(root)]
    else:
        named = os.environ.get("STEELYARD_DATA")
        places = [*([Path(named)] if named else []), cache_dir() / "datasets"]
    for place in places:
        candidate = place / file.path
        if candidate.is_file():
            return _checked(candidate, file)
    if file.url is None or root is not None:
        looked = " or ".join(f"'{place}'" for place in places)
        raise DataError(
            f"data file '{file.path}' was not found in {looked}"
            + ("" if file.url else " and has no public download in this form")
            + "; set the environment variable STEELYARD_DATA to the folder that holds it"
        )
    destination = cache_dir() / "datasets" / file.path
    download(file.url, destination, sha256=file.sha256, progress=progress)
    return destination


def download(url: str, destination: Path, *, sha256: str, progress: Callable[[int, int], None] | None = None) -> None:
    """Fetch `url` into `destination`, continuing an earlier part, and accept it only if its SHA-256 is `sha256`.

    Raises
    ------
    DataError
        The server could not be reached, answered with an error, or sent other bytes than expected.
    """
    import httpx

    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    done = part.stat().st_size if part.exists() else 0
    try:
        # Without compression, so that what lies on the disk is a prefix of the file and a range continues it.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as answer:
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                # The part is already whole, or is not a part of this file: the checksum below decides.
                total = done
            else:
                answer.raise_for_status()
                if answer.status_code != httpx.codes.PARTIAL_CONTENT:
                    done = 0
                total = done + int(answer.headers.get("content-length", 0))
                with part.open("ab" if done else "wb") as handle:
                    for block in answer.iter_raw():
                        handle.write(block)
                        done += len(block)
                        if progress is not None:
                            progress(done, total)
                    handle.flush()
                    os.fsync(handle.fileno())
    except (httpx.HTTPError, OSError) as error:
        raise DataError(
            f"download of '{url}' failed after {done} bytes ({error}); run it again to continue, or set STEELYARD_DATA"
        ) from None
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise DataError(f"download of '{url}' has SHA-256 {found[:16]}…, expected {sha256[:16]}…; it was removed: try again or report it")
    part.replace(destination)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes in hex, read in blocks.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "a"; _ = file.write_bytes(b"")
    >>> sha256_of(file)[:8]
    'e3b0c442'
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _checked(path: Path, file: DataFile) -> Path:
    found = sha256_of(path)
    if found != file.sha256:
        raise DataError(
            f"data file '{path}' has SHA-256 {found[:16]}…, expected {file.sha256[:16]}…; it is truncated or another version: replace it"
        )
    return path
