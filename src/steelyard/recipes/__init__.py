"""The published systems, one file each: a frozen dataclass of options and ``run(config) -> Result``. They only wire the rooms below."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from steelyard.errors import ConfigError
from steelyard.result import Result

# Name -> module and the name of its options; a module is imported when its recipe is asked for.
_HOMES = {
    "pareto": ("steelyard.recipes.pareto", "Pareto"),
    "debate": ("steelyard.recipes.debate", "Debate"),
    "autows-bench": ("steelyard.recipes.autows_bench", "AutoWSBench"),
    "loki": ("steelyard.recipes.loki", "Loki"),
    "robust-active-distillation": ("steelyard.recipes.robust_active_distillation", "RobustActiveDistillation"),
    "annotation-tasks": ("steelyard.recipes.annotation_tasks", "AnnotationTasks"),
    "beyond-accuracy": ("steelyard.recipes.beyond_accuracy", "BeyondAccuracy"),
    "audit-deception": ("steelyard.recipes.audit_deception", "AuditDeception"),
    "salt": ("steelyard.recipes.salt", "Salt"),
    "loss-reweighting": ("steelyard.recipes.loss_reweighting", "LossReweighting"),
    "supervision-study": ("steelyard.recipes.supervision_study", "SupervisionStudy"),
    "trace-distill": ("steelyard.recipes.trace_distill", "TraceDistill"),
    "queaco": ("steelyard.recipes.queaco", "Queaco"),
    "self-reinforce": ("steelyard.recipes.self_reinforce", "SelfReinforce"),
    "textron": ("steelyard.recipes.textron", "Textron"),
    "weak-supervision": ("steelyard.recipes.weak_supervision", "WeakSupervision"),
    "weaver": ("steelyard.recipes.weaver", "Weaver"),
    "weak-to-strong": ("steelyard.recipes.weak_to_strong", "WeakToStrong"),
    "weak-to-strong-reasoning": ("steelyard.recipes.weak_to_strong_reasoning", "WeakToStrongReasoning"),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A published system by name: its options (a frozen dataclass) and the function that runs it."""

    name: str
    config: type[Any]
    run: Callable[..., Result]
    about: str


def names() -> list[str]:
    """Names of all recipes.

    Examples
    --------
    >>> "weak-supervision" in names()
    True
    """
    return sorted(_HOMES)


def get(name: str) -> Recipe:
    """The recipe of that name.

    Raises
    ------
    ConfigError
        No such recipe; the message lists what there is.

    Examples
    --------
    >>> get("weak-supervision").config.__name__
    'WeakSupervision'
    """
    if name not in _HOMES:
        raise ConfigError(f"no recipe named '{name}'; recipes are {', '.join(names())}")
    home, options = _HOMES[name]
    module = importlib.import_module(home)
    return Recipe(name, getattr(module, options), module.run, (module.__doc__ or "").strip())
