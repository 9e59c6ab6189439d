"""A user's sources as a plain Python file: every `Source` at module level, in order, or those in a list named ``sources``.

The file may also name ``classes = [...]`` and ``hierarchy = {...}``. It is run, like any script the user starts: read it before you run it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from steelyard.errors import DataError, SourceError, SteelyardError
from steelyard.sources.base import Source
from steelyard.vote_checks import unique_names


@dataclass(frozen=True)
class SourcesFile:
    """What a sources file defines: its sources in order, and classes and hierarchy where it names them."""

    path: Path
    text: str
    sources: tuple[Source, ...]
    classes: tuple[str, ...] | None
    hierarchy: dict[str, tuple[str, ...]] | None

    def class_names(self, given: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """The classes: as given, else as the file names them, else every label the sources say they emit, in order.

        Raises
        ------
        SourceError
            A source does not say beforehand what it emits, and nothing else names the classes.
        """
        if given or self.classes:
            return unique_names(given or self.classes or (), "class")
        silent = [source.name for source in self.sources if source.labels is None]
        if silent:
            raise SourceError(
                f"source '{silent[0]}' in '{self.path}' does not say which labels it emits; "
                'name the classes in the file, as in classes = ["A", "B"], or use --classes'
            )
        parents = set(self.hierarchy or {})
        return tuple(dict.fromkeys(label for source in self.sources for label in source.labels or () if label not in parents))


def load_sources(path: str | os.PathLike[str]) -> SourcesFile:
    """Run a sources file and collect its sources.

    Raises
    ------
    DataError
        The file does not exist or is not UTF-8.
    SourceError
        It has a syntax error (with the line), raises while it runs (with the line), defines no source, or uses a name twice.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "my_sources.py"
    >>> _ = file.write_text("import steelyard as sy\\nspam = sy.keywords(['subscribe'], on='text', label='SPAM')\\n")
    >>> [source.labels for source in load_sources(file).sources]
    [('SPAM',)]
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"sources file '{path}' does not exist; check the path") from None
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"sources file '{path}' cannot be read ({error}); it must be a Python file in UTF-8") from None
    module = _run(path, text)
    found = getattr(module, "sources", None)
    if isinstance(found, ModuleType) or found is None:
        variables = {name: value for name, value in vars(module).items() if isinstance(value, Source)}
        for name, source in variables.items():
            if source.named_by_default:
                source.name, source.named_by_default = name, False
        found = list({id(source): source for source in variables.values()}.values())
    if not found:
        raise SourceError(
            f"sources file '{path}' defines no source; write for example: spam = sy.keywords(['subscribe'], on='text', label='SPAM')"
        )
    stranger = next((value for value in found if not isinstance(value, Source)), None)
    if stranger is not None:
        raise SourceError(
            f"the list 'sources' in '{path}' holds {stranger!r}, which is no source; decorate a function with @sy.labeling_function(...)"
        )
    names = [source.name for source in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SourceError(
            f"two sources in '{path}' are named '{twice}'; give one of them another name= so that tables and reports can tell them apart"
        )
    return SourcesFile(path, text, tuple(found), _classes(path, module), _hierarchy(path, module))


def _classes(path: Path, module: ModuleType) -> tuple[str, ...] | None:
    classes = getattr(module, "classes", None)
    if classes is not None and not isinstance(classes, list | tuple):
        raise SourceError(f"'classes' in '{path}' is {classes!r}; write a list of names, as in classes = [\"A\", \"B\"]")
    return None if classes is None else tuple(str(name) for name in classes)


def _hierarchy(path: Path, module: ModuleType) -> dict[str, tuple[str, ...]] | None:
    hierarchy = getattr(module, "hierarchy", None)
    if hierarchy is None:
        return None
    if not isinstance(hierarchy, Mapping) or not all(isinstance(children, list | tuple) for children in hierarchy.values()):
        raise SourceError(
            f'\'hierarchy\' in \'{path}\' is {hierarchy!r}; write parents with lists of classes, as in hierarchy = {{"AB": ["A", "B"]}}'
        )
    return {str(parent): tuple(map(str, children)) for parent, children in hierarchy.items()}


def _run(path: Path, text: str) -> ModuleType:
    try:
        code = compile(text, str(path), "exec")
    except SyntaxError as error:
        shown = (error.text or "").strip()
        raise SourceError(f"sources file '{path}', line {error.lineno}: {error.msg}" + (f" in: {shown}" if shown else "")) from None
    # A name of its own per file, so that two sources files never share state and functions know where they live.
    module = ModuleType(f"sources_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f", line {lines[-1]}" if lines else ""
        said = f"{error}" if isinstance(error, SteelyardError) else f"{type(error).__name__}: {error}"
        raise SourceError(f"sources file '{path}'{where}: {said}") from error
    finally:
        sys.path.remove(folder)
    return module
