"""Answers of language models kept on disk: the same question to the same model with the same parameters is asked and paid for once."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from steelyard.errors import DataError
from steelyard.storage import cache_dir


class ResponseCache:
    """A table key -> JSON in one SQLite file, which threads, processes and interrupted runs may share.

    Every answer is committed as it arrives, so an interrupted run resumes where it stopped.

    Parameters
    ----------
    file
        Path of the database; `storage.cache_dir() / "responses.sqlite"` by default, `False` keeps nothing.

    Raises
    ------
    DataError
        The file is no such database.

    Examples
    --------
    >>> with ResponseCache(False) as cache:
    ...     cache.put("key", {"text": "SPAM"})
    ...     cache.get(["key", "other"])
    {'key': {'text': 'SPAM'}}
    """

    def __init__(self, file: str | os.PathLike[str] | Literal[False] | None = None) -> None:
        path = ":memory:" if file is False else str(cache_dir() / "responses.sqlite" if file is None else file)
        if file:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, timeout=60)
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS responses (key TEXT PRIMARY KEY, response TEXT NOT NULL)")
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise DataError(f"the response cache '{path}' cannot be used ({error}); delete that file") from None

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the stored responses among `keys`."""
        found: dict[str, Any] = {}
        for start in range(0, len(keys), 500):  # below the number of variables every SQLite accepts
            part = keys[start : start + 500]
            query = f"SELECT key, response FROM responses WHERE key IN ({','.join('?' * len(part))})"
            found.update((key, json.loads(response)) for key, response in self._database.execute(query, part))
        return found

    def put(self, key: str, response: Any) -> None:
        """Store one JSON-able response and commit it."""
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO responses VALUES (?, ?)", (key, json.dumps(response, ensure_ascii=False)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()


def response_key(**question: Any) -> str:
    """Name everything that an answer depends on: 64 hex digits.

    Examples
    --------
    >>> response_key(model="a", prompt="Spam?") == response_key(prompt="Spam?", model="a")
    True
    """
    return hashlib.sha256(json.dumps(question, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
