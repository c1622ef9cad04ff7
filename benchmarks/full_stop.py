"""A reward as a user would write one: 1 for a text that ends with a full stop, else 0."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rubout.reward import Reward
from rubout.tape import survivors
from rubout.types import Trajectories


@dataclass(frozen=True)
class FullStopConfig:
    """Options of the reward."""

    mark: str = "."
    """What a text should end with."""


class FullStop(Reward):
    """See the module."""

    Config = FullStopConfig
    config: FullStopConfig

    def __call__(self, trajectories: Trajectories) -> Tensor:
        """See `Reward`."""
        assert self.codec is not None
        texts = map(self.codec.decode, survivors(self.space, trajectories).lists())
        ends = [text.endswith(self.config.mark) for text in texts]
        return torch.tensor(ends, dtype=torch.float32, device=trajectories.actions_BT.device)
