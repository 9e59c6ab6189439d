"""``steelyard train``: labels in, a student out."""

from __future__ import annotations

from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, QuietFlag, check_page, guarded, say, show, write_report_to


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


@guarded("stopped; the same command goes on from the last checkpoint.")
def train(
    labels: Annotated[
        str, typer.Argument(help="File written by `steelyard label`, or any table together with --label.", show_default=False)
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Run folder to write.", show_default=False)],
    student: Annotated[str, typer.Option(help="logistic, minilm, or a Hugging Face name or folder.")] = "logistic",
    tune: Annotated[str, typer.Option(help="How an encoder learns: full, lora or probe.")] = "full",
    on: Annotated[str | None, typer.Option(help="Text column; found by itself where the choice is clear.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of hard labels, for a table that `steelyard label` did not write.")] = None,
    gold: Annotated[str | None, typer.Option(help="Column of true labels to measure against; never learned from.")] = None,
    test: Annotated[str | None, typer.Option(help="Table to predict and measure on; the training file by default.")] = None,
    confidence: Annotated[float, typer.Option(help="Leave out rows whose best label is less probable than this.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of a fine-tuned student.")] = 0,
    epochs: Annotated[float, typer.Option(help="Passes over the rows of a fine-tuned student.")] = 3.0,
    checkpoint_steps: Annotated[int, typer.Option(help="Steps of a fine-tuned student after which the training so far is safe.")] = 500,
    report: Annotated[str | None, typer.Option("--report", "-r", help="Also write an HTML report.")] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Train a student on probabilistic labels.

    Writes the student, its predictions and, with --gold, its numbers into the run folder. A run that was killed goes on with the same
    command; a finished one is read.

    Examples:

      steelyard train labels.parquet --student logistic -o run/

      steelyard train labels.parquet --student minilm --tune probe -o run/ --test test.parquet --gold label
    """
    from steelyard.jobs.train_file import TrainFile, run

    check_page(report, (labels, test))
    result = run(TrainFile(labels, output, student, tune, on, label, gold, test, confidence, seed, epochs, checkpoint_steps))
    write_report_to(report, result, quiet=quiet or json)
    show(result, as_json=json, quiet=quiet)
    counts = result.artifacts["training"]
    say(f"{student} learned from {counts['taught']:,} of {counts['rows']:,} rows: {output}", quiet=quiet or json)
