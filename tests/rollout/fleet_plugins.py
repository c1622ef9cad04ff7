"""Rewards that the actors of `test_fleet` import by name."""

import os
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rubout.reward import Reward
from rubout.task import Codec
from rubout.types import ActionSpace, Trajectories


@dataclass(frozen=True)
class NoOptions:
    pass


class Slow(Reward):
    """The number of actions, after a while: long enough to be killed in the middle."""

    Config = NoOptions

    def __call__(self, trajectories: Trajectories) -> Tensor:
        time.sleep(0.03)
        return trajectories.num_actions_B.float()


class Broken(Slow):
    """Raises."""

    def __call__(self, trajectories: Trajectories) -> Tensor:
        raise ZeroDivisionError("this reward is broken")


@dataclass(frozen=True)
class JudgeConfig:
    scale: float = 1.0


class Judge(Reward, nn.Module):
    """A number for each action, which a learner trains; the mean over what was typed."""

    Config = JudgeConfig

    def __init__(self, space: ActionSpace, config: JudgeConfig, codec: Codec | None = None) -> None:
        nn.Module.__init__(self)
        Reward.__init__(self, space, config, codec)
        self.scale = config.scale
        self.worth_A = nn.Parameter(torch.zeros(space.size))

    def __call__(self, trajectories: Trajectories) -> Tensor:
        worth_BT = self.worth_A[trajectories.actions_BT] * trajectories.mask_BT
        return self.scale * worth_BT.sum(1) / trajectories.num_actions_B

    def report(self, trajectories: Trajectories) -> dict[str, Tensor]:
        return {"first": self.worth_A[trajectories.actions_BT[:, 0]]}


def process_id(actor: object) -> int:
    """Run inside an actor."""
    return os.getpid()
