"""The options of runs: flat, compared, and as the words that would start a run again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rubout import plugins
from rubout.options import from_dict, to_dict
from rubout.training.config import CHANGEABLE, TrainConfig

_PARTS = ("learner", "task", "policy", "reward")
# How a run is carried out and what it writes, but not what it learns.
NEUTRAL = frozenset(name.replace("_", "-") for name in CHANGEABLE - {"updates", "patience"})


def flat(config: TrainConfig) -> dict[str, object]:
    """Every option by its name on the command line, without hyphens in front.

    Args:
        config: of a run.

    Returns:
        `learner.noise.rate` and the like; parts without options of their own have none.
    """
    found: dict[str, object] = {}
    for name, value in to_dict(config).items():
        part = name.removesuffix("_options")
        if isinstance(value, Mapping):
            found |= _flattened(value, f"{_hyphens(part)}.")
        else:
            found[_hyphens(name)] = value
    return found


def worded(value: object) -> str:
    """The value of an option as a reader or a command line has it."""
    if value is None:
        return "None"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(worded, value))
    return str(value)


def words(config: TrainConfig) -> list[str]:
    """What follows `rubout train --out RUN` to train this again: options that are not defaults.

    Whether they are understood so is for the caller to see: options of a plug-in may be of kinds
    that no command line can give.

    Raises:
        UserError: a part of the run is not to be found on this machine.
    """
    usual = flat(_defaults(config))
    found = []
    for name, value in flat(config).items():
        if name in _PARTS[:3] or value != usual.get(name, object()):
            found += _as_words(name, value)
    return found


def _defaults(config: TrainConfig) -> TrainConfig:
    """The same parts, with the options they have where none is given."""
    found: dict[str, Any] = {}
    for part in _PARTS:
        name = getattr(config, part)
        if name is not None:
            cls: Any = plugins.find(part, name)  # type: ignore[arg-type]
            given = getattr(config, f"{part}_options")
            needed = {"path": given["path"]} if "path" in given else {}
            found[part] = name
            found[f"{part}_options"] = to_dict(from_dict(cls.Config, needed))
            for key in needed:  # has no default: it is to be said
                del found[f"{part}_options"][key]
    return TrainConfig(**found)


def _as_words(name: str, value: object) -> list[str]:
    """One option."""
    if isinstance(value, bool):
        part, dot, last = name.rpartition(".")
        return [f"--{name}" if value else f"--{part}{dot}no-{last}"]
    if isinstance(value, list | tuple):
        return [f"--{name}", *map(str, value)]
    return [f"--{name}", str(value)]


def _flattened(values: Mapping[str, Any], prefix: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        full = f"{prefix}{_hyphens(str(name))}"
        if isinstance(value, Mapping):
            found |= _flattened(value, f"{full}.")
        else:
            found[full] = value
    return found


def _hyphens(name: str) -> str:
    return name.replace("_", "-")


def differing(one: Mapping[str, object], *others: Mapping[str, object]) -> list[str]:
    """Names of options that are not the same in all, in order of appearance."""
    names = dict.fromkeys(name for options in (one, *others) for name in options)
    absent = object()
    return [
        name
        for name in names
        if any(options.get(name, absent) != one.get(name, absent) for options in others)
    ]


def said_of(options: Mapping[str, object], names: frozenset[str]) -> str:
    """A key that is equal where all options but some are.

    Args:
        options: of a run.
        names: of those that do not count.
    """
    return json.dumps({key: options[key] for key in sorted(options) if key not in names})
