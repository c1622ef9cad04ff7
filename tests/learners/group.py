"""Learners of one group, in threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from rubout.learner import Learner
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


def update_as_one(
    alone: Learner, group: Sequence[Learner], data: Trajectories, rollouts: Trajectories | None
) -> None:
    """Each with its part of the batch, trimmed to it: what they report is what one reports."""
    expected = alone.update(data, rollouts)
    size = len(group)
    own = [None if part is None else part.trimmed() for part in split(rollouts, size)]
    parts = zip(split(data, size), own, strict=True)
    with ThreadPoolExecutor(size) as pool:
        ends = [pool.submit(each.update, *part) for each, part in zip(group, parts, strict=True)]  # type: ignore[arg-type]
    for end in ends:
        assert end.result() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def same_weights(alone: Learner, group: Sequence[Learner]) -> None:
    """By tensor: where gradients all but vanish, Adam makes steps of their rounding."""
    for learner in group:
        for name, module in alone.modules().items():
            others = learner.modules()[name].parameters()
            for ours, theirs in zip(module.parameters(), others, strict=True):
                assert float((theirs - ours).detach().norm()) <= 1e-5 * float(ours.detach().norm())
