"""Learners of one group, in threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rubout.types import Trajectories


class Member:
    """One of several learners in threads: a `rubout.learner.Group`."""

    def __init__(self, rank: int, slots: list[Tensor | None], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, len(slots)
        self._slots, self._barrier = slots, barrier

    def sum(self, value: Tensor) -> Tensor:
        self._slots[self.rank] = value.detach().clone()
        self._barrier.wait()
        total = torch.stack([slot for slot in self._slots if slot is not None]).sum(0)
        self._barrier.wait()
        return total

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        for parameter in parameters:
            held = parameter.grad
            parameter.grad = self.sum(torch.zeros_like(parameter) if held is None else held)


def members(size: int) -> list[Member]:
    slots: list[Tensor | None] = [None] * size
    barrier = threading.Barrier(size, timeout=30)
    return [Member(rank, slots, barrier) for rank in range(size)]


def split(whole: Trajectories | None, size: int) -> list[Trajectories | None]:
    """Equal, contiguous parts."""
    if whole is None:
        return [None] * size
    share = len(whole) // size
    return [whole[rank * share : (rank + 1) * share] for rank in range(size)]
