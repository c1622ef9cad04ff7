"""From a name to an object: the only way anything is looked up.

`package.module:Name` is that object. A short name is a file: `mle` as a learner is the module
`learners.mle`, and the object is the one class defined in it that keeps the contract. So a new
learner, task, policy or reward is one file, and there is no registry to edit.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Literal, TypeVar

from rubout.errors import UserError, nearest
from rubout.learner import Learner
from rubout.policy import Policy
from rubout.reward import Reward
from rubout.task import Task

Kind = Literal["learner", "policy", "task", "reward"]
T = TypeVar("T")

_HOMES: dict[Kind, tuple[str | None, type]] = {
    "learner": ("learners", Learner),
    "policy": ("rubout.policies", Policy),
    "task": ("rubout.tasks", Task),
    "reward": (None, Reward),  # only the user's own
}


def find(kind: Kind, name: str) -> type:
    """The class a name stands for.

    Args:
        kind: what it must be.
        name: a short name (`psi_mle`, `python-docs`) or `module:Class`.

    Raises:
        UserError: nothing of that name, it does not import, or it does not keep the contract.
    """
    home, contract = _HOMES[kind]
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        module = _import(kind, module_name)
        found = getattr(module, attribute, None)
        if found is None:
            public = [key for key in vars(module) if not key.startswith("_")]
            hint = nearest(attribute, public)
            raise UserError(f"{kind} {name}: {module_name} has no {attribute}{hint}")
    else:
        known = names(kind)
        if name.replace("-", "_") not in {item.replace("-", "_") for item in known}:
            raise UserError(
                f"unknown {kind} {name!r}{nearest(name, known)}; your own is named as module:Class"
            )
        found = _only_class(_import(kind, f"{home}.{name.replace('-', '_')}"), contract)
    if not (inspect.isclass(found) and issubclass(found, contract)):
        raise UserError(
            f"{kind} {name}: not a subclass of {contract.__module__}.{contract.__name__}"
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise UserError(f"{kind} {name}: does not define {missing}")
    if not dataclasses.is_dataclass(getattr(found, "Config", None)):
        raise UserError(f"{kind} {name}: has no Config, a frozen dataclass of its options")
    for field in dataclasses.fields(found.Config):  # type: ignore[attr-defined]
        nothing = field.default is field.default_factory is dataclasses.MISSING
        if field.init and nothing and field.name != "path":  # that of a file must be given
            raise UserError(f"{kind} {name}: its Config gives {field.name} no default")
    return found


def resolve(name: str) -> object:
    """The object that `package.module:Name` names, whatever it is."""
    module_name, _, attribute = name.partition(":")
    found: object = getattr(importlib.import_module(module_name), attribute)
    return found


def names(kind: Kind) -> list[str]:
    """The short names of a kind that come with the package."""
    home, contract = _HOMES[kind]
    if home is None:
        return []
    package = importlib.import_module(home)
    return [
        info.name
        for info in pkgutil.iter_modules(package.__path__)
        if _defines(f"{home}.{info.name}", contract)
    ]


def _defines(module_name: str, contract: type) -> bool:
    module = importlib.import_module(module_name)
    return any(_classes(module, contract))


def _classes(module: ModuleType, contract: type) -> list[type]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, contract)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
    ]


def _only_class(module: ModuleType, contract: type) -> type:
    classes = _classes(module, contract)
    if len(classes) != 1:
        raise UserError(f"{module.__name__} defines {len(classes)} classes of {contract.__name__}")
    return classes[0]


def _import(kind: Kind, module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{kind} {module_name} does not import: {reason}") from error
