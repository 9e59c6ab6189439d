"""``steelyard datasets`` and ``steelyard recipes``: what there is, and what is known about one of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from steelyard.cli.console import JsonFlag, guarded, print_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(datasets)
    app.command()(recipes)


@guarded("stopped.")
def datasets(
    name: Annotated[str | None, typer.Argument(help="A data set; all of them when left out.", show_default=False)] = None,
    json: JsonFlag = False,
) -> None:
    """List the named data sets, or tell about one: licence, citation, splits, classes.

    Examples:

      steelyard datasets

      steelyard datasets docstrings
    """
    from steelyard import datasets as room
    from steelyard.datasets.registry import CARDS, find
    from steelyard.errors import DataError

    if name is None:
        rows = [{"name": card.name, "about": card.about, "licence": card.licence, "bundled": card.is_bundled} for card in CARDS]
        _table(rows, json, ("name", "about"))
        return
    card = room.card(name)
    about: dict[str, Any] = {"name": card.name, "about": card.about, "licence": card.licence, "citation": card.citation}
    about |= {"parts": list(card.subsets), "files": [file.path for file in card.files]}
    about["aliases"] = [*card.aliases]
    try:
        data = room.load(name if not card.subsets or find(name, whole=True)[1] else f"{card.name}/{card.subsets[0]}")
    except DataError as error:
        about["here"] = f"no: {error}"
    else:
        about["here"] = "yes"
        about["splits"] = {split: len(table) for split, table in data.splits.items()}
        about["classes"] = list(data.classes)
        about["sources"] = list(next(iter(data.votes.values())).sources) if data.votes else []
    _record(about, json)


@guarded("stopped.")
def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe; all of them when left out.", show_default=False)] = None,
    json: JsonFlag = False,
) -> None:
    """List the published systems that can be run by name, or tell about one.

    Examples:

      steelyard recipes

      steelyard recipes weak-supervision
    """
    from steelyard import recipes as room

    if name is None:
        _table([{"name": known, "about": room.get(known).about.splitlines()[0]} for known in room.names()], json, ("name", "about"))
        return
    recipe = room.get(name)
    if json:
        print_json({"name": recipe.name, "about": recipe.about})
        return
    typer.echo(f"{recipe.about}\n\nRun it: steelyard run {recipe.name}\nOptions: steelyard run {recipe.name} --help")


def _table(rows: list[dict[str, Any]], as_json: bool, columns: tuple[str, ...]) -> None:
    if as_json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(columns):
        table.add_column(column, no_wrap=i == 0)
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    Console().print(table)


def _record(about: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(about)
        return
    for key, value in about.items():
        if value:
            shown = (
                ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in value.items())
                if isinstance(value, dict)
                else value
            )
            typer.echo(f"{key + ':':10}{', '.join(shown) if isinstance(shown, list) else shown}")
