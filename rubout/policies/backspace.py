"""A backspace key for a policy that has not learned to use one.

An untrained row of the head would rub out as often as it types any other token, and one that was
added to a trained policy almost never or almost always. So the row begins as the mean of the
others, and its bias makes it rare, but not so rare that no rollout ever shows it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from rubout.policies.network import NetworkPolicy
from rubout.types import Trajectories

PROBABILITY = 1e-3


@torch.no_grad()
def begin_backspace(
    policy: NetworkPolicy, data: Trajectories, probability: float = PROBABILITY
) -> None:
    """Make the backspace an action of this probability: the geometric mean over an expert's states.

    Args:
        policy: its space has a backspace.
        data: an expert's logs, on the policy's device.
        probability: to begin with.
    """
    head, key = policy.head, policy.space.backspace_id
    assert key >= 0
    head.weight[key] = head.weight[:key].mean(0)
    head.bias[key] = head.bias[:key].mean()
    training = policy.training
    policy.eval()
    asked = replace(data, intended_BT=torch.full_like(data.actions_BT, key))
    log_probs_BT = policy.score(asked, {"log_probs"}).log_probs_BT
    policy.train(training)
    assert log_probs_BT is not None
    found = log_probs_BT[data.mask_BT]
    legal = found[found.isfinite()]
    if len(legal):
        odds = math.log(probability) - math.log1p(-probability)
        now = legal - torch.log1p(-legal.exp())
        head.bias[key] += odds - now.mean()


def with_backspace(tensors: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """Weights of a policy without a backspace, with a row of zeros for it at the end of the head.

    Args:
        tensors: the state of a `NetworkPolicy`.
        size: A, with the backspace.
    """
    grown = dict(tensors)
    for name in ("head.weight", "head.bias"):
        old = tensors[name]
        assert old.shape[0] == size - 1
        grown[name] = torch.cat([old, torch.zeros_like(old[:1])])
    return grown
