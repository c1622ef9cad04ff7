"""Reference rows: what knows nothing, and what knows only how often each action occurs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rubout.policies.network import Memory, NetworkPolicy
from rubout.tape import Tape
from rubout.types import ActionSpace, Trajectories


@dataclass(frozen=True)
class ConstantConfig:
    """No options."""


class ConstantPolicy(NetworkPolicy):
    """The same distribution in every state, over what is legal there."""

    Config = ConstantConfig

    def __init__(self, space: ActionSpace, log_probs_A: Tensor) -> None:
        super().__init__(space)
        self.head = nn.Linear(1, space.size).requires_grad_(requires_grad=False)
        self.head.weight.zero_()
        self.head.bias.copy_(log_probs_A)

    def encode(self, tape: Tape) -> Tensor:
        """See `NetworkPolicy.encode`."""
        return self.head.weight.new_zeros(*tape.tokens_BN.shape, 1)

    def remember(self, batch_size: int) -> Memory:
        """See `NetworkPolicy.remember`."""
        del batch_size
        return {}

    def extend(
        self, memory: Memory, rows_M: Tensor | None, tokens_M: Tensor, depths_M: Tensor
    ) -> Tensor:
        """See `NetworkPolicy.extend`."""
        del memory, rows_M, depths_M
        return self.head.weight.new_zeros(len(tokens_M), 1)


def uniform(space: ActionSpace) -> ConstantPolicy:
    """Every legal action alike."""
    return ConstantPolicy(space, torch.zeros(space.size))


def unigram(space: ActionSpace, train: Trajectories) -> ConstantPolicy:
    """Each action as often as in the training data, one added to every count."""
    actions = train.actions_BT[train.mask_BT].cpu()
    counts = torch.bincount(actions, minlength=space.size).double() + 1
    if space.backspace:  # no expert of these references rubs out
        counts[space.backspace_id] = 1e-30
    return ConstantPolicy(space, (counts / counts.sum()).log().float())
