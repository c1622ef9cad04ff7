"""From dotted names to a run's config, and from a file to its search; needs no Ray."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rubout import plugins
from rubout.errors import UserError, nearest
from rubout.options import from_dict, to_dict
from rubout.search import Search, Value
from rubout.training import setup
from rubout.training.config import TrainConfig

_PARTS = ("learner", "task", "policy", "reward")


def config_of(options: Mapping[str, Value]) -> TrainConfig:
    """The config of `rubout train` with these options.

    Args:
        options: by dotted name, with hyphens or underscores: `learner.noise.rate`, `batch-size`.

    Raises:
        UserError: there is no such option, or its value is refused.
    """
    values: dict[str, Any] = {}
    for name, value in options.items():
        head, *rest = name.replace("-", "_").split(".")
        if not rest:
            values[head] = value
            continue
        place = values.setdefault(f"{head}_options" if head in _PARTS else head, {})
        for part in rest[:-1]:
            place = place.setdefault(part, {})
        place[rest[-1]] = value
    given = str(values.get("task", TrainConfig().task))
    values["task"] = setup.task_name(given)
    if values["task"] != given:  # a file
        values.setdefault("task_options", {})["path"] = given
    learner: Any = plugins.find("learner", values.get("learner", TrainConfig().learner))
    values.setdefault("policy", learner.default_policy)
    config = from_dict(TrainConfig, values)
    for part in _PARTS:
        if getattr(config, part) is not None:
            values[f"{part}_options"] = to_dict(_options(part, getattr(config, part), values))
    return from_dict(TrainConfig, to_dict(from_dict(TrainConfig, values)))


def _options(part: Any, name: str, values: Mapping[str, Any]) -> object:
    """The options of a part, the defaults included, checked by its own class."""
    found: Any = plugins.find(part, name)
    options: object = from_dict(found.Config, values.get(f"{part}_options", {}), f"{part}.")
    return options


def find_search(name: str) -> Search:
    """The `search` of a Python file, or of a module.

    Raises:
        UserError: there is none, or it does not import.
    """
    path = Path(name)
    is_file = path.suffix == ".py" or "/" in name
    if is_file and not path.is_file():
        raise UserError(f"there is no file {name}")
    module_name = path.stem if is_file else name
    try:
        if is_file:
            spec = importlib.util.spec_from_file_location(module_name, path.resolve())
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(module_name, module)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(module_name)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{name} does not import: {reason}") from error
    found = getattr(module, "search", None)
    if not isinstance(found, Search):
        public = [key for key in vars(module) if not key.startswith("_")]
        raise UserError(
            f"{name} has no search{nearest('search', public)}: see rubout.search.Search"
        )
    return found


def check(search: Search) -> TrainConfig:
    """Build what the ends of every domain ask for, so that mistakes show before Ray starts.

    Returns:
        the config of a trial with the first value of everything.

    Raises:
        UserError: an option is not there, or a trial could not be.
    """
    for name in search.base:
        if name.replace("_", "-") in {"out", "resume", "baseline"}:
            raise UserError(f"base has {name}: a trial's folder is the search's to choose")
    first = {name: domain.ends()[0] for name, domain in search.space.items()}
    last = {name: domain.ends()[-1] for name, domain in search.space.items()}
    tried = [first, last]
    for name, domain in search.space.items():
        tried += [{**first, name: value} for value in domain.ends()[1:-1]]
    configs = [config_of({**search.base, **sample}) for sample in tried]
    tasks: dict[str, Any] = {}
    for config in configs:
        key = repr((config.task, config.task_options))
        if key not in tasks:
            tasks[key] = setup.build_task(config)
        setup.check(config, tasks[key])
    return configs[0]
