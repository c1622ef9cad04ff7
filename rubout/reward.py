"""The contract of a reward: what finished sequences are worth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from rubout.types import Trajectories


class Reward(ABC):
    """Built as `RewardClass(space, config)`; run inside the rollout actors as the env's reward."""

    Config: ClassVar[type]

    @abstractmethod
    def __call__(self, trajectories: Trajectories) -> Tensor:
        """The reward of finished trajectories.

        Returns:
            float32 [B], paid with the last action, or [B, T], 0 on padding.
        """
