"""The contract of a reward: what finished sequences are worth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
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


def per_action(value: Tensor, trajectories: Trajectories) -> Tensor:
    """What each action earned.

    Args:
        value: [B], paid with the last action, or [B, T], anything on padding.
        trajectories: B finished episodes of up to T actions.

    Returns:
        float32 [B, T], 0 on padding, on the trajectories' device; carries no gradient.

    Raises:
        ValueError: the value has another shape.
    """
    mask_BT = trajectories.mask_BT
    value = value.detach().to(device=mask_BT.device, dtype=torch.float32)
    if value.shape == mask_BT.shape:
        return value.masked_fill(~mask_BT, 0)
    if value.shape != mask_BT.shape[:1]:
        batch, steps = mask_BT.shape
        raise ValueError(
            f"the reward returned shape {tuple(value.shape)}; expected ({batch},), "
            f"or ({batch}, {steps}) for {steps} actions"
        )
    zeros_BT = torch.zeros(mask_BT.shape, device=mask_BT.device)
    last_B1 = (trajectories.num_actions_B - 1).unsqueeze(1)
    return zeros_BT.scatter(1, last_B1, value.unsqueeze(1))
