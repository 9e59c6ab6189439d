"""The progress bar of the engines: on standard error, and only for those who wait."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Seconds after which a terminal shows a progress bar unasked.
WORTH_A_BAR = 2.0


class Bar:
    """A progress bar on standard error that appears only when asked for or when a terminal's user has waited."""

    def __init__(self, total: int | None, wanted: bool | None) -> None:
        self._console = Console(stderr=True)
        self._wanted = self._console.is_terminal if wanted is None else wanted
        self._patience = 0.0 if wanted else WORTH_A_BAR
        self._total, self._done, self._begun = total, 0, time.perf_counter()
        self._progress: Progress | None = None

    def advance(self) -> None:
        """One batch more is done."""
        self._done += 1
        if self._progress is None and self._wanted and time.perf_counter() - self._begun >= self._patience:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=self._console)
            self._task = self._progress.add_task("batches", total=self._total)
            self._progress.start()
        if self._progress is not None:
            self._progress.update(self._task, completed=self._done)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()
