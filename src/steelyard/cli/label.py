"""``steelyard label``: a table and a file of sources in, labels out; what was voted on before a kill is not voted on again."""

from __future__ import annotations

from typing import Annotated

import typer

from steelyard.cli.console import JsonFlag, QuietFlag, check_page, guarded, only_results_on_stdout, progress_bar, say, show, write_report_to


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(label)


@guarded("stopped; finished votes are kept, the same command goes on from there.")
def label(
    data: Annotated[str, typer.Argument(help="Table to label: .parquet, .csv, .tsv, .jsonl, or a folder of .parquet.", show_default=False)],
    sources: Annotated[str, typer.Option("--sources", "-s", help="Python file whose sources vote.", show_default=False)],
    output: Annotated[str, typer.Option("--output", "-o", help="Parquet file to write.")] = "labels.parquet",
    classes: Annotated[str | None, typer.Option(help="Class names in order, separated by commas; else those of the sources file.")] = None,
    label_model: Annotated[str, typer.Option(help="select, or MajorityVote, DawidSkene, MeTaL, TripletModel …")] = "select",
    gold: Annotated[str | None, typer.Option(help="Column of known labels: hidden from the sources, used to measure.")] = None,
    prefix: Annotated[str, typer.Option(help="Put before the names of the new columns.")] = "",
    votes: Annotated[str | None, typer.Option(help="Also keep the votes, as a Parquet file.")] = None,
    report: Annotated[str | None, typer.Option("--report", "-r", help="Also write an HTML report.")] = None,
    chunk_rows: Annotated[int, typer.Option(help="Rows after which the votes so far are safe.")] = 5000,
    workers: Annotated[int | None, typer.Option(help="Processes; all cores by default.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop where a source raises, instead of letting it abstain there.")] = False,
    engine: Annotated[str, typer.Option(help="Where sources vote: local, ray or spark.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the cluster; left out, a local one is started.")] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Label a table with the weighed votes of weak sources.

    Writes the original columns and, for every row, label, confidence, n_votes and one probability per class. A run that was killed goes on
    where it stopped and writes the same bytes. The sources file is run as a Python script.

    Examples:

      steelyard label data.parquet --sources my_sources.py -o labels.parquet

      steelyard label mail.csv -s rules.py --classes HAM,SPAM --gold label --prefix weak_ --report r.html

      steelyard label big/ -s rules.py --engine ray --address ray://head:10001 --chunk-rows 100000
    """
    from steelyard.jobs.label_file import LabelFile, run

    named = None if classes is None else tuple(name.strip() for name in classes.split(",") if name.strip())
    config = LabelFile(data, sources, output, named, label_model, gold, prefix, votes, chunk_rows, workers, strict, engine, address)
    check_page(report, (data, sources, output, votes))
    with only_results_on_stdout(), progress_bar("voting", shown=not (quiet or json)) as progress:
        result = run(config, progress)
    write_report_to(report, result, quiet=quiet or json)
    show(result, as_json=json, quiet=quiet)
    count = result.artifacts["labels"]
    resumed = f", {count['resumed']:,} of them voted on by an earlier run" if count["resumed"] else ""
    say(
        f"{count['rows']:,} rows labelled by {count['label_model']}, {count['covered']:,} with a vote{resumed}: {output}",
        quiet=quiet or json,
    )
    for name, faults in result.artifacts["faults"].items():
        say(f"source '{name}' failed on {faults['count']:,} rows and abstained there, first: {faults['message']}", quiet=quiet or json)
