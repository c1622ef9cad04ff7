"""The contract of a reward: what finished sequences are worth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from rubout.task import Codec
from rubout.types import ActionSpace, Trajectories


class Reward(ABC):
    """Built as `RewardClass(space, config, codec)`; run inside the rollout actors as their env's.

    Attributes:
        Config: the class of its options, a frozen dataclass.
        space: what is typed.
        codec: text and ids; None where an env was made without a task.
    """

    Config: ClassVar[type]

    config: object  # a subclass says which: `config: MyConfig`

    def __init__(self, space: ActionSpace, config: object, codec: Codec | None = None) -> None:
        self.space, self.config, self.codec = space, config, codec

    @abstractmethod
    def __call__(self, trajectories: Trajectories) -> Tensor:
        """The reward of finished trajectories, each by itself.

        Returns:
            float32 [B], paid with the last action, or [B, T], 0 on padding.
        """

    def report(self, trajectories: Trajectories) -> dict[str, Tensor]:
        """What its sum is made of: by name, float32 [B]; the means are logged."""
        del trajectories
        return {}
