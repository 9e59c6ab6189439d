"""The ``steelyard`` command: one file per command, nothing but typer imported before a command runs."""

from __future__ import annotations

import typer

from steelyard.cli import catalogue, demo, label, report, run, train

app = typer.Typer(
    name="steelyard",
    help="""Turn weak, cheap, imperfect supervision into labels you can trust and models stronger than their supervisors.

Examples:

  steelyard demo --output report.html

  steelyard label data.parquet --sources my_sources.py -o labels.parquet

  steelyard train labels.parquet --student logistic -o run/

  steelyard run weak-supervision --data youtube""",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
demo.register(app)
label.register(app)
train.register(app)
run.register(app)
catalogue.register(app)
report.register(app)


def main() -> None:
    """Entry point of the ``steelyard`` command."""
    app()
