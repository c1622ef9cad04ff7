"""A user's own file: lies beside the packages when a job is submitted, as mine.py."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

import rubout
from learners.seqgan import SeqGAN, SeqGANConfig
from rubout.reward import Reward
from rubout.types import Trajectories


@dataclass(frozen=True)
class NoOptions:
    pass


class Longer(Reward):
    """The number of actions; says where it runs."""

    Config = NoOptions

    def __call__(self, trajectories: Trajectories) -> Tensor:
        print(f"reward in {os.getpid()} of {rubout.__file__} by {__file__}", flush=True)
        return trajectories.num_actions_B.float()


class Waits(SeqGAN):
    """Waits before its third update for somebody who has read of the first."""

    Config = SeqGANConfig

    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        self.seen = getattr(self, "seen", 0) + 1
        print(f"learner in {os.getpid()} of {rubout.__file__} by {__file__}", flush=True)
        if self.seen == 3:
            _wait(Path(os.environ["READ_ON"]).exists)
        return super().update(data, rollouts)


def _wait(until: Callable[[], bool]) -> None:
    given_up = time.monotonic() + 60
    while not until():
        if time.monotonic() > given_up:
            raise TimeoutError("nobody has read what was printed")
        time.sleep(0.05)
