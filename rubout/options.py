"""Options as frozen dataclasses: to and from plain JSON, and what they build."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from rubout import plugins
from rubout.errors import UserError, nearest
from rubout.policy import Policy
from rubout.reward import Reward
from rubout.task import Codec
from rubout.types import ActionSpace

T = TypeVar("T")


def to_dict(options: object) -> dict[str, Any]:
    """Plain values of a dataclass, nested ones included.

    A Path becomes an absolute one, as text: actors run elsewhere, and a run is read from elsewhere.
    """
    assert dataclasses.is_dataclass(options)
    assert not isinstance(options, type)
    plain: dict[str, Any] = _plain(dataclasses.asdict(options))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.expanduser().resolve())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """A dataclass from plain values; missing keys take their defaults.

    Args:
        cls: the dataclass.
        values: by field name; nested dataclasses as mappings.
        where: dotted prefix, for messages.

    Raises:
        UserError: an unknown key (nearest match given) or a value the class rejects.
    """
    assert dataclasses.is_dataclass(cls)
    if not isinstance(values, Mapping):
        raise UserError(f"{where or 'options'}: not a JSON object")
    hints = typing.get_type_hints(cls)
    known = {field.name for field in dataclasses.fields(cls) if field.init}
    for key in values:
        if key not in known:
            raise UserError(f"unknown option {where}{key}{nearest(key, known)}")
    arguments = {
        key: _convert(hints[key], value, f"{where}{key}.") for key, value in values.items()
    }
    try:
        return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    """JSON knows no tuples, no paths and no nested dataclasses."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_dict(hint, value, where)
    if isinstance(value, str) and (hint is Path or Path in typing.get_args(hint)):
        return Path(value)
    origin = typing.get_origin(hint)
    if origin is tuple and isinstance(value, list):
        return tuple(value)
    if origin in (typing.Union, types.UnionType) and isinstance(value, list):
        return tuple(value)
    return value


def build_policy(name: str, options: Mapping[str, Any], space: ActionSpace) -> Policy:
    """The policy a run names, with fresh weights."""
    cls: Any = plugins.find("policy", name)
    policy: Policy = cls(space, from_dict(cls.Config, options, "policy."))
    return policy


def build_reward(
    name: str, options: Mapping[str, Any], space: ActionSpace, codec: Codec | None
) -> Reward:
    """The reward a run names."""
    cls: Any = plugins.find("reward", name)
    reward: Reward = cls(space, from_dict(cls.Config, options, "reward."), codec)
    return reward
