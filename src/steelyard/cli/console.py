"""How commands speak: results to stdout (or JSON for machines), everything else to stderr, one sentence for a user's mistake."""

from __future__ import annotations

import functools
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

if TYPE_CHECKING:
    from steelyard.errors import SteelyardError
    from steelyard.result import Result

P = ParamSpec("P")
R = TypeVar("R")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON for machines, and nothing else.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no tables.")]

INTERRUPTED = 130


def guarded(interrupted: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Turn a user's mistake into one sentence and exit code 1, and Ctrl-C into the given sentence and exit code 130.

    Examples
    --------
    >>> @guarded("Stopped.")
    ... def command() -> None:
    ...     raise ValueError("a bug keeps its traceback")
    >>> command()
    Traceback (most recent call last):
    ValueError: a bug keeps its traceback
    """

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(command)
        def run(*arguments: P.args, **options: P.kwargs) -> R:
            from steelyard.errors import SteelyardError

            told, warnings.formatwarning = warnings.formatwarning, _one_line
            try:
                return command(*arguments, **options)
            except (SteelyardError, OSError) as error:
                if isinstance(error, BrokenPipeError):
                    raise
                typer.echo(f"steelyard: {_sentence(error)}", err=True)
                raise typer.Exit(1) from None
            except KeyboardInterrupt:
                typer.echo(f"\nsteelyard: {interrupted}", err=True)
                raise typer.Exit(INTERRUPTED) from None
            finally:
                warnings.formatwarning = told

        return run

    return decorate


def _sentence(error: SteelyardError | OSError) -> str:
    """What went wrong; of an error of the operating system, which file, why, and what to look at."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"'{error.filename}' cannot be used: {error.strerror}; check that the place exists, may be written to and has room"
    return str(error)


def _one_line(message: Warning | str, *_: Any, **__: Any) -> str:
    """A warning as a user reads it: the sentence, not the line of code it came from."""
    return f"steelyard: warning: {message}\n"


def say(text: str, *, quiet: bool = False) -> None:
    """Tell the user what happened, on stderr, unless nothing was to be said."""
    if not quiet:
        typer.echo(text, err=True)


def show(result: Result, *, as_json: bool, quiet: bool) -> None:
    """Print a result: as JSON, as tables, or not at all."""
    if as_json:
        print_json(result.to_dict())
    elif not quiet:
        from steelyard.report import print_result

        print_result(result)


def print_json(value: Any) -> None:
    """Print plain JSON to stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False, sort_keys=True))


def check_page(path: str | None, used: Iterable[str | None] = ()) -> None:
    """Refuse, before the work begins, a page that cannot be written, is no page, or would replace something that is used."""
    if path is None:
        return
    from steelyard.errors import ConfigError
    from steelyard.storage import check_output

    if not path.lower().endswith((".html", ".htm")):
        raise ConfigError(f"a report is an HTML page; name it '{path.rpartition('.')[0] or path}.html'")
    check_output(path, used)


def write_report_to(path: str | None, result: Result, *, quiet: bool) -> None:
    """Write the HTML page if one was asked for."""
    if path is not None:
        from steelyard.report import write_report

        write_report(result, path)
        say(f"report written to {path}", quiet=quiet)


@contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Send what a user's own code prints to stderr, so that stdout stays readable for machines."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def progress_bar(title: str, *, shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr that is moved by calling it with (done, total); None where no bar is wanted or stderr is no terminal."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
