"""What a sampler is paid by: the run's own reward, the learner's judge, or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rubout.reward import Reward, per_action
from rubout.types import Trajectories


@dataclass(frozen=True)
class RewardSpec:
    """A reward by name.

    Attributes:
        name: module:Class.
        options: of its Config, plain values.
        share: its weight in the sum.
    """

    name: str
    options: Mapping[str, Any]
    share: float = 1.0


class WeightedSum(Reward):
    """Several rewards at once: sum of share times reward; each is reported under its class's name.

    Source: ORGAN (Guimaraes et al. 2017) adds a reward of the user's to the discriminator's so.

    Args:
        parts: rewards and their shares.
    """

    def __init__(self, parts: list[tuple[Reward, float]]) -> None:
        first = parts[0][0]
        super().__init__(first.space, first.config, first.codec)
        self._parts = parts
        names = [type(reward).__name__ for reward, _ in parts]
        self._names = [
            name if names.count(name) == 1 else f"{name}-{place}"
            for place, name in enumerate(names, 1)
        ]

    @torch.no_grad()
    def __call__(self, trajectories: Trajectories) -> Tensor:
        """See `Reward`."""
        values = [share * reward(trajectories) for reward, share in self._parts if share]
        if any(value.ndim == 2 for value in values):
            values = [per_action(value, trajectories) for value in values]
        return torch.stack(values).sum(0)

    @torch.no_grad()
    def report(self, trajectories: Trajectories) -> dict[str, Tensor]:
        """See `Reward.report`."""
        found = {}
        for name, (reward, _) in zip(self._names, self._parts, strict=True):
            value = reward(trajectories)
            found[name] = value if value.ndim == 1 else value.sum(1)
            inner = reward.report(trajectories)
            found |= {f"{name}/{key}": figure for key, figure in inner.items()}
        return found
