"""What the checks share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from rubout.types import Trajectories

TOLERANCE = 1e-5


def need(holds: bool, message: str) -> None:
    """Unlike `assert`, also under `python -O`."""
    if not holds:
        raise AssertionError(message)


def close(one: Tensor, other: Tensor) -> bool:
    """Equal to 1e-5, relative and absolute."""
    return torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)


def same(one: Any, other: Any) -> bool:
    """Bit for bit, through dataclasses, mappings and sequences."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and one.equal(other)
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def row_of(logs: Trajectories, row: int) -> Trajectories:
    """One of them, trimmed to its own length."""
    return logs[row : row + 1].trimmed()
