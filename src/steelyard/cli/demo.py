"""``steelyard demo``: the whole line on bundled text in under a minute, offline."""

from __future__ import annotations

from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, QuietFlag, check_page, guarded, say, show, write_report_to


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


@guarded("stopped; nothing was written.")
def demo(
    output: Annotated[str, typer.Option("--output", "-o", help="The page to write.")] = "report.html",
    encoder: Annotated[
        str | None,
        typer.Option(help="Also train a probe on this frozen encoder: a Hugging Face name, or minilm (no network). Needs the torch extra."),
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Rules, label model, student and report on bundled real text.

    Twenty weak rules guess which library a docstring comes from; a label model weighs them; a student learns from its labels.
    Beside it: the majority vote, and the same student trained on the true labels.

    Examples:

      steelyard demo

      steelyard demo --output report.html --encoder minilm
    """
    import time

    from steelyard.recipes.demo import run_demo

    check_page(output)
    began = time.perf_counter()
    say("reading docstrings of installed packages, voting, weighing, learning …", quiet=quiet or json)
    result = run_demo(encoder)
    result.timings["total"] = time.perf_counter() - began
    write_report_to(output, result, quiet=quiet or json)
    show(result, as_json=json, quiet=quiet)
    say(f"done in {time.perf_counter() - began:.0f} s", quiet=quiet or json)
