"""Does a reward keep its contract?"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from rubout.checks.common import close, need, row_of, same
from rubout.checks.logs import random_logs
from rubout.types import ActionSpace, Trajectories


def check_reward(
    reward: Callable[[Trajectories], Tensor], space: ActionSpace, seed: int = 0
) -> None:
    """Whether a reward is a deterministic function of each trajectory by itself.

    Args:
        reward: a `Reward`, or any function like one.
        space: of the trajectories it is given.
        seed: of the trajectories.
    """
    for with_prompts in (False, True) if space.max_length > 1 else (False,):
        logs = random_logs(space, 8, seed, with_prompts=with_prompts)
        given = copy.deepcopy(logs)
        value = reward(logs).detach()
        need(
            value.shape in (logs.mask_BT.shape, logs.mask_BT.shape[:1]),
            f"the reward's shape is {tuple(value.shape)}, neither [B] nor [B, T]",
        )
        need(value.dtype == torch.float32, f"the reward is {value.dtype}, not float32")
        need(bool(value.isfinite().all()), "the reward is not finite")
        if value.ndim == 2:
            need(not bool(value[~logs.mask_BT].any()), "the reward is not 0 on padding")
        need(value.equal(reward(logs).detach()), "the reward of the same trajectories differs")
        need(same(logs, given), "the reward changes the trajectories it is given")
        for row in range(len(logs)):
            alone = reward(row_of(logs, row)).detach()[0]
            held = value[row] if value.ndim == 1 else value[row, : len(alone)]
            need(close(alone, held), "the reward of a row depends on its batch-mates")
