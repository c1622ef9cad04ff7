"""Rewards that the actors of `test_fleet` import by name."""

import os
import time
from dataclasses import dataclass

from torch import Tensor

from rubout.reward import Reward
from rubout.types import ActionSpace, Trajectories


@dataclass(frozen=True)
class NoOptions:
    pass


class Slow(Reward):
    """The number of actions, after a while: long enough to be killed in the middle."""

    Config = NoOptions

    def __init__(self, space: ActionSpace, config: NoOptions) -> None:
        pass

    def __call__(self, trajectories: Trajectories) -> Tensor:
        time.sleep(0.03)
        return trajectories.num_actions_B.float()


class Broken(Slow):
    """Raises."""

    def __call__(self, trajectories: Trajectories) -> Tensor:
        raise ZeroDivisionError("this reward is broken")


def process_id(actor: object) -> int:
    """Run inside an actor."""
    return os.getpid()
