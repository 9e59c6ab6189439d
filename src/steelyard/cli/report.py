"""``steelyard report``: a saved result as a page."""

from __future__ import annotations

from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, QuietFlag, check_page, guarded, show, write_report_to


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


@guarded("stopped; nothing was written.")
def report(
    result: Annotated[str, typer.Argument(help="A result.json that a run wrote.", show_default=False)],
    output: Annotated[str, typer.Option("--output", "-o", help="The page to write.")] = "report.html",
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Draw a saved result as one self-contained HTML page.

    Examples:

      steelyard report run/result.json -o report.html
    """
    from steelyard.result import Result

    check_page(output, (result,))
    loaded = Result.from_json(result)
    write_report_to(output, loaded, quiet=quiet or json)
    show(loaded, as_json=json, quiet=quiet)
