from collections.abc import Callable

import pytest
from torch import Tensor

from rubout.types import Trajectories


def _paid_at_the_end(trajectories: Trajectories) -> Tensor:
    """[B], another number for (nearly) every episode, exact in float32."""
    typed = (trajectories.actions_BT * trajectories.mask_BT).sum(1)
    value = typed * 0.25 + trajectories.num_actions_B * 8 + trajectories.terminated_B * 64
    if trajectories.prompts is not None:
        value = value + trajectories.prompts.tokens_BL.sum(1) * 256
    return value.float()


def _paid_per_action(trajectories: Trajectories) -> Tensor:
    """[B, T], not 0 on padding: the env must not count that."""
    return trajectories.actions_BT * 0.5 + 1


@pytest.fixture(scope="session")
def rewards() -> dict[str, Callable[[Trajectories], Tensor] | None]:
    return {"none": None, "end": _paid_at_the_end, "action": _paid_per_action}
