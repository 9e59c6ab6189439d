"""``steelyard run NAME``: any published system by name; its options are the fields of its configuration."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from steelyard.cli.console import JsonFlag, QuietFlag, check_page, guarded, only_results_on_stdout, say, show, write_report_to


def register(app: typer.Typer) -> None:
    """Add the command; it hands everything after the name on to the recipe, including --help."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(context_settings=settings, add_help_option=False)(run)


@guarded("stopped.")
def run(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The recipe's name, see `steelyard recipes`.", show_default=False)] = None,
) -> None:
    """Run a published system by name: `steelyard run NAME --help` shows its options."""
    from steelyard import recipes

    if name is None or name in ("-h", "--help"):
        typer.echo(
            "Usage: steelyard run NAME [OPTIONS]\n\nRun a published system by name. `steelyard run NAME --help` shows its options.\n"
        )
        for known in recipes.names():
            typer.echo(f"  {known}  {recipes.get(known).about.splitlines()[0]}")
        typer.echo("\nExample: steelyard run weak-supervision --data youtube --seeds 3 -o result.json")
        return
    recipe_app(recipes.get(name))(args=context.args, prog_name=f"steelyard run {name}")


def recipe_app(recipe: Any) -> typer.Typer:
    """A command whose options are the fields of the recipe's configuration, with the help of its docstring.

    Examples
    --------
    >>> from steelyard import recipes
    >>> len(recipe_app(recipes.get("weak-supervision")).registered_commands)
    1
    """
    fields, kinds, help_of = dataclasses.fields(recipe.config), get_type_hints(recipe.config), _parameter_help(recipe.config.__doc__ or "")

    @guarded("stopped.")
    def command(**options: Any) -> None:
        from steelyard.storage import check_output

        output, page, json, quiet = (options.pop(key) for key in ("output", "report", "json", "quiet"))
        # Which options name files is the recipe's business: here it is those that are files.
        named = [value for value in options.values() if isinstance(value, str) and os.path.exists(value)]
        check_page(page, (*named, output))
        if output is not None:
            check_output(output, named)
        config = recipe.config(**{key: _parsed(key, value, kinds[key]) for key, value in options.items()})
        with only_results_on_stdout():
            result = recipe.run(config)
        if output is not None:
            result.to_json(output)
            say(f"result written to {output}", quiet=quiet or json)
        write_report_to(page, result, quiet=quiet or json)
        show(result, as_json=json, quiet=quiet)

    parameters = [_option(field, kinds[field.name], help_of.get(field.name, "")) for field in fields]
    shared = {
        "output": (Annotated[str | None, typer.Option("--output", "-o", help="Write the result as JSON.")], None),
        "report": (Annotated[str | None, typer.Option("--report", "-r", help="Write an HTML report.")], None),
        "json": (JsonFlag, False),
        "quiet": (QuietFlag, False),
    }
    parameters += [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind) for key, (kind, default) in shared.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = recipe.about
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(command)
    return app


def _option(field: dataclasses.Field[Any], kind: Any, text: str) -> inspect.Parameter:
    default = field.default if field.default is not dataclasses.MISSING else inspect.Parameter.empty
    if _is_tuple(kind):
        text += " (a number of seeds, or seeds separated by commas)" if field.name == "seeds" else " (separated by commas)"
        default = ",".join(str(value) for value in default) if isinstance(default, tuple) else None
        kind = str | None
    name = field.name.replace("_", "-")
    # What is on by default must have a way to be switched off.
    flag = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
    annotation = Annotated[kind, typer.Option(flag, help=text.strip())]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parsed(name: str, value: Any, kind: Any) -> Any:
    """Turn ``3`` into three seeds and ``0,1`` into a tuple; leave everything else to typer."""
    from steelyard.errors import ConfigError

    if value is None or not _is_tuple(kind):
        return value
    integers = int in get_args(next(part for part in (kind, *get_args(kind)) if get_origin(part) is tuple))
    parts = [part.strip() for part in str(value).split(",") if part.strip()]
    try:
        if name == "seeds" and len(parts) == 1 and "," not in str(value):
            return tuple(range(int(parts[0])))
        return tuple(int(part) for part in parts) if integers else tuple(parts)
    except ValueError:
        raise ConfigError(f"--{name.replace('_', '-')} takes whole numbers separated by commas, got '{value}'") from None


def _is_tuple(kind: Any) -> bool:
    return any(get_origin(part) is tuple for part in (kind, *get_args(kind)))


def _parameter_help(docstring: str) -> dict[str, str]:
    """The texts of a NumPy-style Parameters section."""
    section = inspect.cleandoc(docstring).partition("Parameters\n----------\n")[2]
    found = re.findall(r"^(\w[\w, ]*) : [^\n]*\n((?:    [^\n]*\n?)+)", section + "\n", re.MULTILINE)
    return {name.strip(): " ".join(text.split()).replace("``", "") for names, text in found for name in names.split(",")}
